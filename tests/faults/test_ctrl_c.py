"""Ctrl-C at the moments where libraries get in its way: first imports, Arrow's import of pandas, workers that start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dawn_bench import stopping

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the signals of a process in /proc")


@linux
def test_no_child_of_an_export_prints_at_ctrl_c_and_nothing_is_left(tiny_cache: Path, tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to all processes. The workers get it while they import, before they could ignore it."""
    script = """
import os, signal, sys
import dawn_bench.cli as cli
from joblib.externals.loky.backend.popen_loky_posix import Popen
start = Popen._launch
def launch(self, process):
    start(self, process)
    with open(f"/proc/{self.pid}/status") as status:
        blocked = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
    print(f"worker gets Ctrl-C: {not blocked >> signal.SIGINT - 1 & 1}", flush=True)
    os.killpg(0, signal.SIGINT)
Popen._launch = launch
cli.main()
"""
    words = ["cache", "export", str(tiny_cache), "--out", str(tmp_path / "out"), "--jobs", "2"]
    ended = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60, start_new_session=True
    )
    assert ended.returncode == 130 and set(ended.stdout.splitlines()) == {"worker gets Ctrl-C: False"}
    (line,) = ended.stderr.splitlines()
    assert line.startswith("stopped: nothing was written; start again with: dawn-bench cache export ")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("module", ["typer", "pydantic"])
def test_ctrl_c_during_the_first_imports_is_one_line(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(stopping.__file__).parents[1]}"}
    words = [sys.executable, "-m", "dawn_bench", "report", "RESULTS"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "stopped: nothing was begun\n")


def test_ctrl_c_while_pandas_is_imported_is_not_lost(tiny_cache: Path) -> None:
    """Arrow imports pandas on first use and drops every error of it: the command went on."""
    script = """
import importlib.abc, os, signal, sys
import dawn_bench.cli as cli
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pandas":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Watch())
cli.main()
"""
    words = [sys.executable, "-c", script, "cache", "stats", str(tiny_cache)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.startswith("stopped: ")
