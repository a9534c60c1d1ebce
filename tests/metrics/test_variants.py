"""Every metric under every field of the protocol, on clips in which nothing is alike: which field changes which number.

The networks are simple functions of their whole input (`toy_world`); everything around them is the real code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from toy_world import install, mesh_clip, talk

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.metrics.protocols.base import ScoringProtocol, protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.compare import compute_metrics
from dawn_bench.metrics.scoring.matching import cut
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.reports.leaderboard import merit
from dawn_bench.results import ScoreRow

FID, DR, FVD, LSE = {"fid", "kid"}, {"dr25", "dr50"}, {"fvd16", "fvd32"}, {"lse-c", "lse-d", "lse-offset"}
KVD, LITE0 = {"kvd16"}, {"frechet-lite0", "kernel-lite0", "frechet-motion-lite0"}
ID = {"csim", "id-dlib"}
IMAGES, MESHES = {"psnr", "ssim", "lpips"}, {"lve", "fdd", "mve"}
PICTURES = FID | DR | FVD | KVD | LITE0 | LSE | IMAGES | ID | {"bas", "blink"}
#: Metrics with tests of their own: they need more clips than these three, larger pictures, or a mouth, which this face
#: has not.
ELSEWHERE = {f"{share}{of}" for share in ("precision", "recall", "density", "coverage") for of in ("", "-lite0")} | {
    *("fid-inf", "fvd16-inf"),
    *("mouth-corr", "m-lmd", "f-lmd", "av-corr", "av-lag", "silence-leak", "head-spread"),
    *("m-lvd", "f-lvd", "m-lmd-sdtw", "mtm", "apd"),
    *("cpbd", "piqe", "flicker-gap", "exposure-shift", "colour-shift", "block-edges"),
    *("drift-cpbd", "drift-exposure", "drift-colour", "drift-csim", "drift-fid"),
}
#: Offsets are whole frames, so a small change of the picture may leave them.
ROUNDED = {"lse-offset", "blink"}


@dataclass(frozen=True)
class Reads:
    """A field of the protocol: values to try beside the default (of a choice, all), and the metrics that they change.

    `given` are the other settings under which it counts.
    """

    metrics: set[str]
    values: tuple[Any, ...] = ()
    given: tuple[str, ...] = ()


TRACKED = ("lse_route=tracked",)
FIELDS: dict[str, list[Reads]] = {
    "id": [Reads(set())],
    "piece_length": [Reads(set(), (50,))],  # clips are cut before they are scored
    "piece_remainder": [Reads(set())],
    "skip_first": [Reads(PICTURES | MESHES, (3,))],
    "transcode": [Reads(PICTURES)],
    "fid_resize": [Reads(FID | DR)],
    "dr_reference": [Reads(DR)],
    "fvd_stride": [Reads(FVD | KVD, (5,))],
    "fvd_first_n": [Reads(FVD | KVD)],
    "fvd_windows": [Reads(FVD, (4, 7))],
    "fvd_resize": [Reads(FVD | KVD)],
    "fvd_batch_norm": [Reads(FVD | KVD)],
    "fvd_covariance": [Reads(FVD)],
    "psnr_cap": [Reads({"psnr"}, (40.0,))],
    "psnr_mean": [Reads({"psnr"})],
    "ssim_window": [Reads({"ssim"})],
    "lpips_net": [Reads({"lpips"})],
    "lpips_spatial": [Reads({"lpips"})],
    "lse_route": [Reads(LSE)],
    "lse_detector": [Reads(set()), Reads(LSE, given=TRACKED)],
    "lse_min_track": [Reads(set(), (60,)), Reads(LSE, (60,), TRACKED)],
    "lse_min_face": [Reads(set(), (15.0,)), Reads(LSE, (15.0,), TRACKED)],
    "lse_shift": [Reads(LSE, (4,))],
    "csim_reference": [Reads(ID)],
    "csim_network": [Reads({"csim"})],
    "csim_missing": [Reads(ID)],
    "bas_direction": [Reads({"bas"})],
    "bas_sigma": [Reads({"bas"}, (5.0,))],
    "bas_smooth": [Reads({"bas"}, (2.0,))],
    "bas_audio": [Reads({"bas"})],
    "bas_hop": [Reads({"bas"}), Reads({"bas"}, given=("bas_audio=onset",))],
    "bas_points": [Reads({"bas"})],
    "blink_rule": [Reads({"blink"})],
    "blink_edge": [Reads({"blink"}, (0.11,)), Reads(set(), (0.11,), ("blink_rule=threshold",))],
    "blink_threshold": [
        Reads(set(), (0.12,)), Reads({"blink"}, (0.12,), ("blink_rule=threshold",)),
        Reads({"blink"}, (0.12,), ("blink_rule=online",)),
    ],
    "blink_frames": [
        Reads(set(), (4,)), Reads({"blink"}, (4,), ("blink_rule=threshold",)),
        Reads({"blink"}, (4,), ("blink_rule=online",)),
    ],
    "mesh_lips": [Reads({"lve"}, ("0 3 4",))],
    "mesh_upper": [Reads({"fdd"}, ("1 2 6",))],
}  # fmt: skip
LENGTHS = {"a": 103, "b": 109, "c": 101}


def clips(damage: float = 0.0, build: Callable[..., Clip] = talk) -> list[Clip]:
    return [build(name, n, seed=seed, damage=damage) for seed, (name, n) in enumerate(LENGTHS.items())]


class World:
    """The clips, and their rows by setting."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.known = folder, {}  # type: ignore[var-annotated]
        self.truth, self.mild, self.bad = (clips(damage) for damage in (0.0, 0.4, 2.0))
        self.meshes = [clips(damage, mesh_clip) for damage in (0.0, 0.4, 2.0)]

    def rows(self, *settings: str, outputs: str = "mild", **more: Any) -> dict[str, ScoreRow]:
        """All metrics of videos and of meshes."""
        key = (settings, outputs, str(more))
        if key not in self.known:
            kind = ("truth", "mild", "bad").index(outputs)
            sides = (getattr(self, outputs), self.truth), (self.meshes[kind], self.meshes[0])
            self.known[key] = {k: row for side in sides for k, row in self.score(*side, *settings, **more).items()}
        return self.known[key]

    def score(
        self, generated: Sequence[Clip], truth: Sequence[Clip], *settings: str, **more: Any
    ) -> dict[str, ScoreRow]:
        """The rows of some clips by metric; each value lies in its interval."""
        settings = tuple(self._file(s) if s.startswith("mesh_") else s for s in settings)
        given: dict[str, Any] = {"dataset": "d", "split": "test", "features_dir": self.folder / "features"}
        given |= {"rankable": False} | more  # without a look at what the pictures show
        kind = PICTURES if "frames" in truth[0] else MESHES
        given.setdefault("metrics", sorted(kind, key=lambda name: METRICS[name].order))
        rows = score_method("m", generated, truth, protocol=protocol("paper-dawn", settings), **given)
        for row in rows:
            if row.value is not None and row.low is not None:
                slack = 1e-9 * max(1.0, abs(row.value))
                assert row.low - slack <= row.value <= row.high + slack, (row.metric, settings)
        return {row.metric: row for row in rows}

    def _file(self, setting: str) -> str:
        """A setting with a file of vertex numbers."""
        name, _, numbers = setting.partition("=")
        path = self.folder / f"{numbers.replace(' ', '-')}.txt"
        path.write_text(numbers)
        return f"{name}={path}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        for module in ("scorer", "compare"):  # read from the packages' files at each call
            patch.setattr(f"dawn_bench.metrics.scoring.{module}.versions", lambda: {"numpy": "2"})
        patch.setattr("dawn_bench.metrics.scoring.matching.appearance_notes", lambda generated, true: [])
        yield World(tmp_path_factory.mktemp("world"))


