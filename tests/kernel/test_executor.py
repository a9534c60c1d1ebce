"""Workers: which jobs they get in which order, how often they are started again, and which clip is blamed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_tools import FakeTools
from logged_jobs import Logged, Noted, Raising

from dawn_bench import executor
from dawn_bench.errors import InputError
from dawn_bench.executor import MOST_FRUITLESS, Workers
from dawn_bench.pipelines.preparation.group import GroupJob, GroupReport, summary
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.processes import starting, taken


class TerminatedWorkerError(Exception):
    """As loky names it."""


#: What the workers do with a set of jobs; None: they die.
Behaviour = Callable[[list[GroupJob]], list[GroupReport] | None]


@pytest.fixture
def jobs(tmp_path: Path) -> list[GroupJob]:
    job = GroupJob(tmp_path, tmp_path, 0, ("a", "b", "c"), {}, PrepareSettings(size=32), FakeTools())
    job.marker.parent.mkdir(parents=True)
    return [replace(job, number=k) for k in range(3)]


def behave(monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour) -> list[list[GroupJob]]:
    """Replace the workers. Returns the list of what each start of them gets."""
    started: list[list[GroupJob]] = []

    def parallel(jobs: list[GroupJob], work: object, **other: object) -> Iterator[GroupReport]:
        if jobs:
            started.append(list(jobs))
            assert len(started) < 20, "they are started without end"
            reports = behaviour(list(jobs))
            if reports is None:
                raise TerminatedWorkerError
            yield from reports

    monkeypatch.setattr(executor, "_parallel", parallel)
    return started


def report(job: GroupJob) -> GroupReport:
    return summary(job.number, [], clips=len(job.ids))


def test_workers_that_die_before_their_first_clip_are_started_so_often(
    jobs: list[GroupJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = behave(monkeypatch, lambda given: None)
    with pytest.raises(InputError, match="die before their first clip"):
        list(executor.run(jobs, workers=2))
    assert [len(given) for given in started] == [3] * MOST_FRUITLESS


def test_the_count_begins_again_with_each_group_that_is_done(
    jobs: list[GroupJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def mostly_dies(given: list[GroupJob]) -> list[GroupReport] | None:
        if next(calls) % MOST_FRUITLESS == MOST_FRUITLESS - 1:  # the last time that is allowed
            given[0].part.write_text("[]")  # finished, but the report was lost
        return None

    started = behave(monkeypatch, mostly_dies)
    assert sorted(r.number for r in executor.run(jobs, workers=2)) == [0, 1, 2]
    assert [len(given) for given in started] == [3] * MOST_FRUITLESS + [2] * MOST_FRUITLESS + [1] * MOST_FRUITLESS


@pytest.mark.parametrize("clips", [("a",), ("a", "b"), ("c", "a", "b")])
def test_each_clip_on_which_a_worker_dies_twice_is_left_out(
    clips: tuple[str, ...], jobs: list[GroupJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(given: list[GroupJob]) -> list[GroupReport] | None:
        (job,) = given
        left = [clip for clip in clips if clip not in job.killers]
        if not left:
            return [report(job)]
        job.marker.write_text(left[0])
        return None

    started = behave(monkeypatch, dies)
    jobs[1].marker.write_text(clips[0])  # an earlier run with one worker died here
    assert [r.number for r in executor.run(jobs[1:2], workers=1)] == [1]
    assert [given[0].killers for given in started] == [frozenset(clips[:k]) for k in range(len(clips) + 1)]
    assert {given[0].owner for given in started} != {None}


@pytest.mark.parametrize("marks", [(), ("a", "a")])
def test_a_group_that_never_ends_is_given_up(
    marks: tuple[str, ...], jobs: list[GroupJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies on no clip, or on one that is left out already."""
    left = iter(marks)

    def dies(given: list[GroupJob]) -> None:
        if mark := next(left, ""):
            given[0].marker.write_text(mark)

    started = behave(monkeypatch, dies)
    jobs[0].marker.write_text("a")
    with pytest.raises(InputError, match="dies on group 0 before its first clip"):
        list(executor.run(jobs[:1], workers=1))
    assert len(started) == max(1, len(marks))


