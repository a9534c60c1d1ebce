"""Checks of a mesh sequence against its neutral face and its sound.

A neutral face of another subject, registration or unit gives plausible but meaningless scores, as FDD measures motion
from it; a sequence at another frame rate moves too fast or too slowly for its sound.
"""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import SAMPLE_RATE
from dawn_bench.errors import ItemError

#: Largest mean distance of the vertices from the neutral face, as a share of its size. Speech moves it by about 1 %.
MAX_DISTANCE = 0.1
#: Largest ratio of the lengths of sequence and sound, either way. Other frame rates are off by a factor of 2 (25 or 30
#: frames a second against 50 or 60).
MAX_RATIO = 1.5


def check_template(vertices: np.ndarray, template: np.ndarray, *, subject: str) -> None:
    """Raise `ItemError("template_mismatch")` where vertices (T,V,3) lie too far from their neutral face (V,3).

    The size of the face is the root mean square distance of its vertices from their mean.
    """
    face = template.astype(np.float64)
    size = float(np.sqrt(np.square(face - face.mean(axis=0)).sum(axis=1).mean()))
    distance = float(np.mean([np.linalg.norm(frame - face, axis=1).mean() for frame in vertices]))
    if not distance <= MAX_DISTANCE * size:
        raise ItemError(
            "template_mismatch",
            f"its vertices are {distance:.3g} from the neutral face of {subject} on average, more than "
            f"{MAX_DISTANCE:.0%} of the face's size {size:.3g}: templates.pkl is of another set, pose or unit",
        )


def check_length(n_frames: int, n_samples: int, *, fps: int) -> None:
    """Raise `ItemError("length_mismatch")` where a sequence and its sound cannot be of one recording."""
    picture, sound = n_frames / fps, n_samples / SAMPLE_RATE
    if max(picture, sound) > MAX_RATIO * min(picture, sound):
        raise ItemError(
            "length_mismatch",
            f"{n_frames} frames last {picture:.2f} s at {fps} a second, but its sound {sound:.2f} s: the frame rate "
            "or the sound is another one",
        )
