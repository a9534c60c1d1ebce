"""Exports a finished cache for other tools: numpy and wav files in folders, or WebDataset tars."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from dawn_bench.cache import Cache, raw_blocks
from dawn_bench.clip import SAMPLE_RATE, Clip
from dawn_bench.errors import InputError, unknown_name
from dawn_bench.executor import check_owner, set_up_worker
from dawn_bench.files import filling, user_path
from dawn_bench.lazy import row_blocks
from dawn_bench.progress import meter
from dawn_bench.stopping import children_without_ctrl_c

#: Bytes of clips that go into one WebDataset tar before the next is begun.
TAR_BYTES = 256 * 2**20
Format = Literal["files", "webdataset"]
EXPORT_FORMATS = ("files", "webdataset")
Frames = Literal["raw", "jpg", "mp4"]
#: How frames are written, and about how many times smaller they are than raw: a tar is planned before it is written.
EXPORT_FRAMES = {"raw": 1, "jpg": 8, "mp4": 50}
#: Quality of JPEG pictures, of 100.
JPEG_QUALITY = 95
#: Clips that a worker exports into folders at a time.
_AT_ONCE = 16


@dataclass(frozen=True)
class _Choice:
    """What of a clip is exported: fields, or all of them, and how frames are written."""

    fields: tuple[str, ...] | None
    frames: str

    def of(self, clip: Clip) -> list[str]:
        return [name for name in clip.fields if self.fields is None or name in self.fields]


def export(
    root: Path,
    out: Path,
    *,
    format: Format = "files",
    split: str | None = None,
    fields: Sequence[str] | None = None,
    frames: Frames = "raw",
    jobs: int = 1,
    shuffle: bool = False,
    seed: int = 0,
) -> int:
    """Write the usable clips of the cache at `root` into the folder `out`; returns how many.

    `files`: a folder for each clip with `FIELD.npy`, `audio.wav` and `clip.json`. `webdataset`: tars of about 256 MB
    with `KEY.FIELD.npy`, `KEY.audio.wav`, `KEY.json`; the key is the id without dots (`sample_key`). Masks are a byte a
    pixel, also where the cache does not store them, and clips are streamed. The bytes depend on the cache and the other
    arguments, not on `jobs`. An export that fails or is stopped leaves nothing in `out`.

    Args:
        root: the cache's folder.
        out: a new or empty folder.
        format: `files` or `webdataset`.
        split: of the clips; None for all.
        fields: names of stored fields and masks; None for all. A clip without one of them is exported without it.
        frames: `raw` for one array; `jpg` for a picture a frame; `mp4` for H.264, which is lossy too.
        jobs: worker processes.
        shuffle: put the clips into the tars in an order that is drawn with `seed`.
        seed: of the order.

    Raises `InputError` when `out` is not empty, for another format, a split or field that the cache does not have, or
    when the disk is full.
    """
    for label, name, known in (("export format", format, EXPORT_FORMATS), ("kind of frames", frames, EXPORT_FRAMES)):
        if name not in known:
            raise unknown_name(label, name, known)
    if shuffle and format == "files":
        raise InputError("folders have no order to shuffle.", hint="Add --format webdataset, or leave out --shuffle.")
    if jobs < 1:
        raise InputError(f"jobs={jobs} is not a number of processes.", hint="Give at least 1.")
    cache, out = Cache(root), user_path(out)
    choice = _Choice(None if fields is None else tuple(fields), frames)
    cache.check_fields(choice.fields or ())
    if frames != "raw" and "frames" not in (cache.fields if choice.fields is None else choice.fields):
        raise InputError(f"frames={frames}: no frames are exported.", path=cache.root)
    ids = cache.ids(split)
    if shuffle:
        ids = [ids[k] for k in np.random.default_rng(seed).permutation(len(ids))]
    with filling(out) as folder, meter(f"export {format}", total=len(ids), unit="clips") as bar:
        if format == "files":
            parts = [ids[k : k + _AT_ONCE] for k in range(0, len(ids), _AT_ONCE)]
            tasks = [partial(_export_files, cache, part, folder, choice) for part in parts]
        else:
            tars = _planned_tars(cache, ids, choice)
            paths = (folder / f"clips-{n:06d}.tar" for n in range(len(tars)))
            tasks = [partial(_export_tar, cache, part, path, choice) for part, path in zip(tars, paths, strict=True)]
        for count in in_processes(tasks, jobs):
            bar.advance(count)
    return len(ids)


def in_processes(tasks: Sequence[Callable[[], int]], jobs: int) -> Iterator[int]:
    """What the tasks return, as they end, from `jobs` processes. Raises `InputError` where one of these dies."""
    if jobs == 1:
        yield from (task() for task in tasks)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")
    with ExitStack() as stack:
        with children_without_ctrl_c():
            results = parallel(delayed(_in_worker)(task, os.getpid()) for task in tasks)
            stack.callback(_close, results)
        try:
            yield from results
        except RuntimeError as error:  # of loky's; an `InputError` is none
            if "BrokenProcessPool" not in {kind.__name__ for kind in type(error).__mro__}:
                raise
            raise InputError("a worker process died.", hint="It may be out of memory: try fewer --jobs.") from None


def _close(results: Iterator[int]) -> None:
    """Stop the tasks that are left, without joblib's advice on how to give it fewer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        results.close()  # type: ignore[attr-defined]


