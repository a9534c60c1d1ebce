"""SIGTERM, SIGHUP and SIGKILL: one line, nothing lost, and no process left running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from fake_tools import FakeTools, write_video
from micro import losses, micro_train

from dawn_bench import stopping
from dawn_bench.baselines.external import guard, process
from dawn_bench.baselines.external.process import run
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.dawn.stages.pbnet import PBNetStage
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.stopping import Stopped, deferred, stop_on_signals

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SUPPORT = Path(__file__).parents[1] / "support"
SETTINGS = PrepareSettings(size=32, extract=("pose",))

#: A command with a child, and a grandchild that leaves the process group; each says that it runs.
COMMAND = """
import os, subprocess, sys, time
open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
if sys.argv[2] != "0":
    words = [sys.executable, *sys.orig_argv[1:-1], str(int(sys.argv[2]) - 1)]
    subprocess.Popen(words, start_new_session=sys.argv[2] == "1")
time.sleep(300)
"""

#: Runs the command as an external method, in a temporary folder.
OWNER = """
import sys, tempfile
from pathlib import Path
from dawn_bench.baselines.external.process import removed_with_us, run
from dawn_bench.stopping import stop_on_signals
stop_on_signals()
script, alive = sys.argv[1:]
with tempfile.TemporaryDirectory(dir=alive + "-tmp") as folder, removed_with_us(Path(folder)):
    words = [sys.executable, script, alive, "2"]
    run(words, cwd=Path(folder), environment={}, log=Path(alive + "-log", "x.log"), timeout=300)
"""


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    """SIGHUP ends a process that does not handle it, also where the tests themselves run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def eventually(true: object, seconds: float = 30) -> bool:
    """Whether `true()` becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_no_external_command_outlives_us(number: signal.Signals, tmp_path: Path) -> None:
    alive, temporary = tmp_path / "a", tmp_path / "a-tmp"
    alive.mkdir(), temporary.mkdir()
    (tmp_path / "command.py").write_text(COMMAND)
    words = [sys.executable, "-c", OWNER, str(tmp_path / "command.py"), str(alive)]
    owner = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    assert eventually(lambda: len(list(alive.iterdir())) == 3, 60)
    owner.send_signal(number)
    owner.wait(60)
    pids = [int(p.name) for p in alive.iterdir()]
    assert eventually(lambda: not any(map(is_running, pids)))
    assert eventually(lambda: not list(temporary.iterdir()))


@linux
def test_a_command_that_ends_leaves_no_child(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "command.py").write_text(COMMAND)
    words = [sys.executable, str(tmp_path / "command.py"), str(tmp_path / "a"), "2"]
    assert run(words, cwd=tmp_path, environment={}, log=tmp_path / "log", timeout=3).code is None
    pids = [int(p.name) for p in (tmp_path / "a").iterdir()]
    assert pids and eventually(lambda: not any(map(is_running, pids)))


#: Ignores being asked to end, and says when it does.
STUBBORN = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
Path(sys.argv[1]).touch()
time.sleep(25)
"""


