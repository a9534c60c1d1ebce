"""Kinds about time: rates, first time stamps, sound that starts late or early, containers that count in their own way.

Each is a flash-and-beep clip, whose flashes and beeps are at the start, in the middle and at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from media.clapper import even_stamps, flash_instants, write_clapper
from media.kinds import Answer, add_kind, kind
from media.marks import SIDE, grey, level

#: Seconds by which a beep may be away from its instant, 16 kHz rounding and a codec's onset together.
BEEP = 0.004
RATES = {
    "23.976": Fraction(24000, 1001),
    "24": Fraction(24),
    "29.97": Fraction(30000, 1001),
    "30": Fraction(30),
    "50": Fraction(50),
    "59.94": Fraction(60000, 1001),
    "60": Fraction(60),
    "120": Fraction(120),
    "12.5": Fraction(25, 2),
    "3": Fraction(3),
}


def clapper(
    name: str,
    file: str,
    stamps: Sequence[Fraction],
    near: Sequence[float] = (0.35, 1.5, 2.65),
    *,
    within: float = BEEP,
    **how: Any,
) -> None:
    """Register a flash-and-beep clip of `write_clapper`."""
    instants = [float(instant - stamps[0]) for instant in flash_instants(stamps, near)]
    answer = Answer(flashes=tuple(instants), beeps=tuple(instants), near=within)
    add_kind(name, "video", file, answer, lambda path: write_clapper(path, stamps, near, **how))


for _name, _rate in RATES.items():
    clapper(f"rate-{_name}", "clip.mp4", even_stamps(_rate, 4), (0.35, 2.05, 3.1), rate=_rate)
    if _name in ("23.976", "29.97"):
        clapper(f"rate-{_name}-mkv", "clip.mkv", even_stamps(_rate, 3), rate=_rate)

_VARIABLE = [Fraction(0)]
while _VARIABLE[-1] < 3:
    _VARIABLE.append(_VARIABLE[-1] + Fraction((37 * len(_VARIABLE)) % 90 + 10, 1000))  # 10 to 99 ms
for _file in ("clip.mp4", "clip.mkv", "clip.ts"):
    clapper(f"variable-rate-{_file[5:]}", _file, _VARIABLE, (0.35, 1.5, 2.5), rate=30)

_EVEN = even_stamps(25, 3)
for _file in ("clip.mkv", "clip.ts"):
    _start = even_stamps(25, 3, start=-0.52)
    # PyAV 19 writes the first sound of the mkv file 8 ms late; both versions read either file alike
    clapper(f"negative-start-{_file[5:]}", _file, _start, (-0.2, 1, 2.1), within=0.01)
    clapper(f"starts-at-5-s-{_file[5:]}", _file, even_stamps(25, 3, start=5), (5.35, 6.5, 7.5))
for _file in ("clip.mp4", "clip.mov", "clip.mkv", "clip.ts"):
    clapper(f"sound-late-{_file[5:]}", _file, _EVEN, sound_from=0.23)
    clapper(f"sound-early-{_file[5:]}", _file, even_stamps(25, 3, start=0.6), (0.9, 2, 3.1), sound_from=0)
clapper("sound-ends-early", "clip.mp4", _EVEN, sound_to=2.75)
clapper("avi-b-frames", "clip.avi", _EVEN, sound="pcm_s16le")
clapper("avi-empty-packets", "clip.avi", _EVEN, codec="mpeg4", sound="pcm_s16le", rate=50)
clapper("avi-29.97", "clip.avi", even_stamps(RATES["29.97"], 3), codec="mpeg4", sound="pcm_s16le", rate=RATES["29.97"])
clapper("mpg", "clip.mpg", _EVEN, codec="mpeg2video", sound="mp2")
clapper("webm", "clip.webm", _EVEN, codec="libvpx", sound="libopus")
clapper("flv", "clip.flv", _EVEN, bframes=0)
clapper("mov-pcm", "clip.mov", _EVEN, sound="pcm_s16le")
clapper("aac-44100", "clip.mp4", _EVEN, sound_rate=44_100)
clapper("fragmented-mp4", "clip.mp4", _EVEN, movflags="frag_keyframe+empty_moov+default_base_moof")
clapper("no-edit-list", "clip.mp4", _EVEN, use_editlist="0")


@kind("video", "clip.mp4", Answer(frames=25, size=(SIDE, SIDE), levels=tuple(level(k) for k in range(25))))
def plain(path: Path) -> None:
    """25 pictures at 25 fps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10", "g": "12"}
        for k in range(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(level(k)), format="rgb24")))
        container.mux(stream.encode(None))
