"""The face crop of the `tracked` LSE route: detections joined to tracks, smoothed, and cropped to 224 x 224.

Canonical implementation: joonson/syncnet_python (`run_pipeline.py`: track_shot and crop_video), starting from decoded
frames: its four lossy encodings are omitted.
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


class FaceTrack(NamedTuple):
    """One face through time: frame numbers int64 (N,), consecutive, and boxes float64 (N,4) x0, y0, x1, y1."""

    frames: np.ndarray
    boxes: np.ndarray


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    width, height = np.maximum(0, np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2]))
    shared = width * height
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (area_a + area_b - shared))


def tracks(
    detections: Sequence[np.ndarray], *, more_than: int = 100, larger_than: float = 100.0, max_gap: int = MAX_GAP
) -> list[FaceTrack]:
    """Join the detections of one shot to tracks, with linear interpolation between detections.

    Args:
        detections: one float array (n,4 or more) of boxes per frame; n may be 0.
        more_than: a track needs more detections than this. The canonical 100 drops every clip of 4 s.
        larger_than: a track needs a mean width or height above this, pixels. The canonical 100 drops every 128 px clip.
        max_gap: a face may be missing for this many frames less one.

    Returns:
        The tracks in the order of their first detection.
    """
    left = [list(boxes) for boxes in detections]
    kept = []
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
        known = np.array([box[:4] for _, box in seen], dtype=np.float64)
        frames = np.arange(at[0], at[-1] + 1)
        boxes_N4 = np.stack([np.interp(frames, at, known[:, k]) for k in range(4)], axis=1)
        if (boxes_N4[:, 2:] - boxes_N4[:, :2]).mean(axis=0).max() > larger_than:
            kept.append(FaceTrack(frames, boxes_N4))
    return kept


def smoothed(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre x, centre y and half side of boxes (N,4), each float64 (N,) after a median of 13 frames.

    The median is zero-padded at the ends, as in the canonical code.
    """
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    wide = np.pad([centre[:, 0], centre[:, 1], half], ((0, 0), (MEDIAN // 2, MEDIAN // 2)))
    x, y, size = (medfilt(row, MEDIAN)[MEDIAN // 2 : -(MEDIAN // 2)] for row in wide)
    return x, y, size


def crop(frame: np.ndarray, x: float, y: float, half: float) -> np.ndarray:
    """The crop around a face, with more below than above: uint8 (224,224,3) of a frame uint8 (H,W,3); grey outside."""
    border = int(half * (1 + 2 * MARGIN))
    padded = cv2.copyMakeBorder(frame, border, border, border, border, cv2.BORDER_CONSTANT, value=(GREY, GREY, GREY))
    top, bottom = int(y + border - half), int(y + border + half * (1 + 2 * MARGIN))
    first, last = int(x + border - half * (1 + MARGIN)), int(x + border + half * (1 + MARGIN))
    return cv2.resize(padded[top:bottom, first:last], (SIDE, SIDE))
