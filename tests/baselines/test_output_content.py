"""Outputs by content: order and colours of frames, sound and pictures of a piece's place, takes, and whose sound."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from marked import marked_clip, marked_mesh
from spies import Spies

from dawn_bench.baselines import reframe
from dawn_bench.baselines.base import METHODS, Context, Generated, Item
from dawn_bench.baselines.formats import FORMATS, MeshFormat, VideoFormat, format_of
from dawn_bench.baselines.methods import reencoded
from dawn_bench.baselines.reframe import Reframed, face_of_output
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.base import box_around
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.workflow.pieces import cut_piece

WHOLE = marked_clip(1, 60)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole marked clip as an output."""
    path = tmp_path_factory.mktemp("outputs") / "c1.mp4"
    VideoFormat().write(path, Generated(np.asarray(WHOLE["frames"]), np.asarray(WHOLE["audio"])), WHOLE)
    return path


def test_a_video_keeps_order_colours_and_sound(file: Path) -> None:
    back = VideoFormat().read(file, WHOLE, notes=("given",))
    np.testing.assert_array_equal(back["frames"], WHOLE["frames"])
    assert (back.id, back.speaker, back.split, back.n_frames, back.notes) == ("c1", "s1", "test", 60, ("given",))
    assert len(back["audio"]) == 60 * 640 and np.corrcoef(back["audio"], WHOLE["audio"])[0, 1] > 0.99


@pytest.mark.parametrize("start", [0, 7, 20])
def test_a_piece_has_the_pictures_and_the_sound_of_its_place(start: int, file: Path) -> None:
    piece = cut_piece(WHOLE, start, start + 20)
    back = VideoFormat().read(file, piece, start=start)
    np.testing.assert_array_equal(back["frames"], WHOLE["frames"][start : start + 20])
    np.testing.assert_array_equal(piece["frames"], back["frames"])
    assert len(back["audio"]) == 20 * 640 and back.id == f"c1_f{start:05d}"
    # aligned to the sample: a shift of a quarter of a period of 290 Hz would show
    assert np.corrcoef(back["audio"], piece["audio"])[0, 1] > 0.98
    for other in {0, 7, 20} - {start}:
        wrong = WHOLE["audio"][other * 640 : (other + 20) * 640]
        assert (
            np.abs(back["audio"] - wrong.astype(float)).mean()
            > np.abs(back["audio"] - piece["audio"].astype(float)).mean()
        )


@pytest.mark.parametrize(("n_frames", "read"), [(60, 60), (35, 60), (34, 59), (10, 35)])
def test_a_longer_file_is_read_a_second_beyond_its_clip(n_frames: int, read: int, file: Path) -> None:
    assert VideoFormat().read(file, marked_clip(1, n_frames)).n_frames == read


@pytest.mark.parametrize(
    ("n_frames", "length", "noted"), [(20, 20, False), (21, 21, True), (22, 22, True), (23, 20, False)]
)
def test_the_last_picture_stays_for_less_than_its_own_time(
    n_frames: int, length: int, noted: bool, tmp_path: Path
) -> None:
    """Eight pictures at 10 fps are 20 frames; each lasts for 2.5."""
    frames = np.repeat(10 * np.arange(8, dtype=np.uint8), 16 * 16 * 3).reshape(8, 16, 16, 3)
    write_video(tmp_path / "a.mp4", frames, fps=10, lossless=True)
    back = VideoFormat().read(tmp_path / "a.mp4", marked_clip(0, n_frames))
    assert back.n_frames == length and (back["frames"][20:] == 70).all()
    assert any("its last picture stays" in note for note in back.notes) == noted
    assert any("10.00 fps, read at 25 by timestamps" in note for note in back.notes)


