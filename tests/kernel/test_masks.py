"""Face and lip regions: one definition, which clips offer, and the released code's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dawn_bench.clip import Clip
from dawn_bench.masks import face_mask, lip_box, lip_mask, released_box_mask


def test_a_face_mask_covers_the_pixels_that_its_box_touches() -> None:
    mask = face_mask(np.array([2.0, 3.0, 5.0, 4.0]), 8)
    rows, columns = np.nonzero(mask)
    assert mask.dtype == bool
    assert set(rows) == {3, 4} and set(columns) == {2, 3, 4, 5}


def test_masks_are_cut_off_at_the_frame_and_take_many_boxes() -> None:
    masks = face_mask(np.array([[-5.0, -5.0, 1.4, 20.0], [20.0, 0.0, 30.0, 3.0]]), 8)
    assert masks.shape == (2, 8, 8)
    assert masks[0, :, :2].all() and not masks[0, :, 2:].any()
    assert not masks[1].any()


def test_a_lip_mask_follows_the_mouth_and_scales() -> None:
    points = np.zeros((1, 68, 2))
    points[0, 48:] = np.linspace((10, 20), (19, 25), 20)
    mask = lip_mask(points, 32)
    rows, columns = np.nonzero(mask[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 25, 10, 19)
    small = lip_mask(points, 8, frame_size=32)
    rows, columns = np.nonzero(small[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 6, 2, 4)


def clip_of(frames: int = 5, size: int = 16, **arrays: np.ndarray) -> Clip:
    points = np.full((frames, 68, 2), 4.0, np.float32)
    points[:, 48:] = np.linspace((6, 9), (10, 12), 20)
    points[:, 48:, 0] += np.arange(frames)[:, None]
    box = np.array([[2, 3, 12, 14]] * frames, np.float32)
    stored = {"frames": np.zeros((frames, size, size, 3), np.uint8), "landmarks": points, "bbox": box}
    return Clip("a", "s", "train", frames, stored | arrays)


def test_a_clip_offers_masks_that_its_cache_does_not_store() -> None:
    clip = clip_of()
    assert "lip_mask" in clip and "face_mask" in clip and "lip_mask" not in clip.arrays
    assert clip.fields == ["bbox", "face_mask", "frames", "landmarks", "lip_mask"]
    for name, whole in (("lip_mask", lip_mask(clip["landmarks"], 16)), ("face_mask", face_mask(clip["bbox"], 16))):
        mask = clip[name]
        assert mask.dtype == bool and mask.shape == (5, 16, 16) and len(mask) == 5 and whole.any()
        np.testing.assert_array_equal(mask, whole)
        for key in (slice(1, 4), 2, -1, slice(None, None, 2), (slice(0, 2), 10), [3, 0]):
            np.testing.assert_array_equal(mask[key], whole[key])
        assert mask[1:3].flags.writeable and torch.from_numpy(mask[1:3]).dtype == torch.bool
        assert mask.sum() == whole.sum() and np.array_equal(~mask, ~whole)


def test_a_stored_mask_comes_before_a_computed_one() -> None:
    stored = np.ones((5, 16, 16), np.bool_)
    assert clip_of(lip_mask=stored)["lip_mask"] is stored


def test_only_the_frames_that_are_looked_at_are_computed() -> None:
    landmarks = clip_of()["landmarks"].copy()
    landmarks[4] = np.nan  # casting it to a mask would warn
    clip = clip_of(landmarks=landmarks)
    assert clip["lip_mask"][:4].any() and clip["lip_mask"].nbytes == 5 * 16 * 16


def test_a_mask_that_does_not_follow_from_the_clip_is_not_there() -> None:
    clip = clip_of()
    without = Clip("b", "s", "train", 5, {k: clip[k] for k in ("frames", "landmarks")})
    assert "face_mask" not in without and "lip_mask" in without
    with pytest.raises(KeyError, match=r"clip b has no 'face_mask'; it has frames, landmarks, lip_mask\."):
        without["face_mask"]
    assert "lip_mask" not in Clip("c", "s", "train", 5, {"vertices": np.zeros((5, 3, 3))})


def test_the_lip_box_bounds_the_lips_only() -> None:
    np.testing.assert_array_equal(lip_box(clip_of()["landmarks"])[[0, 4]], [[6, 9, 10, 12], [10, 9, 14, 12]])


def test_the_released_mask_takes_boxes_in_our_order_and_any_batch() -> None:
    boxes = torch.tensor([[[2.0, 3.0, 5.0, 4.0]], [[0.0, 1.0, 0.5, 7.0]]])
    masks = released_box_mask(boxes, 8, height=8, width=8, swap_axes=True)
    assert masks.shape == (2, 1, 8, 8)
    rows, columns = masks[0, 0].nonzero().T.tolist()
    assert set(rows) == {3, 4, 5} and set(columns) == {2, 3, 4, 5, 6}  # one more on the far side
    half = released_box_mask(boxes[0, 0], 4, height=8, width=8, swap_axes=True)
    assert half.nonzero().tolist() == [[row, column] for row in (1, 2, 3) for column in (1, 2, 3)]