def options(field: str, reads: Reads) -> tuple[Any, ...]:
    """All values of a choice; the default and the stated ones of other fields."""
    annotation, default = ScoringProtocol.model_fields[field].annotation, ScoringProtocol.model_fields[field].default
    choices = (False, True) if annotation is bool else get_args(annotation) if get_origin(annotation) is Literal else ()
    return choices or tuple(v for v in (default, *reads.values) if field != "id")


def close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.isclose(one, other, rtol=1e-9, atol=1e-12))


def same_numbers(one: ScoreRow, other: ScoreRow) -> bool:
    rows = (one, other)
    numbers = [[r.value, r.low, r.high, *(r.per_clip[k] for k in sorted(r.per_clip)), *r.over_time] for r in rows]
    counts = [(r.n_clips, r.n_frames, r.coverage, sorted(r.per_clip)) for r in rows]
    return counts[0] == counts[1] and all(close(a, b) for a, b in zip(*numbers, strict=True))


def test_every_field_of_the_protocol_states_which_metrics_read_it() -> None:
    fields = set(ScoringProtocol.model_fields)
    assert fields == set(FIELDS), "state in FIELDS of this file which metrics the field changes"
    read = set().union(*(reads.metrics for entry in FIELDS.values() for reads in entry))
    assert read == set(METRICS) - ELSEWHERE, (
        "no field of FIELDS changes these metrics; put them into PICTURES or MESHES"
    )


