"""What a score says beside its number: coverage, counts, missing ends, weights and licences, walked over metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring_keys import behind
from toy_world import install, talk

from dawn_bench import weights
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features.landmarks import face_needs
from dawn_bench.metrics.functional.bootstrap import ratio_interval
from dawn_bench.metrics.protocols.base import PAPER_DAWN, PAPER_DAWN_TRACKED
from dawn_bench.metrics.scoring import base
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, WEIGHTS_STATES, worst_state
from dawn_bench.metrics.scoring.compare import compute_metrics
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.matching import cut
from dawn_bench.metrics.scoring.needs import metric_needs
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.results import ScoreRow

NAMES = tuple(name for name in METRICS if name not in ("lve", "fdd", "mve"))
#: Metrics of 64 px or of three seconds, which these clips have not.
OF_MORE = ("cpbd", "drift-cpbd", "drift-exposure", "drift-colour", "drift-csim", "drift-fid")
#: Metrics of a mouth and of sound, which have tests of their own: this face has no mouth.
OF_A_MOUTH = (
    *("mouth-corr", "m-lmd", "f-lmd", "av-corr", "av-lag", "silence-leak", "head-spread"),
    *("m-lvd", "f-lvd", "m-lmd-sdtw", "mtm", "apd"),
)


@pytest.fixture(scope="module")
def toy() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        yield patch


@pytest.fixture(scope="module")
def truth(toy: pytest.MonkeyPatch) -> dict[str, Clip]:
    return {name: talk(name, n, seed=k) for k, (name, n) in enumerate((("a", 52), ("b", 40), ("c", 55)))}


@pytest.fixture(scope="module")
def outputs(truth: dict[str, Clip]) -> dict[str, Clip]:
    return {name: talk(name, clip.n_frames, seed=k, damage=0.4) for k, (name, clip) in enumerate(truth.items())}


def rows(generated: dict[str, Clip], truth: dict[str, Clip], **more: Any) -> dict[str, ScoreRow]:
    given: dict[str, Any] = {"dataset": "d", "split": "test", "metrics": NAMES, "rankable": False} | more
    return {r.metric: r for r in score_method("m", generated.values(), truth.values(), **given)}


def test_each_metric_loses_the_clips_that_it_cannot_measure(outputs: dict[str, Clip], truth: dict[str, Clip]) -> None:
    """An output without sound, one without a face, one that is too short for half of the metrics."""
    silent = replace(outputs["a"], arrays={"frames": outputs["a"]["frames"]})
    blank = outputs["c"]["frames"].copy()
    blank[:, 8:16, 8:16] = 0
    faceless = replace(outputs["c"], arrays={**outputs["c"].arrays, "frames": blank})
    given = {"a": silent, "b": outputs["b"], "c": faceless, "d": replace(outputs["b"], id="d")}
    true = {**truth, "d": replace(truth["b"], id="d")}
    names = [name for name in NAMES if name not in (*OF_A_MOUTH, *OF_MORE)]
    scored = rows(given, true, failures={"e": "timeout"}, n_requested=5, metrics=names)
    failures = {name: {"a": "no_audio", "e": "timeout"} for name in ("lse-c", "lse-d", "lse-offset", "bas")}
    failures["dr25"] = {"b": "too_short", "d": "too_short", "e": "timeout"}
    failures["dr50"] = {clip: "too_short" for clip in "abcd"} | {"e": "timeout"}
    for name, row in scored.items():
        wanted = failures.get(name, {"e": "timeout"})
        assert row.failures == wanted and row.coverage == pytest.approx(1 - len(wanted) / 5), name
        of_faces = name in ("csim", "id-dlib")
        assert row.n_clips == 5 - len(wanted) - of_faces, name
        undefined = set(wanted) - {"e"} | ({"c"} if of_faces else set())
        if row.per_clip:
            assert {clip for clip, value in row.per_clip.items() if value is None} == undefined, name
        assert {clip for clip, frames in row.left_out.items() if frames == "all"} == undefined, name


def test_own_clips_state_missing_ends_and_failures(outputs: dict[str, Clip], truth: dict[str, Clip]) -> None:
    short = {**outputs, "a": cut(outputs["a"], 0, 50)}
    scores = compute_metrics(generated=short, reference=truth, metrics=["dr25", "psnr", "lse-d"], device="cpu")
    for name, score in scores.items():
        assert score.frames_missing == {"a": "50-51"}
        assert "frames are missing at the end of 1 clip (50-51 of a)" in score.note
        failures = {"a": "frames_missing", "b": "too_short"} if name == "dr25" else {}
        assert score.failures == failures and score.coverage == pytest.approx(1 - len(failures) / 3)
        assert (score.n_clips, score.n_reference) == ((1, 1) if failures else (3, 3 if METRICS[name].compares else 0))
        values = [value for value in score.per_clip.values() if value is not None]
        assert not values or (score.low, score.high) == (pytest.approx(min(values)), pytest.approx(max(values))), name
    sets = compute_metrics(
        generated=outputs, reference={**truth, "s": cut(truth["c"], 0, 20)}, metrics=["fid", "fvd32"], paired=False,
        device="cpu",
    )  # fmt: skip
    assert (sets["fid"].n_clips, sets["fid"].n_reference, sets["fid"].coverage) == (3, 4, 1)
    assert (sets["fvd32"].n_clips, sets["fvd32"].n_reference) == (3, 3)
    assert sets["fvd32"].failures == {"reference/s": "too_short"} and sets["fvd32"].coverage == pytest.approx(6 / 7)
    assert sets["fid"].n_frames == 52 + 40 + 55 and sets["fvd32"].n_frames == 3 * 32


@pytest.mark.parametrize("protocol", [PAPER_DAWN, PAPER_DAWN_TRACKED], ids=lambda p: p.id)
def test_a_row_names_the_weights_behind_it_that_are_for_research_only(
    outputs: dict[str, Clip], truth: dict[str, Clip], protocol: Any
) -> None:
    faces = {name for name, *_ in face_needs()}  # the toy world has a back end without files
    for name, row in rows({"a": outputs["a"]}, {"a": truth["a"]}, protocol=protocol).items():
        entries = [weights.entry(need[0]) for need in metric_needs([METRICS[name]], protocol)]
        assert set(row.research_only) == {w.name for w in entries if w.research_only} - faces, name


def test_a_score_is_as_good_as_the_worst_weights_behind_it(
    outputs: dict[str, Clip], truth: dict[str, Clip], toy: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert WEIGHTS_STATES == ("none", "canonical", "user", "seeded")
    for worse in (1, 2, 3):
        assert worst_state([WEIGHTS_STATES[worse - 1], WEIGHTS_STATES[worse]]) == WEIGHTS_STATES[worse]
    stored = base.resolve
    one = {"a": outputs["a"]}, {"a": truth["a"]}
    for state in ("user", "seeded"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(base, "resolve", lambda name, policy="auto", state=state: replace(stored(name), state=state))
            shown = {name: row.weights_state for name, row in rows(*one).items()}
        networks = {"inception", "i3d.16", "i3d.32", "syncnet", "lpips", "identity", "lite0"}
        used = {name for name in NAMES if networks & set(METRICS[name].needs)}
        assert {name for name, worst in shown.items() if worst == state} == used


def test_an_interval_has_the_seed_of_its_row(outputs: dict[str, Clip], truth: dict[str, Clip]) -> None:
    """Over seven clips, of which no single one is a bound."""
    parts = [(f"{k}", cut(outputs["a"], 5 * k, 5 * k + 5), cut(truth["a"], 5 * k, 5 * k + 5)) for k in range(7)]
    ours, theirs = ({name: replace(part[side], id=name) for name, *part in parts} for side in (0, 1))
    bounds = set()
    for seed in (0, 3):
        row = rows(ours, theirs, metrics=["psnr"], seed=seed)["psnr"]
        values = np.array([row.per_clip[name] for name in sorted(ours)], dtype=float)
        assert (row.seed, row.low, row.high) == (seed, *ratio_interval(values, np.ones(7), seed=seed))
        bounds.add((row.low, row.high))
    assert len(bounds) == 2


def test_the_seconds_of_a_feature_count_in_each_row_that_reads_it(
    outputs: dict[str, Clip], truth: dict[str, Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("dawn_bench.metrics.scoring.extraction.time.perf_counter", lambda: float(next(clock)))
    extraction = Extraction([METRICS["psnr"], METRICS["lpips"]])
    for _ in range(2):
        extraction.arrays(METRICS["psnr"], outputs["a"], truth["a"])
    assert extraction.seconds == {"images": 1.0, "lpips": 0.0}
    assert set(extraction.fields(METRICS["psnr"])) == {"frames"} and extraction.needed(METRICS["psnr"]) == ["images"]


def test_a_failing_feature_fails_every_metric_that_depends_on_it_and_no_other(
    outputs: dict[str, Clip], truth: dict[str, Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, clip: Clip, given: Any) -> dict[str, np.ndarray]:
        raise ItemError("no_face", "refused")

    monkeypatch.setattr(FEATURES["landmarks"], "run", refuse)
    scored = rows({"a": outputs["a"]}, {"a": truth["a"]})
    failed = {name for name, row in scored.items() if row.failures == {"a": "no_face"}}
    assert failed == {name for name in NAMES if any("landmarks" in behind(need) for need in METRICS[name].needs)}
    assert failed >= {"csim", "id-dlib", "bas", "blink"}
