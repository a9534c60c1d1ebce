"""What a media file may ask for. A file that asks for more is `unreadable`, so that none fills a disk or the memory.

A container's time stamps, sizes and rates are a few bytes each that anybody can write: 45 KB of them may stand for a
picture that is shown for a day. Each bound is far beyond any recording of a talking head.
"""

from __future__ import annotations

from fractions import Fraction

from dawn_bench.errors import ItemError
from dawn_bench.free_memory import allowed_memory

#: Seconds that one picture may stay on screen.
LONGEST_STILL = 10
#: Seconds per picture over a whole clip, after its first `LONGEST_STILL` seconds.
SLOWEST = 1
#: Seconds that a clip or its sound may last.
LONGEST_CLIP = 12 * 3600
#: Seconds of silence that may be put in for sound that begins late or has gaps.
LONGEST_SILENCE = 600
#: Seconds of sound that are read beyond the last picture: `audio_seconds` says by how much it is longer.
SPARE_SOUND = 60
#: Hertz.
SLOWEST_SOUND, FASTEST_SOUND = 4_000, 768_000
#: Pixels of a video's picture: 8K.
VIDEO_PIXELS = 8192 * 4320
#: Pixels of a picture file.
PICTURE_PIXELS = 1 << 27
#: Bytes of a picture file.
PICTURE_BYTES = 1 << 30
#: Share of the memory, of this machine or of its container, that the frames of one clip may take if read at once.
MEMORY_SHARE = 0.5


def check_pace(seconds: Fraction, *, still: Fraction, pictures: int, name: str) -> None:
    """Raise `ItemError("unreadable")` for pictures that stand still for too long.

    Args:
        seconds: from the first picture used to the end of this one.
        still: how long this picture stays on screen, seconds.
        pictures: number of pictures so far.
        name: of the file.
    """
    if still > LONGEST_STILL:
        raise _unreadable(name, f"one picture stays on screen for {float(still):.0f} s, more than {LONGEST_STILL} s")
    if seconds > LONGEST_STILL + pictures * SLOWEST:
        raise _unreadable(name, f"has {pictures} pictures in {float(seconds):.0f} s, less than one a second")
    if seconds > LONGEST_CLIP:
        raise _unreadable(name, f"lasts longer than {LONGEST_CLIP // 3600} hours: cut it into parts")


def check_size(width: int, height: int, *, name: str) -> None:
    """Raise `ItemError("unreadable")` for a video whose pictures are too large."""
    if width * height > VIDEO_PIXELS:
        raise _unreadable(name, f"its pictures are {width}x{height}, more than {VIDEO_PIXELS / 1e6:.0f} million pixels")


def check_picture(width: int, height: int) -> None:
    """Raise `ItemError("unreadable")` for a picture file that is too large; the caller names the file."""
    if width * height > PICTURE_PIXELS:
        what = f"is a picture of {width}x{height}, more than {PICTURE_PIXELS / 1e6:.0f} million pixels"
        raise ItemError("unreadable", what)


def check_memory(n_bytes: int, *, name: str) -> None:
    """Raise `ItemError("unreadable")` for frames that would take more than `MEMORY_SHARE` of the memory."""
    limit = MEMORY_SHARE * allowed_memory()
    if n_bytes > limit:
        raise _unreadable(name, f"its frames need more than {limit / 1e9:.0f} GB of memory")


def check_rate(rate: int, *, name: str) -> None:
    """Raise `ItemError("unreadable")` for sound at an impossible sample rate."""
    if not SLOWEST_SOUND <= rate <= FASTEST_SOUND:
        raise _unreadable(name, f"its sound is stated at {rate} Hz, not {SLOWEST_SOUND} to {FASTEST_SOUND} Hz")


def check_sound(seconds: float, *, silence: float, name: str) -> None:
    """Raise `ItemError("unreadable")` for sound that lasts, or is missing, for too long."""
    if silence > LONGEST_SILENCE:
        raise _unreadable(name, f"its sound is missing for {silence:.0f} s, more than {LONGEST_SILENCE} s")
    if seconds > LONGEST_CLIP:
        raise _unreadable(name, f"its sound lasts longer than {LONGEST_CLIP // 3600} hours: cut it into parts")


def _unreadable(name: str, what: str) -> ItemError:
    return ItemError("unreadable", f"{name}: {what}")
