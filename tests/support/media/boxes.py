"""Rewrites the boxes of mp4 files: edit lists, which no muxer writes as freely as editors do.

Only files whose `moov` box is the last one are rewritten, so that no offset changes. Box layouts: ISO/IEC 14496-12.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

#: One edit: how long it lasts, and the media time at which it begins (None: nothing is shown), both in seconds.
Edit = tuple[Fraction, Fraction | None]


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, payload) of the boxes in `data`."""
    place = 0
    while place < len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        yield name, data[place + head : place + (size or len(data) - place)]
        place += size or len(data) - place


def box(name: bytes, payload: bytes) -> bytes:
    """A box with its head."""
    return struct.pack(">I4s", len(payload) + 8, name) + payload


def with_long_times(path: Path) -> None:
    """Rewrite the headers and edit lists of an mp4 file with times of 64 bits (version 1), as of a very long film."""
    top = list(boxes(path.read_bytes()))
    assert top[-1][0] == b"moov", [name for name, _ in top]
    top[-1] = b"moov", _long(top[-1][1])
    path.write_bytes(b"".join(box(*part) for part in top))


def _long(data: bytes) -> bytes:
    """The boxes of a movie with those that have a version 1 in it."""
    parts = []
    for name, payload in boxes(data):
        if name in (b"trak", b"mdia", b"edts"):
            payload = _long(payload)
        elif name in (b"mvhd", b"tkhd", b"mdhd") and payload[0] == 0:
            flags, created, changed, *numbers = struct.unpack_from(">3sIIIII", payload, 1)
            # a track has its number and four unused bytes before the length, the others a unit of time
            own = numbers[:2] if name == b"tkhd" else numbers[:1]
            times, length = struct.pack(">QQ", created, changed), numbers[len(own)]
            rest = payload[16 + 4 * len(own) :]
            payload = b"\1" + flags + times + struct.pack(f">{len(own)}IQ", *own, length) + rest
        elif name == b"elst" and payload[0] == 0:
            rows = struct.iter_unpack(">IiI", payload[8:])
            payload = b"\1" + payload[1:8] + b"".join(struct.pack(">QqI", *row) for row in rows)
        parts.append(box(name, payload))
    return b"".join(parts)


def set_edits(path: Path, edits: Mapping[str, Sequence[Edit]]) -> None:
    """Replace the edit lists of the tracks of an mp4 file, by handler (`vide`, `soun`); an empty list removes one.

    A media time is counted as decoded pictures are: second 0 is the first picture of the file.
    """
    top = list(boxes(path.read_bytes()))
    assert top[-1][0] == b"moov", [name for name, _ in top]
    movie = list(boxes(top[-1][1]))
    (scale,) = struct.unpack_from(">I", dict(movie)[b"mvhd"], 12)
    movie = [(name, _edited(payload, edits, scale) if name == b"trak" else payload) for name, payload in movie]
    top[-1] = b"moov", b"".join(box(*part) for part in movie)
    path.write_bytes(b"".join(box(*part) for part in top))


def _edited(track: bytes, edits: Mapping[str, Sequence[Edit]], movie_scale: int) -> bytes:
    parts = list(boxes(track))
    media = dict(boxes(dict(parts)[b"mdia"]))
    handler = media[b"hdlr"][8:12].decode()
    if handler not in edits:
        return b"".join(box(*part) for part in parts)
    (scale,) = struct.unpack_from(">I", media[b"mdhd"], 12)
    old = dict(boxes(dict(parts).get(b"edts", b""))).get(b"elst")
    first = struct.unpack_from(">i", old, 12)[0] if old else 0  # where the muxer put the first picture or sample
    rows = [
        struct.pack(">Iihh", round(length * movie_scale), -1 if at is None else first + round(at * scale), 1, 0)
        for length, at in edits[handler]
    ]
    parts = [(name, payload) for name, payload in parts if name != b"edts"]
    if rows:
        lists = box(b"elst", struct.pack(">II", 0, len(rows)) + b"".join(rows))
        parts.insert(1, (b"edts", lists))
    return b"".join(box(*part) for part in parts)
