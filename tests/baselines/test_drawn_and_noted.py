"""Outputs around their arrays: notes of reading, drawings of meshes, portraits without a video, moments of a face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from marked import marked_clip, marked_mesh
from spies import Spies

from dawn_bench.baselines import formats, mesh_files
from dawn_bench.baselines.base import Item
from dawn_bench.baselines.external import method as method_module
from dawn_bench.baselines.external.adapter import Adapter, Install
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.external.portrait import MethodPortrait, portrait_of
from dawn_bench.baselines.formats import VideoFormat
from dawn_bench.baselines.reframe import SAMPLED_FRAMES, face_of_output
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.base import box_around


@pytest.mark.parametrize("start", [None, 20])
def test_what_was_repaired_in_picture_and_sound_is_noted_in_this_order(
    start: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sound is that of the frames which are there, and of a second more, which decides on how it ends."""
    spies, frames = Spies(monkeypatch), np.zeros((15, 8, 8, 3), np.uint8)
    sound = np.arange(15 * 640 + 9, dtype=np.int16)
    spies.watch(formats, "read_film", returns=frames)
    spies.watch(formats, "probe", returns=SimpleNamespace(fps=30.0, notes=("picture repaired",)))
    spies.watch(formats, "decode_sound", returns=SimpleNamespace(samples=sound, notes=("sound mixed",)))
    output = VideoFormat().read(Path("a.mp4"), marked_clip(0, 40), notes=("given",), start=start)
    assert output.notes == ("given", "sound mixed", "picture repaired", "30.00 fps, read at 25 by timestamps")
    np.testing.assert_array_equal(output["audio"], sound[: 15 * 640])
    begin, call = (start or 0) / 25, spies.one("decode_sound")
    assert (call["start"], call["stop"], call["used"]) == pytest.approx((begin, begin + 1.6, begin + 0.6))
    read = spies.one("read_film")
    assert (read["begin"], read["most"]) == (start or 0, 65 if start is None else 40)


@pytest.mark.parametrize(("reason", "refused"), [("no_audio", False), ("unreadable", True), ("no_track", True)])
def test_damaged_sound_is_not_replaced_by_the_true_one(
    reason: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: Any, **__: Any) -> Any:
        raise ItemError(reason, "is so")

    monkeypatch.setattr(formats, "read_film", lambda *_, **__: np.zeros((5, 8, 8, 3), np.uint8))
    monkeypatch.setattr(formats, "probe", lambda path: SimpleNamespace(fps=25.0, notes=()))
    monkeypatch.setattr(formats, "decode_sound", decode)
    if refused:
        with pytest.raises(ItemError, match="bad_output"):
            VideoFormat().read(Path("a.mp4"), marked_clip(0, 5))
    else:
        assert len(VideoFormat().read(Path("a.mp4"), marked_clip(0, 5))["audio"]) == 5 * 640


@pytest.mark.parametrize("fps", [25, 30, 60])
def test_a_drawing_is_of_the_first_take_at_the_rate_and_with_the_sound_of_its_clip(
    fps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spies, clip = Spies(monkeypatch), marked_mesh(1, 6, fps=fps)
    template = clip["template"]

    class Renderer:
        def __init__(self, rest: np.ndarray, triangles: np.ndarray | None, *, size: int) -> None:
            assert np.array_equal(rest, template[0]) and triangles is None and size == mesh_files.SIDE

        def frames(self, vertices: np.ndarray) -> np.ndarray:
            return vertices

    takes = np.stack([clip["vertices"], clip["vertices"] + 0.001])
    mesh_files.write_mesh(tmp_path / "m1.npy", takes, clip)
    monkeypatch.setattr(mesh_files, "MeshRenderer", Renderer)
    spies.watch(mesh_files, "write_video", returns=None)
    assert mesh_files.draw_mesh(tmp_path / "m1.npy", clip, tmp_path / "new" / "m1.mp4") == tmp_path / "new" / "m1.mp4"
    written = spies.one("write_video")
    np.testing.assert_array_equal(written["frames"], takes[0])
    np.testing.assert_array_equal(written["audio"], clip["audio"])
    assert written["fps"] == fps and written["path"] == tmp_path / "new" / "m1.mp4"


def test_without_a_source_video_the_cached_frame_is_averaged_or_smoothed_to_the_methods_size() -> None:
    clip = marked_clip(1, 3)
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    clip = replace(clip, arrays={**clip.arrays, "frames": noise})
    half = portrait_of(clip, 16)
    mean = noise[0].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(half.picture - mean).max() <= 0.51 and ", reduced to 16 px: " in half.note and not half.from_source
    twice = portrait_of(clip, 64)
    np.testing.assert_array_equal(twice.picture, cv2.resize(noise[0], (64, 64), interpolation=cv2.INTER_CUBIC))
    assert ", enlarged to 64 px: " in twice.note


def test_a_portrait_that_was_looked_for_is_given_to_no_other_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a clip's video is there is asked before it is known that its output is kept."""
    adapter = Adapter(name="m", method_class="portrait", licence="l", source="s", argv=("x",), output="{out}/*.mp4")
    method = External(adapter, Install(python=Path("/bin/true"), repo=tmp_path), logs=tmp_path)
    clips = [marked_clip(k, 4) for k in range(2)]
    cut: list[str] = []

    def portrait(clip: Any, size: int | None) -> MethodPortrait:
        cut.append(clip.id)
        return MethodPortrait(np.asarray(clip["frames"][0]), clip.id, True)

    class Stop(Exception):
        """Ends a run where its files would be written."""

    def staged(adapter: Any, install: Any, item: Item, picture: np.ndarray) -> Any:
        raise Stop(item.clip.id, int(picture[0, 0, 0]))

    monkeypatch.setattr(method_module, "portrait_of", portrait)
    monkeypatch.setattr(method_module, "staged", staged)
    for asked, generated, looked_for in ((0, 0, ["c0"]), (0, 1, ["c0", "c1"]), (None, 1, ["c1"])):
        cut.clear()
        if asked is not None:
            assert method.has_source(clips[asked])
        with pytest.raises(Stop) as stopped:
            method.generate(Item(clips[generated], clips, 0))
        assert stopped.value.args == (f"c{generated}", 40 * (generated + 1)) and cut == looked_for


class Walker:
    """Sees one face, whose place is the level of the first pixel."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        x = float(frame[0, 0, 0])
        return np.array([[x, 20, x + 10, 30]], np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return np.stack([np.linspace(box[0], box[2], 68), np.linspace(box[1], box[3], 68)], -1)


def test_the_face_of_an_output_is_looked_for_from_its_first_frame_to_its_last() -> None:
    """It walks, and later faster: the median is that of moments that are evenly spread."""
    count = 4 * SAMPLED_FRAMES + 1
    places = np.r_[np.arange(count // 2), count // 2 + 3 * np.arange(count - count // 2)]
    frames = np.zeros((count, 48, 60, 3), np.uint8)
    frames[:] = places.reshape(-1, 1, 1, 1)
    at = np.unique(np.linspace(0, count - 1, SAMPLED_FRAMES).astype(int))
    boxes = [box_around(Walker().landmarks(frames[k], Walker().detect(frames[k])[0])) for k in at]
    np.testing.assert_allclose(face_of_output(frames, Walker()), np.median(boxes, axis=0), rtol=1e-5)  # type: ignore[arg-type]
