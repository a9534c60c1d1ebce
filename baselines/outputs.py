"""Outputs in one normal form: a lossless 25 fps mp4 with sound per clip, and a line of facts about each.

    <out>/<method>/<clip>.mp4
    <out>/<method>/items.jsonl     clip, status, detail, seconds, key (what the output was made from), notes, facts

An item whose key is unchanged and whose file is there is not generated again, so a killed run goes on where it was.
"""

from __future__ import annotations

import csv
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench.baselines.base import Generated, Item, Method
from dawn_bench.clip import FPS, Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import VIDEO_SUFFIXES
from dawn_bench.pipelines.media.audio import fit_length, read_audio
from dawn_bench.pipelines.media.video import probe, read_frames, write_video
from dawn_bench.progress import meter
from dawn_bench.provenance import fingerprint

OK = "ok"
ITEMS_FILE = "items.jsonl"


@dataclass(frozen=True)
class Output:
    """What became of one item: `status` is ok, no_face, bad_input, timeout, oom, crash or bad_output.

    `seconds` is the wall time from the item to its frames, `load_seconds` the part of it that loaded models.
    """

    clip: str
    status: str
    path: Path | None
    seconds: float
    key: str
    detail: str = ""
    load_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def produce(method: Method, clips: Sequence[Clip], out: Path, *, seed: int) -> dict[str, Output]:
    """Generate every clip with `method` into `out/<method>`; one that fails is recorded and costs no other."""
    folder = out / method.name
    folder.mkdir(parents=True, exist_ok=True)
    held = read_items(folder)
    done: dict[str, Output] = {}
    others = [c.id for c in clips] if "others" in method.uses else []
    with meter(f"generate {method.name}", total=sum(c.n_frames for c in clips), unit="frames") as progress:
        for clip in clips:
            content = [clip.meta.get(f"{field}_sha256") for field in ("frames", "audio")]
            key = fingerprint([method.fingerprint, clip.id, clip.n_frames, content, others, seed])
            old = held.get(clip.id)
            if old is not None and old.key == key and old.status == OK and old.path is not None and old.path.is_file():
                done[clip.id] = old
            else:
                done[clip.id] = _produce_one(method, Item(clip, clips, seed), folder / f"{clip.id}.mp4", key)
                append_item(folder, done[clip.id])
                if done[clip.id].status != OK:
                    progress.say(f"{method.name}, {clip.id}: {done[clip.id].status}: {done[clip.id].detail}")
            progress.advance(clip.n_frames)
    return done


def read_output(path: Path, truth: Clip, *, said: Sequence[str] = ()) -> Clip:
    """A generated file as a clip of the truth's id at 25 fps by timestamps; `meta["notes"]` says what was lacking,
    after what was `said` when it was made.

    A file without sound gets the truth's, if that has any. Length and size stay as they are: the scorer matches them
    and says so.
    Raises `ItemError("bad_output", …)` for a file that cannot be read.
    """
    notes = list(said)
    try:
        frames = read_frames(path)
    except ItemError as error:
        raise ItemError("bad_output", f"{path}: {error.detail}") from error
    arrays: dict[str, np.ndarray] = {"frames": frames}
    try:
        arrays["audio"] = fit_length(read_audio(path), len(frames))
    except ItemError:
        if "audio" in truth:
            notes.append("no sound of its own: scored with the true sound")
            arrays["audio"] = fit_length(np.asarray(truth["audio"]), len(frames))
    rate = probe(path).fps
    if abs(rate - FPS) > 0.01:
        notes.append(f"{rate:.2f} fps, read at {FPS} by timestamps")
    return Clip(truth.id, truth.speaker, truth.split, len(frames), arrays, meta={"notes": notes})


