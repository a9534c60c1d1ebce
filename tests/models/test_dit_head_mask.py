"""The hole in the face: covers the mouth and no eye, independent of the jaw; nothing in it is looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.models.dit_head.audio import windows
from dawn_bench.models.dit_head.config import MaskConfig
from dawn_bench.models.dit_head.mask import FILL, frame_mask, mouth_mask
from dawn_bench.models.dit_head.pictures import cut_out, paste
from dawn_bench.pipelines.extractors.head import HEAD
from dawn_bench.pixels import to_frames, to_signed

SIZE = 96


def face(opening: np.ndarray) -> np.ndarray:
    """The generic head, frontal, whose chin and lower lip go down by `opening` (T,) pixels."""
    one = HEAD[:, :2] / 140_000 * (1, -1) * 56 + (48, 44)
    points = np.tile(one, (len(opening), 1, 1))
    points[:, 5:12, 1] += opening[:, None]
    points[:, [55, 56, 57, 58, 59, 65, 66, 67], 1] += opening[:, None, None][:, 0]
    return points.astype(np.float32)


SPEECH = face(4 + 4 * np.sin(np.arange(40)))


def inside(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    at = np.round(points).astype(int)
    return np.stack([m[p[:, 1], p[:, 0]] for m, p in zip(mask, at, strict=True)])


@pytest.mark.parametrize("shape", ["polygon", "lower-half"])
def test_landmarks_that_are_not_known_are_refused(shape: str) -> None:
    marks, config = SPEECH.copy(), MaskConfig(shape=shape)
    marks[20, 8] = np.nan
    with pytest.raises(ItemError, match="not_finite: the landmarks"):
        mouth_mask(marks, SIZE, config)
    clip = Clip("c", "s", "train", 40, {"landmarks": marks})
    with pytest.raises(InputError, match="clip c: landmarks has values that are not finite"):
        frame_mask(clip, 20, config, size=SIZE)
    assert frame_mask(clip, 20 - config.spread - 1, config, size=SIZE).any()


@pytest.mark.parametrize("shape", ["polygon", "lower-half"])
def test_the_mask_covers_the_mouth_and_never_the_eyes(shape: str) -> None:
    mask = mouth_mask(SPEECH, SIZE, MaskConfig(shape=shape))
    assert mask.shape == (40, SIZE, SIZE) and mask.dtype == bool
    assert inside(mask, SPEECH[:, 48:]).all()
    assert not inside(mask, SPEECH[:, 36:48]).any() and not inside(mask, SPEECH[:, 17:27]).any()


def test_the_polygon_leaves_the_cheeks_contour_and_the_background() -> None:
    mask = mouth_mask(SPEECH, SIZE, MaskConfig())
    assert not inside(mask, SPEECH[:, [0, 1, 15, 16]]).any()
    assert 0.05 < mask.mean() < 0.3


def test_the_masks_lower_edge_does_not_tell_how_far_the_mouth_is_open() -> None:
    """Pixels of the edge a pixel of opening, in speech that opens and shuts within the spread."""
    opening = SPEECH[:, 8, 1]

    def leak(spread: int) -> float:
        mask = mouth_mask(SPEECH, SIZE, MaskConfig(spread=spread))
        edge = mask[:, :, 48].sum(axis=1)
        return abs(np.polyfit(opening, edge, 1)[0])

    assert leak(0) > 0.8 and leak(5) < 0.1


@pytest.mark.parametrize("frame", [0, 3, 20, 39])
def test_one_frames_mask_is_that_of_the_whole_clip(frame: int) -> None:
    clip = Clip("c", "s", "train", 40, {"landmarks": SPEECH})
    whole = mouth_mask(SPEECH, SIZE, MaskConfig())
    np.testing.assert_array_equal(frame_mask(clip, frame, MaskConfig(), size=SIZE), whole[frame])


def test_points_outside_the_picture_cut_the_polygon_off() -> None:
    mask = mouth_mask(SPEECH[:1] + np.float32([40, 30]), SIZE, MaskConfig())
    assert mask.any() and mask.shape == (1, SIZE, SIZE)


def test_windows_repeat_the_clips_ends() -> None:
    features = np.arange(8, dtype=np.float16)[:, None] * [1, 10]
    windowed = windows(features, 5)
    assert windowed.shape == (8, 11, 2) and windowed.dtype == np.float32
    assert windowed[0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert windowed[7, :, 0].tolist() == [2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7]
    np.testing.assert_array_equal(windows(features, 5, np.array([7, 2])), windowed[[7, 2]])
    np.testing.assert_array_equal(windowed[:, 5], features)


def test_pictures_come_back_as_they_were_and_holes_are_black() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    signed_frames = to_signed(torch.from_numpy(np.moveaxis(frames, -1, 1).copy()))
    np.testing.assert_array_equal(to_frames(signed_frames, signed=True), frames)
    hole = torch.zeros(2, 8, 8, dtype=torch.bool)
    hole[0, 2:4, 5] = True
    cut = cut_out(signed_frames, hole)
    assert (cut[0, :, 2:4, 5] == FILL).all() and torch.equal(cut[1], signed_frames[1])
    np.testing.assert_array_equal(to_frames(cut, signed=True)[0, 2:4, 5], 0)


@pytest.mark.parametrize("seam", [0.0, 0.1])
def test_pasting_changes_only_the_hole_and_sees_nothing_in_it(seam: float) -> None:
    rng = np.random.default_rng(0)
    given, generated = (rng.integers(40, 200, (2, 32, 32, 3), np.uint8) for _ in range(2))
    hole = np.zeros((2, 32, 32), bool)
    hole[:, 10:24, 8:22] = True
    done = paste(generated, given, hole, seam=seam)
    np.testing.assert_array_equal(done[~hole], given[~hole])
    other = np.where(hole[..., None], 255 - given, given)
    np.testing.assert_array_equal(paste(generated, other, hole, seam=seam)[hole], done[hole])
    if seam == 0:
        np.testing.assert_array_equal(done[hole], generated[hole])


def test_the_seam_takes_the_colours_of_its_surroundings() -> None:
    given, generated = np.full((1, 64, 64, 3), 120, np.uint8), np.full((1, 64, 64, 3), 90, np.uint8)
    hole = np.zeros((1, 64, 64), bool)
    hole[:, 16:48, 16:48] = True
    done = paste(generated, given, hole, seam=0.05)[0].astype(int)
    assert abs(done[16, 32, 0] - 120) < 8 and done[32, 32, 0] == 90
    assert (np.diff(done[16:33, 32, 0]) <= 0).all()
