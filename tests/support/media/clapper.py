"""Flash-and-beep clips: the picture turns bright at the instant at which a beep sets in, several times.

The flash begins with the first picture at or after an instant, and the beep at the time stamp of that picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from media.marks import BRIGHT, DARK, beeps, grey, mux_sound

#: Seconds for which the picture stays bright.
FLASH_SECONDS = 0.2
_SIDE = 32
#: Ticks a second of a stream whose container does not set its own.
_TICKS = 90_000


def even_stamps(rate: Fraction | int, seconds: float, *, start: float = 0.0) -> list[Fraction]:
    """Time stamps in seconds of the pictures of a clip at a fixed rate."""
    return [Fraction(start).limit_denominator(1000) + k / Fraction(rate) for k in range(int(seconds * rate))]


def flash_instants(stamps: Sequence[Fraction], near: Sequence[float]) -> list[Fraction]:
    """The time stamp of the first picture at or after each of the instants."""
    return [next(stamp for stamp in stamps if stamp >= instant) for instant in near]


def write_clapper(
    path: Path,
    stamps: Sequence[Fraction],
    near: Sequence[float],
    *,
    codec: str = "libx264",
    sound: str = "aac",
    sound_rate: int = 48_000,
    sound_from: float | None = None,
    sound_to: float | None = None,
    rate: Fraction | int = 25,
    bframes: int = 2,
    **options: str,
) -> None:
    """Write a flash-and-beep clip whose pictures have these time stamps, in seconds.

    Args:
        path: the file; its suffix chooses the container.
        stamps: of the pictures.
        near: instants of the flashes, seconds; each moves to the next time stamp.
        codec: of the pictures.
        sound: its codec.
        sound_rate: hertz.
        sound_from: seconds at which the sound begins; None: with the first picture.
        sound_to: seconds at which it ends; None: with the last picture.
        rate: stated frame rate.
        bframes: pictures in a row that are coded after a later one.
        options: of the container.
    """
    instants = flash_instants(stamps, near)
    begin = float(stamps[0]) if sound_from is None else sound_from
    end = float(stamps[-1] + 1 / Fraction(rate)) if sound_to is None else sound_to
    if begin < 0 or stamps[0] < 0:
        options = {"avoid_negative_ts": "disabled", **options}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"bf": str(bframes), "g": "12", "preset": "ultrafast", "crf": "20"}
        stepped = path.suffix in (".avi", ".mpg")  # these count pictures
        stream.codec_context.time_base = stream.time_base = 1 / Fraction(rate) if stepped else Fraction(1, _TICKS)
        speech = container.add_stream(sound, rate=sound_rate, layout="mono")
        for stamp in stamps:
            bright = any(instant <= stamp < instant + FLASH_SECONDS for instant in instants)
            unit = stream.codec_context.time_base
            frame = av.VideoFrame.from_ndarray(grey(BRIGHT if bright else DARK, width=_SIDE, height=_SIDE), "rgb24")
            frame.pts, frame.time_base = round(stamp / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        tones = beeps([float(instant) for instant in instants], end, rate=sound_rate, start=begin)
        mux_sound(container, speech, tones, rate=sound_rate, start=begin)