def find_outputs(
    folder: Path, clips: Sequence[Clip], mapping: Path | None, *, naming: str = "{clip}"
) -> dict[str, Path]:
    """A user's files by clip id: called as `naming` says (any video suffix, any sub-folder), or by a CSV `clip,file`.

    In `naming`, `{clip}` stands for the clip's id and `*` for anything: `{clip}_*_{clip}`.

    Clips without a file are left out. Raises `InputError` for a folder without videos, a CSV that does not fit, or two
    files for one clip.
    """
    if not folder.is_dir():
        raise InputError("is no folder of outputs.", path=folder, hint="Give the folder with your mp4 files.")
    wanted = {c.id for c in clips}
    if mapping is not None:
        return _mapped(folder, wanted, mapping)
    if "{clip}" not in naming:
        raise InputError(f"--naming {naming!r} does not hold {{clip}}.", hint="Example: --naming '{clip}_*'")
    found: dict[str, Path] = {}
    videos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError("has no video file.", path=folder, hint=f"Looked for {', '.join(sorted(VIDEO_SUFFIXES))}.")
    for clip in sorted(wanted):
        fits = re.compile(".*".join(re.escape(part.replace("{clip}", clip)) for part in naming.split("*")))
        named = [p for p in videos if fits.fullmatch(p.stem)]
        if len(named) > 1:
            raise InputError(
                f"has two files for clip {clip}: {named[0].name} and {named[1].name}.",
                path=folder,
                hint="Remove one, or say which with --mapping CSV.",
            )
        if named:
            found[clip] = named[0]
    return found


def _mapped(folder: Path, wanted: set[str], mapping: Path) -> dict[str, Path]:
    try:
        with mapping.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark in front
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read as CSV ({error}).", path=mapping) from error
    if not rows or not {"clip", "file"} <= set(rows[0]):
        raise InputError("has no columns `clip` and `file`.", path=mapping, hint="First line: clip,file")
    found: dict[str, Path] = {}
    for row in rows:
        if row["clip"] in found:
            raise InputError(f"names clip {row['clip']} twice.", path=mapping, hint="Leave one line for each clip.")
        if row["clip"] in wanted and row["file"] and (folder / row["file"]).is_file():
            found[row["clip"]] = folder / row["file"]
    return found


def attempt(clip: str, key: str, work: Callable[[], Output]) -> Output:
    """What `work` makes of a clip, or what kept it from it: one that fails costs no other."""
    began = time.perf_counter()
    try:
        return work()
    except ItemError as error:
        return Output(clip, error.reason, None, time.perf_counter() - began, key, error.detail)
    except InputError as error:
        return Output(clip, "bad_input", None, time.perf_counter() - began, key, str(error))
    except MemoryError as error:
        return Output(clip, "oom", None, time.perf_counter() - began, key, str(error))
    except Exception as error:  # a method may fail in any way; the other items go on
        kind = "oom" if "out of memory" in str(error).lower() else "crash"
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        return Output(clip, kind, None, time.perf_counter() - began, key, detail)


def _produce_one(method: Method, item: Item, path: Path, key: str) -> Output:
    def work() -> Output:
        began = time.perf_counter()
        made = method.generate(item)
        seconds = time.perf_counter() - began
        _check(made)
        write_video(path, made.frames, audio=made.audio, lossless=True)
        held, facts = made.load_seconds or 0.0, dict(made.facts)
        return Output(item.clip.id, OK, path, seconds, key, load_seconds=held, notes=made.notes, facts=facts)

    return attempt(item.clip.id, key, work)


def _check(made: Generated) -> None:
    frames = made.frames
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ItemError("bad_output", f"frames are {frames.dtype} {frames.shape}, not uint8 (T, H, W, 3)")


def append_item(folder: Path, output: Output) -> None:
    """Put down what became of one clip, at the end of the folder's list."""
    line = asdict(output) | {"path": output.path.name if output.path else None}
    with (folder / ITEMS_FILE).open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        cut = file.read(1) not in (b"", b"\n")  # a kill cut the last line short: it must not swallow this one
        file.write(b"\n" * cut + json.dumps(line).encode() + b"\n")


def read_items(folder: Path) -> dict[str, Output]:
    """What became of the clips of a folder, by id; lines that a kill cut short are left out."""
    return {o.clip: o for o in _lines(folder)}


def _lines(folder: Path) -> Iterator[Output]:
    path = folder / ITEMS_FILE
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            held = json.loads(line)
            name, notes = held["path"], tuple(held.get("notes", ()))
            yield Output(**(held | {"path": folder / name if name else None, "notes": notes}))
        except (ValueError, TypeError, KeyError):
            continue  # a line cut short by a kill; its item is made again
