"""Ranges of excluded frames as text (`3, 12-14`): rows over different frames are not ranked together.

Frames are counted on the true clip's timeline, from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.metrics.protocols.base import ScoringProtocol
from dawn_bench.text import counted, few

#: The reason of a clip whose output ends too early.
FRAMES_MISSING = "frames_missing"
#: No frame of the clip counts.
ALL = "all"


def ranges(numbers: Sequence[int] | np.ndarray) -> str:
    """Frame numbers in ascending order as `3, 12-14`; an empty string for none."""
    numbers = np.asarray(numbers, dtype=np.int64)
    if not len(numbers):
        return ""
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


def missing_end(matched: Clip, true: Clip, protocol: ScoringProtocol) -> str:
    """The last frames of the whole true clip that the matched output lacks; empty where it lacks none."""
    return ranges(np.arange(protocol.skip_first + matched.n_frames, true.n_frames))


def length_without(missing: str, n_frames: int) -> int:
    """The frames that a clip of `n_frames` has without its last ones, `missing_end`."""
    return int(missing.partition("-")[0]) if missing else n_frames


def missing_words(missing: Mapping[str, str]) -> str:
    """`frames are missing at the end of 2 clips (48-59 of b, 60-74 of c)`; empty where no clip lacks any."""
    parts = [f"{frames} of {clip}" for clip, frames in sorted(missing.items())]
    return f"frames are missing at the end of {counted(len(parts), 'clip')} ({few(parts)})" if parts else ""


def joined(*parts: str) -> str:
    """Two texts of frames in one; `all` where one of them is."""
    return ALL if ALL in parts else ", ".join(filter(None, parts))
