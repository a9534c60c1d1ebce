"""Maintenance of a finished cache: verify checksums, count its contents, export it for other tools."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dawn_bench.cache import OK, Cache, open_shard, raw_blocks
from dawn_bench.clip import FPS, SAMPLE_RATE, Clip
from dawn_bench.errors import InputError, unknown_name
from dawn_bench.progress import track

#: Bytes of clips that go into one WebDataset tar before the next is begun.
TAR_BYTES = 256 * 2**20
EXPORT_FORMATS = ("files", "webdataset")


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify`.

    `clips` counts the usable clips as `stats` does, `left_out` those that could not be used and have no arrays;
    `faults` are (clip id, field, what is wrong), `loose` shards that no clip refers to.
    """

    clips: int
    arrays: int
    faults: tuple[tuple[str, str, str], ...]
    loose: tuple[str, ...]
    left_out: int = 0


def verify(root: Path) -> VerifyReport:
    """Read every array of the cache at `root` and compare its sha256, dtype and shape with the index."""
    cache = Cache(root)
    faults, arrays, used = [], 0, set()
    rows: list[dict[str, Any]] = cache.index.to_dict("records")  # type: ignore[assignment]
    for row in track(rows, "verify", unit="clips"):
        for field in cache.fields:
            name = row[f"{field}.shard"]
            if not isinstance(name, str):
                continue
            arrays += 1
            used.add(name)
            fault = _fault(cache.root / name, row, field)
            if fault:
                faults.append((row["id"], field, fault))
    there = {path.relative_to(cache.root).as_posix() for path in cache.root.glob("*/*.safetensors")}
    left_out = len(cache.quarantined())
    return VerifyReport(len(cache), arrays, tuple(faults), tuple(sorted(there - used)), left_out)


def _fault(path: Path, row: dict[str, Any], field: str) -> str | None:
    """What is wrong with one array, or None."""
    digest = hashlib.sha256()
    try:
        array = open_shard(path)[row[f"{field}.key"]]
        if str(array.dtype) != row[f"{field}.dtype"] or list(array.shape) != list(row[f"{field}.shape"]):
            return f"{path.name} holds {array.dtype} {array.shape} for it"
        for block in raw_blocks(array):
            digest.update(block.data)
    except FileNotFoundError:
        return f"{path.name} is absent"
    except (KeyError, ValueError, OSError) as error:
        return f"{path.name} cannot be read ({error})"
    if digest.hexdigest() != row[f"{field}.sha256"]:
        return f"checksum differs in {path.name}"
    return None


def stats(root: Path) -> dict[str, Any]:
    """What is in the cache at `root`: counts by split, hours, frames with a face, reasons of failures, bytes by field.

    Keys: `dataset`, `size`, `clips`, `speakers`, `frames`, `hours`, `frames_with_face` (a share, or None), `splits`,
    `quarantined` and `without` (tuples of id, reason or extractor, detail), `bytes`, `clips_with` and `fingerprints`.
    """
    cache = Cache(root)
    good = cache.index[cache.index["status"] == OK]
    fps = cache.settings.get("fps", FPS)
    faces = [np.count_nonzero(clip["valid"]) for clip in cache if "valid" in clip]
    splits = {
        str(split): {
            "clips": len(rows),
            "speakers": int(rows["speaker"].nunique()),
            "frames": int(rows["n_frames"].sum()),
            "hours": float(rows["n_frames"].sum()) / fps / 3600,
        }
        for split, rows in good.groupby("split")
    }
    return {
        "dataset": cache.settings["dataset"],
        "size": cache.size,
        "clips": len(good),
        "speakers": int(good["speaker"].nunique()),
        "frames": int(good["n_frames"].sum()),
        "hours": float(good["n_frames"].sum()) / fps / 3600,
        "frames_with_face": float(sum(faces) / max(1, good["n_frames"].sum())) if faces else None,
        "splits": splits,
        "quarantined": cache.quarantined(),
        "without": [
            (str(row["id"]), name.removeprefix("without."), str(row[name]))
            for name in good.columns
            if name.startswith("without.")
            for _, row in good[good[name].notna()].iterrows()
        ],
        "bytes": {f: sum(p.stat().st_size for p in _files(cache.root / f)) for f in cache.fields},
        "clips_with": {f: int(good[f"{f}.shard"].notna().sum()) for f in cache.fields},
        "fingerprints": cache.settings["fingerprints"],
    }


def _files(folder: Path) -> list[Path]:
    """The shards of a field that are files, not broken links."""
    return [path for path in folder.glob("*.safetensors") if path.is_file()]


def export(root: Path, out: Path, *, format: Literal["files", "webdataset"] = "files") -> int:
    """Write the usable clips of the cache at `root` into the folder `out`; returns how many.

    `files`: a folder for each clip with `FIELD.npy`, `audio.wav` and `clip.json`. `webdataset`: tars of about 256 MB
    with `ID.FIELD.npy`, `ID.audio.wav`, `ID.json`. Frames stay raw, and clips are streamed. The bytes depend on the
    cache alone. Raises `InputError` when `out` is not empty, or for another format.
    """
    if format not in EXPORT_FORMATS:
        raise unknown_name("export format", format, EXPORT_FORMATS)
    cache = Cache(root)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("is there already.", path=out, hint="Give a new or empty --out.")
    out.mkdir(parents=True, exist_ok=True)
    clips = track(cache.clips(), f"export {format}", unit="clips")
    return _export_files(clips, out) if format == "files" else _export_tars(clips, out)


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
    for field in sorted(clip.arrays):
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
