"""What could run a file's code or write to the terminal unescaped is called only where it is checked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("dawn_bench", "pipelines", "baselines", "metrics", "reports")
    for path in (ROOT / folder).rglob("*.py")
    if not any(parent.is_symlink() for parent in path.parents)
)
#: Call -> the files that may contain it, with the check that makes it safe there.
PLACES = {
    "torch.load": {"dawn_bench/readers.py"},  # weights_only=True
    "torch.jit.load": {"metrics/features/i3d.py"},  # only bytes with the published hash
    "pickle.load": set(),
    "pickle.loads": {"dawn_bench/worker_errors.py"},  # what the same line has pickled
    "pickle.Unpickler": set(),
    "joblib.load": set(),
    "marshal.loads": set(),
    "np.load": {"dawn_bench/readers.py"},  # allow_pickle=False
    "loadmat": set(),  # only in a process of its own: baselines/external/matlab.py
    "yaml.load": set(),
    "yaml.full_load": set(),
    "yaml.unsafe_load": set(),
    "yaml.safe_load": {"dawn_bench/readers.py"},  # bounded aliases
    "eval": set(),
    "exec": set(),
    "os.system": set(),
    "print": set(),
    "Console": set(),
    "SafeConsole": {"dawn_bench/terminal.py"},
    "extractall": set(),
    "unpack_archive": set(),
}


def calls(path: Path) -> set[str]:
    """The dotted names that a file calls, and each one's last part."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            names |= {name, name.rpartition(".")[2]} if "." in name and name.partition(".")[0] != "self" else {name}
    return names


CALLS = {path.relative_to(ROOT).as_posix(): calls(path) for path in SOURCES}
#: Methods of other objects with the same last part: a console prints, a network goes to evaluation mode.
METHODS = {"print", "eval", "exec", "Console"}


@pytest.mark.parametrize("name", PLACES)
def test_it_is_called_only_where_it_is_checked(name: str) -> None:
    callers = {path for path, called in CALLS.items() if name in called and name not in METHODS}
    callers |= {path for path, called in CALLS.items() if name in METHODS and _bare(path, name)}
    assert callers == PLACES[name]


def _bare(path: str, name: str) -> bool:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name for n in ast.walk(tree))


def test_no_process_is_started_through_a_shell() -> None:
    trees = ((path, ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES)
    shells = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and any(keyword.arg == "shell" for keyword in node.keywords)
        if getattr(node.func, "id", "") != "get_completion_script"  # whose shell is a name: bash, zsh
    ]
    assert not shells


def test_no_loader_of_pytorch_is_called_without_its_check() -> None:
    for path in PLACES["torch.load"]:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        loads = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"]
        assert loads and all("weights_only=True" in ast.unparse(call) for call in loads)
