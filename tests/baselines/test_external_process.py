"""An external command as a process: how it ends, what it is given, and one that ignores SIGTERM.

`tests/faults/test_stopping.py` has the order of the signals, and the guard that ends commands whose owner was killed.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from dawn_bench.baselines.external import process
from dawn_bench.baselines.external.process import TAIL, Run, run

PYTHON = [sys.executable, "-I", "-S", "-c"]
#: Ignores SIGTERM, as its child does, which also leaves the process group where it is asked to.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1:]:
    words = [sys.executable, "-I", "-S", "-c", sys.orig_argv[4]]
    print(subprocess.Popen(words, start_new_session=sys.argv[1] == "leave").pid)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def pids_in(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether all processes are gone within a few seconds."""
    for _ in range(200):
        if not any(map(is_running, pids)):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("code", "stated"), [("0", 0), ("1", 1), ("7", 7), ("255", 255), ("None", 0)])
def test_the_exit_code_is_the_commands(code: str, stated: int, tmp_path: Path) -> None:
    words = [*PYTHON, f"import sys; print('good'); sys.exit({code})"]
    ended = run(words, cwd=tmp_path, environment={}, log=tmp_path / "a" / "x.log", timeout=60)
    assert (ended.code, ended.tail, ended.ready_after) == (stated, "good\n", None) and 0 < ended.seconds < 60
    assert (tmp_path / "a" / "x.log").read_text() == "good\n"


def test_a_signal_is_a_negative_code(tmp_path: Path) -> None:
    words = [*PYTHON, "import os; os.kill(os.getpid(), 9)"]
    assert run(words, cwd=tmp_path, environment={}, log=tmp_path / "x.log", timeout=60).code == -signal.SIGKILL


def test_folder_environment_input_and_both_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    monkeypatch.setenv("BOTH", "ours")
    (tmp_path / "target").write_text("not ours")
    (tmp_path / "x.log").symlink_to(tmp_path / "target")
    (tmp_path / "here").mkdir()
    code = """
import os, sys
print(os.getcwd(), os.environ["OURS"], os.environ["BOTH"], repr(sys.stdin.read()), os.getpgid(0) == os.getpid())
print(bool(os.environ["DAWN_BENCH_RUN"]), file=sys.stderr)
"""
    log = tmp_path / "x.log"
    ended = run([*PYTHON, code], cwd=tmp_path / "here", environment={"BOTH": "its own"}, log=log, timeout=60)
    assert sorted(ended.tail.splitlines()) == [f"{tmp_path / 'here'} 1 its own '' True", "True"]
    assert not log.is_symlink() and log.read_text() == ended.tail and (tmp_path / "target").read_text() == "not ours"
    run([*PYTHON, "print('later')"], cwd=tmp_path, environment={}, log=log, timeout=60)
    assert log.read_text() == "later\n"


def test_the_end_of_the_log_is_kept_and_all_of_it_is_written(tmp_path: Path) -> None:
    words = [*PYTHON, f"print('a' * {TAIL}, end=''); print('the end', end='')"]
    ended = run(words, cwd=tmp_path, environment={}, log=tmp_path / "x.log", timeout=60)
    assert len(ended.tail) == TAIL and ended.tail.endswith("athe end")
    assert len((tmp_path / "x.log").read_text()) == TAIL + 7


def test_ready_is_when_the_log_first_says_so(tmp_path: Path) -> None:
    code = "import time; print('loading'); print('model rea', end='', flush=True); time.sleep(0.3); print('dy')"
    ended = run([*PYTHON, code], cwd=tmp_path, environment={}, log=tmp_path / "x.log", timeout=60, ready="model ready")
    assert ended.ready_after is not None and 0.3 <= ended.ready_after <= ended.seconds
    ended = run([*PYTHON, "print(1)"], cwd=tmp_path, environment={}, log=tmp_path / "x.log", timeout=60, ready="2")
    assert ended.ready_after is None


def test_readiness_is_seen_where_it_comes_in_two_parts_and_the_tail_is_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "TAIL", 12)
    script = "import sys, time\nfor part in ('start rea', 'dy', ' 123456789'):\n    sys.stdout.write(part)\n" \
        "    sys.stdout.flush()\n    time.sleep(0.1)\n"  # fmt: skip
    words = [sys.executable, "-c", script]
    log = tmp_path / "logs" / "log"
    ended = process.run(words, cwd=tmp_path, environment={}, log=log, timeout=60, ready="ready")
    assert ended.code == 0 and ended.ready_after is not None and ended.ready_after < ended.seconds
    assert ended.tail == "dy 123456789" == ended.last_words() and log.read_text() == "start ready 123456789"


@pytest.mark.parametrize("child", ["stay", "leave"])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_command_that_ignores_sigterm_is_killed_with_its_children(
    child: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    ended = run([*PYTHON, STUBBORN, child], cwd=tmp_path, environment={}, log=tmp_path / "x.log", timeout=2)
    pids = pids_in(tmp_path / "x.log")
    assert ended.code is None and len(set(pids)) == 2 and gone(pids)


def test_a_command_that_heeds_sigterm_ends_by_itself(tmp_path: Path) -> None:
    code = """
import signal, sys, time
def bye(*_):
    print("tidied up", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print("begun", flush=True)
time.sleep(60)
"""
    ended = run([*PYTHON, code], cwd=tmp_path, environment={}, log=tmp_path / "x.log", timeout=2)
    assert ended.code is None and (tmp_path / "x.log").read_text() == "begun\ntidied up\n"


def test_the_last_words_are_the_last_line_that_says_something() -> None:
    assert Run(1, 0.0, None, "a\nlast one \r\n \n\n").last_words() == "last one"
    assert Run(1, 0.0, None, "10%\r20%\r").last_words() == "20%"
    assert Run(1, 0.0, None, " \n").last_words() == "no output"
    assert Run(1, 0.0, None, "a" * 299 + "b").last_words() == "a" * 299 + "b"
    assert Run(1, 0.0, None, "x" + "a" * 300).last_words() == "a" * 300
