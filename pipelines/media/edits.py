"""Edit lists of mp4 and QuickTime files that join several parts of what is stored.

FFmpeg shows exactly the right pictures and sound for a list with one part. At the joins of several it gives pictures
with B-frames a wrong time, and sound up to a packet too much at either side. So each part is read on its own, from the
same file with a list that holds only this part, and its times are moved to where the list puts it.

Box layouts: ISO/IEC 14496-12. A list with one part, or none, needs nothing of this.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from dawn_bench.errors import ItemError
from dawn_bench.storage import raise_if_refused

#: Bytes of the table of contents that are read, and parts of an edit list; no recording comes near either.
_MOST_BYTES, _MOST_PARTS = 1 << 27, 1000
_BEFORE = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"styp"})
_EMPTY = -1
#: Size and type, which begin a box.
_HEAD = struct.Struct(">I4s")


@dataclass(frozen=True)
class Part:
    """One part of an edit list: where it begins and how long it lasts, in seconds; `patch` is its list of one part."""

    begin: Fraction
    length: Fraction
    patch: bytes
    at: int  # of the list in the file, bytes


class OnePart(io.FileIO):
    """A file that is read as if an edit list had only one part."""

    def __init__(self, path: Path, part: Part) -> None:
        super().__init__(path)
        self._part = part

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, those of the list replaced."""
        place = self.tell()
        data = super().read(-1 if size is None else size) or b""
        begin, end = max(place, self._part.at), min(place + len(data), self._part.at + len(self._part.patch))
        if begin >= end:
            return data
        patch = self._part.patch[begin - self._part.at : end - self._part.at]
        return data[: begin - place] + patch + data[end - place :]


def parts_of(path: Path, track: int) -> tuple[Part, ...]:
    """The parts of a track's edit list, by the track's id, in the order shown; empty unless there are several.

    Raises `ItemError("unreadable")` for a list with more than `_MOST_PARTS` parts.
    """
    try:
        with path.open("rb") as file:
            return _parts(file, track, name=path.name)
    except (OSError, struct.error, IndexError, ZeroDivisionError) as error:
        raise_if_refused(error)
        return ()  # no file of this kind, or a damaged one: FFmpeg says so


def _parts(file: BinaryIO, track: int, *, name: str) -> tuple[Part, ...]:
    if file.read(8)[4:] not in _BEFORE:
        return ()
    size = file.seek(0, 2)
    movie = next((span for kind, *span in _boxes(file, 0, size) if kind == b"moov"), None)
    if movie is None or movie[1] - movie[0] > _MOST_BYTES:
        return ()
    scale, listed = 0, None
    for kind, begin, end in _boxes(file, *movie):
        if kind == b"mvhd":
            scale = _number(file, begin + (20 if _version(file, begin) else 12), ">I")
        if kind == b"trak":
            inside = {kind: (a, b) for kind, a, b in _boxes(file, begin, end)}
            header = inside[b"tkhd"][0]
            if _number(file, header + (20 if _version(file, header) else 12), ">I") == track and b"edts" in inside:
                listed = next((span for kind, *span in _boxes(file, *inside[b"edts"]) if kind == b"elst"), None)
    return () if listed is None or not scale else _rows(file, listed[0], listed[1], scale, name=name)


def _rows(file: BinaryIO, at: int, end: int, scale: int, *, name: str) -> tuple[Part, ...]:
    file.seek(at)
    version = file.read(4)
    count = _number(file, at + 4, ">I")
    row = ">QqI" if _version(file, at) else ">IiI"
    parts, begin = list[Part](), Fraction(0)
    for number in range(min(count, _MOST_PARTS + 1)):
        file.seek(at + 8 + number * struct.calcsize(row))
        data = file.read(struct.calcsize(row))
        length, media, _ = struct.unpack(row, data)
        length = Fraction(length, scale)
        if media != _EMPTY and length:
            # FFmpeg counts the rows by the size of their box: the others become a box that nobody reads
            alone = _HEAD.pack(_HEAD.size + 8 + len(data), b"elst") + version + struct.pack(">I", 1) + data
            rest = end - (at - _HEAD.size + len(alone))
            parts.append(Part(begin, length, alone + _HEAD.pack(rest, b"free"), at - _HEAD.size))
        begin += length
    if len(parts) < 2 or _number(file, at - _HEAD.size, ">I") != end - at + _HEAD.size:
        return ()
    if count > _MOST_PARTS:
        raise ItemError("unreadable", f"{name}: its edit list joins {count} parts, more than {_MOST_PARTS}")
    return tuple(parts)


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, first byte, end) of the contents of the boxes in a stretch of the file."""
    while at + 8 <= end:
        file.seek(at)
        size, kind = _HEAD.unpack(file.read(_HEAD.size))
        head = _HEAD.size
        if size == 1:
            size, head = _number(file, at + 8, ">Q"), 16
        size = size or end - at
        if size < head or at + size > end:
            return
        yield kind, at + head, at + size
        at += size


def _number(file: BinaryIO, at: int, kind: str) -> int:
    file.seek(at)
    (value,) = struct.unpack(kind, file.read(struct.calcsize(kind)))
    return int(value)


def _version(file: BinaryIO, at: int) -> int:
    """0 or 1: whether times take eight bytes."""
    file.seek(at)
    return file.read(1)[0]
