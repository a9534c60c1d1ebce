"""The list of faults: each replaces one place of one file, and some test should notice it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).resolve().parent / "faults"
KINDS = ("key", "wiring", "symmetry", "bounds", "durability", "boundary", "device")


class FaultError(ValueError):
    """A fault of the list does not fit the code."""


@dataclass(frozen=True)
class Fault:
    """One fault. `old` stands exactly once in `file` and becomes `new`."""

    id: str
    kind: str
    file: str
    what: str
    old: str
    new: str
    survives: str = ""
    """Why no test can notice it, where that is so."""

    @property
    def area(self) -> str:
        """The layer of the changed file: a folder of `dawn_bench` or a package beside it."""
        parts = Path(self.file).parts
        if parts[0] != "dawn_bench":
            return parts[0]
        return parts[1] if len(parts) > 2 else "kernel"

    def apply(self, source: str) -> str:
        """The file's text with the fault in it. Raises `FaultError` if it does not fit the text."""
        if (count := source.count(self.old)) != 1:
            raise FaultError(f"{self.id}: its old text stands {count} times in {self.file}, not once")
        changed = source.replace(self.old, self.new)
        try:
            same = ast.dump(ast.parse(changed)) == _tree(source)
        except SyntaxError as error:
            raise FaultError(f"{self.id}: {self.file} does not compile with it: {error}") from error
        if same:
            raise FaultError(f"{self.id}: {self.file} means the same with it")
        return changed

    def statement(self, source: str) -> tuple[range, bool]:
        """Lines of the smallest statement around the fault, and whether it runs at import."""
        first = source[: source.index(self.old)].count("\n") + 1
        skipped = len(self.old) - len(self.old.lstrip())
        first += self.old[:skipped].count("\n")
        last = first + self.old.strip().count("\n")
        lines, at_import = range(first, last + 1), True
        functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.stmt) or not (node.lineno <= first and last <= (node.end_lineno or 0)):
                continue
            if isinstance(node, functions) and node.body[0].lineno <= first:
                at_import = False
            if not hasattr(node, "body"):
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        return lines, at_import


@lru_cache(maxsize=4)
def _tree(source: str) -> str:
    return ast.dump(ast.parse(source))


def load_faults(folder: Path = FAULTS, pattern: str = "*.yaml") -> list[Fault]:
    """Every fault of the lists in `folder`. Raises `FaultError` for a record that is wrong in itself."""
    paths = sorted(folder.glob(pattern))
    faults = [Fault(**record) for path in paths for record in yaml.safe_load(path.read_text())]
    seen: set[str] = set()
    for fault in faults:
        if fault.id in seen:
            raise FaultError(f"{fault.id}: two faults have this name")
        if fault.kind not in KINDS:
            raise FaultError(f"{fault.id}: kind {fault.kind!r} is none of {', '.join(KINDS)}")
        seen.add(fault.id)
    return faults
