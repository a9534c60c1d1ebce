"""Kinds about what is shown of a file: edit lists, files that were cut off, animations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
from media.boxes import Edit, set_edits
from media.clapper import even_stamps, write_clapper
from media.kinds import Answer, add_kind, kind
from media.marks import SIDE, beeps, mux_sound, numbered

#: Pictures of the clips below; every twelfth can be decoded on its own.
PICTURES = 100
_BEEPS = tuple(k / 2 + 0.2 for k in range(8))


def write_numbers(path: Path, *, bframes: int = 2, rate: int = 25, sound: bool = True, **options: str) -> None:
    """100 pictures that tell their numbers, and a beep every half second from 0.2 s on."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"bf": str(bframes), "g": "12", "sc_threshold": "0", "preset": "veryfast"}
        speech = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for k in range(PICTURES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(k), format="rgb24")))
        container.mux(stream.encode(None))
        if speech is not None:
            mux_sound(container, speech, beeps(_BEEPS, PICTURES / rate), rate=48_000)


def of_pictures(first: int, end: int) -> Edit:
    """The edit that shows pictures `first` to `end - 1` of a clip at 25 fps."""
    return Fraction(end - first, 25), Fraction(first, 25)


def answer_of(spans: Sequence[tuple[int, int]]) -> Answer:
    """What a clip shows whose edit list joins these pictures, first and end of each."""
    heard, begin = [], 0.0
    for first, end in spans:
        heard += [begin + beep - first / 25 for beep in _BEEPS if first / 25 <= beep < end / 25]
        begin += (end - first) / 25
    numbers = tuple(number for first, end in spans for number in range(first, end))
    return Answer(numbers=numbers, beeps=tuple(heard), near=0.004)


EDITS: dict[str, list[tuple[int, int]]] = {
    "head": [(13, 100)],
    "tail": [(0, 51)],
    "tail-of-a-group": [(0, 60)],
    "both-ends": [(30, 73)],
    "several": [(4, 20), (40, 53), (70, 99)],
    "in-another-order": [(60, 90), (0, 21)],
    "repeated": [(11, 30), (11, 30)],
    "short-ones": [(13, 16), (28, 31), (44, 60)],
}


def edited(spans: Sequence[tuple[int, int]], *, bframes: int = 2) -> Callable[[Path], None]:
    """The writer of a clip whose edit list joins these pictures, and the sound with them."""

    def write(path: Path) -> None:
        write_numbers(path, bframes=bframes)
        rows = [of_pictures(first, end) for first, end in spans]
        set_edits(path, {"vide": rows, "soun": rows})

    return write


for _name, _spans in EDITS.items():
    add_kind(f"edit-list-{_name}", "video", "clip.mp4", answer_of(_spans), edited(_spans))


@kind("video", "clip.mp4", Answer(numbers=tuple(range(100)), beeps=tuple(b + 0.12 for b in _BEEPS[:7]), near=0.004))
def edit_list_sound_later(path: Path) -> None:
    """An edit list that begins the sound 0.12 s after the pictures."""
    write_numbers(path)
    whole = Fraction(PICTURES, 25)
    late = Fraction(12, 100)
    set_edits(path, {"vide": [(whole, Fraction(0))], "soun": [(late, None), (whole - Fraction(1, 2), Fraction(0))]})


@kind("video", "clip.mp4", Answer(numbers=tuple(range(100)), beeps=tuple(b - 0.12 for b in _BEEPS), near=0.004))
def edit_list_pictures_later(path: Path) -> None:
    """An edit list that begins the pictures 0.12 s after the sound."""
    write_numbers(path)
    whole = Fraction(PICTURES, 25)
    set_edits(path, {"vide": [(Fraction(12, 100), None), (whole, Fraction(0))], "soun": [(whole, Fraction(0))]})


def cut_off(name: str, file: str, write: Callable[[Path], None], share: float) -> None:
    """Register a file of which only a share of the bytes is there."""

    def shortened(path: Path) -> None:
        write(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    add_kind(name, "video", file, Answer(refusal=("cut off",)), shortened)


def _clapper(**how: str) -> Callable[[Path], None]:
    return lambda path: write_clapper(path, even_stamps(25, 3), (0.35, 1.5, 2.65), **how)  # type: ignore[arg-type]


cut_off("cut-off-mp4", "clip.mp4", lambda path: write_numbers(path, movflags="+faststart", sound=False), 0.95)
cut_off(
    "cut-off-mp4-last-packet", "clip.mp4", lambda path: write_numbers(path, movflags="+faststart", sound=False), 0.999
)
cut_off("cut-off-mkv", "clip.mkv", _clapper(), 0.94)
cut_off("cut-off-webm", "clip.webm", _clapper(codec="libvpx", sound="libopus"), 0.94)
cut_off("cut-off-avi", "clip.avi", _clapper(codec="mpeg4", sound="pcm_s16le"), 0.9)
cut_off("cut-off-flv", "clip.flv", lambda path: write_numbers(path, bframes=0, sound=False), 0.94)


#: Milliseconds for which each picture of an animation is shown, and which picture each frame at 25 fps shows.
_DURATIONS = [40, 80, 40, 120, 40, 40, 40, 40, 40, 200]
_SHOWN = (0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9)


def animation(path: Path) -> None:
    """Ten pictures, each for its own time."""
    from PIL import Image

    first, *rest = [Image.fromarray(numbered(k)) for k in range(len(_DURATIONS))]
    form = "PNG" if path.suffix == ".apng" else None
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, form, save_all=True, append_images=rest, duration=_DURATIONS, **lossless)


for _suffix in ("gif", "webp", "apng"):
    add_kind(f"animated-{_suffix}", "video", f"clip.{_suffix}", Answer(numbers=_SHOWN, size=(SIDE, SIDE)), animation)
cut_off("cut-off-gif", "clip.gif", animation, 0.8)
cut_off("cut-off-webp", "clip.webp", animation, 0.8)
