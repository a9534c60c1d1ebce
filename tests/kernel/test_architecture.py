"""Layers: data flows one way, a layer imports only from those below it, and files stay small."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dawn_bench"

#: Lowest first. The kernel is `dawn_bench/*.py` without the two front doors.
LAYERS = (
    "kernel", "pipelines", "training", "models", "baselines", "metrics", "reports", "workflow", "front",
)  # fmt: skip
#: The front doors may import everything; nothing imports them but the package's own entry points.
FRONT = ("api", "cli")
ENTRY_POINTS = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
#: Longer than 400 lines for a stated cause: a table of records.
LONG = {"dawn_bench/weights_table.py"}


def layer_of(module: str) -> str | None:
    """The layer of a dotted module name; None outside this package."""
    parts = module.split(".")
    if parts[0] != "dawn_bench":
        return None
    if len(parts) > 1 and parts[1] in FRONT:
        return "front"
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "kernel"


def files(layer: str) -> list[Path]:
    if layer == "front":
        return [p for p in (PACKAGE / "api.py", *(PACKAGE / "cli").rglob("*.py")) if p.is_file()]
    if layer == "kernel":
        return sorted(p for p in PACKAGE.glob("*.py") if p.stem not in FRONT)
    return sorted((PACKAGE / layer).resolve().rglob("*.py"))


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_from_those_below(layer: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files(layer)
        if path not in ENTRY_POINTS
        for module in imports(path)
        if (other := layer_of(module)) is not None and LAYERS.index(other) > LAYERS.index(layer)
    ]
    assert not wrong


@pytest.mark.parametrize("layer", LAYERS)
def test_packages_are_imported_by_their_installed_names(layer: str) -> None:
    generic = {"pipelines", "metrics", "baselines", "reports", "tests"}
    wrong = [str(p) for p in files(layer) if generic & {m.split(".")[0] for m in imports(p)}]
    assert not wrong


def test_models_do_not_import_each_other() -> None:
    folders = [p for p in (PACKAGE / "models").iterdir() if (p / "spec.py").is_file()]
    assert len(folders) >= 3
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for folder in folders
        for path in folder.rglob("*.py")
        for module in imports(path)
        for other in folders
        if other != folder and module.startswith(f"dawn_bench.models.{other.name}")
    ]
    assert not wrong


def module_name(path: Path) -> str:
    relative = path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).with_suffix("")
    return ".".join(("dawn_bench", *relative.parts)).removesuffix(".__init__")


def test_no_module_imports_itself_through_others() -> None:
    """No cycle among the imports that run when a module is loaded."""
    paths = {module_name(p): p for layer in LAYERS for p in files(layer)}

    def loaded(path: Path) -> set[str]:
        names: set[str] = set()
        for node in ast.parse(path.read_text()).body:  # imports inside functions run later
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    names.add(full if full in paths else node.module)
        return names & paths.keys()

    graph = {name: loaded(path) for name, path in paths.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_files_stay_small() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for layer in LAYERS for path in files(layer)
    }
    assert not {name: count for name, count in lengths.items() if count > 400 and name not in LONG}
    assert statistics.median(lengths.values()) < 110
