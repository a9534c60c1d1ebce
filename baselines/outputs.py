"""Outputs in one normal form: a lossless 25 fps mp4 with sound per clip, and a line of facts about each.

    <out>/<method>/<clip>.mp4
    <out>/<method>/items.jsonl     clip, status, detail, seconds, key (what the output was made from)

An item whose key is unchanged and whose file is there is not generated again, so a killed run goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from dawn_bench.baselines.base import Item, Method
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.audio import fit_length, read_audio
from dawn_bench.pipelines.video import read_frames, write_video
from dawn_bench.progress import meter
from dawn_bench.provenance import fingerprint

OK = "ok"
ITEMS_FILE = "items.jsonl"


@dataclass(frozen=True)
class Output:
    """What became of one item: `status` is ok, no_face, timeout, oom, crash or bad_output."""

    clip: str
    status: str
    path: Path | None
    seconds: float
    key: str
    detail: str = ""


def produce(method: Method, clips: Sequence[Clip], out: Path, *, seed: int) -> dict[str, Output]:
    """Generate every clip with `method` into `out/<method>`; one that fails is recorded and costs no other."""
    folder = out / method.name
    folder.mkdir(parents=True, exist_ok=True)
    held = _read_items(folder)
    done: dict[str, Output] = {}
    with meter(f"generate {method.name}", total=sum(c.n_frames for c in clips), unit="frames") as progress:
        for clip in clips:
            key = fingerprint([method.fingerprint, clip.id, clip.n_frames, clip.meta.get("frames_sha256"), seed])
            old = held.get(clip.id)
            if old is not None and old.key == key and old.status == OK and old.path is not None and old.path.is_file():
                done[clip.id] = old
            else:
                done[clip.id] = _produce_one(method, Item(clip, clips, seed), folder / f"{clip.id}.mp4", key)
                _append_item(folder, done[clip.id])
                if done[clip.id].status != OK:
                    progress.say(f"{method.name}, {clip.id}: {done[clip.id].status}: {done[clip.id].detail}")
            progress.advance(clip.n_frames)
    return done


def read_output(path: Path, truth: Clip) -> tuple[Clip, list[str]]:
    """A generated file as a clip of the truth's id, and notes on what had to be changed.

    25 fps by timestamps; the picture is resized to the truth's side; longer outputs are cut to the truth's length.
    A file without sound gets the truth's. Raises `ItemError("bad_output", …)` for a file that cannot be read.
    """
    notes: list[str] = []
    try:
        frames = read_frames(path)
    except ItemError as error:
        raise ItemError("bad_output", f"{path}: {error.detail}") from error
    side = truth["frames"].shape[1]
    if frames.shape[1:3] != (side, side):
        notes.append(f"resized from {frames.shape[2]}x{frames.shape[1]} to {side}x{side}")
        frames = np.stack([cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in frames])
    if len(frames) != truth.n_frames:
        notes.append(f"{len(frames)} frames against {truth.n_frames} true ones: compared over the shorter")
    frames = frames[: truth.n_frames]
    try:
        audio = read_audio(path)
    except ItemError:
        notes.append("no sound of its own: scored with the true sound")
        audio = np.asarray(truth["audio"])
    arrays: Mapping[str, np.ndarray] = {"frames": frames, "audio": fit_length(audio, len(frames))}
    return Clip(truth.id, truth.speaker, truth.split, len(frames), arrays), notes


def _produce_one(method: Method, item: Item, path: Path, key: str) -> Output:
    began = time.perf_counter()
    try:
        made = method.generate(item)
        write_video(path, made.frames, audio=made.audio, lossless=True)
    except ItemError as error:
        return Output(item.clip.id, error.reason, None, time.perf_counter() - began, key, error.detail)
    except MemoryError as error:
        return Output(item.clip.id, "oom", None, time.perf_counter() - began, key, str(error))
    except RuntimeError as error:
        kind = "oom" if "out of memory" in str(error).lower() else "crash"
        return Output(item.clip.id, kind, None, time.perf_counter() - began, key, str(error).splitlines()[0])
    return Output(item.clip.id, OK, path, time.perf_counter() - began, key)


def _append_item(folder: Path, output: Output) -> None:
    line = asdict(output) | {"path": output.path.name if output.path else None}
    with (folder / ITEMS_FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")


def _read_items(folder: Path) -> dict[str, Output]:
    return {o.clip: o for o in _lines(folder)}


def _lines(folder: Path) -> Iterator[Output]:
    path = folder / ITEMS_FILE
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            held = json.loads(line)
            yield Output(**(held | {"path": folder / held["path"] if held["path"] else None}))
        except (ValueError, TypeError, KeyError):
            continue  # a line cut short by a kill; its item is made again