def test_a_silent_file_has_the_sound_of_its_own_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", np.asarray(WHOLE["frames"][:15]), lossless=True)
    back = VideoFormat().read(tmp_path / "a.mp4", marked_clip(2, 20))
    np.testing.assert_array_equal(back["audio"], marked_clip(2, 20)["audio"][: 15 * 640])
    mute = Clip("c", "s", "test", 15, {"frames": WHOLE["frames"][:15]})
    assert "audio" not in VideoFormat().read(tmp_path / "a.mp4", mute)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": np.zeros((2, 8, 8, 3), np.float32)},
        {"frames": np.zeros((2, 8, 8), np.uint8)},
        {"frames": np.zeros((2, 8, 8, 4), np.uint8)},
        {"frames": np.zeros((0, 8, 8, 3), np.uint8)},
        {"frames": np.zeros((2, 8, 8, 3), np.uint8), "audio": np.zeros(9, np.float32)},
        {"frames": np.zeros((2, 8, 8, 3), np.uint8), "audio": np.zeros((9, 1), np.int16)},
    ],
)
def test_arrays_that_are_no_clip_are_a_bad_output(wrong: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ItemError, match="bad_output"):
        VideoFormat().write(tmp_path / "a.mp4", Generated(**wrong), WHOLE)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_meshes_of_every_layout_are_the_same_and_each_take_is_its_own(tmp_path: Path) -> None:
    clip, path = marked_mesh(0, 6), tmp_path / "m0.npy"
    takes = np.stack([clip["vertices"] + 0.001 * k for k in range(3)])
    assert MeshFormat().write(path, Generated(vertices=takes), clip) == {"takes": 3}
    for take, expected in ((0, 0), (1, 1), (2, 2), (3, 2)):
        back = MeshFormat().read(path, clip, take=take, notes=("given",))
        np.testing.assert_array_equal(back["vertices"], takes[expected])
        assert (back.id, back.n_frames, back.fps, back.notes[0]) == ("m0", 6, clip.fps, "given")
        np.testing.assert_array_equal(back["template"], clip["template"])
        assert "audio" not in back
    for layout in (clip["vertices"].reshape(6, 15), clip["vertices"], clip["vertices"].transpose(0, 2, 1), takes[:1]):
        np.save(path, layout)
        np.testing.assert_allclose(MeshFormat().read(path, clip)["vertices"], clip["vertices"], atol=1e-6)


def test_an_output_that_is_written_again_has_no_drawing_of_the_one_before(tmp_path: Path) -> None:
    """The gallery draws only what has no drawing yet."""
    for clip in (marked_mesh(0, 6), marked_clip(0, 6)):
        kind, drawing = format_of(clip), tmp_path / f"{clip.id}.mp4"
        drawing.write_bytes(b"the one before")
        new = (
            Generated(clip["frames"], clip["audio"]) if "frames" in clip else Generated(vertices=clip["vertices"][None])
        )
        kind.write(tmp_path / f"{clip.id}{kind.suffix}", new, clip)
        assert not drawing.exists() or drawing.read_bytes() != b"the one before"


def test_each_modality_has_a_format_of_its_own() -> None:
    assert {name: kind.suffix for name, kind in FORMATS.items()} == {"video": ".mp4", "mesh": ".npy"}
    assert format_of(WHOLE) is FORMATS["video"] and format_of(marked_mesh(0, 2)) is FORMATS["mesh"]
    assert (FORMATS["video"].field, FORMATS["mesh"].field) == ("frames", "vertices")


def test_shuffled_sound_is_that_of_the_next_clip() -> None:
    """In the order of the set, the last takes the first's; a shorter sound is repeated, a longer one cut."""
    clips = [marked_clip(0, 6), marked_clip(1, 4), marked_clip(2, 9)]
    for number, clip in enumerate(clips):
        output = METHODS["shuffled-sound"](Context()).generate(Item(clip, clips, 0))
        other = clips[(number + 1) % 3]
        np.testing.assert_array_equal(output.audio, np.resize(other["audio"], clip.n_frames * 640))
        np.testing.assert_array_equal(output.frames, clip["frames"])
    meshes = [marked_mesh(0, 6), marked_mesh(1, 4)]
    (moved,) = METHODS["shuffled-sound"](Context(modality="mesh")).generate(Item(meshes[0], meshes, 0)).vertices
    offsets = (meshes[1]["vertices"] - meshes[1]["template"])[[0, 1, 2, 3, 0, 1]]
    np.testing.assert_allclose(moved, meshes[0]["template"] + offsets, atol=1e-6)


