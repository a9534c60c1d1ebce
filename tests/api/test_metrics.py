"""`compute_metrics`: the numbers of an evaluation, unpaired sets, every way to give clips, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_cache import write_tiny_cache

from dawn_bench import Cache, Clip, InputError, MetricScore, compute_metrics, open_cache
from dawn_bench.baselines.formats import read_output
from dawn_bench.metrics.features.landmarks import Landmarks
from dawn_bench.metrics.functional.frechet import frechet
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.matching import FileLoad
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.results import ScoreRow

CHEAP = ("psnr", "ssim")
NETWORKS = ("fid", "fvd16")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Three clips of 17 frames."""
    return open_cache(write_tiny_cache(tmp_path_factory.mktemp("metrics") / "c", frames=17, splits=("test",) * 3))


@pytest.fixture(scope="module")
def folder(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of a method: the true clips, darker, one of them shorter."""
    folder = tmp_path_factory.mktemp("generated")
    for clip in cache:
        frames = clip["frames"][: 16 if clip.id == "c1" else 17] // 2
        write_video(folder / f"{clip.id}.mp4", frames, audio=np.asarray(clip["audio"]), lossless=True)
    return folder


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def rows(cache: Cache, folder: Path, features: Path) -> dict[str, ScoreRow]:
    """What `evaluate` has for the same clips."""
    loads = {c.id: FileLoad(p := folder / f"{c.id}.mp4", lambda p=p, c=c: read_output(p, c)) for c in cache}
    metrics = (*CHEAP, *NETWORKS)
    settings = {"dataset": "d", "split": "test", "weights": "seeded", "features_dir": features}
    return {r.metric: r for r in score_method("m", loads, list(cache), metrics=metrics, **settings)}  # type: ignore[arg-type]


def scored(**given: Any) -> dict[str, MetricScore]:
    return compute_metrics(**{"metrics": CHEAP, "weights": "seeded", "device": "cpu"} | given)


def gray(n_frames: int = 8, *, value: int = 100, side: int = 32) -> np.ndarray:
    noise = np.random.default_rng(value).integers(0, 20, (n_frames, side, side, 3))
    return (noise + value).astype(np.uint8)


def test_the_numbers_are_those_of_an_evaluation(
    cache: Cache, folder: Path, rows: dict[str, ScoreRow], features: Path
) -> None:
    scores = scored(generated=folder, reference=cache, metrics=list(rows), features=features)
    assert list(scores) == list(rows)
    for name, row in rows.items():
        score = scores[name]
        for fact in ("value", "low", "high", "n_clips", "n_frames", "coverage", "weights_state", "protocol"):
            assert getattr(score, fact) == getattr(row, fact), (name, fact)
        assert score.fingerprint == row.fingerprint and score.note == row.note
        assert score.per_clip == row.per_clip and not score.failures
    assert scores["fid"].weights_state == "seeded" and scores["fid"].n_reference == 3


def test_files_arrays_and_clips_give_one_number(cache: Cache, folder: Path, rows: dict[str, ScoreRow]) -> None:
    files = [str(folder / f"{clip.id}.mp4") for clip in cache]
    produced = [read_output(Path(file), clip) for file, clip in zip(files, cache, strict=True)]
    by_name = {Path(file).stem: Path(file) for file in reversed(files)}
    pairs = [(c["frames"], c["audio"]) for c in produced]
    mappings = {c.id: {"frames": c["frames"], "audio": c["audio"], "fps": 25} for c in produced}
    frames = [np.asarray(c["frames"]) for c in cache]
    for generated, reference in (
        (files, list(cache)),
        (files, frames),
        (by_name, cache),
        (pairs, frames),
        (mappings, cache),
        (produced, cache.clips("test")),
        ([c["frames"] for c in produced], frames),
    ):
        scores = scored(generated=generated, reference=reference)
        assert [scores[name].value for name in CHEAP] == [rows[name].value for name in CHEAP]
    batch = np.stack(frames)
    assert scored(generated=batch // 2, reference=batch)["psnr"].n_clips == 3


def test_sets_of_different_size_have_the_distance_of_their_own_moments(
    cache: Cache, folder: Path, rows: dict[str, ScoreRow], features: Path
) -> None:
    files = sorted(folder.glob("*.mp4"))
    fewer = cache.clips()[1:]
    given = {"metrics": NETWORKS, "paired": False, "features": features}
    scores = scored(generated=files, reference=fewer, **given)
    for name, feature in zip(NETWORKS, ("inception", "i3d.16"), strict=True):
        extraction = Extraction([METRICS[name]], weights="seeded", features_dir=features)
        sides = [
            np.concatenate([extraction.arrays(METRICS[name], c, c)[0][feature] for c in clips])
            for clips in ([read_output(f, cache["c0"]) for f in files], fewer)
        ]
        assert scores[name].value == pytest.approx(frechet(*sides), rel=1e-5)
        assert (scores[name].n_clips, scores[name].n_reference) == (3, 2)
        assert scores[name].value != rows[name].value
        assert scores[name].low is not None and scores[name].low <= scores[name].value <= scores[name].high  # type: ignore[operator]
    same = scored(generated=cache, reference=cache, **given)
    assert same["fid"].value == pytest.approx(0, abs=1e-6)


def test_drawn_windows_come_from_each_side(cache: Cache, features: Path) -> None:
    given = {"metrics": "fvd16", "paired": False, "features": features, "protocol_set": ["fvd_windows=2"]}
    score = scored(generated=cache.clips()[:2], reference=cache, **given)["fvd16"]
    assert score.value is not None and (score.n_clips, score.n_reference) == (2, 3)


def test_a_metric_of_one_clip_has_both_sides_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    def blinking(self: Landmarks, clip: Clip, given: object) -> dict[str, np.ndarray]:
        eyes = np.zeros((clip.n_frames, 68, 2), np.float32)
        eyes[:, [36, 42], 0], eyes[:, [39, 45], 0] = -10, 10
        eyes[:, [37, 38, 43, 44], 1], eyes[:, [40, 41, 46, 47], 1] = -3, 3
        for blink in range(clip["frames"][0, 0, 0, 0] // 10):
            eyes[10 * blink + 5, :, 1] = 0
        return {"landmarks.test": eyes, "landmarks.found": np.ones(clip.n_frames, bool)}

    monkeypatch.setattr(Landmarks, "run", blinking)
    produced = {f"m{k}": np.full((50, 32, 32, 3), 10 * k, np.uint8) for k in (1, 2, 3)}
    true = {f"t{k}": np.full((50, 32, 32, 3), 10 * k, np.uint8) for k in (3, 4)}
    score = scored(generated=produced, reference=true, metrics="blink", paired=False)["blink"]
    assert score.value == 1.0 and score.per_clip == {"m1": 0.5, "m2": 1.0, "m3": 1.5}
    assert score.reference is not None and score.reference.value == 1.75
    assert score.reference.per_clip == {"t3": 1.5, "t4": 2.0}
    assert score.distance == pytest.approx(0.75)
    assert (score.n_clips, score.n_reference) == (3, 2)
    alone = scored(generated=produced, metrics="blink")["blink"]
    assert alone.value == 1.0 and alone.reference is None and alone.distance is None


def test_a_damaged_file_costs_no_other_clip(cache: Cache, folder: Path, features: Path, tmp_path: Path) -> None:
    for file in folder.glob("*.mp4"):
        (tmp_path / file.name).write_bytes(file.read_bytes() if file.stem != "c2" else b"no video")
    score = scored(generated=tmp_path, reference=cache)["psnr"]
    assert score.failures == {"c2": "bad_output"} and score.coverage == pytest.approx(2 / 3)
    assert score.n_clips == 2 and "c2.mp4" in score.note
    unpaired = scored(generated=list(cache), reference=tmp_path, metrics="fid", paired=False, features=features)["fid"]
    assert unpaired.failures == {"reference/c2": "bad_output"} and unpaired.n_reference == 2


def test_a_stated_frame_rate_is_brought_to_25(cache: Cache) -> None:
    frames = np.repeat(cache["c0"]["frames"], 2, axis=0)
    score = scored(generated=[frames], reference=[cache["c0"]["frames"]], fps=50)  # of both sides
    assert score["psnr"].n_frames == 8
    clip = {"frames": frames, "fps": 50}
    score = scored(generated=[clip], reference=[cache["c0"]["frames"]])
    assert score["psnr"].value == 100 and score["psnr"].n_frames == 17
    assert "50.00 fps, taken at 25 (1 clip)" in score["psnr"].note


def test_generated_clips_without_sound_are_scored_with_the_true_sound() -> None:
    sound = (3000 * np.sin(np.arange(8 * 640) / 9)).astype(np.int16)
    score = scored(generated=[gray()], reference=[(gray(), sound)], metrics="psnr")["psnr"]
    assert "no sound of its own: scored with the true sound (1 clip)" in score.note
    silent = scored(generated=[gray()], metrics="lse-c")["lse-c"]
    assert silent.value is None and silent.failures == {"0000": "no_audio"}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([gray() / 255], r"generated clip 0000 has float64 frames\. Give uint8"),
        ([gray().transpose(0, 3, 1, 2)], r"shape \(8, 3, 32, 32\)\. Channels come last: frames\.transpose"),
        ([gray()[..., 0]], r"has frames of shape \(8, 32, 32\)\. Give \(T,H,W,3\)"),
        ([gray()[:0]], r"has frames of shape \(0, 32, 32, 3\)"),
        ([(gray(), np.zeros(5120))], r"has float64 sound\. Give int16"),
        ([(gray(), np.zeros((5120, 2), np.int16))], r"has sound of shape \(5120, 2\)\. Give mono"),
        ([(gray(60), np.zeros(32000, np.int16))], r"lasts 2\.40 s at 25 fps, but its sound 2\.00 s.* State the"),
        ([{"frame": gray()}], r"unknown field 'frame'\. Did you mean frames"),
        ([{"audio": np.zeros(5120, np.int16)}], "has neither frames nor vertices"),
        ([[1, 2]], r"generated clip 0000 is a list\. Give a video file"),
        ([{"frames": gray(), "fps": 0}], "has fps=0"),
        ([{"frames": gray(), "fps": "25"}], "has fps='25'"),
        ([{"frames": gray(), "fps": float("nan")}], "has fps=nan"),
        ([], "generated has no clip"),
        ("no/such.mp4", r"no/such\.mp4: there is no such file"),
        (7, "generated is a int"),
        ([gray(), gray()], r"2 generated and 1 reference clips cannot be paired\..*paired=False"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(given: Any, what: str) -> None:
    with pytest.raises(InputError, match=what) as refused:
        scored(generated=given, reference=[gray(value=50)])
    assert "\n" not in str(refused.value)


def test_names_that_do_not_fit_are_one_line(cache: Cache, folder: Path) -> None:
    with pytest.raises(InputError, match=r"generated clip 'c00' has no counterpart in reference\. Did you mean c0"):
        scored(generated={"c00": gray()}, reference=cache)
    with pytest.raises(InputError, match="one side is a list without names"):
        scored(generated=[gray()] * 3, reference=folder)
    with pytest.raises(InputError, match=r"there is no metric called 'fvd'. Did you mean fvd"):
        scored(generated=folder, reference=cache, metrics="fvd")
    with pytest.raises(InputError, match=r"PSNR compares with true clips\. Give reference="):
        scored(generated=folder)
    with pytest.raises(InputError, match=r"PSNR compares each clip with its own.* blink, .*fid, .*fvd16"):
        scored(generated=folder, reference=cache, paired=False)
    with pytest.raises(InputError, match="no metric is given"):
        scored(generated=folder, reference=cache, metrics=[])


def test_folders_are_paired_by_their_paths(cache: Cache, tmp_path: Path) -> None:
    for side, factor in (("made", 2), ("true", 1)):
        for clip, sub in zip(cache, ("a", "b", "b"), strict=True):
            (tmp_path / side / sub).mkdir(parents=True, exist_ok=True)
            name = "one" if clip.id != "c2" else "two"
            write_video(tmp_path / side / sub / f"{name}.mp4", clip["frames"] // factor, lossless=True)
    score = scored(generated=tmp_path / "made", reference=str(tmp_path / "true"))["psnr"]
    assert set(score.per_clip) == {"a/one", "b/one", "b/two"}


def test_which_metrics_compare_sets_is_stated_by_the_metric() -> None:
    assert {name for name in METRICS if METRICS[name].unpaired} >= {"fid", "fvd16", "fvd32"}
    assert not METRICS["psnr"].unpaired and not METRICS["dr25"].unpaired