def _in_worker(task: Callable[[], int], owner: int) -> int:
    """A task in a worker process, which ends with the process `owner`."""
    set_up_worker(owner)
    check_owner(owner)
    return task()


def _export_files(cache: Cache, ids: Sequence[str], out: Path, choice: _Choice) -> int:
    for clip in map(cache.__getitem__, ids):
        folder = out / clip.id
        folder.mkdir()
        for name, _, chunks in _members(clip, choice):
            path = folder / ("clip.json" if name == "json" else name)
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
    return len(ids)


def _planned_tars(cache: Cache, ids: Sequence[str], choice: _Choice) -> list[list[str]]:
    """The clips of each tar, in order: one is begun when the one before has `TAR_BYTES`."""
    tars: list[list[str]] = []
    filled = 0
    for clip_id in ids:
        if not tars or filled >= TAR_BYTES:
            tars.append([])
            filled = 0
        tars[-1].append(clip_id)
        filled += _size(cache[clip_id], choice)
    return tars


def _export_tar(cache: Cache, ids: Sequence[str], path: Path, choice: _Choice) -> int:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for clip in map(cache.__getitem__, ids):
            for name, size, chunks in _members(clip, choice):
                entry = tarfile.TarInfo(f"{sample_key(clip.id)}.{name.replace('/', '.')}")
                entry.size, entry.mode = size, 0o644
                tar.addfile(entry, _Chunks(chunks))  # type: ignore[arg-type]
    return len(ids)


def sample_key(clip_id: str) -> str:
    """What the names of a clip's members in a WebDataset tar begin with: its id with `.` as `%2E` and `%` as `%25`.

    Readers take a member's key to end at its first dot. The id is in the sample's json.
    """
    return clip_id.replace("%", "%25").replace(".", "%2E")


def _size(clip: Clip, choice: _Choice) -> int:
    """Bytes of the files of a clip; those of pictures and videos are estimated."""
    size = len(_facts(clip, choice))
    for field in choice.of(clip):
        array = clip[field]
        head = _wav_head(array.nbytes) if field == "audio" else _npy_head(array)
        size += (len(head) + array.nbytes) // (EXPORT_FRAMES[choice.frames] if field == "frames" else 1)
    return size


def _members(clip: Clip, choice: _Choice) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """The files of a clip as (name, size in bytes, content in chunks)."""
    for field in choice.of(clip):
        array = clip[field]
        if field == "frames" and choice.frames != "raw":
            yield from _pictures(array) if choice.frames == "jpg" else _video(array, fps=clip.fps)
            continue
        head = _wav_head(array.nbytes) if field == "audio" else _npy_head(array)
        yield f"{field}.{'wav' if field == 'audio' else 'npy'}", len(head) + array.nbytes, _content(head, array)
    text = _facts(clip, choice)
    yield "json", len(text), iter([text])


def _facts(clip: Clip, choice: _Choice) -> bytes:
    """What is known of a clip, as JSON; it says where frames are not raw."""
    facts = {"id": clip.id, "speaker": clip.speaker, "split": clip.split, "fps": clip.fps, "n_frames": clip.n_frames}
    meta = {key: value for key, value in clip.meta.items() if value == value}  # NaN: not this clip's
    lossy = {"frames": choice.frames} if choice.frames != "raw" else {}
    return json.dumps({**facts, **lossy, "meta": meta}, indent=1, sort_keys=True, default=str, allow_nan=False).encode()


def _pictures(frames: np.ndarray) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """A JPEG picture for every frame, numbered from 0."""
    import cv2

    number = 0
    for block in row_blocks(frames):
        for frame in block:
            _, picture = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            data = picture.tobytes()
            yield f"frames/{number:06d}.jpg", len(data), iter([data])
            number += 1


def _video(frames: np.ndarray, *, fps: int) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """The frames as a video without sound."""
    from dawn_bench.pipelines.media.video import write_video

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frames.mp4")
        write_video(path, (frame for block in row_blocks(frames) for frame in block), fps=fps)
        data = path.read_bytes()
    yield "frames.mp4", len(data), iter([data])


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
