"""Mesh outputs on disk: npy files, and a drawing of them for the report's gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.meshes.checks import output_fault
from dawn_bench.pipelines.meshes.files import interleaved, write_npy
from dawn_bench.pipelines.meshes.render import MeshRenderer
from dawn_bench.readers import read_array
from dawn_bench.storage import raise_if_refused

#: Width and height of the gallery's drawings, pixels.
SIDE = 256


def write_mesh(path: Path, vertices: np.ndarray, truth: Clip) -> None:
    """Write (takes,T,V,3) as float32 and remove a drawing of the file before.

    Raises `ItemError("bad_output")` for another shape, or another V than the true clip's.
    """
    expected = truth["template"].shape[1]
    if vertices.ndim != 4 or vertices.shape[2:] != (expected, 3) or 0 in vertices.shape:
        raise ItemError("bad_output", f"vertices are {vertices.shape}, not (takes, frames, {expected}, 3)")
    path.with_suffix(".mp4").unlink(missing_ok=True)
    write_npy(path, vertices.astype(np.float32, copy=False))


def read_mesh(path: Path, truth: Clip, *, take: int = 0, notes: Sequence[str] = ()) -> Clip:
    """An npy file (T,3V), (T,V,3), (T,3,V) or (takes,T,V,3) as a clip of the truth's id, with its template and regions.

    It keeps its own length: the scorer cuts both clips to the shorter one. Raises `ItemError("bad_output")` for a file
    that is not readable, of another shape, unit or order of vertices, or has NaN or infinite coordinates.
    """
    try:
        array = read_array(path, mapped=True)
    except InputError as error:
        raise_if_refused(error)
        raise ItemError("bad_output", f"{path.name}: is not a readable npy file") from error
    vertices = truth["template"].shape[1]
    if array.ndim in (2, 3) and 0 not in array.shape and array.size == len(array) * 3 * vertices:
        array = interleaved(array, vertices=vertices)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[2:] != (vertices, 3) or array.dtype.kind != "f" or 0 in array.shape:
        raise ItemError("bad_output", f"{path.name}: is {array.dtype} {array.shape}, not (frames, {3 * vertices})")
    chosen = np.asarray(array[min(take, len(array) - 1)], np.float32)
    if not np.isfinite(chosen).all():
        raise ItemError("bad_output", f"{path.name}: has NaN or infinite coordinates")
    if fault := output_fault(chosen, np.asarray(truth["template"][0])):
        raise ItemError("bad_output", f"{path.name}: {fault}")
    shared = {f: truth[f] for f in truth.arrays if f not in ("vertices", "audio")}
    arrays = {**shared, "vertices": chosen}
    lines = (*notes, *region_notes(truth))
    return Clip(truth.id, truth.speaker, truth.split, len(chosen), arrays, truth.fps, notes=lines)


def region_notes(clip: Clip) -> list[str]:
    """Name and size of the clip's vertex regions: a lip error means nothing without them."""
    named = ((name, clip.meta.get(f"{field}_set")) for name, field in (("lips", "lips"), ("upper face", "upper")))
    return [f"{name}: {text}" for name, text in named if isinstance(text, str)]


def draw_mesh(path: Path, truth: Clip, target: Path) -> Path:
    """Draw the first take of an npy file from the front, with the true sound, as the video `target`."""
    vertices = read_mesh(path, truth)["vertices"]
    renderer = MeshRenderer(truth["template"][0], truth["triangles"][0] if "triangles" in truth else None, size=SIDE)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_video(target, renderer.frames(vertices), fps=truth.fps, audio=np.asarray(truth["audio"]))
    return target
