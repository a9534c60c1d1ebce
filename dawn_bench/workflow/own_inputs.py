"""What a method outside dawn-bench takes of a cache: a portrait, speech and a driving video for each clip, as files.

    <out>/<clip>/portrait.png       the first true frame, cropped as in the cache, at the resolution of its source video
    <out>/<clip>/portrait-128.png   the same at the cache's size
    <out>/<clip>/speech.wav         16 kHz, mono
    <out>/<clip>/driving.mp4        the true clip with its sound
    <out>/<clip>/clip.json          id, speaker, length, source, and where portrait.png is from
    <out>/clips.csv                 the columns clip,file: where the method writes each mp4
    <out>/inputs.json               of which clips the folder holds the inputs

`dawn-bench evaluate --outputs DIR --mapping OUT/clips.csv` takes the table as it is. The clips, or their pieces, are
those that `evaluate` scores.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import sync, temporary_path, user_path, write_atomic
from dawn_bench.lazy import row_blocks
from dawn_bench.locks import HOLDER_FILE, LOCK_FILE, exclusive
from dawn_bench.names import check_name, owned
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.preparation.export import in_processes
from dawn_bench.pipelines.preparation.source_frame import source_frame
from dawn_bench.progress import meter
from dawn_bench.readers import DamageError, read_json
from dawn_bench.storage import raise_if_refused, writing
from dawn_bench.text import FORMULA
from dawn_bench.workflow.chosen import chosen_clips
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.pieces import cut_piece
from dawn_bench.workflow.scoring import identity

#: The table that `evaluate --mapping` reads, the facts on the folder, and those on each clip.
TABLE, FACTS, CLIP_FACTS = "clips.csv", "inputs.json", "clip.json"
#: Clips that are being written, until each is whole.
_PARTIAL = ".partial"
#: x264's quality of the driving video: differences that no eye sees.
_CRF = 10


@dataclass(frozen=True)
class Inputs:
    """How many clips the folder holds, how many of them were there before, and the clips without a source by why.

    For these `portrait.png` has the cache's size.
    """

    clips: int
    kept: int
    without_source: Mapping[str, Sequence[str]]


def export_inputs(
    root: Path,
    out: Path,
    *,
    split: str = "test",
    piece_length: int | Literal["whole"] | None = None,
    max_clips: int | None = None,
    jobs: int = 1,
) -> Inputs:
    """Write the inputs of the clips that `evaluate` scores into the folder `out`, and their table.

    A clip's folder appears when it is whole. Run it again after an interruption: whole folders are kept.

    Args:
        root: the cache's folder.
        out: a new or empty folder, or one with inputs of the same clips.
        split, piece_length, max_clips: as in `Evaluation`.
        jobs: worker processes.

    Raises `InputError` for a cache of meshes, a split without clips, a folder with other content, or when the disk is
    full.
    """
    if jobs < 1:
        raise InputError(f"jobs={jobs} is not a number of processes.", hint="Give at least 1.")
    cache, out = Cache(root), user_path(out)
    settings = {"cache": cache.root, "out": out, "split": split, "piece_length": piece_length, "max_clips": max_clips}
    chosen = chosen_clips(Evaluation(**settings, device="cpu"), cache)
    if "frames" not in chosen.clips[0]:
        what = "holds meshes, and inputs are pictures and sound."
        raise InputError(what, path=cache.root, hint="Use --format files, which exports the meshes.")
    for clip in chosen.clips:
        check_name(clip.id, what="the clip id")
    facts = {"data": identity(cache, split)[0], "split": split, "piece_length": chosen.piece_length}
    with exclusive(out, doing="filled", hint="Wait for it, or give another --out."):
        _claim(out, facts)
        shutil.rmtree(owned(out, _PARTIAL), ignore_errors=True)  # what a killed run left
        missing = [clip for clip in chosen.clips if not owned(out, clip.id, CLIP_FACTS).is_file()]
        tasks = [partial(_write, cache, c.whole_id, c.first_frame, c.n_frames, out) for c in missing]
        if tasks:
            with meter("export inputs", total=len(tasks), unit="clips") as bar:
                for count in in_processes(tasks, jobs):
                    bar.advance(count)
        shutil.rmtree(owned(out, _PARTIAL), ignore_errors=True)
        write_atomic(owned(out, TABLE), _table([clip.id for clip in chosen.clips]))
    without: dict[str, list[str]] = {}
    for clip in chosen.clips:
        if why := _portrait_fault(out / clip.id / CLIP_FACTS):
            without.setdefault(why, []).append(clip.id)
    return Inputs(len(chosen.clips), len(chosen.clips) - len(missing), without)


def _claim(out: Path, facts: Mapping[str, Any]) -> None:
    """Note of which clips the folder holds the inputs; raises `InputError` where it holds something else."""
    path = owned(out, FACTS)
    if path.is_file():
        if read_json(path, dict, hint="Give a new or empty --out.") != facts:
            what = "holds the inputs of another cache or split, or of pieces of another length."
            raise InputError(what, path=out, hint="Give a new or empty --out.")
    elif any(file.name not in (LOCK_FILE, HOLDER_FILE) for file in out.iterdir()):
        raise InputError("already exists and is not an empty folder.", path=out, hint="Give a new or empty --out.")
    else:
        write_atomic(path, json.dumps(facts, indent=1).encode())


def _write(cache: Cache, whole: str, start: int, frames: int, out: Path) -> int:
    """Write the inputs of a clip, or of the piece of it that begins at frame `start`; returns 1."""
    clip = cache[whole]
    if (start, frames) != (0, clip.n_frames):
        clip = cut_piece(clip, start, start + frames)
    folder = temporary_path(owned(out, _PARTIAL, clip.id))
    with writing(folder):
        folder.mkdir(parents=True)
    try:
        _fill(folder, clip)
        with writing(out / clip.id):
            sync(folder)
            folder.rename(owned(out, clip.id))
            sync(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1


def _fill(folder: Path, clip: Clip) -> None:
    frames, cached = clip["frames"], np.asarray(clip["frames"][0])
    side, why = cached.shape[0], ""
    _write_picture(folder / f"portrait-{side}.png", cached)
    try:
        portrait = source_frame(clip)
    except ItemError as error:
        raise_if_refused(error)
        portrait, why = cached, error.detail
    _write_picture(folder / "portrait.png", portrait)
    sound = np.asarray(clip["audio"]) if "audio" in clip else None
    if sound is not None:
        write_wav(folder / "speech.wav", sound)
    pictures = (frame for block in row_blocks(frames) for frame in block)
    write_video(folder / "driving.mp4", pictures, fps=clip.fps, audio=sound, lossless=side % 2 == 1, crf=_CRF)
    facts = {
        "id": clip.id,
        "speaker": clip.speaker,
        "split": clip.split,
        "fps": clip.fps,
        "n_frames": clip.n_frames,
        "source": str(clip.meta.get("source") or ""),
        "first_frame": clip.first_frame,
        "portrait": {"size": portrait.shape[0], "from": "cache" if why else "source", "why": why},
    }
    write_atomic(folder / CLIP_FACTS, json.dumps(facts, indent=1, sort_keys=True).encode())


def _write_picture(path: Path, picture: np.ndarray) -> None:
    import cv2

    _, data = cv2.imencode(".png", picture[..., ::-1])
    write_atomic(path, data.tobytes())


def _portrait_fault(path: Path) -> str:
    """Why the portrait of a clip is the cached frame; empty where it is from the source video."""
    try:
        portrait = read_json(path, dict).get("portrait")
    except DamageError:
        return ""
    return str(portrait.get("why", "")) if isinstance(portrait, dict) else ""


def _table(ids: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")  # a shell's `read` would keep the carriage return
    writer.writerow(("clip", "file"))
    for name in ids:
        # as a path, a name is no formula of a spreadsheet and no option of a program; --mapping takes it as it is
        plain = f"./{name}" if name.startswith(FORMULA) else name
        writer.writerow((plain, f"{plain}.mp4"))
    return text.getvalue().encode()
