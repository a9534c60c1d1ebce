"""What can go wrong while a cache is built: killed parents and workers, full disks, two runs at once, Ctrl-C.

After each of them another run ends with the bytes of an undisturbed run.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_tools import FakeTools, dies, write_video

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.executor import run
from dawn_bench.pipelines.preparation.group import GroupJob
from dawn_bench.pipelines.preparation.maintain import verify
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

SETTINGS = PrepareSettings(size=32, extract=("pose",))
SUPPORT = Path(__file__).parents[1] / "support"

#: A slow run in a process of its own, ended as the command line ends.
SCRIPT = """
import sys
from pathlib import Path
from fake_tools import FakeTools
from dawn_bench.errors import DawnBenchError
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
root, cache, jobs, pause = sys.argv[1:]
settings = PrepareSettings(size=32, extract=("pose",))
try:
    prepare(Path(root), Path(cache), settings, jobs=int(jobs), tools=FakeTools(float(pause)))
except DawnBenchError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
except KeyboardInterrupt:
    sys.exit(130)
"""


def start(root: Path, cache: Path, *, jobs: int, pause: float = 0.02) -> subprocess.Popen[str]:
    """Begin a run in its own process group."""
    command = [sys.executable, "-c", SCRIPT, str(root), str(cache), str(jobs), str(pause)]
    env = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_parts(cache: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Return when `count` groups are done."""
    for _ in range(6000):
        if len(list(cache.glob("parts/*.json"))) >= count:
            return
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)
    raise AssertionError("the run does not advance")


def wait_for_no_writer(cache: Path) -> None:
    """Return when no worker of a killed run is left: they notice at their next rows."""
    for _ in range(1000):
        before = [(p, p.stat().st_size) for p in cache.glob("*/.*.tmp")]
        time.sleep(0.1)
        if before == [(p, p.stat().st_size) for p in cache.glob("*/.*.tmp")]:
            return


def contents(cache: Path) -> dict[str, str]:
    """sha256 of every file of a cache but its lock."""
    return {
        path.relative_to(cache).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for k in range(32):
        write_video(
            tmp_path / "videos" / f"clip{k:02d}.mp4", frames=6 + k % 5, value=k, then="no_face" if k == 5 else ""
        )
    return tmp_path / "videos"


@pytest.fixture
def whole(root: Path, tmp_path: Path) -> dict[str, str]:
    """What an undisturbed run writes."""
    prepare(root, tmp_path / "whole", SETTINGS, tools=FakeTools())
    return contents(tmp_path / "whole")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_is_continued_to_the_same_bytes(
    root: Path, tmp_path: Path, whole: dict[str, str], jobs: int
) -> None:
    cache = tmp_path / "c"
    for parts in (2, 6):
        process = start(root, cache, jobs=jobs)
        wait_for_parts(cache, parts, process)
        process.kill()
        process.wait()
    done = {path: path.stat().st_mtime_ns for path in cache.glob("parts/*.json")}
    assert 6 <= len(done) < 16
    assert not (cache / "index.parquet").exists()
    report = prepare(root, cache, SETTINGS, jobs=3 - jobs, tools=FakeTools())
    assert report.resumed >= 2 * len(done)
    assert contents(cache) == whole
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())  # nothing is written twice


