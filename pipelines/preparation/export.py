"""Exports a finished cache for other tools: numpy and wav files in folders, or WebDataset tars."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from dawn_bench.cache import Cache, raw_blocks
from dawn_bench.clip import SAMPLE_RATE, Clip
from dawn_bench.errors import unknown_name
from dawn_bench.files import filling, user_path
from dawn_bench.progress import track

#: Bytes of clips that go into one WebDataset tar before the next is begun.
TAR_BYTES = 256 * 2**20
Format = Literal["files", "webdataset"]
EXPORT_FORMATS = ("files", "webdataset")


def export(root: Path, out: Path, *, format: Format = "files") -> int:
    """Write the usable clips of the cache at `root` into the folder `out`; returns how many.

    `files`: a folder for each clip with `FIELD.npy`, `audio.wav` and `clip.json`. `webdataset`: tars of about 256 MB
    with `ID.FIELD.npy`, `ID.audio.wav`, `ID.json`. Frames are raw and masks a byte a pixel, also where
    the cache does not store them, and clips are streamed. The bytes depend on the cache alone. An export that fails or
    is stopped leaves nothing in `out`. Raises `InputError` when `out` is not empty, for another format, or when the
    disk is full.
    """
    if format not in EXPORT_FORMATS:
        raise unknown_name("export format", format, EXPORT_FORMATS)
    cache, out = Cache(root), user_path(out)
    with filling(out) as folder:
        clips = track(cache.clips(), f"export {format}", unit="clips")
        return _export_files(clips, folder) if format == "files" else _export_tars(clips, folder)


def _export_files(clips: Iterator[Clip], out: Path) -> int:
    count = 0
    for clip in clips:
        count += 1
        folder = out / clip.id
        folder.mkdir()
        for name, _, chunks in _members(clip):
            with (folder / ("clip.json" if name == "json" else name)).open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
    return count


def _export_tars(clips: Iterator[Clip], out: Path) -> int:
    count, shard, filled = 0, 0, 0
    tar: tarfile.TarFile | None = None
    try:
        for clip in clips:
            count += 1
            if tar is None or filled >= TAR_BYTES:
                if tar is not None:
                    tar.close()
                tar, filled = tarfile.open(out / f"clips-{shard:06d}.tar", "w", format=tarfile.PAX_FORMAT), 0  # noqa: SIM115
                shard += 1
            for name, size, chunks in _members(clip):
                entry = tarfile.TarInfo(f"{clip.id}.{name}")
                entry.size, entry.mode = size, 0o644
                tar.addfile(entry, _Chunks(chunks))  # type: ignore[arg-type]
                filled += size
    finally:
        if tar is not None:
            tar.close()
    return count


def _members(clip: Clip) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """The files of a clip as (name, size in bytes, content in chunks)."""
    for field in clip.fields:
        array = clip[field]
        head = _wav_head(array.nbytes) if field == "audio" else _npy_head(array)
        yield f"{field}.{'wav' if field == 'audio' else 'npy'}", len(head) + array.nbytes, _content(head, array)
    facts = {"id": clip.id, "speaker": clip.speaker, "split": clip.split, "fps": clip.fps, "n_frames": clip.n_frames}
    meta = {key: value for key, value in clip.meta.items() if value == value}  # NaN: not this clip's
    text = json.dumps({**facts, "meta": meta}, indent=1, sort_keys=True, default=str, allow_nan=False).encode()
    yield "json", len(text), iter([text])


def _content(head: bytes, array: np.ndarray) -> Iterator[bytes]:
    yield head
    for block in raw_blocks(array):
        yield block.tobytes()


def _npy_head(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(buffer, facts)
    return buffer.getvalue()


def _wav_head(size: int) -> bytes:
    """The head of a 16-bit mono wav file of `size` bytes of sound."""

    def word(value: int, length: int) -> bytes:
        return value.to_bytes(length, "little")

    form = word(1, 2) + word(1, 2) + word(SAMPLE_RATE, 4) + word(2 * SAMPLE_RATE, 4) + word(2, 2) + word(16, 2)
    return b"RIFF" + word(36 + size, 4) + b"WAVEfmt " + word(16, 4) + form + b"data" + word(size, 4)


class _Chunks:
    """A readable file of chunks, as far as tarfile needs one."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def read(self, size: int) -> bytes:
        parts: list[memoryview] = []
        while size:
            self._rest = self._rest or memoryview(next(self._chunks, b""))
            if not self._rest:
                break
            parts.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(parts[-1])
        return b"".join(parts)
