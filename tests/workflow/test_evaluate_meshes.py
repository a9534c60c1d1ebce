"""The mesh track end to end: its own methods, metrics and table; styles of unseen subjects; a user's npy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from micro_mesh import micro_mesh_train, write_mesh_cache

from dawn_bench.baselines.base import METHODS, Context, Item, sanity_rows
from dawn_bench.cache import Cache
from dawn_bench.config import replace
from dawn_bench.errors import InputError
from dawn_bench.pipelines.media.video import probe
from dawn_bench.pipelines.meshes.write import write_meshes
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods

ALL = ("fdd", "lve", "mve")


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mesh_cache(tmp_path_factory.mktemp("meshes"))


@pytest.fixture(scope="module")
def run(meshes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has hardly been trained."""
    folder = tmp_path_factory.mktemp("mesh-run") / "run"
    micro_mesh_train(meshes, folder)
    return folder


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same kind of meshes with a subject that no model was trained on."""
    folder = tmp_path_factory.mktemp("strangers")
    root = write_meshes(folder / "set", subjects=3, train=1, test=1, seconds=1.5)
    for path in [p for p in root.rglob("F?_*.*") if not p.name.startswith("F4_")]:
        path.unlink()
    prepare(root, folder / "cache", PrepareSettings(dataset="embedded-mesh"))
    return folder / "cache"


def scores(out: Path) -> dict[tuple[str, str], float | None]:
    return {(r.method, r.metric): r.value for r in ResultsStore(out).rows()}


def test_meshes_are_scored_by_their_own_metrics_in_their_own_table(meshes: Path, run: Path, tmp_path: Path) -> None:
    done = evaluate_methods(
        Evaluation(cache=meshes, out=tmp_path / "out", device="cpu", methods=("diffspeaker", "still"), checkpoint=run)
    )
    rows = ResultsStore(tmp_path / "out").rows()
    assert {(r.method, r.metric) for r in rows} == {(m, k) for m in (*sanity_rows("mesh"), "diffspeaker") for k in ALL}
    by_metric = scores(tmp_path / "out")
    assert all(by_metric["ground-truth", k] == 0 for k in ALL)
    assert all(by_metric[m, k] > 0 for m in ("still", "diffspeaker") for k in ("lve", "mve"))
    ours = next(r for r in rows if (r.method, r.metric) == ("diffspeaker", "lve"))
    assert ours.method_class == "mesh" and ours.rankable and ours.n_clips == 2 and ours.cost["generate_s_per_s"] > 0
    assert "lips: lve.txt " in ours.note and "26 vertices" in ours.note and "sampler official011, 2 steps" in ours.note
    (table,) = leaderboards(rows)
    assert table.method_class == "mesh" and table.lines[0].method == "diffspeaker"
    videos = [i.video for i in ResultsStore(tmp_path / "out").gallery()]
    assert len(videos) == 8 and all(probe(v).has_audio and probe(v).width == 256 for v in videos)
    assert done.failed == [] and done.report.is_file()


def test_a_second_run_makes_nothing_again(meshes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Evaluation(cache=meshes, out=tmp_path / "out", device="cpu", methods=("still",), sanity=False)
    evaluate_methods(job)
    before = scores(job.out)
    monkeypatch.setattr(
        "dawn_bench.baselines.outputs._generate_one", lambda *a: pytest.fail("an output was made twice")
    )
    monkeypatch.setattr("dawn_bench.baselines.mesh_files.write_video", lambda *a, **k: pytest.fail("drawn twice"))
    evaluate_methods(job)
    assert scores(job.out) == before


def test_unseen_subjects_are_spoken_to_in_every_style(strangers: Path, run: Path, tmp_path: Path) -> None:
    state = run / "diffspeaker" / "model.safetensors"
    method = METHODS["diffspeaker"](Context(run, modality="mesh"))
    clip = Cache(strangers).clips("test")[0]
    with torch.no_grad():  # hardly trained styles hardly differ
        method.model.denoiser.obj_vector.weight.mul_(20)  # type: ignore[attr-defined]
        method.model.denoiser.motion_decoder.weight.normal_(0, 0.01)  # type: ignore[attr-defined]
    generated = method.generate(Item(clip, [clip], 0))
    takes, notes = generated.vertices, generated.notes
    assert len(takes) == 2 and not np.allclose(takes[0], takes[1]) and "mean over all 2 styles" in notes[1]
    assert state.is_file()

    job = Evaluation(
        cache=strangers, out=tmp_path / "all", device="cpu", methods=("diffspeaker",), checkpoint=run, sanity=False
    )
    evaluate_methods(job)
    single = []
    for style in ("F2", "F3"):
        one = replace(job, out=tmp_path / style, options={"style": style})
        evaluate_methods(one)
        single.append(scores(one.out))
    mean = scores(job.out)
    for metric in ALL:
        values = [s["diffspeaker", metric] for s in single]
        assert mean["diffspeaker", metric] == pytest.approx(np.mean(values), rel=1e-6)  # type: ignore[arg-type]


def test_a_users_files_are_scored_and_broken_ones_named(meshes: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    first, second = Cache(meshes).clips("test")
    np.save(mine / f"{first.id}.npy", (first["vertices"] + np.float32(0.1)).reshape(first.n_frames, -1)[:-3])
    np.save(mine / f"{second.id}.npy", np.zeros((5, 7), np.float32))
    job = Evaluation(cache=meshes, out=tmp_path / "out", device="cpu", methods=("mine",), outputs=mine, sanity=False)
    done = evaluate_methods(job)
    assert done.failed == [("mine", second.id, "bad_output")]
    row = next(r for r in done.rows if r.metric == "mve")
    assert row.value == pytest.approx(0.1 * 3**0.5, rel=1e-4) and row.coverage == 0.5
    assert row.n_frames == first.n_frames - 3 and "compared over the shorter" in row.note
    for path in list(mine.iterdir()):
        path.rename(mine / f"other-{path.name}")
    with pytest.raises(InputError, match=r"has no file named like a clip.*\.npy"):
        evaluate_methods(replace(job, out=tmp_path / "none"))


def test_faults_of_the_user_are_one_line(meshes: Path, run: Path, tiny_cache: Path, tmp_path: Path) -> None:
    job = Evaluation(
        cache=meshes, out=tmp_path / "out", device="cpu", methods=("diffspeaker",), checkpoint=run, sanity=False
    )
    with pytest.raises(InputError, match="needs a trained run or a released"):
        evaluate_methods(replace(job, checkpoint=None))
    with pytest.raises(InputError, match="no such checkpoint"):
        evaluate_methods(replace(job, checkpoint=tmp_path))
    with pytest.raises(InputError, match="style=X9 is not a subject"):
        evaluate_methods(replace(job, options={"style": "X9"}))
    with pytest.raises(InputError, match="sampler"):
        evaluate_methods(replace(job, options={"sampler": "euler"}))
    with pytest.raises(InputError, match="dawn generates videos, but this cache has meshes"):
        evaluate_methods(replace(job, methods=("dawn",)))
    with pytest.raises(InputError, match="generates meshes, but this cache has videos"):
        evaluate_methods(replace(job, cache=tiny_cache))
