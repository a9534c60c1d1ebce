"""Tells by how many quarter turns a picture of a face lies on its side or stands on its head.

dlib's HOG detector finds upright faces only, whichever back end places the points: in the first frames of 38 real clips
its best score is 0.7 to 3.2 for the upright picture, and at most 0.6 for the same picture turned (at most -0.1 on its
side), always at least 0.8 less. Networks such as YuNet and S3FD also find turned faces, so they cannot tell.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

#: Longest sides, in pixels, of the pictures that are searched.
_SIDES = (320, 640)
#: A turned picture is preferred if its score is higher by this much than that of the picture as it is, or than zero.
_MARGIN = 0.5
#: Score of an upright face that no picture of a turned one has.
_UPRIGHT = 1.0


def turns_to_upright(picture: np.ndarray) -> int:
    """How often `np.rot90` must turn a picture for its face to be upright, 0 to 3; 0 where no face tells.

    `picture` is uint8 RGB (H,W,3) or gray (H,W).
    """
    gray = _small(picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), _SIDES[-1])
    if _score(gray, sides=_SIDES[:1]) >= _UPRIGHT:
        return 0
    scores = [_score(np.ascontiguousarray(np.rot90(gray, turns))) for turns in range(4)]
    best = int(np.argmax(scores))
    return best if scores[best] - max(scores[0], 0) >= _MARGIN else 0


def _score(gray: np.ndarray, *, sides: tuple[int, ...] = _SIDES) -> float:
    """Of the best face; 0, the detector's own threshold, where it finds none."""
    return max((score for side in sides for score in hog_detector().run(_small(gray, side), 0, 0.0)[1]), default=0.0)


def _small(gray: np.ndarray, side: int) -> np.ndarray:
    """The picture at this longest side."""
    scale = side / max(gray.shape)
    size = max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale))
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


@lru_cache(maxsize=1)
def hog_detector() -> Any:
    """dlib's detector of upright faces; loading it takes half a second."""
    import dlib

    return dlib.get_frontal_face_detector()
