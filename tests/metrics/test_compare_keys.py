"""`compute_metrics`: the fingerprint moves as a row's does, and what it says is what was compared."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from scoring_keys import Loads, clip

from dawn_bench import weights
from dawn_bench.clip import Clip
from dawn_bench.metrics.manifolds import ManifoldMetric
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring import compare
from dawn_bench.metrics.scoring.base import FEATURES, METRICS
from dawn_bench.metrics.scoring.compare import MetricScore, compute_metrics

FIELDS = ("vertices", "template", "lips")


def meshes(seed: int, *, last: int = 6) -> dict[str, Mapping[str, np.ndarray]]:
    """Four meshes by name; the last has `last` frames."""
    several = {}
    for k, name in enumerate("dabc"):
        whole, n = clip(name, seed=seed + k, n_frames=6), last if name == "c" else 6
        several[name] = {field: whole[field][:n] if field == "vertices" else whole[field] for field in FIELDS}
    return several


BASE: dict[str, Any] = {"generated": meshes(10), "reference": meshes(0), "metrics": ("mve", "lve"), "device": "cpu"}
#: By argument: another value, and whether the fingerprint moves with it.
ARGUMENTS: dict[str, tuple[Any, bool]] = {
    "generated": (meshes(20), False),
    "reference": (meshes(20), True),
    "metrics": ("mve", False),
    "paired": (True, False),  # only some metrics compare sets
    "protocol": ("paper-dawn-tracked", True),
    "protocol_set": (("lpips_net=vgg",), True),
    "weights": ("seeded", False),
    "device": ("cuda:1", True),
    "fps": (30.0, False),  # of a mesh, whose frames are taken as they are
    "features": ("kept", False),
    "seed": (3, False),
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def scores(**changes: Any) -> dict[str, MetricScore]:
    return compute_metrics(**(BASE | changes))


def test_every_argument_is_classified() -> None:
    names = list(inspect.signature(compute_metrics).parameters)
    assert list(ARGUMENTS) == names, "say in ARGUMENTS whether the fingerprint moves with the new one"


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_the_fingerprint_moves_with_an_argument_or_stays(argument: str) -> None:
    value, moves = ARGUMENTS[argument]
    before, after = scores(), scores(**{argument: value})
    assert all((after[m].fingerprint != before[m].fingerprint) == moves for m in after)
    assert before["mve"].fingerprint != before["lve"].fingerprint


def test_the_fingerprint_moves_with_counts_libraries_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    own = scores()["mve"].fingerprint
    assert scores(generated=meshes(10, last=5))["mve"].fingerprint != own
    names = [
        {{"a": "a-2"}.get(name, name): one for name, one in BASE[side].items()} for side in ("generated", "reference")
    ]
    assert scores(generated=names[0], reference=names[1])["mve"].fingerprint != own
    order = [dict(sorted(BASE[side].items())) for side in ("generated", "reference")]
    assert scores(generated=order[0], reference=order[1])["mve"].fingerprint == own
    assert scores(device="cuda:1")["mve"].fingerprint == scores(device="cuda:0")["mve"].fingerprint
    real = compare.versions()
    for name in real:
        monkeypatch.setattr(compare, "versions", lambda name=name: real | {name: "0.0.1"})
        assert (scores()["mve"].fingerprint != own) == (name != "python"), name


def test_the_fingerprint_moves_with_the_weights_and_their_state_is_stated(light: Loads) -> None:
    given = [{n: clip(n, seed=k + seed, n_frames=4)["frames"] for k, n in enumerate("ab")} for seed in (0, 10)]
    some = {"generated": given[0], "reference": given[1], "metrics": ("fid", "psnr")}
    before = scores(**some)
    (weights.folder() / weights.entry("inception-fid").file).write_text("others")
    after, seeded = scores(**some), scores(**some, weights="seeded")
    assert [m for m in before if before[m].fingerprint != after[m].fingerprint] == ["fid"]
    assert [m for m in before if after[m].fingerprint != seeded[m].fingerprint] == ["fid"]
    states = [[several[m].weights_state for m in ("fid", "psnr")] for several in (after, seeded)]
    assert states == [["user", "none"], ["seeded", "none"]]


def test_every_field_of_a_score_states_what_was_compared() -> None:
    chosen = protocol("paper-dawn-tracked", ("lpips_net=vgg",))
    given = {"generated": meshes(10, last=5), "protocol": "paper-dawn-tracked", "protocol_set": ("lpips_net=vgg",)}
    given["generated"]["b"] = given["generated"]["b"] | {"vertices": given["generated"]["b"]["vertices"][:, :4]}
    score = scores(**given)["lve"]
    metric = METRICS["lve"](chosen)
    for name in "acd":
        ours, true = given["generated"][name], BASE["reference"][name]
        sides = [{"mesh": one["vertices"], "meshlips": true["lips"][0]} for one in (ours, true)]
        metric.update(*sides, clip_id=name)
    own = metric.compute()
    expected = {
        "metric": "lve", "title": "LVE", "unit": metric.unit, "higher_is_better": False, "value": own.value,
        "low": own.low, "high": own.high, "n_clips": 3, "n_frames": 17, "n_reference": 3, "coverage": 0.75,
        "weights_state": "none", "protocol": chosen.id, "per_clip": own.per_clip, "failures": {"b": "bad_output"},
        "frames_missing": {"c": "5"}, "reference": None, "distance": None,
    }  # fmt: skip
    names = {field.name for field in fields(MetricScore)}
    assert names == set(expected) | {"fingerprint", "note"}, "say in `expected` what the new field states"
    assert {name: getattr(score, name) for name in expected} == expected
    assert score.note.startswith(own.note) and "5 of c" in score.note
    other = scores(**given, seed=9)["lve"]
    assert replace(other, low=None, high=None) == replace(score, low=None, high=None)
    bounds = {(s.low, s.high) for s in (scores(seed=seed)["mve"] for seed in range(4))}
    assert len(bounds) > 1, "the seed is that of the interval"


def test_clips_and_frames_of_two_sets_are_counted_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are the generated ones, whichever set is the larger. A distance is the same from either side."""

    def numbers(self: Any, one: Clip, given: Any) -> dict[str, np.ndarray]:
        rng, count = np.random.default_rng(one["frames"][0, 0, 0, 0]), one.n_frames // getattr(self, "length", 1)
        return {self.name: rng.normal(size=(count, 3)).astype(np.float32)}

    # shares of one frame a second are no distances
    names = [name for name in METRICS if METRICS[name].unpaired and not issubclass(METRICS[name], ManifoldMetric)]
    for feature in {need for name in names for need in METRICS[name].needs}:
        monkeypatch.setattr(FEATURES[feature], "run", numbers)
    few, many = ({f"{k}": np.full((36, 4, 4, 3), first + k, np.uint8) for k in range(count)}
                 for first, count in ((0, 2), (9, 3)))  # fmt: skip
    given: dict[str, Any] = {"metrics": names, "paired": False, "weights": "seeded"}
    one, two = scores(generated=few, reference=many, **given), scores(generated=many, reference=few, **given)
    for name in names:
        each = getattr(METRICS[name], "frames_each", 1)
        assert (one[name].n_clips, one[name].n_reference) == (2, 3) == (two[name].n_reference, two[name].n_clips)
        assert (one[name].n_frames, two[name].n_frames) == (2 * (36 // each * each), 3 * (36 // each * each)), name
        assert one[name].value == pytest.approx(two[name].value, rel=1e-6)
