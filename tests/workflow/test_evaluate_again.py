"""What workers keep, and what counts as done, when something has changed since the last run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_bench.baselines import outputs as stores
from dawn_bench.baselines.base import METHODS
from dawn_bench.baselines.methods.still import Still
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.executor import Workers
from dawn_bench.metrics.scoring.base import FEATURES, METRICS
from dawn_bench.workflow import bench as benches
from dawn_bench.workflow import fill_job, filling
from dawn_bench.workflow.chosen import chosen_clips
from dawn_bench.workflow.entries import entry_source
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.fill_job import FillJob


def job_for(cache: Path, out: Path, **changes: Any) -> Evaluation:
    settings = {"methods": ("still",), "metrics": ("psnr",), "jobs": 1, "sanity": False, **changes}
    return Evaluation(cache=cache, out=out, device="cpu", **settings)


def plan(job: Evaluation) -> list[FillJob]:
    chosen = chosen_clips(job, Cache(job.cache))
    source = entry_source("still", job, chosen.clips, out=chosen.outputs(job.out), shown=set())
    return filling.plan_jobs(job, chosen, {"still": source}, None, Workers(2))


@pytest.fixture(autouse=True)
def no_bench() -> Iterator[None]:
    yield
    benches.clear_bench()


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clips that are generated."""
    clips: list[str] = []
    real = stores._generate_one

    def noted(method: Any, item: Any, *more: Any) -> Any:
        clips.append(item.clip.id)
        return real(method, item, *more)

    monkeypatch.setattr(stores, "_generate_one", noted)
    return clips


def test_the_name_of_released_weights_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = job_for(Path("c"), Path("o"), checkpoint=Path("released-128"))
    there = filling.everywhere(job)
    assert (there.checkpoint, there.cache) == (Path("released-128"), tmp_path / "c")
    Path("run").mkdir()
    assert filling.everywhere(job_for(Path("c"), Path("o"), checkpoint=Path("run"))).checkpoint == tmp_path / "run"


def test_a_worker_that_outlives_a_run_reads_the_clips_of_the_next_one_anew(tiny_cache: Path, tmp_path: Path) -> None:
    first, second = plan(job_for(tiny_cache, tmp_path)), plan(job_for(tiny_cache, tmp_path))
    assert [job.key for job in first] == [job.key for job in second]
    first[-1].work()
    used = benches.bench_of(first[-1].evaluation, run=first[-1].run)
    assert benches.bench_of(first[0].evaluation, run=first[0].run) is used
    second[0].work()
    assert benches.bench_of(second[0].evaluation, run=second[0].run) is not used


def test_a_worker_with_other_clips_or_weights_is_refused_by_name(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "node7")
    job = plan(job_for(tiny_cache, tmp_path))[-1]
    with pytest.raises(InputError, match="worker on node7 has other clips, weights"):
        replace(job, facts="of others").work()
    with pytest.raises(InputError, match="method still on node7 has other weights"):
        replace(job, method_key="of others").work()
    assert not list(tmp_path.rglob("*.mp4")) and not job.part.exists() and not job.marker.exists()
    job.work()
    assert job.part.exists()


def test_jobs_in_threads_of_one_process_are_done_one_after_the_other(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, other = plan(job_for(tiny_cache, tmp_path))[-2:]
    inside, together = threading.Event(), threading.Event()
    real = FillJob._fill

    def slow(self: FillJob, bench: Any) -> Any:
        if inside.is_set():
            together.set()
        inside.set()
        together.wait(0.3)
        result = real(self, bench)
        inside.clear()
        return result

    monkeypatch.setattr(fill_job.FillJob, "_fill", slow)
    threads = [threading.Thread(target=each.work) for each in (job, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert job.part.exists() and other.part.exists() and not together.is_set()


def test_outputs_that_are_gone_are_filled_again_and_not_by_fold(
    tiny_cache: Path, tmp_path: Path, generated: list[str]
) -> None:
    evaluate_methods(job_for(tiny_cache, tmp_path, only_fill=True))
    assert sorted(generated) == ["c4", "c5"]
    generated.clear()
    (tmp_path / "outputs" / "still" / "c5.mp4").unlink()
    with pytest.raises(InputError, match=r"1 output of finished jobs .* --only-fill"):
        evaluate_methods(job_for(tiny_cache, tmp_path, fold=True))
    assert generated == []
    evaluate_methods(job_for(tiny_cache, tmp_path, only_fill=True))
    assert generated == ["c5"]
    evaluate_methods(job_for(tiny_cache, tmp_path, fold=True))
    assert generated == ["c5"]


def test_outputs_of_another_version_of_the_method_since_do_not_count(
    tiny_cache: Path, tmp_path: Path, generated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_methods(job_for(tiny_cache, tmp_path, only_fill=True))
    with monkeypatch.context() as patch:
        patch.setattr(Still, "fingerprint", "still/other")
        evaluate_methods(job_for(tiny_cache, tmp_path, only_fill=True))
    generated.clear()
    with pytest.raises(InputError, match="2 outputs of finished jobs"):
        evaluate_methods(job_for(tiny_cache, tmp_path, fold=True))
    evaluate_methods(job_for(tiny_cache, tmp_path))
    assert sorted(generated) == ["c4", "c5"]


def test_files_of_its_own_that_a_method_reads_are_in_the_key_of_its_jobs(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = set()
    for further, reads in (("a", ()), ("b", ()), ("b", ("landmarks",))):
        monkeypatch.setattr(Still, "further_inputs", {"file": further}, raising=False)
        monkeypatch.setattr(Still, "reads", reads, raising=False)
        keys.add(plan(job_for(tiny_cache, tmp_path))[-1].key)
    assert len(keys) == 3


def test_lists_of_a_killed_run_are_older_than_what_one_process_records(
    tiny_cache: Path, tmp_path: Path, generated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_methods(job_for(tiny_cache, tmp_path, only_fill=True))
    monkeypatch.setattr(Still, "fingerprint", "still/other")
    evaluate_methods(job_for(tiny_cache, tmp_path))
    assert not list(tmp_path.rglob("items-*"))
    generated.clear()
    evaluate_methods(job_for(tiny_cache, tmp_path))
    assert generated == []


def test_what_the_users_script_registers_stays_in_its_process(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    METHODS.names()  # the built-in ones are there
    monkeypatch.setitem(METHODS._items, "of-a-script", type("Script", (Still,), {"__module__": "__main__"}))  # type: ignore[arg-type]
    job = job_for(tiny_cache, tmp_path, methods=("of-a-script",), jobs=None)
    assert filling.workers_of(job, frames=10**9) == (Workers(1), None)
    for more in ({"jobs": 2}, {"devices": ("cpu",)}, {"engine": "dask"}):
        with pytest.raises(InputError, match="do not know the method of-a-script, which your own script"):
            filling.workers_of(job.model_copy(update=more), frames=10**9)


def test_all_built_in_methods_metrics_and_features_are_known_to_workers() -> None:
    for registry in (METHODS, METRICS, FEATURES):
        own = {n for n in registry if getattr(registry[n], "__module__", "").startswith("dawn_bench.")}
        assert own and all(registry.in_every_process(name) for name in own)
