"""An evaluation by several workers, in parts, and with workers that die: the outputs and rows of one process."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dying import DiesOnce, played

from dawn_bench import executor
from dawn_bench.baselines.base import METHODS, Context, Generated, Item
from dawn_bench.cache import Cache
from dawn_bench.config import replace
from dawn_bench.errors import InputError, ItemError
from dawn_bench.executor import Workers
from dawn_bench.metrics.features.images import Images
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow import filling
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.fill_job import FillJob
from dawn_bench.workflow.folders import results_folder, shared_results

#: What the clock decides in a row.
CLOCK = {"created", "wall_seconds", "cost"}


def job_for(cache: Path, out: Path, **changes: Any) -> Evaluation:
    settings = {"methods": ("still",), "metrics": ("psnr", "ssim"), "weights": "seeded", "jobs": 1, **changes}
    return Evaluation(cache=cache, out=out, device="cpu", **settings)


def rows(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r.method, r.metric): r.model_dump(exclude=CLOCK) for r in ResultsStore(out).rows()}


def contents(out: Path, *suffixes: str) -> dict[str, str]:
    files = [p for p in out.rglob("*") if p.suffix in suffixes and "report" not in p.parts]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def outputs(out: Path) -> dict[str, str]:
    return contents(out / "outputs", ".mp4")


@pytest.fixture(scope="module")
def alone(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one process; tests must not change them."""
    out = tmp_path_factory.mktemp("alone") / "results"
    evaluate_methods(job_for(tiny_cache, out))
    return out


