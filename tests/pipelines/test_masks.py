"""Face and lip masks."""

from __future__ import annotations

import numpy as np

from dawn_bench.masks import face_mask, lip_mask


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
