"""The house: data flows one way, and the installed package puts no generic name into site-packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Rooms from left to right; a room imports only what stands to its left, itself, and the kernel.
LEFT = ("kernel", "pipelines", "models", "training", "generation")
ORDER = (*LEFT, "baselines", "metrics", "reports", "workflow", "cli")
FOLDERS = {
    "pipelines": ROOT / "pipelines",
    "models": ROOT / "dawn_bench" / "models",
    "training": ROOT / "dawn_bench" / "training",
    "generation": ROOT / "dawn_bench" / "generation",
    "baselines": ROOT / "baselines",
    "metrics": ROOT / "metrics",
    "reports": ROOT / "reports",
    "workflow": ROOT / "dawn_bench" / "workflow",
    "cli": ROOT / "dawn_bench" / "cli",
}
#: The kernel's entry point, which hands over to the command line.
EXEMPT = {ROOT / "dawn_bench" / "__main__.py"}


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "dawn_bench":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ORDER else "kernel"


def files(room: str) -> list[Path]:
    return sorted((ROOT / "dawn_bench").glob("*.py")) if room == "kernel" else sorted(FOLDERS[room].rglob("*.py"))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_from_its_left(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files(room)
        if path not in EXEMPT
        for module in imports(path)
        if (other := room_of(module)) is not None and ORDER.index(other) > ORDER.index(room)
    ]
    assert not wrong


@pytest.mark.parametrize("room", ORDER)
def test_rooms_are_imported_by_their_installed_names(room: str) -> None:
    generic = {"pipelines", "metrics", "baselines", "reports", "tests"}
    wrong = [str(p) for p in files(room) if generic & {m.split(".")[0] for m in imports(p)}]
    assert not wrong


def test_the_wheel_has_every_room_and_no_generic_top_level_name(tmp_path: Path) -> None:
    import zipfile

    copy = tmp_path / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        source, target = ROOT / name, copy / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"dawn_bench"}
    expected = {
        f"dawn_bench/{room}/{p.relative_to(folder)}"
        for room, folder in FOLDERS.items()
        for p in folder.rglob("*.py")
        if str(p.relative_to(ROOT)) in tracked.split("\0")
    }
    assert expected <= set(names)
    assert any(n.endswith("reports/page.html.j2") for n in names)
