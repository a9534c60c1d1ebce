"""Limits of metrics and scorer, one below, at and above each: gaps, shares, lengths, thresholds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.features.lpips import MIN_SIDE
from dawn_bench.metrics.functional.align import ARCFACE, DLIB, five_points, similarity
from dawn_bench.metrics.functional.beats import motion_beats, onset_frames
from dawn_bench.metrics.functional.blinks import closing_edges, closures, online, openness, spans
from dawn_bench.metrics.functional.facetrack import crop, iou, smoothed, tracks
from dawn_bench.metrics.functional.sync import window_count
from dawn_bench.metrics.protocols.base import PAPER_DAWN, PAPER_DAWN_TRACKED, protocol
from dawn_bench.metrics.scoring.appearance import appearance_notes
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, Metric
from dawn_bench.metrics.scoring.clip_sets import clip_set
from dawn_bench.metrics.scoring.frames import joined, length_without, missing_end, missing_words, ranges
from dawn_bench.metrics.scoring.matching import cut, matched
from dawn_bench.metrics.scoring.person import Face, Person, clearly_at, face_at, person_of, target_of, which
from dawn_bench.metrics.scoring.pictures import SHARE, STILL, Pictures
from dawn_bench.metrics.scoring.scorer import score_method


def clip(n: int, *, height: int = 16, width: int = 20, name: str = "a", seed: int = 0, **fields: np.ndarray) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    sound = np.arange(n * SAMPLES_PER_FRAME).astype(np.int16)
    return Clip(name, "s", "test", n, {"frames": frames, "audio": sound, **fields})


HERE, NOBODY = np.array([[10.0, 12, 50, 60]]), np.zeros((0, 4))


@pytest.mark.parametrize(("gap", "joins"), [(24, True), (25, False)])
def test_a_track_bridges_24_frames_without_a_face(gap: int, joins: bool) -> None:
    people = tracks([HERE, *[NOBODY] * gap, HERE], more_than=1, larger_than=0)
    assert [len(track.frames) for track in people] == ([gap + 2] if joins else [])
    moved = tracks([HERE, NOBODY, NOBODY, NOBODY, HERE + [4, 8, 0, 4]], more_than=1, larger_than=0)  # noqa: RUF005
    assert moved[0].boxes[1] == pytest.approx(HERE[0] + np.array([1, 2, 0, 1]))


def test_a_track_needs_more_detections_and_more_pixels_than_the_limits() -> None:
    for detections, kept in ((5, 0), (6, 1)):
        assert len(tracks([HERE] * detections, more_than=5, larger_than=0)) == kept
    for limit, kept in ((47.9, 1), (48, 0)):  # the face is 40 wide and 48 high: the larger side counts
        assert len(tracks([HERE] * 3, more_than=1, larger_than=limit)) == kept


def test_boxes_join_above_half_of_their_union() -> None:
    assert iou(np.array([0, 0, 10, 20]), np.array([5, 10, 15, 40])) == pytest.approx(50 / (200 + 300 - 50))
    assert iou(np.array([0, 0, 1, 1]), np.array([2, 0, 3, 1])) == 0
    box = np.array([[0.0, 0, 30, 10]])
    for shift, count in ((9, 1), (10, 2), (11, 2)):  # 21 of 39, 20 of 40, 19 of 41
        people = tracks([box, box, box + [shift, 0, shift, 0], box + [shift, 0, shift, 0]], more_than=1, larger_than=0)  # noqa: RUF005
        assert len(people) == count, shift


def test_the_crop_is_smoothed_over_13_frames_and_has_more_below() -> None:
    boxes = np.tile([10.0, 20, 50, 100], (30, 1))
    boxes[15:21] += [40, 10, 40, 10]  # six frames do not move a median of 13
    x, y, half = smoothed(boxes)
    assert x[6:-6].tolist() == [30] * 18 and y[6:-6].tolist() == [60] * 18 and half[6:-6].tolist() == [40] * 18
    boxes[21] += [40, 10, 40, 10]
    assert smoothed(boxes)[0].max() == 70
    frame = np.zeros((200, 160, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(160), np.arange(200)[:, None]
    picture = crop(frame, 80, 90, 30).astype(int)
    assert picture.shape == (224, 224, 3)
    assert picture[112, [0, -1], 0] == pytest.approx([80 - 42, 80 + 42], abs=1)
    assert picture[[0, -1], 112, 1] == pytest.approx([90 - 30, 90 + 30 * 1.8], abs=1)
    assert crop(frame, 5, 90, 30)[112, 0].tolist() == [110, 110, 110]


@pytest.mark.parametrize(("fall", "blinks"), [(0.0719, 0), (0.0721, 1)])
def test_a_closing_edge_is_a_fall_of_the_limit(fall: float, blinks: int) -> None:
    ear = np.r_[np.full(6, 0.3), 0.3 - fall, np.full(6, 0.3)]
    assert len(closing_edges(ear)) == blinks


@pytest.mark.parametrize(("apart", "blinks"), [(3, 1), (4, 2)])
def test_two_blinks_are_four_frames_apart(apart: int, blinks: int) -> None:
    ear = np.full(20, 0.3)
    ear[[6, 6 + apart]] = 0.1
    assert len(closing_edges(ear)) == blinks


@pytest.mark.parametrize(("frames", "blinks"), [(1, 0), (2, 1), (3, 1)])
def test_an_eye_is_shut_for_two_frames_below_the_threshold(frames: int, blinks: int) -> None:
    ear = np.r_[np.full(4, 0.3), np.full(frames, 0.19), np.full(4, 0.3)]
    assert len(closures(ear)) == len(online(ear)) == blinks
    assert len(closures(np.where(ear < 0.2, 0.2, ear))) == len(online(np.where(ear < 0.2, 0.2, ear))) == 0
    if blinks:
        assert closures(ear).tolist() == [4] and online(ear)[0][0] == 4 + frames


def test_the_online_rule_ends_a_blink_with_a_rise_of_more_than_a_hundredth() -> None:
    shut = [0.3, 0.15, 0.15]
    assert online(np.array([*shut, 0.195, 0.204, 0.3])) == [(5, 5)]  # a rise of 0.009 above the threshold is none
    assert online(np.array([*shut, 0.195, 0.206, 0.3])) == [(4, 4)]
    assert online(np.array([*shut, 0.17, 0.19])) == []


def test_spans_begin_at_the_last_peak_before_an_edge() -> None:
    ear = np.array([0.2, 0.3, 0.31, 0.3, 0.1, 0.1, 0.3, 0.32, 0.3, 0.29, 0.1, 0.2, 0.25])
    assert spans(ear, np.array([3, 9])) == [(2, 7), (7, 12)]


def test_the_openness_is_the_mean_of_two_eyes_of_unlike_shape() -> None:
    points = np.zeros((1, 68, 2))
    for corner, width, lids in ((36, 4, (1, 2, -1, -3)), (42, 5, (0.5, 1, -0.5, -1))):
        points[0, corner + 3, 0] = width
        for lid, y in zip((1, 2, 4, 5), lids, strict=True):
            points[0, corner + lid] = (0, y)
    assert openness(points)[0] == pytest.approx(((4 + 3) / 8 + (1.5 + 1.5) / 10) / 2)


def test_rests_and_onsets_are_strict() -> None:
    places = np.cumsum([0, 3, 1, 2, 2, 4, 0, 5.0])
    points = np.stack([places, np.zeros(8)], 1)[:, None]
    assert motion_beats(points, smooth=0.01).tolist() == [1, 5]  # of the steps 3 1 2 2 4 0 5; none at a plateau
    assert motion_beats(points[:1]).tolist() == []
    flat = np.ones(20)
    flat[10] = 2.0
    assert onset_frames(flat).tolist() == [10] and onset_frames(np.ones(20)).tolist() == []
    low = np.r_[np.zeros(8), 0.1, np.zeros(8), 1.0, 0, 0, 0]
    assert onset_frames(low).tolist() == [8, 17]  # 0.1 - 0.1 / 5 is above 0.07
    low[8] = 0.085
    assert onset_frames(low).tolist() == [17]


@pytest.mark.parametrize(("frames", "samples", "windows"), [(6, 640 * 6, 1), (5, 640 * 9, 0), (9, 640 * 7 - 1, 1), (3, 0, 0)])  # fmt: skip  # noqa: E501
def test_windows_of_picture_and_whole_frames_of_sound(frames: int, samples: int, windows: int) -> None:
    assert window_count(frames, samples) == windows


@pytest.mark.parametrize(("windows", "noted"), [(15, True), (16, False)])
def test_clips_of_no_more_windows_than_shifts_are_noted(windows: int, noted: bool) -> None:
    metric = METRICS["lse-d"]()
    rng = np.random.default_rng(0)
    lip, sound = rng.normal(size=(2, windows, 3))
    metric.update({"syncnet.lip": lip, "syncnet.audio": sound}, {}, clip_id="a")
    assert ("15 windows or fewer" in metric.compute().note) == noted


@pytest.mark.parametrize(("name", "n"), [("dr25", 50), ("dr50", 100)])
def test_a_degradation_rate_needs_both_ends(name: str, n: int) -> None:
    rng, metric = np.random.default_rng(0), METRICS[name]()
    for ours, theirs in ((n - 1, n), (n, n - 1)):
        with pytest.raises(ItemError, match="too_short"):
            metric.measure({"inception": rng.normal(size=(ours, 2))}, {"inception": rng.normal(size=(theirs, 2))})
    assert metric.measure(*({"inception": rng.normal(size=(n, 2))} for _ in "ab"))


@pytest.mark.parametrize("metric", [METRICS[name] for name in METRICS], ids=list(METRICS))
def test_the_minimum_is_enough_and_one_less_is_not(metric: type[Metric]) -> None:
    least = metric.minimum
    assert metric().too_few(least) == ""
    assert metric().too_few(least - 1) == f"{least - 1} {metric.minimum_of}, at least {least} are needed"


def test_the_smallest_frames_are_scored() -> None:
    for window, side in (("gaussian", 11), ("uniform", 7)):
        feature = FEATURES["images"](protocol("paper-dawn", (f"ssim_window={window}",)))
        one = clip(1, height=side, width=side + 9)
        assert feature.run(one, one)["images.ssim"] == pytest.approx([1])  # type: ignore[call-arg]
        with pytest.raises(ItemError, match="too_small"):
            feature.run(*[clip(1, height=side + 9, width=side - 1)] * 2)  # type: ignore[arg-type]
    assert MIN_SIDE == 32
    with pytest.raises(ItemError, match="the frames have 31 x 40"):
        FEATURES["lpips"](weights="seeded").run(*[clip(1, height=40, width=31)] * 2)  # type: ignore[arg-type]


def shown(faces: int, missed: int, still: bool = False) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    face, motion = np.ones(faces, bool), (STILL, STILL - 1e-6)
    ours = {"pictures.face": np.arange(faces) >= missed, "pictures.motion": np.array([motion[still]])}
    return ours, {"pictures.face": face, "pictures.motion": np.array([STILL])}


@pytest.mark.parametrize(("missed", "objects"), [(1, False), (2, False), (3, True)])
def test_a_fifth_of_the_moments_may_lack_a_face(missed: int, objects: bool) -> None:
    pictures = Pictures()
    pictures.update(*shown(10, missed), clip_id="a")
    assert pictures.objection(("face",)) == (f"no face in {missed}0% of the frames" if objects else "")
    assert pictures.objection(("motion",)) == "" and SHARE == 0.2
    assert pictures.compute().value == pytest.approx(missed / 10)


@pytest.mark.parametrize(("still", "objects"), [(1, False), (2, True)])
def test_a_fifth_of_the_clips_may_be_still(still: int, objects: bool) -> None:
    pictures = Pictures()
    for k in range(5):
        pictures.update(*shown(10, 0, still=k < still), clip_id=str(k))
    assert pictures.objection(("motion",)) == (f"the pictures do not change in {still} of 5 clips" if objects else "")
    assert pictures.objection(("face",)) == ""


def square(x: float, y: float, side: float = 20.0, n: int = 10) -> np.ndarray:
    return np.tile(np.array([x, y, x + side, y + side], np.float32), (n, 1))


def face(x: float, y: float, *, seen: int = 10, n: int = 10) -> Face:
    return Face(square(x, y, n=n), np.arange(n) < seen)


@pytest.mark.parametrize(("away", "there"), [(14.9, True), (15.1, False)])
def test_a_face_is_at_its_place_within_three_quarters_of_a_side(away: float, there: bool) -> None:
    person = Person(face(10, 30), [face(90, 30)])
    if there:
        assert which("a", [face(60, 60), face(10, 30 + away)], person) == 1
    else:
        with pytest.raises(ItemError, match="no face at the place"):
            which("a", [face(60, 60), face(10, 30 + away)], person)
    assert clearly_at([face(10, 30 + away / 2)], face(10, 30)) == there
    assert not clearly_at([face(10, 30), face(90, 30)], face(10, 30))


def test_a_face_nearer_to_somebody_else_is_somebody_else() -> None:
    person = Person(face(10, 30), [face(30, 30)])
    assert which("a", [face(14, 30)], person) == 0
    with pytest.raises(ItemError, match="no_face"):
        which("a", [face(23, 30)], person)
    assert which("a", [face(90, 90)], Person(face(10, 30))) == 0  # both show one face
    both = [face(12, 30, seen=8), face(10, 30, seen=9), face(11, 30, seen=10)]
    assert which("a", both, person) == 1  # seen for 9 of 10 frames is long enough, and nearer


@pytest.mark.parametrize(("seen", "people"), [(1, 0), (2, 1)])
def test_another_face_is_a_person_from_a_fifth_of_the_frames_on(seen: int, people: int) -> None:
    person = person_of(clip(10), [face(10, 30), face(60, 30, seen=seen)])
    assert len(person.others) == people and np.array_equal(person.face.boxes, square(10, 30))


def test_the_cache_says_which_face_is_meant() -> None:
    points = np.random.default_rng(0).uniform(40, 60, (10, 68, 2)).astype(np.float32)
    true = clip(10, landmarks=points, valid=np.arange(10) > 2)
    target = target_of(true)
    assert target is not None and target.detected.tolist() == [False] * 3 + [True] * 7
    person = person_of(true, [face(0, 0), face(40, 40)])
    assert np.array_equal(person.face.boxes, target.boxes) and np.array_equal(person.others[0].boxes, square(0, 0))
    for broken in (points[:9], np.where(np.arange(10)[:, None, None] == 3, np.nan, points), points * 0):
        assert target_of(clip(10, landmarks=broken.astype(np.float32))) is None
    arrays = {"landmarks.toy": points, "landmarks.found": np.ones(10, bool)}
    arrays |= {"landmarks.others": np.stack([points + 1, points + 2]), "landmarks.others_found": np.eye(10)[:2] > 0}
    for index in range(3):
        chosen = face_at(arrays, index)
        assert np.array_equal(chosen["landmarks.toy"], points + index)
        assert chosen["landmarks.found"].sum() == (10 if index == 0 else 1)
    assert face_at(arrays, 2)["landmarks.found"].argmax() == 1


def test_frames_are_counted_on_the_true_clip() -> None:
    assert [ranges(n) for n in ([], [3], [3, 4], [0, 2, 3, 4, 9])] == ["", "3", "3-4", "0, 2-4, 9"]
    true, skipping = clip(10), protocol("paper-dawn", ("skip_first=2",))
    assert [missing_end(cut(true, 0, n), true, PAPER_DAWN) for n in (10, 9, 8)] == ["", "9", "8-9"]
    assert [missing_end(cut(true, 2, n), true, skipping) for n in (10, 9, 8)] == ["", "9", "8-9"]
    assert [length_without(text, 10) for text in ("", "9", "8-9")] == [10, 9, 8]
    assert [joined("", ""), joined("3", "", "8-9"), joined("3", "all")] == ["", "3, 8-9", "all"]
    assert missing_words({"b": "9", "a": "8-9"}) == "frames_missing: the end of 2 clips (8-9 of a, 9 of b)"


def test_a_cut_keeps_the_sound_with_its_frames_and_whole_fields_whole() -> None:
    template, lips = np.zeros((1, 5, 3), np.float32), np.array([[1, 2]], np.int32)
    whole = clip(10, vertices=np.arange(10.0)[:, None, None] + template, template=template, lips=lips)
    part = cut(whole, 3, 7)
    assert part.n_frames == 4 and np.array_equal(part["frames"], whole["frames"][3:7])
    assert part["audio"].tolist() == list(range(3 * 640, 7 * 640))
    assert part["vertices"][:, 0, 0].tolist() == [3, 4, 5, 6]
    assert np.array_equal(part["template"], template) and np.array_equal(part["lips"], lips)
    assert cut(whole, 0, 10) is whole and cut(whole, 0, 9) is not whole


def test_an_output_has_the_size_of_its_true_clip() -> None:
    """Two rows and three columns, area means to shrink; the aspect ratio follows."""
    true, ours = clip(3, height=16, width=20), clip(4, height=32, width=60, seed=1)
    output, cut_true, notes = matched(ours, true)
    assert output["frames"].shape == (3, 16, 20, 3) and cut_true is true
    mean = ours["frames"][2].reshape(16, 2, 20, 3, 3).mean(axis=(1, 3))
    assert np.abs(output["frames"][2] - mean).max() <= 0.51
    assert "resized from 60x32 to 20x16" in notes and "frame counts differ, compared over the shorter" in notes
    assert any("stretched from 60x32 to 20x16" in note for note in notes)
    smooth = np.zeros((3, 8, 10, 3), np.uint8)
    smooth[:] = 10 * np.arange(10, dtype=np.uint8)[:, None]
    larger = matched(Clip("a", "s", "test", 3, {"frames": smooth}), true)[0]["frames"].astype(int)
    assert np.abs(np.diff(larger[0, 8, 4:-4, 0]) - 5).max() <= 1  # no steps of whole pixels


@pytest.mark.parametrize(("share", "fails"), [(0.6, False), (0.61, True)])
def test_an_output_of_less_than_the_least_share_fails(share: float, fails: bool) -> None:
    true, ours = [clip(10, name=name) for name in "ab"], [clip(6, seed=1), clip(10, seed=2, name="b")]
    for rules in (PAPER_DAWN, protocol("paper-dawn", ("skip_first=2",))):
        given: dict[str, Any] = {"dataset": "d", "split": "test", "metrics": ["psnr"], "min_share": share}
        (row,) = score_method("m", ours, true, protocol=rules, **given)
        assert row.failures == ({"a": "frames_missing"} if fails else {})
        assert row.coverage == (0.5 if fails else 1) and row.frames_missing == ({} if fails else {"a": "6-9"})


def test_rows_state_what_was_given() -> None:
    """Every argument that is a fact of the run is in the row, also the rarely used ones."""
    (row,) = score_method(
        "m", [clip(5, name="b")], [clip(5, name="b")], dataset="d", split="val", metrics=["ssim"],
        protocol=PAPER_DAWN_TRACKED.in_pieces(5), method_class="dub", rankable=False, seed=7,
        failures={"z": "oom"}, n_requested=4,
    )  # fmt: skip
    facts = (row.method, row.dataset, row.split, row.protocol, row.piece_length, row.method_class, row.rankable)
    assert facts == ("m", "d", "val", "paper-dawn-tracked-pieces-5", 5, "dub", False)
    assert (row.seed, row.failures, row.coverage, row.interval) == (7, {"z": "oom"}, 0.75, METRICS["ssim"].interval)


def gradient(n: int = 3, height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([np.stack([20 + 3 * x, 200 - 2 * y, 30 + x + y], -1) + 2 * k for k in range(n)]).astype(np.uint8)


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize(("share", "noted"), [(0.02, False), (0.05, True)])
def test_a_border_counts_from_three_percent_of_its_side_on(side: str, share: float, noted: bool) -> None:
    true = gradient(height=100, width=100)
    ours, width = true.copy(), round(100 * share)
    places: dict[str, Any] = {"top": np.s_[:, :width], "bottom": np.s_[:, -width:]}
    places |= {"left": np.s_[:, :, :width], "right": np.s_[:, :, -width:]}
    ours[places[side]] = 0
    notes = [note for note in appearance_notes(ours, true) if "border" in note]
    assert notes == ([f"looks wrong: borders at the {side}, which the true clips lack"] if noted else [])


@pytest.mark.parametrize(("width", "noted"), [(1010, False), (1030, True), (970, True), (990, False)])
def test_another_aspect_ratio_counts_from_two_percent_on(width: int, noted: bool) -> None:
    ours, true = gradient(1, 20, width), gradient(1, 20, 1000)
    assert any("stretched" in note for note in appearance_notes(ours, true)) == noted


@pytest.mark.parametrize(
    ("fps", "extra", "refused"),
    [(None, 2399, False), (None, 2401, True), (25.0, 2401, False)],  # 0.15 s of 4 s, where no rate is stated
)
def test_sound_may_differ_from_the_picture_by_a_little(fps: float | None, extra: int, refused: bool) -> None:
    given = (np.zeros((100, 8, 8, 3), np.uint8), np.zeros(64_000 + extra, np.int16))

    def check() -> object:
        return clip_set([given], side="generated", fps=fps)

    if refused:
        with pytest.raises(InputError, match="State the frame rate"):
            check()
    else:
        assert check()


def test_sound_is_cut_and_padded_to_the_picture() -> None:
    frames, sound = np.zeros((10, 8, 8, 3), np.uint8), np.arange(1, 6401, dtype=np.int16)
    for given, wanted in ((np.r_[sound, sound[:1000]], sound), (sound[:6000], np.r_[sound[:6000], np.zeros(400)])):
        (one,) = clip_set([(frames, given)], side="generated").clips
        assert np.array_equal(one.read()[0]["audio"], wanted)


def corners_of(angle: float) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    turn = 2.5 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn, lambda points: points @ turn.T + [7, -3]


@pytest.mark.parametrize("template", [ARCFACE, DLIB])
def test_faces_are_mapped_from_the_frame_to_the_template(template: Any) -> None:
    turn, move = corners_of(0.4)
    back = similarity(move(template.points).astype(np.float32), template.points)
    assert back[:, :2] == pytest.approx(np.linalg.inv(turn), abs=1e-4)
    points = np.arange(136.0).reshape(68, 2) ** 1.1
    assert five_points(points)[[2, 3, 4]] == pytest.approx(points[[30, 48, 54]])
    assert five_points(points)[0] == pytest.approx(points[36:42].mean(axis=0))


def test_regions_of_the_protocol_come_before_those_of_the_clip(tmp_path: Path) -> None:
    (tmp_path / "lips.txt").write_text("3, 1")
    mesh = clip(4, template=np.zeros((1, 5, 3)), lips=np.array([[0, 2]], np.int32), upper=np.array([[4]], np.int32))
    named = protocol("paper-dawn", (f"mesh_lips={tmp_path / 'lips.txt'}",))
    assert FEATURES["meshlips"](named).run(mesh, {})["meshlips"].tolist() == [3, 1]
    assert FEATURES["meshlips"]().run(mesh, {})["meshlips"].tolist() == [0, 2]
    assert FEATURES["meshupper"](named).run(mesh, {})["meshupper"].tolist() == [4]
