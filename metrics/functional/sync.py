"""Distance curve, offset, LSE-C and LSE-D from lip and audio embeddings.

Canonical implementation: joonson/syncnet_python (`SyncNetInstance.py`) and Wav2Lip's evaluation/scores_LSE.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EPS = 1e-6  # added to every difference by torch's pairwise_distance
#: Frames that the canonical scorer does not use at the end: a clip of n frames has n - 5 windows.
UNUSED = 5
#: Windows that are compared at once.
BLOCK = 2048


class Sync(NamedTuple):
    """How well picture and sound match.

    offset: frames by which the sound is ahead of the picture (0: in sync; sound delayed by k frames lowers it by k).
    confidence: LSE-C, median minus minimum of the distance curve; higher is better.
    distance: LSE-D, the minimum of the curve; lower is better.
    """

    offset: int
    confidence: float
    distance: float


def window_count(n_frames: int, n_samples: int, *, samples_per_frame: int = 640) -> int:
    """Windows that the canonical scorer compares: min(frames, whole frames of sound) - 5, not below 0."""
    return max(0, min(n_frames, n_samples // samples_per_frame) - UNUSED)


def distances(lip: np.ndarray, audio: np.ndarray, *, shift: int = 15) -> np.ndarray:
    """Distances of every lip window to the audio windows from `shift` before to `shift` after it.

    Args:
        lip, audio: float (N,D). Audio is padded with zero vectors on both sides, as in the canonical scorer: near the
            ends of a clip lips are compared with zeros, which raises the whole curve.

    Returns:
        float64 (N,2*shift+1); column j is the audio window at i + j - shift.
    """
    n, table = len(lip), np.empty((len(lip), 2 * shift + 1))
    for start in range(0, n, BLOCK):
        picture = lip[start : start + BLOCK].astype(np.float64) + EPS
        padded = np.zeros((len(picture) + 2 * shift, audio.shape[1]))
        first, last = max(0, start - shift), min(n, start + len(picture) + shift)
        padded[first - start + shift : last - start + shift] = audio[first:last]
        for j in range(2 * shift + 1):
            table[start : start + BLOCK, j] = np.linalg.norm(picture - padded[j : j + len(picture)], axis=1)
    return table


def sync(curve: np.ndarray) -> Sync:
    """Offset, LSE-C and LSE-D of a mean distance curve (2*shift+1,): `distances(...).mean(axis=0)`."""
    best = int(np.argmin(curve))
    lowest = float(curve[best])
    return Sync(len(curve) // 2 - best, float(np.median(curve)) - lowest, lowest)