@pytest.mark.parametrize(
    ("field", "reads"),
    [pytest.param(f, r, id="-".join((f, *r.given))) for f, entry in FIELDS.items() for r in entry if f != "id"],
)
def test_a_field_changes_the_numbers_of_its_metrics_and_no_others(world: World, field: str, reads: Reads) -> None:
    base = world.rows(*reads.given)
    variants = {}
    for value in options(field, reads):
        changed = value != ScoringProtocol.model_fields[field].default
        if field == "mesh_lips" or field == "mesh_upper" or changed:
            setting = "" if value is None else f"{field}={value}"
            variants[value] = world.rows(*filter(None, (*reads.given, setting)))
        else:
            variants[value] = base
    assert len(variants) > 1
    for metric in sorted(PICTURES | MESHES):
        for (one, a), (other, b) in combinations(variants.items(), 2):
            if metric in reads.metrics and not (metric in ROUNDED and field in ("transcode", "skip_first")):
                changes = not close(a[metric].value, b[metric].value)
                assert changes or metric == "lse-offset", f"{metric}: {field}={one} and {other} give one number"
            elif metric not in reads.metrics:
                assert same_numbers(a[metric], b[metric]), f"{metric} differs between {field}={one} and {other}"


def test_the_offset_follows_each_setting_of_lip_sync(world: World) -> None:
    """A whole number may agree by chance under one setting; not under all of them."""
    settings = ((), TRACKED, ("lse_shift=4",), (*TRACKED, "lse_min_track=60"), (*TRACKED, "lse_detector=wav2lip"))
    values = [tuple(world.rows(*s)["lse-offset"].per_clip.values()) for s in settings]
    assert len(set(values)) > 2


@pytest.mark.parametrize("metric", sorted(set(METRICS) - DR - ELSEWHERE))
def test_a_better_output_never_ranks_lower(world: World, metric: str) -> None:
    """The true clips as outputs beat outputs that are much worse, in the direction that the metric declares."""
    perfect, bad = (world.rows(outputs=name)[metric] for name in ("truth", "bad"))
    truth = perfect.value if METRICS[metric].aim() == "truth" else None
    best, worst = (merit(row.value, METRICS[metric].aim(), truth) for row in (perfect, bad))
    assert best is not None and worst is not None and best > worst
    assert perfect.aim == METRICS[metric].aim() and perfect.higher_is_better == METRICS[metric].higher_is_better


def test_rows_describe_their_metric(world: World) -> None:
    for name, row in world.rows().items():
        metric = METRICS[name]
        assert (row.label, row.description, row.unit, row.order) == (
            metric.title, metric.description, metric.unit, metric.order,
        )  # fmt: skip
        assert row.n_clips == 3 and row.coverage == 1 and row.per_clip.keys() <= set("abc")


def test_the_order_of_clips_changes_nothing(world: World) -> None:
    backwards = world.score(world.mild[::-1], [world.truth[k] for k in (1, 2, 0)])
    for name, row in backwards.items():
        base = world.rows()[name]
        for fact in ("value", "low", "high", "per_clip", "note", "fingerprint", "over_time"):
            assert getattr(row, fact) == getattr(base, fact), (name, fact)


#: What becomes of a score where true clips and outputs change places.
SWAPPED = {
    "same": FID | DR | FVD | KVD | LITE0 | IMAGES | ID | {"lve", "mve"},
    "negated": {"fdd"},
    "of the true clips": LSE | {"bas", "blink"},
}


def test_every_metric_states_what_a_swap_of_output_and_truth_does() -> None:
    assert set().union(*SWAPPED.values()) == set(METRICS) - ELSEWHERE, "state in SWAPPED what the metric does"


def test_output_and_truth_change_places(world: World) -> None:
    swapped = world.score(world.truth, world.mild) | world.score(world.meshes[0], world.meshes[1])
    for name, row in swapped.items():
        base = world.rows()[name]
        if name in SWAPPED["same"]:
            assert close(row.value, base.value) or row.value == pytest.approx(base.value, rel=1e-6), name
        elif name in SWAPPED["negated"]:
            assert row.value == pytest.approx(-base.value), name
        else:
            assert row.value == world.rows(outputs="truth")[name].value, name
            assert not METRICS[name].compares
    by_source = [
        side["csim"].value
        for side in (
            world.score(world.truth, world.mild, "csim_reference=source"),
            world.rows("csim_reference=source"),
        )
    ]
    assert not close(*by_source)


def test_skipping_frames_is_the_score_of_clips_that_begin_later(world: World) -> None:
    later = [[cut(clip, 3, clip.n_frames) for clip in side] for side in (world.mild, world.truth)]
    for name, row in world.score(*later).items():
        skipped = world.rows("skip_first=3")[name]
        assert same_numbers(row, skipped), name
        if name == "csim":  # frames are counted on the true clip's own timeline
            assert row.left_out["a"] == "7-9" and skipped.left_out["a"] == "10-12"


