"""The face crop of the `tracked` LSE route: detections to one track, the track smoothed, 224 x 224 crops.

Canonical implementation: joonson/syncnet_python (`run_pipeline.py`: track_shot and crop_video), from decoded frames on:
its four lossy codings are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy.signal import medfilt

MIN_IOU = 0.5
MAX_GAP = 25  # frames
MEDIAN = 13  # taps
MARGIN = 0.4  # share of the half side
GREY = 110
SIDE = 224


class Track(NamedTuple):
    """One face through time: frame numbers int64 (N,), consecutive, and boxes float64 (N,4) x0, y0, x1, y1."""

    frames: np.ndarray
    boxes: np.ndarray


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Shared area of two boxes over the area that they cover together."""
    width, height = np.maximum(0, np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2]))
    shared = width * height
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (area_a + area_b - shared))


def tracks(
    detections: Sequence[np.ndarray], *, more_than: int = 100, larger_than: float = 100.0, max_gap: int = MAX_GAP
) -> list[Track]:
    """Join the detections of one shot to faces, each filled up by linear interpolation between detections.

    Args:
        detections: one float array (n,4 or more) of boxes per frame; n may be 0.
        more_than: a face needs more detections than this. The canonical 100 drops every clip of 4 s.
        larger_than: and a mean width or height above this, pixels. The canonical 100 drops every 128 px picture.
        max_gap: a face may be missing for this many frames less one.

    Returns:
        The faces that are kept, in the order of their first detection.
    """
    left = [list(boxes) for boxes in detections]
    found = []
    while any(left):
        seen: list[tuple[int, np.ndarray]] = []
        for number, boxes in enumerate(left):
            if seen and number - seen[-1][0] > max_gap and boxes:
                break
            match = next((k for k, b in enumerate(boxes) if not seen or iou(b, seen[-1][1]) > MIN_IOU), None)
            if match is not None:
                seen.append((number, boxes.pop(match)))
        if len(seen) <= more_than:
            continue
        at = np.array([number for number, _ in seen])
        held = np.array([box[:4] for _, box in seen], dtype=np.float64)
        frames = np.arange(at[0], at[-1] + 1)
        boxes_N4 = np.stack([np.interp(frames, at, held[:, k]) for k in range(4)], axis=1)
        if (boxes_N4[:, 2:] - boxes_N4[:, :2]).mean(axis=0).max() > larger_than:
            found.append(Track(frames, boxes_N4))
    return found


def smoothed(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre x, centre y and half side of boxes (N,4), each float64 (N,) after a median of 13 frames.

    The median sees zeros beyond the ends, as the canonical one does.
    """
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    wide = np.pad([centre[:, 0], centre[:, 1], half], ((0, 0), (MEDIAN // 2, MEDIAN // 2)))
    x, y, size = (medfilt(row, MEDIAN)[MEDIAN // 2 : -(MEDIAN // 2)] for row in wide)
    return x, y, size


def crop(frame: np.ndarray, x: float, y: float, half: float) -> np.ndarray:
    """The square around a face, more below than above: uint8 (224,224,3) of a frame uint8 (H,W,3); grey outside."""
    border = int(half * (1 + 2 * MARGIN))
    padded = cv2.copyMakeBorder(frame, border, border, border, border, cv2.BORDER_CONSTANT, value=(GREY, GREY, GREY))
    top, bottom = int(y + border - half), int(y + border + half * (1 + 2 * MARGIN))
    first, last = int(x + border - half * (1 + MARGIN)), int(x + border + half * (1 + MARGIN))
    return cv2.resize(padded[top:bottom, first:last], (SIDE, SIDE))
