"""Pictures and sounds that carry a mark which can be read off again: grey levels, flashes and beeps.

Writers of kinds use these and PyAV. Pictures are grey on purpose: a level survives every codec and colour space.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.container import OutputContainer

SIDE = 64
RATE = 48_000
#: Grey levels of a picture with and without a flash.
DARK, BRIGHT = 40, 220
#: A beep lasts as long as a flash.
BEEP_SECONDS = 0.08


def level(number: int) -> int:
    """The grey level that tells picture `number`, for clips of up to 60 pictures."""
    return round(20 + 3.5 * (number % 60))


def numbered(number: int, *, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """A picture uint8 (H,W,3) that tells its number, 0 to 255: eight bars, bright for a one, lowest digit first."""
    bars = np.array([BRIGHT if number >> bit & 1 else DARK for bit in range(8)], np.uint8)
    row = bars[np.arange(width) * 8 // width]
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(picture: np.ndarray) -> int:
    """The number that a picture uint8 (H,W,3) or (H,W) tells, at any size."""
    grey_row = picture.reshape(*picture.shape[:2], -1).mean(axis=(0, 2))
    centres = ((np.arange(8) + 0.5) * len(grey_row) / 8).astype(int)
    return int(sum(1 << bit for bit, at in enumerate(centres) if grey_row[at] > (DARK + BRIGHT) / 2))


def grey(value: float, *, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """A picture uint8 (H,W,3) of one grey level."""
    return np.full((height, width, 3), round(value), np.uint8)


def beeps(instants: Sequence[float], seconds: float, *, rate: int = RATE, start: float = 0.0) -> np.ndarray:
    """int16 (n,) from `start` to `seconds`: silence, and a 1 kHz tone of `BEEP_SECONDS` at each of the instants."""
    times = start + np.arange(round((seconds - start) * rate)) / rate
    sound = np.zeros(len(times))
    for instant in instants:
        inside = (times >= instant) & (times < instant + BEEP_SECONDS)
        sound[inside] = 12_000 * np.sin(2 * np.pi * 1000 * (times[inside] - instant))
    return sound.round().astype(np.int16)


def onsets_of_sound(sound: np.ndarray, *, rate: int = 16_000, threshold: int = 3_000) -> list[float]:
    """Seconds at which each beep of int16 (n,) sets in."""
    loud = np.flatnonzero(np.abs(sound.astype(int)) > threshold)
    first = np.diff(loud, prepend=-rate) > 0.05 * rate
    return (loud[first] / rate).tolist()


def onsets_of_light(levels: np.ndarray, *, fps: float = 25.0) -> list[float]:
    """Seconds at which each flash sets in, of the mean grey levels (T,) of frames at `fps`."""
    bright = np.asarray(levels) > (DARK + BRIGHT) / 2
    return (np.flatnonzero(bright & ~np.concatenate([[False], bright[:-1]])) / fps).tolist()


def mux_sound(container: OutputContainer, stream: object, sound: np.ndarray, *, rate: int, start: float = 0.0) -> None:
    """Encode int16 (n,) mono into a stream of an open container, its first sample at `start` seconds."""
    import av

    for begin in range(0, len(sound), 1024):
        frame = av.AudioFrame.from_ndarray(sound[None, begin : begin + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, begin + round(start * rate), Fraction(1, rate)
        container.mux(stream.encode(frame))  # type: ignore[attr-defined]
    container.mux(stream.encode(None))  # type: ignore[attr-defined]