def test_only_the_group_whose_worker_was_busy_runs_alone(jobs: list[GroupJob], monkeypatch: pytest.MonkeyPatch) -> None:
    def dies_once(given: list[GroupJob]) -> list[GroupReport] | None:
        if len(given) == 3:
            given[1].marker.write_text("a")
            return None
        return [report(job) for job in given]

    started = behave(monkeypatch, dies_once)
    assert sorted(r.number for r in executor.run(jobs, workers=2)) == [0, 1, 2]
    assert [[job.number for job in given] for given in started] == [[0, 1, 2], [1], [0, 2]]
    assert started[1][0].killers == frozenset()  # it may have been another's fault


def test_other_errors_end_the_run_at_once(jobs: list[GroupJob], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(given: list[GroupJob]) -> None:
        raise KeyError

    started = behave(monkeypatch, fails)
    with pytest.raises(KeyError):
        list(executor.run(jobs, workers=2))
    assert len(started) == 1


def test_each_kind_of_job_has_its_own_processes_and_waits_for_those_that_it_needs(tmp_path: Path) -> None:
    chains = [
        job
        for k in range(4)
        for job in (
            Logged(tmp_path, 3 * k, kind="gpu"),
            Logged(tmp_path, 3 * k + 1, (3 * k,)),
            Logged(tmp_path, 3 * k + 2, (3 * k + 1, 99), kind="gpu"),  # 99 was done by an earlier run
        )
    ]
    reports = list(executor.run(chains, workers=Workers(2, gpus=1)))
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    order = [int(number) for number, *_ in lines]
    assert sorted(order) == sorted(r.number for r in reports) == list(range(12))
    for first in range(0, 12, 3):
        assert order.index(first) < order.index(first + 1) < order.index(first + 2)
    on = {kind: {pid for _, own, pid in lines if own == kind} for kind in ("cpu", "gpu")}
    assert len(on["gpu"]) == 1 and not on["cpu"] & on["gpu"] and str(os.getpid()) not in on["cpu"] | on["gpu"]


def test_a_run_uses_the_workers_that_began_before_it_and_lets_them_grow(tmp_path: Path) -> None:
    """A worker that has loaded its networks is not replaced by one that has to load them again."""
    with starting(Workers(2), Noted(tmp_path)):
        list(executor.run([Logged(tmp_path, k) for k in range(4)], workers=Workers(2)))
        assert taken("cpu") is None
    begun = {path.stem: int(path.read_text()) for path in tmp_path.glob("*.begun")}
    assert {line.split()[2] for line in (tmp_path / "log").read_text().splitlines()} <= set(begun)
    assert begun and set(begun.values()) == {8 << 30}
    with starting(Workers(1), Noted(tmp_path)):
        assert taken("cpu") is None  # jobs run in this process


def test_jobs_in_this_process_are_done_in_order(tmp_path: Path) -> None:
    jobs = [Logged(tmp_path, 0), Logged(tmp_path, 1, (0,), kind="gpu")]
    assert [r.number for r in executor.run(jobs, workers=1)] == [0, 1]
    assert {line.split()[2] for line in (tmp_path / "log").read_text().splitlines()} == {str(os.getpid())}


def test_a_job_on_which_an_earlier_run_died_waits_for_those_that_it_needs(tmp_path: Path) -> None:
    jobs = [Logged(tmp_path, 0), Logged(tmp_path, 1, (0,)), Logged(tmp_path, 2, (1,))]
    jobs[1].marker.write_text("a")
    assert [r.number for r in executor.run(jobs, workers=1)] == [0, 1, 2]
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [int(number) for number, *_ in lines] == [0, 1, 2]
    assert [pid == str(os.getpid()) for *_, pid in lines] == [True, False, True]


def test_an_error_that_cannot_be_pickled_is_shown_and_no_death_of_a_worker(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="TwoArguments: the network: has no weights") as caught:
        list(executor.run([Raising(tmp_path, k) for k in range(2)], workers=2))
    assert "in work" in str(caught.value)


def test_a_dask_cluster_without_gpus_is_refused() -> None:
    with pytest.raises(InputError, match=r'has a GPU\. .*--resources "GPU=1"'):
        executor._check_gpus({"tcp://a:1": {"resources": {}}}, None)
    executor._check_gpus({"tcp://a:1": {"resources": {}}, "tcp://b:1": {"resources": {"GPU": 1}}}, None)