@linux
@pytest.mark.parametrize("stubborn", [True, False])
def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(
    stubborn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs: list[tuple[int, float]] = []
    monkeypatch.setattr(process, "GRACE", 0.4)
    real = os.killpg

    def killpg(group: int, sign: int) -> None:
        signs.append((sign, time.monotonic()))
        real(group, sign)

    monkeypatch.setattr(os, "killpg", killpg)
    script = STUBBORN if stubborn else STUBBORN.replace("SIG_IGN", "SIG_DFL")
    (tmp_path / "command.py").write_text(script)
    words = [sys.executable, str(tmp_path / "command.py"), str(tmp_path / "ready")]
    ended = run(words, cwd=tmp_path, environment={}, log=tmp_path / "log", timeout=2, ready="ready")
    assert ended.code is None and ended.ready_after is not None and ended.tail == "ready\n"
    assert signs[0][0] == signal.SIGTERM
    if stubborn:
        assert [sign for sign, _ in signs] == [signal.SIGTERM, signal.SIGKILL]
        assert signs[1][1] - signs[0][1] >= 0.4


@linux
def test_the_guard_kills_a_command_that_ignores_sigterm(tmp_path: Path) -> None:
    """Its owner is killed: the pipe to the guard closes. The command has dropped the mark in its environment."""
    (tmp_path / "command.py").write_text(STUBBORN)
    (tmp_path / "kept").mkdir(), (tmp_path / "gone").mkdir()
    words = [sys.executable, str(tmp_path / "command.py")]
    children = [
        subprocess.Popen([*words, str(tmp_path / f"ready{k}")], start_new_session=True, stdout=subprocess.DEVNULL,
                         env={**os.environ, **({guard.TOKEN: "token1"} if k else {})})
        for k in range(2)
    ]  # fmt: skip
    try:
        assert eventually(lambda: len(list(tmp_path.glob("ready*"))) == 2)
        lines = [f"run token{k} {child.pid}" for k, child in enumerate(children)]
        lines += [f"folder {tmp_path / name}" for name in ("gone", "kept")]
        lines += ["done token1", f"done {tmp_path / 'kept'}"]
        subprocess.run(
            [sys.executable, "-I", "-S", guard.__file__], input="\n".join([*lines, ""]), text=True, timeout=30
        )
        assert children[0].wait(10) == -signal.SIGKILL
        assert children[1].poll() is None, "it was done"
        assert not (tmp_path / "gone").exists() and (tmp_path / "kept").exists()
    finally:
        for child in children:
            child.kill()
            child.wait()


@pytest.mark.parametrize(("seconds", "acts"), [(4.99, False), (5.0, True), (5.01, True)])
def test_a_repeated_signal_counts_again_after_five_seconds(
    seconds: float, acts: bool, handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: clock[0])
    with pytest.raises(Stopped, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopping.stopped_by() == signal.SIGTERM
    clock[0] += seconds
    if acts:
        with pytest.raises(Stopped, match="SIGHUP"):
            os.kill(os.getpid(), signal.SIGHUP)
    else:
        os.kill(os.getpid(), signal.SIGHUP)
    assert stopping.stopped_by() == (signal.SIGHUP if acts else signal.SIGTERM)


@pytest.mark.parametrize("ignored", ["SIGHUP", "SIGTERM"])
def test_a_signal_that_is_ignored_stays_so(ignored: str) -> None:
    number = getattr(signal, ignored)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        stop_on_signals()
        assert signal.getsignal(number) == signal.SIG_IGN
        with deferred() as request:
            os.kill(os.getpid(), number)
            assert not request.pending
    finally:
        signal.signal(number, before)
        for other in stopping.SIGNALS:
            signal.signal(other, signal.SIG_DFL)


def test_signals_are_held_back_until_the_step_ends(handlers: None) -> None:
    with deferred() as request:
        request.stop()  # nothing has come
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.pending and request.number == signal.SIGTERM
        with pytest.raises(Stopped, match="SIGTERM"):
            request.stop()
        assert not request.pending
    assert stopping.stopped_by() == signal.SIGTERM
    stopping._first = None
    with pytest.raises(Stopped), deferred(enabled=False):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it acts at once")


@linux
def test_a_worker_ends_with_its_owner_only(tmp_path: Path) -> None:
    """The middle process starts a worker and dies; the worker's clock is not its end."""
    script = (
        "import os, subprocess, sys, time\n"
        "from dawn_bench.stopping import end_with\n"
        "owner = int(sys.argv[1]) or os.getppid()\n"
        "end_with(owner); end_with(owner)\n"
        "open(sys.argv[2], 'w').write(str(os.getpid()))\n"
        "time.sleep(300)\n"
    )
    start = f"subprocess.Popen([sys.executable, '-c', {script!r}, '0', sys.argv[1]])"
    owner = f"import subprocess, sys; {start}; sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", owner, str(tmp_path / "pid")], stdin=subprocess.PIPE)
    assert eventually(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    time.sleep(2 * stopping._WATCH)
    assert is_running(pid), "its owner lives"
    process.kill()
    process.wait()
    assert eventually(lambda: not is_running(pid), 10)


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_command_says_what_stopped_it_and_how_to_continue(number: str, code: int) -> None:
    script = f"""
import os, signal, sys, time, typer, dawn_bench.cli as cli
app = typer.Typer()
@app.command()
def report(results: str):
    os.kill(os.getpid(), signal.{number})
    os.kill(os.getpid(), signal.{number})
    time.sleep(60)
cli.load = lambda name: typer.main.get_command(app)
sys.argv = ["dawn-bench", "report", "RESULTS"]
cli.main()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert ended.stderr.splitlines() == [
        f"stopped by {number}: finished work is kept; continue with: dawn-bench report RESULTS"
    ]


def test_ctrl_c_while_a_class_is_made_has_the_documented_exit_code() -> None:
    """`dataclass` and `namedtuple` execute text: a Ctrl-C inside makes Python end by the signal, whatever the code."""
    script = """
import os, sys, typer, dawn_bench.cli as cli
app = typer.Typer()
@app.command()
def report(results: str):
    exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
cli.load = lambda name: typer.main.get_command(app)
sys.argv = ["dawn-bench", "report", "RESULTS"]
cli.main()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130
    assert ended.stderr == "stopped: finished work is kept; continue with: dawn-bench report RESULTS\n"


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_a_callback_of_the_garbage_collector_is_not_lost(number: str, code: int) -> None:
    """Python prints "Exception ignored in" and goes on: imports, which take seconds, are full of such callbacks."""
    script = f"""
import os, signal, sys, time, typer, weakref, dawn_bench.cli as cli
app = typer.Typer()
class Module: pass
def callback(_):
    os.kill(os.getpid(), signal.{number})
    sum(range(1000))
@app.command()
def report(results: str):
    module = Module()
    watched = weakref.ref(module, callback)
    del module
    time.sleep(60)
    print("went on")
cli.load = lambda name: typer.main.get_command(app)
sys.argv = ["dawn-bench", "report", "RESULTS"]
cli.main()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    by = "" if number == "SIGINT" else f" by {number}"
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr == f"stopped{by}: finished work is kept; continue with: dawn-bench report RESULTS\n"


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of the command line, for one test."""
    before = {n: signal.getsignal(n) for n in stopping.SIGNALS}
    stop_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    stopping._first = None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_training_saves_the_step_that_it_was_stopped_in(
    number: int,
    handlers: None,
    tiny_cache: Path,
    micro_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In step 3; only steps 2 and 4 are saved by plan."""
    real, count = PBNetStage.losses, 0

    def losses_of(self, batch, generator):  # type: ignore[no-untyped-def]
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), number)
        return real(self, batch, generator)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PBNetStage, "losses", losses_of)
        micro_train(tiny_cache, tmp_path, stage="pbnet")
    assert torch.load(tmp_path / "pbnet" / "state.pt", weights_only=True)["step"] == 3
    assert not list(tmp_path.rglob(".*.tmp"))
    micro_train(tiny_cache, tmp_path, stage="pbnet", resume=True)
    assert losses(tmp_path, "pbnet") == losses(micro_run, "pbnet")


def test_a_second_signal_is_not_held_back(handlers: None) -> None:
    with pytest.raises(KeyboardInterrupt), deferred() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.pending
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one acts at once")
    with pytest.raises(Stopped), deferred():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


PREPARE = """
import sys
from pathlib import Path
from fake_tools import FakeTools
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.stopping import stop_on_signals
stop_on_signals()
root, cache, pause = sys.argv[1:]
settings = PrepareSettings(size=32, extract=("pose",))
try:
    prepare(Path(root), Path(cache), settings, jobs=2, tools=FakeTools(float(pause)))
except KeyboardInterrupt:
    sys.exit(143)
"""


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_of_a_preparation_outlives_it(number: signal.Signals, tmp_path: Path) -> None:
    """The workers are in the middle of a frame, where they notice nothing by themselves."""
    for k in range(2):
        write_video(tmp_path / "videos" / f"clip{k}.mp4", frames=4, value=k)
    cache, mark = tmp_path / "c", f"MARK={uuid4().hex}"
    words = [sys.executable, "-c", PREPARE, str(tmp_path / "videos"), str(cache), "60"]
    path = f"{SUPPORT}:{os.environ.get('PYTHONPATH', '')}"
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path, **dict([mark.split("=")])})

    def marked() -> list[int]:
        pids = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark.encode() in entry.read_bytes() and is_running(int(entry.parent.name)):
                    pids.append(int(entry.parent.name))
            except OSError:
                continue
        return pids

    assert eventually(lambda: len(list(cache.glob("parts/*.running"))) == 2, 120)
    assert len(marked()) >= 3
    process.send_signal(number)
    assert process.wait(60) == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    assert eventually(lambda: not marked())
    assert number == signal.SIGKILL or not list(cache.rglob("*.tmp"))
    assert prepare(tmp_path / "videos", cache, SETTINGS, tools=FakeTools()).ok == 2
    assert not list(cache.rglob("*.tmp"))


@pytest.mark.slow
def test_the_death_of_a_dask_scheduler_is_one_line_and_the_next_run_continues(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    for k in range(6):
        write_video(tmp_path / "videos" / f"clip{k}.mp4", frames=10, value=k)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = {**os.environ, "PYTHONPATH": f"{SUPPORT}:{os.environ.get('PYTHONPATH', '')}"}
    host, port = address.split(":")
    python = [sys.executable, "-m"]
    quiet = {"env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", "--host", host, "--port", port, "--no-dashboard"], **quiet
    )
    worker = subprocess.Popen(
        [*python, "distributed.cli.dask_worker", f"tcp://{address}", "--nthreads=1", "--no-nanny", "--no-dashboard",
         "--death-timeout=5"], **quiet)  # fmt: skip
    killer = subprocess.Popen(
        [sys.executable, "-c", f"""
import os, pathlib, time
while not list(pathlib.Path({str(tmp_path / "c" / "parts")!r}).glob("*.json")): time.sleep(0.05)
time.sleep(0.3)
os.kill({scheduler.pid}, 9)
"""])  # fmt: skip
    try:
        with pytest.raises(InputError, match=rf"scheduler at tcp://{address} is gone .*Start it again") as caught:
            prepare(tmp_path / "videos", tmp_path / "c", SETTINGS, tools=FakeTools(0.1), engine="dask",
                    address=f"tcp://{address}")  # fmt: skip
        assert "\n" not in str(caught.value)
    finally:
        for process in (scheduler, worker, killer):
            process.kill()
            process.wait()
    report = prepare(tmp_path / "videos", tmp_path / "c", SETTINGS, tools=FakeTools())
    assert report.ok == 6 and report.resumed >= 1 and len(Cache(tmp_path / "c")) == 6
