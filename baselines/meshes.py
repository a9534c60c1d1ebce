"""The mesh track: methods that move vertices instead of painting pictures, and their outputs on disk.

    <out>/<method>/<clip>.npy      float32 (takes, T, V, 3), in the units of the dataset's files
    <out>/<method>/<clip>.mp4      the first take drawn from the front, with the sound, for the gallery's first clips
    <out>/<method>/items.jsonl     as for videos (`dawn_bench.baselines.outputs`)

A method that speaks to unseen subjects in several styles gives one take a style; their scores are averaged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from dawn_bench.baselines.base import Context, Item, MethodClass
from dawn_bench.baselines.outputs import OK, Output, append_item, attempt, read_items
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.files import replacing
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.meshes.render import MeshRenderer
from dawn_bench.progress import meter
from dawn_bench.provenance import fingerprint
from dawn_bench.registry import Registry

#: Side of the gallery's pictures, pixels.
SIDE = 256
#: The rows that every evaluation of meshes shows.
MESH_SANITY = ("ground-truth", "still", "shuffled-sound")


class MeshMethod(Protocol):
    """As `Method`, with vertices for an answer."""

    name: str
    method_class: MethodClass
    licence: str
    uses: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Text that names weights and settings; outputs with another fingerprint are made anew."""

    def speak(self, item: Item) -> tuple[np.ndarray, tuple[str, ...]]:
        """float32 (takes,T,V,3) and notes for the score's row; raises `ItemError` when this item cannot be done."""


#: Mesh methods by command-line name: functions of a `Context`; their files stand among the other methods.
MESH_METHODS: Registry[Callable[[Context], MeshMethod]] = Registry(
    "mesh method", group="dawn_bench.mesh_method", package="dawn_bench.baselines.methods"
)


def produce_meshes(
    method: MeshMethod, clips: Sequence[Clip], out: Path, *, seed: int, drawn: int = 3
) -> dict[str, Output]:
    """Make every clip with `method` below `out/<method>`, and draw the first `drawn` of them.

    A clip whose key is unchanged and whose files are there is not made again; one that fails costs no other.
    """
    folder = out / method.name
    folder.mkdir(parents=True, exist_ok=True)
    held = read_items(folder)
    others = [c.id for c in clips] if "others" in method.uses else []
    done: dict[str, Output] = {}
    with meter(f"generate {method.name}", total=sum(c.n_frames for c in clips), unit="frames") as progress:
        for number, clip in enumerate(clips):
            content = [clip.meta.get(f"{field}_sha256") for field in ("vertices", "audio")]
            key = fingerprint(["mesh", method.fingerprint, clip.id, clip.n_frames, content, others, seed])
            old = held.get(clip.id)
            if old is None or old.key != key or old.status != OK or old.path is None or not old.path.is_file():
                path = folder / f"{clip.id}.npy"
                path.with_suffix(".mp4").unlink(missing_ok=True)
                done[clip.id] = attempt(clip.id, key, partial(_make, method, Item(clip, clips, seed), path, key))
                append_item(folder, done[clip.id])
                if done[clip.id].status != OK:
                    progress.say(f"{method.name}, {clip.id}: {done[clip.id].status}: {done[clip.id].detail}")
            else:
                done[clip.id] = old
            if number < drawn:
                draw_output(done[clip.id], clip)
            progress.advance(clip.n_frames)
    return done


def read_mesh(path: Path, truth: Clip, *, take: int = 0, said: Sequence[str] = ()) -> Clip:
    """An output, or a user's npy file (T,3V), (T,V,3) or (takes,T,V,3), as a clip of the truth's id.

    It keeps its own length: the scorer cuts both to the shorter. Raises `ItemError("bad_output", …)`.
    """
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ItemError("bad_output", f"{path.name}: is no readable npy file") from error
    vertices = truth["template"].shape[1]
    if array.ndim == 2:
        array = array.reshape(len(array), -1, 3) if array.shape[1] == 3 * vertices else array
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[2:] != (vertices, 3) or array.dtype.kind != "f" or not array.shape[1]:
        raise ItemError("bad_output", f"{path.name}: is {array.dtype} {array.shape}, not (frames, {3 * vertices})")
    made = np.asarray(array[min(take, len(array) - 1)], np.float32)
    if not np.isfinite(made).all():
        raise ItemError("bad_output", f"{path.name}: has NaN or infinite coordinates")
    shared = {f: truth[f] for f in truth.arrays if f not in ("vertices", "audio")}
    meta = {"notes": [*said, *regions_note(truth)]}
    return Clip(truth.id, truth.speaker, truth.split, len(made), {**shared, "vertices": made}, truth.fps, meta)


def regions_note(clip: Clip) -> list[str]:
    """Name and size of the index sets that the clip carries: a score of lips means nothing without."""
    named = ((name, clip.meta.get(f"{field}_set")) for name, field in (("lips", "lips"), ("upper face", "upper")))
    return [f"{name}: {text}" for name, text in named if isinstance(text, str)]


def draw_output(output: Output, clip: Clip) -> None:
    """The first take as a video beside its npy file, where it is not there yet."""
    if output.path is None or output.path.with_suffix(".mp4").is_file():
        return
    made = read_mesh(output.path, clip)["vertices"]
    draw = MeshRenderer(clip["template"][0], clip["triangles"][0] if "triangles" in clip else None, size=SIDE)
    write_video(output.path.with_suffix(".mp4"), draw.frames(made), fps=clip.fps, audio=np.asarray(clip["audio"]))


def _make(method: MeshMethod, item: Item, path: Path, key: str) -> Output:
    began = time.perf_counter()
    made, notes = method.speak(item)
    seconds = time.perf_counter() - began
    if made.ndim != 4 or made.shape[2:] != item.clip["template"].shape[1:]:
        raise ItemError(
            "bad_output", f"vertices are {made.shape}, not (takes, frames, {item.clip['template'].shape[1]}, 3)"
        )
    with replacing(path, sole=True) as temporary, temporary.open("wb") as file:
        np.save(file, made.astype(np.float32, copy=False))
    return Output(item.clip.id, OK, path, seconds, key, notes=notes, facts={"takes": len(made)})
