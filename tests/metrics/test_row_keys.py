"""A row's fingerprint moves with everything that makes two numbers incomparable, and the row states what was used.

Every argument of the scorer and every field of a row is walked: a new one has to be classified here.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scoring_keys import FIELDS, Loads, behind, changed, clip, variants

from dawn_bench import weights
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.protocols.base import PAPER_DAWN, PROTOCOLS, protocol
from dawn_bench.metrics.scoring import scorer
from dawn_bench.metrics.scoring.base import FEATURES, METRICS
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.results import ScoreRow


def clips(seed: int, *fields: str) -> list[Clip]:
    """Four clips of six frames with these fields alone."""
    whole = [clip(name, seed=k + seed, n_frames=6) for k, name in enumerate("abcd")]
    return [replace(c, arrays={field: c[field] for field in fields}) for c in whole]


TRUTH, GENERATED, OTHERS = (clips(seed, "frames", "audio") for seed in (0, 10, 20))
MESH = ("vertices", "template", "lips")
#: Meshes, which are scored fastest.
BASE: dict[str, Any] = {
    "method": "m", "generated": clips(10, *MESH), "truth": clips(0, *MESH), "dataset": "d", "split": "test",
    "metrics": ("mve", "lve"),
}  # fmt: skip
PICTURES = {"generated": GENERATED, "truth": TRUTH, "metrics": ("psnr", "ssim")}


def rows(**changes: Any) -> dict[str, ScoreRow]:
    given = BASE | changes
    order = [given.pop(name) for name in ("method", "generated", "truth")]
    return {row.metric: row for row in score_method(*order, **given)}


@cache
def unchanged() -> dict[str, ScoreRow]:
    return rows()


#: By argument: another value, and whether the fingerprint moves with it.
ARGUMENTS: dict[str, tuple[Any, bool]] = {
    "method": ("other", False),  # methods are compared
    "generated": (clips(20, *MESH), False),
    "truth": (clips(20, *MESH), True),
    "dataset": ("e", False),  # rows of two datasets are in two tables
    "split": ("train", False),
    "metrics": (("mve",), False),  # alone or with others, a metric has one number
    "protocol": (changed(PAPER_DAWN, "lpips_net", "vgg"), True),  # every field: see below
    "weights": ("seeded", False),  # the policy alone changes no number: the weights do, see below
    "device": ("cuda", True),
    "features_dir": (Path("features"), False),
    "method_class": ("dub", False),
    "rankable": (False, False),
    "seed": (3, False),  # of the interval
    "failures": ({"z": "oom"}, False),
    "n_requested": (9, False),
    "lengths": ({"a": 3}, True),  # fewer frames
    "min_share": (0.1, False),
    "undefined": ({"fid": "another metric"}, False),
}


@pytest.fixture(autouse=True)
def anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Devices of any name, and a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scorer, "device_name", lambda device: f"the {device}")


def test_every_argument_of_the_scorer_is_classified() -> None:
    names = list(inspect.signature(score_method).parameters)
    assert list(ARGUMENTS) == names, "say in ARGUMENTS whether the fingerprint moves with the new one"


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_the_fingerprint_moves_with_an_argument_or_stays(argument: str) -> None:
    value, moves = ARGUMENTS[argument]
    before, after = unchanged(), rows(**{argument: value})
    for metric in after:
        assert (after[metric].fingerprint != before[metric].fingerprint) == moves, metric
    assert before["mve"].fingerprint != before["lve"].fingerprint


def test_two_cards_of_one_kind_give_comparable_numbers() -> None:
    first, second = (rows(device=device)["mve"] for device in ("cuda:0", "cuda:1"))
    assert first.fingerprint == second.fingerprint and (first.device, second.device) == ("the cuda:0", "the cuda:1")


def test_the_fingerprint_moves_with_the_clips_that_count() -> None:
    """Their number and their frames; which of equally many they are is in `left_out`."""
    generated = BASE["generated"]
    whole, fewer, other = unchanged(), rows(generated=generated[1:]), rows(generated=generated[:3])
    assert whole["mve"].fingerprint != fewer["mve"].fingerprint == other["mve"].fingerprint
    assert len({row["mve"].scope for row in (whole, fewer, other)}) == 3
    assert fewer["mve"].left_out == {"a": "all"} and other["mve"].left_out == {"d": "all"}
    short = replace(generated[0], n_frames=5, arrays=generated[0].arrays | {"vertices": generated[0]["vertices"][:5]})
    assert rows(generated=[short, *generated[1:]])["mve"].fingerprint != whole["mve"].fingerprint
    assert rows(lengths={"a": 3})["mve"].scope != rows(lengths={"b": 3})["mve"].scope


@pytest.mark.parametrize("fact", ["id", "content", "order", "number"])
@pytest.mark.parametrize("field", ["frames", "vertices"])
def test_the_fingerprint_follows_the_true_clips(field: str, fact: str) -> None:
    """Names and pictures, or meshes, of each, in any order."""
    given = BASE | (PICTURES if field == "frames" else {})
    metric, truth, generated = given["metrics"][0], list(given["truth"]), list(given["generated"])
    own = rows(**given)[metric].fingerprint
    if fact == "number":
        truth = truth[:3]
    elif fact == "order":
        truth, generated = truth[::-1], generated[::-1]
    elif fact == "id":
        truth[3], generated[3] = (replace(several[3], id="e") for several in (truth, generated))
    else:
        array = truth[3][field].copy()
        array[-1, -1, -1] += 1
        truth[3] = replace(truth[3], arrays={**truth[3].arrays, field: array})
    after = rows(**(given | {"truth": truth, "generated": generated}))[metric].fingerprint
    assert (after == own) == (fact == "order")


@pytest.mark.parametrize("field", FIELDS)
def test_the_fingerprint_moves_with_every_field_of_the_protocol(field: str, tmp_path: Path) -> None:
    """Under each of its values there is another protocol; only the words that name it stay out."""
    values = [None, *variants(field, tmp_path, PAPER_DAWN)]
    protocols = [PAPER_DAWN if k == 0 else changed(PAPER_DAWN, field, value) for k, value in enumerate(values)]
    one = {"truth": BASE["truth"][:1], "generated": BASE["generated"][:1], "metrics": ("mve",)}
    scored = [rows(protocol=p, **one) for p in protocols]
    assert len({row["mve"].fingerprint for row in scored}) == len(values)


def test_the_fingerprint_moves_with_the_libraries_and_not_with_python(monkeypatch: pytest.MonkeyPatch) -> None:
    real = scorer.versions()
    own = unchanged()["mve"]
    assert own.versions == real and {"python", "dawn-bench", "torch", "numpy", "opencv-python-headless"} <= set(real)
    for name in real:
        monkeypatch.setattr(scorer, "versions", lambda name=name: real | {name: "0.0.1"})
        after = rows()["mve"]
        assert after.versions[name] == "0.0.1"
        assert (after.fingerprint != own.fingerprint) == (name != "python"), name


def nothing(self: Any, *_: Any) -> Any:
    raise ItemError("no_face", "nothing is computed here")


def test_the_fingerprint_of_a_metric_moves_with_the_features_behind_it(
    light: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With those that its features come after, too, and with no other metric's."""

    monkeypatch.setattr(Extraction, "arrays", nothing)
    one = {"metrics": tuple(METRICS), "truth": BASE["truth"][:1], "generated": BASE["generated"][:1]}
    before = rows(**one)
    for feature in FEATURES:
        with monkeypatch.context() as patch:
            patch.setattr(FEATURES[feature], "version", 99)
            after = rows(**one)
        moved = {name for name in METRICS if before[name].fingerprint != after[name].fingerprint}
        own = FEATURES[feature].name  # a feature that a test registered may stand under another name
        assert moved == {m for m in METRICS if any(own in behind(need) for need in METRICS[m].needs)}, feature


