"""Active-speaker cue: lip motion measured from landmarks alone."""

from __future__ import annotations

import numpy as np

#: Inner-lip points (upper, lower), and the two points that define face height (nose bridge, chin), iBUG order.
_UPPER, _LOWER, _BRIDGE, _CHIN = [61, 62, 63], [67, 66, 65], 27, 8
#: Window in frames (0.44 s, about two syllables) in which lips must move.
_SPAN = 11
#: Threshold on the standard deviation of the lip gap over face height. In real clips speakers exceed it in 71 to
#: 100 % of the frames, silent people in 0 to 24 %.
_MOVES = 0.008


def speaking_frames(points: np.ndarray) -> int:
    """Number of frames in which the lips of one face move as in speech, from points (T,68,2) in pixels."""
    if len(points) < _SPAN:
        return 0
    gap = np.linalg.norm(points[:, _UPPER] - points[:, _LOWER], axis=2).mean(axis=1)
    height = np.linalg.norm(points[:, _BRIDGE] - points[:, _CHIN], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(gap / height, _SPAN)
    return int((windows.std(axis=1) > _MOVES).sum())
