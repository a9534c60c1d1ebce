"""Kinds about time: rates, first time stamps, edit lists, sound and picture in step."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from media.kinds import Answer, kind
from media.marks import SIDE, grey, level


def write_levels(
    path: Path, numbers: list[int], stamps: list[Fraction], *, codec: str = "libx264", format: str | None = None
) -> None:
    """Picture `numbers[k]` on screen from `stamps[k]` seconds on."""
    with av.open(str(path), "w", format=format, options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10", "g": "12"}
        stream.codec_context.time_base = stream.time_base = Fraction(1, 90_000)
        for number, stamp in zip(numbers, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(grey(level(number)), format="rgb24")
            frame.pts, frame.time_base = round(stamp * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@kind("video", "clip.mp4", Answer(frames=25, size=(SIDE, SIDE), levels=tuple(level(k) for k in range(25))))
def plain(path: Path) -> None:
    """25 pictures at 25 fps."""
    write_levels(path, list(range(25)), [Fraction(k, 25) for k in range(25)])


@kind("video", "clip.mkv", Answer(levels=tuple(level(k) for k in range(25))))
def negative_first_stamp(path: Path) -> None:
    """Matroska whose first picture is shown 0.2 s before zero."""
    write_levels(path, list(range(25)), [Fraction(k - 5, 25) for k in range(25)])
