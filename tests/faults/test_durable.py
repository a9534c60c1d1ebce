"""A file whose name says that it is finished is on disk before it has that name, and the name is on disk too.

The writers are in `tests/support/finished_files.py`, the places of the product in `write_sites.py`.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from disk_recorder import Disk, Event, Killed, recording, snapshot, unfinished
from finished_files import LOGS, WRITERS, Writer
from write_sites import LOSSY, OTHERWISE, ROOT, sites

from dawn_bench import config, executor, hashes, locks, transfer, weights_add, weights_fetch
from dawn_bench.baselines import outputs
from dawn_bench.baselines.external import stage
from dawn_bench.metrics.scoring import shards as feature_shards
from dawn_bench.models import checkpoint
from dawn_bench.pipelines.datasets import download
from dawn_bench.pipelines.media import audio, video
from dawn_bench.pipelines.meshes import files as mesh_readers
from dawn_bench.pipelines.meshes import write as meshes
from dawn_bench.pipelines.preparation import compact, export, group, index, plan, prepare, shards
from dawn_bench.pipelines.preparation import folder as cache_folder
from dawn_bench.pipelines.synthetic import write as synthetic
from dawn_bench.reports import page, store
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.storage import StorageError
from dawn_bench.training import board, holdout, logger, loop, resume, trackers
from dawn_bench.workflow import fill_job, forecast, generate_list, own_inputs, quickstart, reproduced, spent, train

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # of `wave`, when its file fails
]

#: The files of the product that give files their names, and those that decide in which order.
MODULES = (
    config, hashes, locks, transfer, weights_add, weights_fetch, mesh_readers, stage, feature_shards,
    checkpoint, download, audio, video, meshes, export, compact, index, plan, shards, synthetic, page, store, holdout,
    logger, loop, resume, trackers, quickstart, reproduced, train, executor, cache_folder, group, prepare, outputs,
    generate_list, fill_job, own_inputs, forecast, spent,
)  # fmt: skip
#: Names by which the writers are tried one by one.
TRIED = [name for name, writer in WRITERS.items() if writer.tried]


def in_place(path: Path) -> bool:
    """Whether a file is a log, or a row of the results store."""
    return path.name.endswith(LOGS) or path.parent.name in ("rows", board.FOLDER)


@dataclass(frozen=True)
class Run:
    """A writer's folder, a copy of it at version 0, and what its way from there to version 1 was.

    Args:
        wanted: the finished files of version 1.
        faults: all that is wrong with the recorded operations.
    """

    writer: Writer
    folder: Path
    base: Path
    disk: Disk
    wanted: dict[Path, str]
    faults: list[str]

    def back(self) -> dict[Path, str]:
        """Bring the folder back to version 0; returns its finished files."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.base, self.folder, symlinks=True)
        return snapshot(self.folder)

    def check_again(self, where: object) -> None:
        """The same command after a failure gives what it would have given without."""
        with recording(self.folder):  # without the time of real syncs
            self.writer.write(self.folder, 1)
        now = snapshot(self.folder)
        if self.writer.same:
            both = self.wanted.keys() | now.keys()
            odd = {p.name for p in both if self.wanted.get(p) != now.get(p) and not in_place(p)}
            assert not odd, where
        assert now.keys() == self.wanted.keys(), where


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Each writer runs once for all tests."""

    @cache
    def run(name: str) -> Run:
        writer, folder = WRITERS[name], tmp_path_factory.mktemp("writer") / "x"
        folder.mkdir()
        with recording(folder):
            writer.write(folder, 0)
        base = Path(shutil.copytree(folder, folder.with_name("base"), symlinks=True))
        before = snapshot(folder)
        with recording(folder) as disk:
            writer.write(folder, 1)
        return Run(writer, folder, base, disk, snapshot(folder), disk.check(before, in_place=in_place))

    return run


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_every_writer_is_tried() -> None:
    naming, direct = sites()
    tried = {site for writer in WRITERS.values() for site in writer.sites}
    support = "tests/support/write_sites.py"
    assert {s.name for s in naming} - tried - set(LOSSY) == set(), (
        "add a writer to WRITERS in tests/support/finished_files.py"
    )
    assert {s.name for s in direct} - set(OTHERWISE) == set(), (
        f"write through dawn_bench.files, or say in OTHERWISE in {support} why this needs no care"
    )
    assert {s.name for s in naming if not s.durable} == set(LOSSY) & {s.name for s in naming}, (
        f"`durable=False` needs a reason in LOSSY in {support}"
    )
    assert {s.name for s in direct} == set(OTHERWISE) and tried <= {s.name for s in naming}  # nothing of the past
    assert {Path(str(m.__file__)).resolve() for m in MODULES} >= {(ROOT / s.name.split(":")[0]) for s in naming}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_on_disk_before_it_is_named_and_so_is_its_name(name: str, run_of: Callable[[str], Run]) -> None:
    run = run_of(name)
    writer, disk = run.writer, run.disk
    assert set(writer.sites) <= disk.sites, "these do not name the files here"
    assert [f for f in run.faults if not (writer.lossy and ("on the disk" in f or "not synced" in f))] == []
    check_order(disk, writer)


def check_order(disk: Disk, writer: Writer) -> None:
    """What speaks of other files is named after them."""
    placed = []
    for pattern in writer.names:
        places = [
            number
            for number, event in enumerate(disk.events)
            if event.kind in ("name", "open") and fnmatch.fnmatch(str(event.path.relative_to(disk.root)), pattern)
        ]
        assert places, f"{pattern} was not written"
        placed.append((pattern, places[0], places[-1]))
    for (earlier, _, last), (later, first, _) in pairwise(placed):
        assert last < first, f"{later} was named before {earlier}"


def _ends(disk: Disk, number: int, error: BaseException, *, dies: bool) -> Callable[[int, Event], None]:
    def fail(current: int, event: Event) -> None:
        if current == number:
            disk.dead = dies
            raise error

    return fail


@pytest.mark.parametrize("name", TRIED)
def test_a_writer_that_is_killed_leaves_whole_files_and_goes_on(
    name: str, dead: int, run_of: Callable[[str], Run]
) -> None:
    """Killed before each of its operations in turn: nothing that it does afterwards reaches the disk."""
    run = run_of(name)
    writer, folder = run.writer, run.folder
    for number, event in list(enumerate(run.disk.events))[:: writer.every]:
        before = run.back()
        with pytest.raises(BaseException), recording(folder) as disk:  # noqa: B017
            disk.fail = _ends(disk, number, Killed(), dies=True)
            writer.write(folder, 1)
        after = snapshot(folder)
        halves = {p.name for p, at in after.items() if before.get(p) != at != disk.named(p) and not in_place(p)}
        assert halves == set(), event
        removed = {p for p in before if p not in after} - {e.path for e in run.disk.events if e.kind == "remove"}
        assert removed == set(), event
        for path in folder.rglob(".*.tmp"):  # its process is dead
            path.rename(path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{dead}-")))
        run.check_again(event)
        if writer.sweeps:
            assert [p for p in folder.rglob(".*") if p.suffix == ".tmp"] == [], event


@pytest.mark.parametrize("name", TRIED)
def test_a_disk_that_fails_leaves_the_old_file_and_no_litter(name: str, run_of: Callable[[str], Run]) -> None:
    """Each open, sync and renaming fails in turn, once."""
    run = run_of(name)
    writer, folder = run.writer, run.folder
    litter = {p.relative_to(run.base) for p in run.base.rglob(".*") if p.suffix == ".tmp"}
    for number, event in [(k, e) for k, e in enumerate(run.disk.events) if e.kind != "remove"][:: writer.every]:
        before, full = run.back(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(event.path))
        try:
            with recording(folder) as disk:
                disk.fail = _ends(disk, number, full, dies=False)
                writer.write(folder, 1)
        except StorageError:
            after = snapshot(folder)
            halves = {p.name for p, at in after.items() if before.get(p) != at != disk.named(p) and not in_place(p)}
            assert halves == set(), event
        else:  # of a file that is made again, or that names the holder of a lock
            assert writer.lossy or unfinished(event.path, folder), event
        assert {p.relative_to(folder) for p in folder.rglob(".*") if p.suffix == ".tmp"} <= litter, event
        run.check_again(event)


@pytest.mark.parametrize("name", TRIED)
def test_a_disk_that_fills_up_in_the_middle_of_a_file(name: str, run_of: Callable[[str], Run]) -> None:
    """The system itself refuses the end of the largest file, whatever library writes it."""
    run = run_of(name)
    folder, before = run.folder, run.back()
    run.check_again("before the disk was full")
    now = snapshot(folder)
    size = max(path.stat().st_size for path, at in now.items() if before.get(path) != at)
    if size < 4096:
        pytest.skip("other output than this file's would be refused too")
    run.back()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, limits[1]))
        with pytest.raises(StorageError, match="the disk is full"):
            run.writer.write(folder, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    changed = [
        p for p, at in snapshot(folder).items() if at not in (before.get(p), run.wanted.get(p)) and not in_place(p)
    ]
    assert changed == [] and [p for p in folder.rglob(".*") if p.suffix == ".tmp"] == []
    run.check_again("after a full disk")


def test_rows_are_on_disk_when_append_returns(tmp_path: Path) -> None:
    facts = dict.fromkeys(("method", "dataset", "split", "protocol", "metric", "fingerprint"), "x")
    row = ScoreRow.model_validate({**facts, "value": 1.0, "n_clips": 1, "n_frames": 2})
    results = ResultsStore(tmp_path / "r")
    for _ in range(2):
        with recording(tmp_path) as disk:
            results.append([row])
        (path,) = (tmp_path / "r" / "rows").iterdir()
        assert disk.is_synced(path)
        assert Event("sync", path.parent) in disk.events, "the name of the file may be lost"
    assert len(path.read_bytes().splitlines()) == 2
