"""Blinks from eye landmarks.

Canonical implementation: DinoMan/blink-detector, by the authors of the metric (Vougioukas et al., IJCV 2020). A blink
is a sharp fall of the mean eye aspect ratio of both eyes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import find_peaks

#: iBUG points of each eye: corner, two on the upper lid, other corner, two on the lower lid.
_EYES = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))
#: Minimum number of frames between two blinks.
APART = 4
#: Rise of the eye aspect ratio per frame at which the online detector considers an eye open again.
OPENING = 0.01


def openness(landmarks: np.ndarray) -> np.ndarray:
    """Eye aspect ratio, the mean of both eyes: float64 (T,) of iBUG points (T,68,2); about 0.3 open, below 0.2 shut."""
    points = landmarks.astype(np.float64)

    def distance(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(points[:, a] - points[:, b], axis=1)

    eyes = [(distance(b, f) + distance(c, e)) / (2 * distance(a, d)) for a, b, c, d, e, f in _EYES]
    return np.mean(eyes, axis=0)


def closing_edges(ear: np.ndarray, *, edge: float = 0.072) -> np.ndarray:
    """Frames at which the eyes close: local peaks of the fall of `ear` (T,) of at least `edge` a frame, 4 apart."""
    return find_peaks(-np.diff(ear), height=edge, distance=APART)[0]


def closures(ear: np.ndarray, *, threshold: float = 0.2, frames: int = 2) -> np.ndarray:
    """First frames of runs of at least `frames` frames below `threshold`; a run up to the end is not a blink."""
    shut = np.concatenate([[0], ear < threshold, [0]]).astype(np.int8)
    first, after = np.flatnonzero(np.diff(shut) == 1), np.flatnonzero(np.diff(shut) == -1)
    return first[(after - first >= frames) & (after < len(ear))]


class BlinkFacts(NamedTuple):
    """Blinks of one clip as runs of shut frames: first and last frame of each, and what follows from them.

    `seconds_seen` are those of the frames with a value, `intervals` the seconds between the first frames of two
    successive blinks, `duration` the mean length in seconds (NaN without a blink), `closed` the share of all frames
    below the threshold that have a value.
    """

    blinks: list[tuple[int, int]]
    seconds_seen: float
    intervals: np.ndarray
    duration: float
    closed: float

    @property
    def per_minute(self) -> float:
        """Blinks per minute in which the eyes were seen; NaN where they never were."""
        return 60 * len(self.blinks) / self.seconds_seen if self.seconds_seen else float("nan")


def blink_facts(
    ear: np.ndarray, *, fps: float = 25, threshold: float = 0.2, least: int = 2, most: int = 20
) -> BlinkFacts:
    """Blinks as maximal runs of `least` to `most` frames in which `ear` (T,) is below `threshold`; project's own.

    NaN, an eye that was not seen, is not shut and ends a run. Runs at either end count.
    """
    seen = np.isfinite(ear)
    shut = np.concatenate([[0], seen & (np.nan_to_num(ear, nan=np.inf) < threshold), [0]]).astype(np.int8)
    first, after = np.flatnonzero(np.diff(shut) == 1), np.flatnonzero(np.diff(shut) == -1)
    kept = (after - first >= least) & (after - first <= most)
    first, after = first[kept], after[kept]
    duration = float((after - first).mean() / fps) if len(first) else float("nan")
    closed = float(shut.sum() / seen.sum()) if seen.any() else float("nan")
    spans = list(zip(first.tolist(), (after - 1).tolist(), strict=True))
    return BlinkFacts(spans, float(seen.sum() / fps), np.diff(first) / fps, duration, closed)


def spans(ear: np.ndarray, edges: np.ndarray) -> list[tuple[int, int]]:
    """First and last frame of each blink around its closing edge, as the canonical offline detector gives them.

    A blink begins at the last local peak of `ear` (T,) before its edge that lies above the middle of the range (frame 0
    without one; the edge itself where the eye was not yet closing) and ends at the first such peak after it. A blink
    without such a peak before the next edge is dropped; the last one ends with the clip. Plateaus are not peaks, so
    that of five clean blinks only four may remain. The score counts edges, not spans.
    """
    middle, blinks = (ear.min() + ear.max()) / 2, []
    for i, edge in enumerate(edges):
        before = find_peaks(ear[: edge + 1], height=middle, distance=1)[0]
        start = edge if ear[edge - 1] <= ear[edge] else before[-1] if len(before) else 0
        last = i == len(edges) - 1
        after = find_peaks(ear[edge:] if last else ear[edge : edges[i + 1]], height=middle, distance=1)[0]
        if len(after) or last:
            blinks.append((int(start), int(edge + after[0] if len(after) else len(ear) - 1)))
    return blinks


def online(ear: np.ndarray, *, threshold: float = 0.2, frames: int = 2) -> list[tuple[int, int]]:
    """Blinks of the canonical online detector: the frame at which each ended and its length in frames.

    `frames` consecutive frames below `threshold` are a blink; it ends when `ear` (T,) is above the threshold and has
    risen by more than 0.01. Its length counts from the moment at which the eye was last at rest or opening, so it
    includes the closing. Eyes still closed at the end are not a blink.
    """
    blinks: list[tuple[int, int]] = []
    shut, length, below, previous = False, 0, 0, 0.0
    for t, now in enumerate(ear):
        length += 1
        if shut:
            if now > threshold and now - previous > OPENING:
                blinks.append((t, length))
                shut, length, below, previous = False, 0, 0, 0.0
                continue
        elif now < threshold:
            below += 1
            shut = below >= frames
        else:
            below = 0
            if now > previous or abs(previous - now) < OPENING:
                length = 0
        previous = float(now)
    return blinks