def test_a_shorter_output_is_compared_over_its_own_frames(world: World) -> None:
    """The sound is cut with the picture, and metrics of the clip's end refuse it."""
    ends = {"a": 90, "b": 103, "c": 101}
    short = [cut(clip, 0, ends[clip.id]) for clip in world.mild]
    both = world.score(short, [cut(clip, 0, ends[clip.id]) for clip in world.truth])
    for name, row in world.score(short, world.truth).items():
        if name in DR:
            assert row.failures == {"a": "frames_missing", "b": "frames_missing"} and row.n_clips == 1
            assert row.left_out == {"a": "all", "b": "all"}
        else:
            assert same_numbers(row, both[name]), name
        assert row.frames_missing == {"a": "90-102", "b": "103-108"}
    limited = world.score(world.mild, world.truth, lengths={"a": 90, "b": 103})
    for name, row in limited.items():
        assert same_numbers(row, world.rows()[name] if name in DR else both[name]), name
        assert row.frames_missing == {} and ("a" in row.left_out) == (name not in DR)
        assert "2 clips cut to the frames that all methods have" in row.note
    quick: dict[str, Any] = {"metrics": ["psnr", "fid"]}
    later = [[cut(clip, 3, ends[clip.id]) for clip in side] for side in (world.mild, world.truth)]
    skipped = world.score(world.mild, world.truth, "skip_first=3", lengths={"a": 90, "b": 103}, **quick)
    assert all(same_numbers(row, skipped[name]) for name, row in world.score(*later, **quick).items())


def test_the_picture_of_frame_t_goes_with_the_sound_of_frame_t(world: World) -> None:
    """Delaying the sound by two frames changes the sync of the output, and no metric of pictures."""
    silence = np.zeros(2 * SAMPLES_PER_FRAME, np.int16)
    delayed = [
        replace(c, arrays={**c.arrays, "audio": np.concatenate([silence, c["audio"]])[: len(c["audio"])]})
        for c in world.truth
    ]
    for name, row in world.score(delayed, world.truth).items():
        base = world.rows(outputs="truth")[name]
        if name == "lse-offset":
            assert row.value == pytest.approx(base.value - 2)
        else:
            assert same_numbers(row, base) == (name not in LSE | {"bas"}), name


def test_scores_of_own_clips_are_those_of_an_evaluation(world: World) -> None:
    """All metrics of `compute_metrics`, in pairs and as sets, with the protocol's settings."""
    sides = [{clip.id: clip for clip in side} for side in (world.mild, world.truth)]
    for settings in ((), ("skip_first=3", "fvd_covariance=biased", "blink_rule=threshold")):
        given: dict[str, Any] = {"protocol_set": settings, "features": world.folder / "features", "device": "cpu"}
        scores = compute_metrics(generated=sides[0], reference=sides[1], metrics=sorted(PICTURES), **given)
        for name, score in scores.items():
            row = world.rows(*settings)[name]
            for fact in ("value", "low", "high", "n_clips", "n_frames", "failures", "fingerprint", "unit"):
                assert getattr(score, fact) == getattr(row, fact), (name, fact)
            assert {**score.per_clip, **dict.fromkeys(row.failures)} == row.per_clip, name
            assert score.coverage == pytest.approx(row.coverage)
        alone = [name for name in sorted(PICTURES) if METRICS[name].unpaired or not METRICS[name].compares]
        fewer = {name: sides[1][name] for name in "ca"}
        sets = compute_metrics(generated=sides[0], reference=fewer, metrics=alone, paired=False, **given)
        for name, score in sets.items():
            assert (score.n_clips, score.n_reference, score.title) == (3, 2, METRICS[name].title)
            if METRICS[name].compares:
                assert score.value is not None and score.low is not None and score.high is not None
                assert score.value != scores[name].value and score.low <= score.value <= score.high
                continue
            assert score.value == scores[name].value and score.reference is not None
            own = world.rows(*settings, outputs="truth")[name].per_clip
            assert score.reference.per_clip == {clip: own[clip] for clip in "ac"}


@pytest.mark.parametrize("fps", [24, 30, 29.97, 50, 60, 12.5])
def test_arrays_of_another_rate_are_read_at_25_frames_a_second(world: World, fps: float) -> None:
    """Frame t shows what was on screen at (t + 1/2) / 25 s."""
    frames, count = world.mild[0]["frames"][:60], int(60 * 25 / fps + 1e-6)
    on_screen = [next(k for k in range(60) if (k + 1) / fps >= (t + 0.5) / 25 - 1e-9) for t in range(count)]
    given: dict[str, Any] = {"metrics": "psnr", "device": "cpu", "fps": 25}  # a clip's own rate goes before it
    score = compute_metrics(generated=[{"frames": frames, "fps": fps}], reference=[frames[on_screen]], **given)["psnr"]
    assert score.value == 100 and score.n_frames == count
