"""What stays in the folder of a cache after a stop, and which clips a retried group leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_tools import FakeTools
from joblib.externals.loky.process_executor import TerminatedWorkerError

from dawn_bench import executor
from dawn_bench.executor import Workers, run
from dawn_bench.pipelines.preparation.folder import drop_superseded, sweep
from dawn_bench.pipelines.preparation.group import GroupJob, GroupReport
from dawn_bench.pipelines.preparation.plan import CachePlan, part_path
from dawn_bench.pipelines.settings import PrepareSettings


@pytest.mark.parametrize("extractor", [None, "late"])
def test_the_marker_of_an_unfinished_group_stays_until_the_run_ends(tmp_path: Path, extractor: str | None) -> None:
    """It names the clip on which the worker died."""
    parts = [part_path(tmp_path, number, extractor=extractor) for number in range(3)]
    parts[0].parent.mkdir(parents=True)
    markers = [part.with_suffix(".running") for part in parts]
    for path in (*markers, parts[1]):
        path.write_text("clip")
    sweep(tmp_path)
    assert [marker.exists() for marker in markers] == [True, False, True] and parts[1].exists()
    sweep(tmp_path, ended=True)
    assert not any(marker.exists() for marker in markers) and parts[1].exists()


@pytest.mark.parametrize("again", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_shards_of_groups_that_were_done_again_go_and_others_stay(tmp_path: Path, again: tuple[int, ...]) -> None:
    groups = (("a", "b"), ("c",), ("d", "e"))
    plan = CachePlan("", {}, {}, (*groups, *(groups[number] for number in again)), {})
    for number in range(len(plan.groups)):
        for field in ("frames", "pose"):
            (tmp_path / field).mkdir(exist_ok=True)
            (tmp_path / field / f"{field}-{number:05d}.safetensors").touch()
    drop_superseded(tmp_path, plan)
    kept = sorted({int(path.stem[-5:]) for path in tmp_path.glob("*/*.safetensors")})
    assert kept == [number for number in range(len(plan.groups)) if number not in again]
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 2 * len(kept)


def test_a_part_of_a_group_that_counts_keeps_its_shards(tmp_path: Path) -> None:
    plan = CachePlan("", {}, {}, (("a", "b"), ("a",)), {})
    (tmp_path / "frames").mkdir()
    for number in (0, 1):
        (tmp_path / "frames" / f"frames-{number:05d}.safetensors").touch()
    drop_superseded(tmp_path, plan)
    assert len(list(tmp_path.glob("frames/*"))) == 2, "clip b is in the first group alone"


def in_turn(jobs: list[GroupJob], work: Callable[[GroupJob], GroupReport], places: Workers) -> Iterator[GroupReport]:
    """The pool in this process: a worker that would die raises what the pool raises then."""
    yield from map(work, jobs)


@pytest.mark.parametrize("killers", [(), ("b",), ("a", "c"), ("a", "b", "c")])
def test_a_retried_group_leaves_out_every_clip_on_which_its_worker_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killers: tuple[str, ...]
) -> None:
    tried: list[frozenset[str]] = []

    def work(job: GroupJob) -> GroupReport:
        tried.append(job.killers)
        assert len(tried) <= 2 + len(killers), "the group is tried without end"
        job.marker.parent.mkdir(parents=True, exist_ok=True)
        for clip in job.ids:
            job.marker.write_text(clip)
            if clip in killers and clip not in job.killers:
                raise TerminatedWorkerError("a worker died")
        job.marker.unlink()
        return GroupReport(job.number, len(job.ids), 0)

    monkeypatch.setattr(executor, "_loky", in_turn)
    job = GroupJob(tmp_path, tmp_path, 0, ("a", "b", "c"), {}, PrepareSettings(size=32), FakeTools())
    (report,) = run([job], workers=2, work=work)
    assert (report.number, report.clips) == (0, 3)
    # once with all groups together, then alone without each clip that was named so far
    alone = [frozenset(killers[:count]) for count in range(len(killers) + 1)]
    assert tried == ([frozenset(), *alone] if killers else alone)