def test_workers_of_a_killed_run_stop(root: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    """A run that begins at once after a kill -9 is not disturbed by workers that outlived their parent."""
    cache = tmp_path / "c"
    process = start(root, cache, jobs=2)
    wait_for_parts(cache, 2, process)
    process.kill()
    process.wait()
    prepare(root, cache, SETTINGS, tools=FakeTools())
    wait_for_no_writer(cache)
    assert contents(cache) == whole


def test_ctrl_c_keeps_what_is_done_and_leaves_no_worker(root: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    cache = tmp_path / "c"
    process = start(root, cache, jobs=2)
    wait_for_parts(cache, 2, process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert len(list(cache.glob("parts/*.json"))) >= 2
    assert not list(cache.rglob("*.tmp"))
    prepare(root, cache, SETTINGS, tools=FakeTools())
    assert contents(cache) == whole


def test_workers_that_die_at_once_end_the_run(tmp_path: Path) -> None:
    """They were started again without end."""
    job = GroupJob(tmp_path, tmp_path, 0, (), {}, PrepareSettings(size=32), FakeTools())
    with pytest.raises(InputError, match=r"the worker processes die before their first clip\. .*--jobs"):
        list(run([job], workers=2, work=dies))


def test_a_worker_that_dies_once_costs_nothing(root: Path, tmp_path: Path) -> None:
    write_video(root / "clip09.mp4", frames=9, value=9, then="die_once")
    report = prepare(root, tmp_path / "c", SETTINGS, jobs=2, tools=FakeTools())
    assert report.quarantined == {"no_face": 1} and report.ok == 31
    (tmp_path / "again").mkdir()
    prepare(root, tmp_path / "again", SETTINGS, tools=FakeTools())
    assert contents(tmp_path / "c") == contents(tmp_path / "again")


def test_a_clip_that_kills_its_worker_is_quarantined_alone(root: Path, tmp_path: Path) -> None:
    for name in ("clip09", "clip10", "clip20"):
        write_video(root / f"{name}.mp4", frames=9, value=9, then="die")
    report = prepare(root, tmp_path / "c", SETTINGS, jobs=2, tools=FakeTools())
    assert report.quarantined == {"no_face": 1, "worker_died": 3} and report.ok == 28
    dead = [clip_id for clip_id, reason, _ in Cache(tmp_path / "c").quarantined() if reason == "worker_died"]
    assert dead == ["clip09", "clip10", "clip20"]
    assert not verify(tmp_path / "c").faults
    assert not list((tmp_path / "c").rglob("*.running"))


def test_one_job_survives_a_killer_on_the_next_run(root: Path, tmp_path: Path) -> None:
    """With one job the clip takes the whole run down; the next run does its group in a process of its own."""
    write_video(root / "clip09.mp4", frames=9, value=9, then="die")
    process = start(root, tmp_path / "c", jobs=1, pause=0)
    assert process.wait(timeout=60) == -signal.SIGKILL
    report = prepare(root, tmp_path / "c", SETTINGS, jobs=1, tools=FakeTools())
    assert report.quarantined == {"no_face": 1, "worker_died": 1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_is_one_clear_line_and_nothing_finished_is_lost(
    root: Path, tmp_path: Path, jobs: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A limit on file size stands for the disk: the system refuses the bytes in the same way."""
    write_video(root / "clip21.mp4", frames=200, value=1)
    prepare(root, tmp_path / "whole", SETTINGS, tools=FakeTools())
    cache = tmp_path / "c"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        process = start(root, cache, jobs=jobs, pause=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    line = errors.strip().splitlines()[-1]
    assert "the disk is full" in line and "run it again" in line and "Traceback" not in errors
    kept = {path: path.read_bytes() for path in cache.glob("parts/*.json")}
    assert kept
    assert not list(cache.rglob("*.tmp"))
    prepare(root, cache, SETTINGS, tools=FakeTools())
    assert contents(cache) == contents(tmp_path / "whole")
    assert all(path.read_bytes() == data for path, data in kept.items())


def test_two_runs_on_one_cache_at_once(root: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    cache = tmp_path / "c"
    process = start(root, cache, jobs=1)
    wait_for_parts(cache, 1, process)
    for overwrite in (False, True):
        with pytest.raises(InputError, match="is being prepared by another run"):
            prepare(root, cache, SETTINGS, tools=FakeTools(), overwrite=overwrite)
    assert process.wait(timeout=120) == 0
    assert contents(cache) == whole


def test_an_interrupted_overwrite_never_reads_as_the_old_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "c"
    prepare(root, cache, SETTINGS, tools=FakeTools())

    def stop(path: Path, **how: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("shutil.rmtree", stop)
        prepare(root, cache, SETTINGS.model_copy(update={"size": 48}), tools=FakeTools(), overwrite=True)
    with pytest.raises(InputError, match="not a finished cache"):
        Cache(cache)
    prepare(root, cache, SETTINGS.model_copy(update={"size": 48}), tools=FakeTools(), overwrite=True)
    assert Cache(cache).size == 48
