"""Sound files that are not as their headers say: joined mp3 files, wav files of unstated length, stated lengths."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dawn_bench.errors import ItemError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

#: Larger mp3 files are not searched for joins, and files of more parts are read as one.
_MOST_BYTES, _MOST_PARTS = 256 << 20, 1000
#: Bytes that a pipe may deliver.
_MOST_PIPED = 4 << 30
#: The tag of an encoder's first frame, which holds no sound, and of iTunes' and others' descriptions before it.
_MARKS = re.compile(rb"Xing|Info|ID3[\x02-\x04]")
#: A size in a wav header from here on, or of 0, stands for "unknown" where the file is not that long: it was written
#: to a pipe, or by a recorder that was never stopped.
_UNKNOWN = 0x7FFF0000
#: The most samples by which an encoder may fill up its last block.
_MOST_PADDING = 8192


@contextmanager
def rereadable(path: Path | str) -> Iterator[Path]:
    """A file that can be opened more than once: `path`, or a temporary copy of what comes out of a pipe.

    Raises `ItemError("unreadable")` for a pipe that delivers too much.
    """
    path = Path(path)
    if not path.is_fifo():
        yield path
        return
    with TemporaryDirectory() as folder, path.open("rb") as pipe:
        copy, n_bytes = Path(folder) / path.name, 0
        with copy.open("wb") as file:
            while data := pipe.read(1 << 20):
                n_bytes += file.write(data)
                if n_bytes > _MOST_PIPED:
                    raise ItemError("unreadable", f"{path.name}: delivers more than {_MOST_PIPED >> 30} GiB")
        yield copy


def mp3_parts(path: Path) -> list[bytes]:
    """The whole mp3 files that were joined into one, in order; empty for a file that is a single one.

    A part begins with an ID3 tag or with the frame that an encoder writes first, which states the delay and the
    padding of that part.
    """
    if path.stat().st_size > _MOST_BYTES:
        return []
    data = path.read_bytes()
    begins = [0]
    beyond = 0  # where the sound of the last part begins
    for mark in _MARKS.finditer(data):
        at, end = _part_at(data, mark.start())
        if at >= 0 and mark.start() >= beyond:
            if at > 0:
                begins.append(at)
            beyond = end
    if not 1 < len(begins) <= _MOST_PARTS:
        return []
    return [data[a:b] for a, b in zip(begins, [*begins[1:], len(data)], strict=True)]


def wav_note(path: Path) -> str | None:
    """A sentence part on a wav header whose length is not that of the file; None for one that is right, or no wav."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        while len(chunk := file.read(8)) == 8:
            name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            if name == b"data":
                rest = path.stat().st_size - file.tell()
                if size != rest and (size == 0 or size >= _UNKNOWN):
                    return "its wav header does not state its length: read to the end of the file"
                if size > rest:
                    return f"its sound is cut off: {rest} of {size} bytes are there"
                file.seek(size + size % 2, 1)
                follows = file.read(4) == b"RIFF"
                return "another wav file follows in the same file: only the first is read" if follows else None
            file.seek(size + size % 2, 1)
    return None


def stated_end(container: InputContainer, *, rate: int) -> float | None:
    """The time in the stream's seconds at which the sound of an mp4 or m4a file ends, without the encoder's padding.

    Taken from the edit list, else from iTunes' tag `iTunSMPB` (priming, padding and number of samples, hexadecimal).
    """
    if "mp4" not in container.format.name or len(container.streams.audio) != 1:
        return None
    stream = container.streams.audio[0]
    if stream.duration is None or stream.time_base is None:
        return None
    begin = float((stream.start_time or 0) * stream.time_base)
    end = float(stream.duration * stream.time_base)  # it counts from zero
    tag = container.metadata.get("iTunSMPB", "").split()
    if len(tag) >= 4 and all(re.fullmatch("[0-9A-Fa-f]{1,16}", word) for word in tag[1:4]):
        told = begin + int(tag[3], 16) / rate
        if 0 < (end - told) * rate <= _MOST_PADDING:
            return told
    return end


def stated_seconds(container: InputContainer, stream: AudioStream) -> float | None:
    """The length that the header of a sound file states; None where it states none, or FFmpeg guesses it."""
    kind = container.format.name
    # an mp3 file states its length in the frame that also states the delay; else FFmpeg goes by the size of the file
    if not (kind == "flac" or "mp4" in kind or (kind == "mp3" and stream.start_time)):
        return None
    if stream.duration is None or stream.time_base is None:
        return None
    begun = stream.start_time or 0 if "mp4" in kind else 0
    return float((stream.duration - begun) * stream.time_base)


def _part_at(data: bytes, at: int) -> tuple[int, int]:
    """Where the part marked at `at` begins and where its sound begins; (-1, -1) where the mark is chance."""
    if data[at : at + 3] == b"ID3":
        size = data[at + 6 : at + 10]
        if len(size) < 4 or max(size) > 127 or data[at + 4] == 0xFF:
            return -1, -1
        length = (size[0] << 21) + (size[1] << 14) + (size[2] << 7) + size[3]
        end = at + 10 + length
        while end < len(data) and data[end] == 0 and end < at + 10 + length + 4096:  # padding behind the tag
            end += 1
        return (at, end + 64) if _is_header(data[end : end + 4]) else (-1, -1)
    for side in (32, 17, 9):  # bytes of side information, by version and number of channels
        begin = at - 4 - side
        if begin >= 0 and _is_header(data[begin : begin + 4]) and _side_bytes(data[begin : begin + 4]) == side:
            return begin, at + 4
    return -1, -1


def _is_header(head: bytes) -> bool:
    """Whether four bytes are the header of a frame of MPEG layer III."""
    return (
        len(head) == 4
        and head[0] == 0xFF
        and head[1] & 0xE6 == 0xE2  # synchronisation, layer III
        and head[1] & 0x18 != 0x08  # a version that exists
        and head[2] & 0xF0 not in (0x00, 0xF0)
        and head[2] & 0x0C != 0x0C
    )


def _side_bytes(head: bytes) -> int:
    """Bytes of side information of a frame with this header."""
    first_version, mono = head[1] & 0x18 == 0x18, head[3] & 0xC0 == 0xC0
    return (17 if mono else 32) if first_version else (9 if mono else 17)
