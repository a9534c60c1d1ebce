"""The settings of a job reach its scoring, and the loaders of its outputs say what is read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench.baselines.base import METHODS, Context
from dawn_bench.baselines.external.portrait import PORTRAIT
from dawn_bench.baselines.outputs import Output
from dawn_bench.cache import Cache
from dawn_bench.metrics.protocols.base import PIECE_LENGTHS, protocol
from dawn_bench.metrics.scoring.matching import FileLoad
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.workflow import evaluate, reproduce
from dawn_bench.workflow.entries import entry_of, entry_source
from dawn_bench.workflow.evaluate import outputs_folder
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.pieces import cut_pieces
from dawn_bench.workflow.reproduction import Reproduction
from dawn_bench.workflow.scoring import Scoring, identity


class Stop(Exception):
    """Ends a job at its first scoring."""


@pytest.fixture
def scorings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Scoring, dict[str, Any]]]:
    """The settings of the first scoring of a job, and what `score_entry` is given beside them."""
    given: list[tuple[Scoring, dict[str, Any]]] = []

    def scored(entry: Any, clips: Any, scoring: Scoring, store: Any, **more: Any) -> Any:
        given.append((scoring, {"entry": entry, "clips": clips, "root": store.root, **more}))
        raise Stop

    for module in (evaluate, reproduce):
        monkeypatch.setattr(module, "score_entry", scored)
    return given


def test_the_settings_of_an_evaluation_reach_its_scoring(scorings: list[Any], tiny_cache: Path, tmp_path: Path) -> None:
    """No two are alike, and none is a default."""
    job = Evaluation(
        cache=tiny_cache, out=tmp_path / "out", methods=("still",), split="train", metrics=("psnr", "ssim"),
        protocol="paper-dawn-tracked", protocol_set=("skip_first=1",), piece_length=10, weights="seeded", seed=5,
        device="cpu", min_coverage=0.25, max_clips=3, sanity=False,
    )  # fmt: skip
    with pytest.raises(Stop):
        evaluate.evaluate_methods(job)
    ((scoring, more),) = scorings
    cache = Cache(tiny_cache)
    data, name = identity(cache, "train")
    expected = {
        "dataset": cache.settings["dataset"], "split": "train", "metrics": ("psnr", "ssim"), "weights": "seeded",
        "protocol": protocol("paper-dawn-tracked", ("skip_first=1", "piece_length=10")), "device": "cpu", "seed": 5,
        "data": data, "data_name": name, "min_share": 0.25,
    }  # fmt: skip
    assert set(expected) == set(asdict(scoring)), "say here where the new setting comes from"
    assert {key: getattr(scoring, key) for key in expected} == expected
    pieces = cut_pieces(cache.clips("train")[:3], scoring.protocol)
    assert [c.id for c in more["clips"]] == [c.id for c in pieces] and len(pieces) == 9
    assert more["root"] == job.out and set(more["entry"].outputs) == {c.id for c in pieces}
    seeds = {path.parent.parent for path in more["entry"].outputs.values()}
    assert seeds == {job.out / outputs_folder(scoring.protocol, str(cache.settings["dataset"]))}


def test_the_settings_of_a_reproduction_reach_its_scoring(
    scorings: list[Any], tiny_cache: Path, tmp_path: Path
) -> None:
    job = Reproduction(
        table=1, cache=tiny_cache, out=tmp_path / "out", split="train", weights="seeded", seed=5, device="cpu",
        max_clips=2,
    )  # fmt: skip
    with pytest.raises(Stop):
        reproduce.reproduce(job)
    ((scoring, more),) = scorings
    cache = Cache(tiny_cache)
    assert (scoring.split, scoring.weights, scoring.seed, scoring.device) == ("train", "seeded", 5, "cpu")
    assert (scoring.dataset, scoring.data, scoring.data_name) == (cache.settings["dataset"], *identity(cache, "train"))
    assert scoring.protocol == protocol(dataset=str(cache.settings["dataset"]))
    assert [c.id for c in more["clips"]] == ["c0", "c1"]


@pytest.mark.parametrize("dataset", ["hdtf", "crema"])
def test_outputs_of_pieces_of_two_lengths_have_two_folders(dataset: str) -> None:
    """Their ids may be the same. The usual length of a dataset keeps the folder without a length."""
    lengths = (None, 25, 50, 200)
    folders = {n: outputs_folder(protocol(dataset="crema").in_pieces(n), dataset) for n in lengths}
    usual = {n for n, folder in folders.items() if folder == "outputs"}
    assert usual == {None, PIECE_LENGTHS.get(dataset)}
    assert len({folder for n, folder in folders.items() if n not in usual}) == len(lengths) - len(usual)


def test_a_loader_reads_the_output_of_its_clip_and_knows_its_notes(tiny_cache: Path, tmp_path: Path) -> None:
    clips = Cache(tiny_cache).clips("train")[:2]
    method = METHODS["still"](Context())
    results = {}
    for k, clip in enumerate(clips):
        path = tmp_path / f"{clip.id}.mp4"
        write_video(path, np.full((5 + k, 32, 32, 3), 60 * (k + 1), np.uint8), lossless=True)
        facts = {PORTRAIT: f"portrait {k}"}
        results[clip.id] = Output(clip.id, "ok", path, 3.0 + k, "key", notes=(f"note {k}",), facts=facts)
    entry = entry_of(method, results, clips)
    (loads,) = entry.takes
    for k, clip in enumerate(clips):
        load = loads[clip.id]
        assert isinstance(load, FileLoad)
        assert (load.path, load.start, load.notes) == (results[clip.id].path, 0, (f"note {k}", f"portrait {k}"))
        output = load()
        assert (output.id, output.n_frames, output.notes[:2]) == (clip.id, 5 + k, load.notes)
        assert abs(int(output["frames"].mean()) - 60 * (k + 1)) <= 1


def test_what_outputs_come_from_follows_the_method_and_the_seed(tiny_cache: Path, tmp_path: Path) -> None:
    """Rows over pieces of another length are stale where it has changed."""
    clips = Cache(tiny_cache).clips("test")[:1]

    def origins(seed: int, name: str = "ground-truth") -> Any:
        job = Evaluation(cache=tiny_cache, out=tmp_path / "out", seed=seed, device="cpu")
        (entry,) = entry_source(name, job, clips, out=tmp_path / "out" / "outputs", shown=set()).entries()
        return entry.origins

    assert origins(1) == origins(1) and set(origins(1)) == {""}
    assert len({str(origins(1)), str(origins(2)), str(origins(1, "ground-truth-reencoded"))}) == 3