def test_two_processes_one_of_which_is_killed_give_the_rows_of_one(
    tiny_cache: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "died"
    monkeypatch.setattr(filling, "run", partial(executor.run, work=DiesOnce(died, "still", "c5")))
    monkeypatch.setattr(Images, "run", lambda *_: pytest.fail("a feature is computed in the process that scores"))
    done = evaluate_methods(job_for(tiny_cache, tmp_path / "r", jobs=2))
    assert died.exists() and done.failed == []
    assert rows(tmp_path / "r") == rows(alone)
    assert outputs(tmp_path / "r") == outputs(alone) and len(outputs(alone)) == 8
    features = contents(tmp_path / "r" / "features", ".safetensors")
    assert features == contents(alone / "features", ".safetensors") and features
    assert not list((tmp_path / "r").rglob("*.running")) and not list((tmp_path / "r").rglob("items-*"))


def test_a_local_dask_cluster_gives_the_rows_of_one_process(tiny_cache: Path, alone: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    evaluate_methods(job_for(tiny_cache, tmp_path / "r", jobs=2, engine="dask"))
    assert rows(tmp_path / "r") == rows(alone) and outputs(tmp_path / "r") == outputs(alone)


def test_parts_of_an_array_are_scored_when_all_are_there(
    tiny_cache: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"
    first = evaluate_methods(job_for(tiny_cache, out, part="1/2"))
    assert first.rows == [] and first.report is None and not (out / "rows").exists()
    assert first.summary == ["4 of 8 jobs done; score them with the same command and --fold"]
    assert {Path(p).stem for p in outputs(out)} == {"c4"}
    with pytest.raises(InputError, match=r"4 jobs of 8 are not done, the first of them .* from c5 on\. .*--part"):
        evaluate_methods(job_for(tiny_cache, out, fold=True))
    evaluate_methods(job_for(tiny_cache, out, part="2/2"))
    monkeypatch.setattr("dawn_bench.baselines.outputs._generate_one", lambda *_: pytest.fail("it generates"))
    monkeypatch.setattr(Images, "run", lambda *_: pytest.fail("it computes"))
    evaluate_methods(job_for(tiny_cache, out, fold=True))
    assert rows(out) == rows(alone) and outputs(out) == outputs(alone)


def test_a_damaged_output_is_not_generated_by_the_process_that_scores(tiny_cache: Path, tmp_path: Path) -> None:
    def run(**changes: Any) -> Any:
        return evaluate_methods(job_for(tiny_cache, tmp_path, sanity=False, metrics=("psnr",), **changes))

    run(only_fill=True)
    path = tmp_path / "outputs" / "still" / "c5.mp4"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")
    with pytest.raises(InputError, match=r"1 output of finished jobs are gone, damaged .*--only-fill"):
        run(fold=True)
    assert path.read_bytes() != whole
    run(only_fill=True)
    run(fold=True)
    assert path.read_bytes() == whole


def test_only_sanity_rows_of_a_chunk_wait_for_each_other(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share what is equal in their outputs. Methods do not: more workers are busy than there are chunks."""
    planned: list[FillJob] = []

    def plan(jobs: Any, *_: Any, **__: Any) -> None:
        planned[:] = jobs
        raise InputError("planned")

    def waits(name: str) -> set[str]:
        names = {job.number: job.name for job in planned}
        return {names[number] for job in planned if job.name == name for number in job.after}

    monkeypatch.setattr("dawn_bench.workflow.evaluate.fill", plan)
    for unranked, expected in ((("sanity", "reference"), {"still"}), (("reference",), set())):
        monkeypatch.setattr(filling, "UNRANKED", unranked)
        with pytest.raises(InputError, match="planned"):
            evaluate_methods(job_for(tiny_cache, tmp_path / "r", jobs=2))
        assert waits("shuffled-sound") == expected


def test_every_stage_by_a_worker_of_its_own_gives_the_same_rows(
    tiny_cache: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a GPU: a method is generated by one job, and the networks run in another."""
    started: list[FillJob] = []
    monkeypatch.setattr(executor, "_parallel", played(lambda job, clip: False, started))
    monkeypatch.setattr(METHODS["still"], "modalities", ("video",), raising=False)
    monkeypatch.setattr(filling, "UNRANKED", ("reference",))
    evaluate_methods(job_for(tiny_cache, tmp_path / "r", devices=("cpu",), sanity=False, metrics=("psnr", "fid")))
    assert [(job.name, job.kind, job.stages) for job in started if "c4" in job.ids] == [
        ("", "cpu", ("plain",)),
        ("", "gpu", ("networks",)),
        ("still", "gpu", ("generate",)),
        ("still", "cpu", ("plain",)),
        ("still", "gpu", ("networks",)),
    ]
    started.clear()
    evaluate_methods(job_for(tiny_cache, tmp_path / "r", sanity=False, metrics=("psnr", "fid"), fold=True))
    assert started == []  # done by other steps, and scored all the same
    expected = rows(alone)["still", "psnr"]
    assert rows(tmp_path / "r")["still", "psnr"] == expected and ("still", "fid") in rows(tmp_path / "r")


def test_a_clip_on_which_workers_die_fails_alone_and_is_not_tried_again(
    tiny_cache: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[FillJob] = []
    kills = played(lambda job, clip: job.name == "shuffled-sound" and clip == "c5", started)
    monkeypatch.setattr(executor, "_parallel", kills)
    done = evaluate_methods(job_for(tiny_cache, tmp_path, jobs=2))
    assert done.failed == [("shuffled-sound", "c5", "worker_died")]
    assert "failed: shuffled-sound, c5: worker_died" in done.summary
    there = rows(tmp_path)
    dead = there.pop(("shuffled-sound", "psnr"))
    assert (dead["failures"], dead["coverage"], dead["n_clips"]) == ({"c5": "worker_died"}, 0.5, 1)
    unharmed = {key: row for key, row in there.items() if key[0] != "shuffled-sound"}
    assert unharmed == {key: row for key, row in rows(alone).items() if key in unharmed} and len(unharmed) == 6
    started.clear()
    again = evaluate_methods(job_for(tiny_cache, tmp_path))
    assert again.failed == done.failed and started == []


def test_a_true_clip_on_which_workers_die_fails_for_every_method(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[FillJob] = []
    monkeypatch.setattr(executor, "_parallel", played(lambda job, clip: not job.name and clip == "c4", started))
    methods = ("still", "ground-truth")
    done = evaluate_methods(job_for(tiny_cache, tmp_path, jobs=2, methods=methods, sanity=False, metrics=("fid",)))
    assert done.failed == [(name, "c4", "worker_died") for name in methods]
    assert not (tmp_path / "outputs" / "still" / "c4.mp4").exists()  # it is not given to a method either


class Fragile:
    """Fails on c5 as long as the file `broken` exists."""

    name, method_class, licence, uses, fingerprint = "fragile", "portrait", "l", ("source",), "fragile/1"

    def __init__(self, broken: Path) -> None:
        self.broken, self.tried = broken, list[str]()

    def generate(self, item: Item) -> Generated:
        self.tried.append(item.clip.id)
        if item.clip.id == "c5" and self.broken.exists():
            raise ItemError("no_face", "none")
        return Generated(np.asarray(item.clip["frames"]), np.asarray(item.clip["audio"]))


def test_a_clip_that_failed_is_tried_once_in_a_run_and_again_in_the_next(tiny_cache: Path, tmp_path: Path) -> None:
    method = Fragile(tmp_path / "broken")
    method.broken.touch()

    @METHODS.register("fragile")
    def build(context: Context) -> Fragile:
        return method

    job = job_for(tiny_cache, tmp_path / "r", methods=("fragile",), sanity=False, metrics=("psnr",))
    assert evaluate_methods(job).failed == [("fragile", "c5", "no_face")]
    assert method.tried == ["c4", "c5"]
    method.broken.unlink()
    assert evaluate_methods(job).failed == [] and method.tried == ["c4", "c5", "c5"]
    lines = (tmp_path / "r" / "outputs" / "fragile" / "items.jsonl").read_text().splitlines()
    assert len(lines) == 3


def test_a_users_changed_files_are_looked_at_again(tiny_cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    clips = Cache(tiny_cache).clips("test")
    job = job_for(tiny_cache, tmp_path / "r", methods=("mine",), outputs=mine, sanity=False, metrics=("psnr",))
    values = []
    for shade in (2, 3):
        for clip in clips:
            write_video(mine / f"{clip.id}.mp4", clip["frames"] // shade, lossless=True)
        values.append(evaluate_methods(job).rows[0].value)
    assert values[0] > values[1]
    assert len(list((tmp_path / "r" / "filling").glob("*.json"))) == 2 * 2  # of both clips, of each version


def test_numbers_depend_on_no_number_of_threads(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[int]()
    real = Images.run

    def noted(*arguments: Any) -> Any:
        threads.append(torch.get_num_threads())
        return real(*arguments)

    monkeypatch.setattr(Images, "run", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        evaluate_methods(job_for(tiny_cache, tmp_path / "r", only_fill=True, sanity=False))
        assert set(threads) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_parts_share_the_folder_and_nobody_scores_beside_them(tiny_cache: Path, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from dawn_bench.workflow.folders import shared_results\n" \
        "with shared_results(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"  # fmt: skip
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline() == b"in\n"
    with shared_results(tmp_path):
        pass
    with pytest.raises(InputError, match="is being evaluated by another run"), results_folder(tmp_path):
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    with results_folder(tmp_path), pytest.raises(InputError, match="is being evaluated"), shared_results(tmp_path):
        pass


@pytest.mark.parametrize(
    ("clips", "sizes"), [(1, {1}), (5, {1}), (16, {1}), (20, {1, 2}), (512, {32}), (513, {30, 31}), (10_000, {31, 32})]
)
def test_chunks_are_of_32_clips_and_enough_for_every_worker(clips: int, sizes: set[int]) -> None:
    given: list[Any] = list(range(clips))
    chunks = filling.make_chunks(given)
    assert [clip for chunk in chunks for clip in chunk] == given
    assert {len(chunk) for chunk in chunks} == sizes and len(chunks) >= min(16, clips)


@pytest.mark.parametrize(
    ("changes", "frames", "memory", "expected"),
    [
        ({}, 1_999, 64, Workers(1)),
        ({}, 2_000, 64, Workers(8)),
        ({}, 2_000, 10, Workers(3)),  # the networks of all metrics in each
        ({}, 2_000, 1, Workers(1)),
        ({"jobs": 5}, 10, 1, Workers(5)),
        ({"devices": ("cpu",)}, 10, 64, Workers(4, gpus=1)),
        ({"devices": ("cpu",), "jobs": 2}, 10, 64, Workers(2, gpus=1)),
        ({"engine": "dask", "address": "tcp://a:1"}, 10, 1, Workers(8, "dask", "tcp://a:1")),
    ],
)
def test_workers_are_as_many_as_there_is_work_cores_and_memory_for(
    changes: dict[str, Any], frames: int, memory: int, expected: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.setattr(filling, "free_memory", lambda: memory << 30)
    job = Evaluation(cache=Path("c"), out=Path("o"), device="cpu", **changes)
    assert filling.workers_of(job, frames=frames)[0] == expected


def test_one_gpu_is_shared_only_where_several_processes_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    job = Evaluation(cache=Path("c"), out=Path("o"), device="cpu").model_copy(update={"device": "cuda"})
    assert filling.workers_of(job, frames=9_999) == (Workers(1), None)
    workers, pool = filling.workers_of(replace_plain(job, jobs=3), frames=1)
    assert workers == Workers(3, gpus=1) and pool is not None and pool.names == ("cuda",)
    workers, pool = filling.workers_of(replace_plain(job, engine="ray"), frames=1)
    assert workers == Workers(8, "ray") and pool is not None and pool.names == ()


def replace_plain(job: Evaluation, **changes: Any) -> Evaluation:
    """Without validation, which looks for the device."""
    return job.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fold": True, "only_fill": True}, "--fold scores what"),
        ({"fold": True, "part": "1/2"}, "--fold scores what"),
        ({"devices": ("cpu",), "engine": "dask"}, "--devices are those of this machine"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    changes: dict[str, Any], message: str, tiny_cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_methods(job_for(tiny_cache, tmp_path / "r", **changes))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_part_is_a_number_and_a_count(part: str, tiny_cache: Path) -> None:
    with pytest.raises(InputError, match="is no part"):
        replace(job_for(tiny_cache, Path("o")), part=part)
