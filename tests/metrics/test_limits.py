"""Limits of metrics and scorer, one below, at and above each: gaps, shares, lengths, thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.features.lpips import MIN_SIDE
from dawn_bench.metrics.protocols.base import PAPER_DAWN, PAPER_DAWN_TRACKED, protocol
from dawn_bench.metrics.scoring.appearance import appearance_notes
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, Metric
from dawn_bench.metrics.scoring.clip_sets import clip_set
from dawn_bench.metrics.scoring.frames import joined, length_without, missing_end, missing_words, ranges
from dawn_bench.metrics.scoring.matching import FileLoad, Matcher, cut, matched
from dawn_bench.metrics.scoring.person import Face, Person, clearly_at, face_at, person_of, target_of, which
from dawn_bench.metrics.scoring.pictures import SHARE, STILL, Pictures
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.text import counted


def clip(n: int, *, height: int = 16, width: int = 20, name: str = "a", seed: int = 0, **fields: np.ndarray) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    sound = np.arange(n * SAMPLES_PER_FRAME).astype(np.int16)
    return Clip(name, "s", "test", n, {"frames": frames, "audio": sound, **fields})


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
    few = f"{counted(least - 1, metric.minimum_of[:-1])}, at least {least} are needed"
    assert metric().too_few(least - 1) == few
    assert metric().imprecise(least - 1) == f"imprecise, which its rank does not consider: {few}"
    assert metric().imprecise(least) == ""


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
    assert missing_words({"b": "9", "a": "8-9"}) == "frames are missing at the end of 2 clips (8-9 of a, 9 of b)"


def test_a_cut_keeps_the_sound_with_its_frames_and_whole_fields_whole() -> None:
    template, lips = np.zeros((1, 5, 3), np.float32), np.array([[1, 2]], np.int32)
    whole = clip(10, vertices=np.arange(10.0)[:, None, None] + template, template=template, lips=lips)
    part = cut(whole, 3, 7)
    assert part.n_frames == 4 and np.array_equal(part["frames"], whole["frames"][3:7])
    assert part["audio"].tolist() == list(range(3 * 640, 7 * 640))
    assert part["vertices"][:, 0, 0].tolist() == [3, 4, 5, 6]
    assert np.array_equal(part["template"], template) and np.array_equal(part["lips"], lips)
    assert cut(whole, 0, 10) is whole and cut(whole, 0, 9) is not whole


def test_a_file_that_was_read_before_is_compared_with_the_same_frames(tmp_path: Path) -> None:
    """The second time its arrays are decoded late; those of the true clip begin at the same frame."""
    (tmp_path / "a.mp4").write_bytes(b"any content")
    true, ours, decoded = clip(9), clip(7, height=32, width=40, seed=1), []
    load = FileLoad(tmp_path / "a.mp4", lambda: decoded.append(1) or ours)  # type: ignore[func-returns-value]
    rules = protocol("paper-dawn", ("skip_first=2",))
    pairs = [Matcher(rules, tmp_path / "matched")(load, true) for _ in range(2)]
    assert len(decoded) == 1 and pairs[0][2] == pairs[1][2]
    for output, cut_true, _ in pairs:
        assert output.n_frames == cut_true.n_frames == 5
        assert np.array_equal(cut_true["frames"], true["frames"][2:7])
        assert cut_true["audio"].tolist() == true["audio"][1280:4480].tolist()
        assert np.array_equal(output["frames"], matched(ours, true, rules)[0]["frames"])
        assert output["audio"].tolist() == ours["audio"][1280:4480].tolist()


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


@pytest.mark.parametrize("skipped", [0, 2])
def test_the_frames_that_all_methods_have_are_counted_from_the_first_of_the_true_clip(skipped: int) -> None:
    """Of ten frames the others have eight; those that the protocol skips are among them."""
    given: dict[str, Any] = {"dataset": "d", "split": "test", "metrics": ["psnr"], "lengths": {"a": 8}}
    rules = protocol("paper-dawn", (f"skip_first={skipped}",))
    (row,) = score_method("m", [clip(10, seed=1), clip(10, name="b")], [clip(10), clip(10, name="b", seed=1)],
                          protocol=rules, **given)  # fmt: skip
    assert row.n_frames == (8 - skipped) + (10 - skipped) and row.left_out == {"a": "8-9"}
    assert row.frames_missing == {} and "1 clip cut to the frames that all methods have" in row.note


def test_frames_that_do_not_count_are_counted_on_the_true_clip() -> None:
    """Of every fifth frame the second lacks a face; a track leaves out what lies before and after it."""
    for settings, frames, ends in (((), "5, 15", "0-2, 13-19"), (("skip_first=2",), "7, 17", "2-4, 15-21")):
        csim, lse = (METRICS[name](protocol("paper-dawn", settings)) for name in ("csim", "lse-d"))
        found = np.array([True, False, True, False])
        faces = {"identity.dlib": np.ones((4, 2)), "identity.found": found}
        csim.update(faces, {**faces, "identity.found": ~(~found & False)}, clip_id="a")
        windows = {"syncnet.lip": np.ones((5, 2)), "syncnet.audio": np.eye(5)[:, :2]}
        lse.update({**windows, "syncnet.track": np.array([3, 12, 20])}, {}, clip_id="a")
        assert (csim.left_out(csim.records["a"]), lse.left_out(lse.records["a"])) == (frames, ends)


def test_pieces_keep_their_length_and_remainder_in_the_fields_and_in_the_id() -> None:
    named = ((5, "half", "-pieces-5"), (7, "drop", "-pieces-7-drop"), (9, "keep", "-pieces-9-keep"))
    for length, remainder, name in named:
        rules = PAPER_DAWN.in_pieces(length, remainder)  # type: ignore[arg-type]
        assert (rules.piece_length, rules.piece_remainder, rules.id) == (length, remainder, f"paper-dawn{name}")
        assert protocol(rules.id) == rules and rules.in_pieces(None) == PAPER_DAWN
        assert protocol("paper-dawn", (f"piece_length={length}", f"piece_remainder={remainder}")) == rules


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


def test_a_clip_is_compared_from_its_first_frame_to_its_last() -> None:
    true = gradient(40)
    late = true.copy()
    late[10:] = late[10:, ..., ::-1]
    assert appearance_notes(late, true) == ["looks wrong: red and blue are swapped"]
    assert appearance_notes(late[:20], true[:20]) == []  # half of the frames at which one looks


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


def test_regions_of_the_protocol_come_before_those_of_the_clip(tmp_path: Path) -> None:
    (tmp_path / "lips.txt").write_text("3, 1")
    mesh = clip(4, template=np.zeros((1, 5, 3)), lips=np.array([[0, 2]], np.int32), upper=np.array([[4]], np.int32))
    named = protocol("paper-dawn", (f"mesh_lips={tmp_path / 'lips.txt'}",))
    assert FEATURES["meshlips"](named).run(mesh, {})["meshlips"].tolist() == [3, 1]
    assert FEATURES["meshlips"]().run(mesh, {})["meshlips"].tolist() == [0, 2]
    assert FEATURES["meshupper"](named).run(mesh, {})["meshupper"].tolist() == [4]
