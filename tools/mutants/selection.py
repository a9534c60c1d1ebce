"""Which tests can notice a fault: those that run the changed lines, and those whose file imports the changed one."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from functools import cache
from pathlib import Path

from faults import ROOT, Fault


class Map:
    """What a recorded run of the suite says about lines and tests. `folder` is what the recorder wrote."""

    def __init__(self, folder: Path) -> None:
        import coverage

        self.data = coverage.CoverageData(basename=str(folder / "combined"))
        self.data.erase()
        for part in sorted(folder.glob(".coverage.*")):
            one = coverage.CoverageData(basename=str(part))
            one.read()
            self.data.update(one)
        self.seconds: dict[str, float] = {}
        self.users: dict[str, list[str]] = defaultdict(list)
        self.root = ROOT
        for path in sorted(folder.glob("tests.*.json")):
            record = json.loads(path.read_text())
            passed = {test: took for test, took in record["seconds"].items() if test not in record["failed"]}
            self.seconds |= passed
            for test, names in record["fixtures"].items():
                for name in names if test in passed else ():
                    self.users[f"fixture:{name}"].append(test)
            self.root = Path(record["root"])

    def tests(self, fault: Fault, source: str) -> list[str]:
        """Tests that may notice `fault`, the nearest and shortest first."""
        lines, at_import = fault.statement(source)
        by_line = self._lines(fault.file)
        contexts = {name for line in lines for name in by_line.get(line, ())} if not at_import else set()
        if not contexts - {""}:
            contexts = {name for names in by_line.values() for name in names}
        near = importers(fault.file)
        tests = {test for name in contexts for test in self.users.get(name, [name])} & self.seconds.keys()
        if at_import or not tests:
            tests |= {test for test in self.seconds if test.split("::")[0] in near}
        return sorted(tests, key=lambda test: (test.split("::")[0] not in near, self.seconds[test]))

    def _lines(self, file: str) -> dict[int, list[str]]:
        return self.data.contexts_by_lineno(str((self.root / file).resolve()))


def nearest(fault: Fault) -> list[str]:
    """What to run without a recorded map: files that import the changed one, else the tests of its layer."""
    layer = ROOT / "tests" / fault.area
    files = sorted(importers(fault.file)) or ([layer.relative_to(ROOT).as_posix()] if layer.is_dir() else ["tests"])
    return (["tests/device"] if fault.kind == "device" else []) + files


@cache
def importers(file: str) -> frozenset[str]:
    """Test files, relative to the checkout, that import the module of `file` by name."""
    parts = Path(file).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    module = ".".join(parts if parts[0] == "dawn_bench" else ("dawn_bench", *parts))
    return frozenset(
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py") if module in _imported(path)
    )


@cache
def _imported(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)