def test_a_still_clip_repeats_frame_0_or_the_face_at_rest() -> None:
    clip, mesh = marked_clip(1, 5), marked_mesh(1, 5)
    output = METHODS["still"](Context()).generate(Item(clip, [clip], 0))
    np.testing.assert_array_equal(output.frames, np.repeat(clip["frames"][:1], 5, axis=0))
    (vertices,) = METHODS["still"](Context(modality="mesh")).generate(Item(mesh, [mesh], 0)).vertices
    np.testing.assert_array_equal(vertices, np.repeat(mesh["template"], 5, axis=0))


def test_the_reencoded_truth_went_through_x264s_default_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spies = Spies(monkeypatch)
    spies.watch(reencoded, "write_video")
    spies.watch(reencoded, "read_film", returns=lambda path, keeps: np.repeat(WHOLE["frames"], 2, axis=0))
    clip = marked_clip(1, 12)
    output = METHODS["ground-truth-reencoded"](Context()).generate(Item(clip, [clip], 0))
    written = spies.one("write_video")
    np.testing.assert_array_equal(written["frames"], clip["frames"])
    assert (written["crf"], written["lossless"], written["fps"]) == (23, False, 25)
    assert len(output.frames) == 12 and output.audio is not None
    np.testing.assert_array_equal(output.audio, clip["audio"])


def test_faces_are_aligned_in_the_file_and_at_the_place_of_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The true box is the median over all frames; the output's is looked for near it, in the output's own pixels."""
    spies, clip = Spies(monkeypatch), marked_clip(1, 5)
    output = Clip(
        "c1", "s", "test", 5, {"frames": np.zeros((5, 48, 64, 3), np.uint8), "audio": np.arange(3200, dtype=np.int16)}
    )
    ours = np.array([1.0, 2, 21, 22])
    spies.watch(reframe, "read_output", returns=lambda *_, **__: output)
    spies.watch(reframe, "face_of_output", returns=ours)
    monkeypatch.setattr(reframe, "pick_backend", lambda: SimpleNamespace(fingerprint=lambda: "back end"))
    spies.watch(reframe, "place", returns=lambda *_, **__: clip["frames"])
    files = {"c1": Path("theirs.mp4"), "c2": Path("other.mp4")}
    method = Reframed("mine", "portrait", files, "key", starts={"c1": 40})
    generated: Any = method.generate(Item(clip, [clip], 0))
    read, placed = spies.one("read_output"), spies.one("place")
    assert (read["path"], read["truth"] is clip, read["start"]) == (Path("theirs.mp4"), True, 40)
    target = np.median([box_around(points) for points in clip["landmarks"]], axis=0)
    np.testing.assert_allclose(placed["target"], target, atol=1e-4)
    np.testing.assert_allclose(spies.one("face_of_output")["near"], target * 2, atol=1e-4)
    assert placed["box"] is ours and placed["size"] == 32 and placed["frames"] is output["frames"]
    assert generated.audio is output["audio"]
    with pytest.raises(ItemError, match="no output to align"):
        method.generate(Item(marked_clip(3, 2), [], 0))


class TwoFaces:
    """The larger face first, and one at the right, which moves; frames of level 0 show none."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        right = float(frame[0, 0, 0])
        return np.array([[0, 0, 30, 30], [right, 40, right + 10, 50]] if right else [], np.float32).reshape(-1, 4)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return np.stack([np.linspace(box[0], box[2], 68), np.linspace(box[1], box[3], 68)], -1)


def test_the_face_of_an_output_is_the_one_near_the_true_face() -> None:
    frames = np.zeros((7, 60, 80, 3), np.uint8)
    frames[1:] = np.array([50, 51, 52, 53, 54, 60], np.uint8).reshape(-1, 1, 1, 1)
    measured = face_of_output(frames, TwoFaces(), near=np.array([55, 38, 66, 52.0]))  # type: ignore[arg-type]
    boxes = [box_around(TwoFaces().landmarks(f, TwoFaces().detect(f)[1])) for f in frames[1:]]
    np.testing.assert_allclose(measured, np.median(boxes, axis=0), rtol=1e-5)
    largest = face_of_output(frames, TwoFaces())  # type: ignore[arg-type]
    np.testing.assert_allclose(
        largest, box_around(TwoFaces().landmarks(frames[1], np.array([0, 0, 30, 30]))), rtol=1e-5
    )