STATES = {"inception-fid": "canonical", "i3d": "user", "lpips-alex": "seeded", "syncnet": "canonical", "s3fd": "seeded"}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_row_states_the_weights_behind_its_metric(name: str, light: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst state among them, and those whose licence is for research only."""
    for entry, state in STATES.items():
        if state == "seeded":
            (weights.folder() / weights.entry(entry).file).unlink()
    monkeypatch.setattr(Extraction, "arrays", nothing)
    monkeypatch.setattr(weights, "is_published", lambda weight, hashes: STATES.get(weight.name) == "canonical")
    chosen = PROTOCOLS[name]
    scored = {row.metric: row for row in score_method("m", GENERATED, TRUTH, dataset="d", split="test", protocol=chosen,
                                                      metrics=tuple(METRICS))}  # fmt: skip
    order = ["none", "canonical", "user", "seeded"]
    for metric, row in scored.items():
        used = [r for need in METRICS[metric].needs for n in behind(need) for r in FEATURES[n](chosen).resolved]
        states = [STATES.get(r.weight.name, "user") for r in used]
        assert [r.state for r in used] == states
        expected = max(["none", *states], key=order.index)
        if expected == "seeded":
            assert row.weights_state == "needs-weights" and row.value is None and not row.research_only, metric
            continue
        assert row.weights_state == expected, metric
        files = {r.weight.name for r in used if STATES.get(r.weight.name) != "seeded" and r.weight.research_only}
        assert row.research_only == sorted(files), metric
    assert [scored[m].weights_state for m in ("psnr", "fid", "fvd16", "lpips")] == [*order[:3], "needs-weights"]
    assert scored["lse-c"].weights_state == ("needs-weights" if name == "paper-dawn-tracked" else "canonical")
    assert scored["csim"].research_only == ["arcface-r50", "dlib-68"] and not scored["psnr"].research_only
    seeded = rows(**PICTURES | {"metrics": ("csim",)}, protocol=chosen, weights="seeded")["csim"]
    assert "arcface-r50" not in seeded.research_only, "a stand-in is nobody's"


def test_the_fingerprint_moves_with_the_weights(light: Loads) -> None:
    some = {"generated": GENERATED[:1], "truth": TRUTH[:1], "metrics": ("fid", "psnr", "lpips")}
    before = rows(**some)
    (weights.folder() / weights.entry("inception-fid").file).write_text("others")
    after = rows(**some)
    assert [m for m in before if before[m].fingerprint != after[m].fingerprint] == ["fid"]
    seeded = rows(weights="seeded", **some)
    assert [m for m in before if after[m].fingerprint != seeded[m].fingerprint] == ["fid", "lpips"]


def test_every_field_of_a_row_states_what_was_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """No two arguments are alike here, so that none can stand in for another."""
    monkeypatch.setattr(ScoreRow, "now", staticmethod(lambda: "2026-02-03T04:05:06+00:00"))
    monkeypatch.setattr(scorer, "versions", lambda: {"numpy": "9"})
    chosen = protocol("paper-dawn", ("skip_first=1", "piece_length=6"))
    generated = [
        GENERATED[0],
        replace(GENERATED[1], n_frames=5, arrays={"frames": GENERATED[1]["frames"][:5]}),
        GENERATED[2],
    ]
    given = {
        "method": "mine", "generated": generated, "truth": TRUTH, "dataset": "hdtf", "split": "valid",
        "protocol": chosen, "device": "cuda:1", "method_class": "dub", "rankable": False, "seed": 5,
        "failures": {"d": "oom", "x": "timeout"}, "n_requested": 8, "metrics": ("psnr", "ssim"), "lengths": {"c": 4},
    }  # fmt: skip
    row = rows(**given)["ssim"]
    alone = METRICS["ssim"](chosen, seed=5)
    extraction = Extraction([alone], chosen)
    for k, (ours, true) in enumerate(zip(generated, TRUTH, strict=False)):
        stop = (6, 5, 4)[k]
        pair = (replace(c, n_frames=stop - 1, arrays={"frames": c["frames"][1:stop]}) for c in (ours, true))
        alone.update(*extraction.arrays(alone, *pair), clip_id=true.id)
    score = alone.compute()
    expected = {
        "method": "mine", "method_class": "dub", "dataset": "hdtf", "split": "valid", "protocol": chosen.id,
        "metric": "ssim", "unit": METRICS["ssim"].unit, "higher_is_better": True, "label": "SSIM",
        "description": METRICS["ssim"].description, "aim": "higher", "order": METRICS["ssim"].order,
        "value": score.value, "low": score.low, "high": score.high, "n_clips": 3, "n_frames": 5 + 4 + 3,
        "coverage": 6 / 8, "failures": {"d": "oom", "x": "timeout"}, "weights_state": "none", "research_only": [],
        "rankable": False, "piece_length": 6, "device": "the cuda:1", "versions": {"numpy": "9"}, "seed": 5,
        "cost": {}, "per_clip": {**score.per_clip, "d": None}, "over_time": list(score.over_time),
        "interval": alone.interval, "left_out": {"b": "5", "c": "4-5", "d": "all"}, "frames_missing": {"b": "5"},
        "not_ranked": "", "outputs": {}, "origins": {}, "data": "", "data_name": "",
        "created": "2026-02-03T04:05:06+00:00",
    }  # fmt: skip
    special = {"fingerprint", "note", "wall_seconds"}  # of the tests above; of many parts; of the clock
    assert set(ScoreRow.model_fields) == set(expected) | special, "classify the new field here"
    assert {name: getattr(row, name) for name in expected} == expected
    for part in ("frame counts differ, compared over the shorter (1 clip)", "1 clip failed: oom (d)", "5 of b",
                 "1 clip cut to the frames that all methods have"):  # fmt: skip
        assert part in row.note
    bounds = {(row.low, row.high) for row in (rows(**PICTURES, seed=seed)["ssim"] for seed in (5, 6))}
    assert len(bounds) == 2, "the seed is that of the interval"
