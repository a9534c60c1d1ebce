"""Errors of a talking mesh against the true one: vertices float (T,V,3), regions as vertex indices.

Canonical implementation: CodeTalker (`main/cal_metric.py`), which DiffSpeaker repeats; MVE is FaceDiffuser's. Computed
in the meshes' own dtype, as there: float32 meshes give the same float32 numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dawn_bench.errors import InputError, ItemError
from dawn_bench.pickles import read_arrays
from dawn_bench.pipelines.meshes.files import read_indices
from dawn_bench.weights import resolve
from dawn_bench.weights_needs import Needs

#: Named regions: the file in the weights registry and, for FLAME, the vertex groups that form it (as in DiffSpeaker).
REGIONS: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("biwi", "lips"): ("biwi-lips", ()),
    ("biwi", "upper"): ("biwi-upper", ()),
    ("vocaset", "lips"): ("flame-masks", ("lips",)),
    ("vocaset", "upper"): ("flame-masks", ("forehead", "eye_region")),
}


def region_needs(names: Mapping[str, str | None]) -> Needs:
    """The registry files behind the regions of a protocol: {"lips": mesh name or file, "upper": the same}."""
    return tuple((REGIONS[name, part][0],) for part, name in names.items() if name and (name, part) in REGIONS)


def named_region(name: str, part: str, *, n_vertices: int | None = None) -> np.ndarray:
    """The vertex indices of `part` (lips or upper) of the mesh `name` (biwi or vocaset), or of the text file `name`.

    Named regions are files of the weights registry and not shipped: add them by `weights fetch` or `weights add`.
    Raises `InputError` where the file is absent or does not fit.
    """
    if (name, part) not in REGIONS:
        return region(name, n_vertices=n_vertices)
    entry, groups = REGIONS[name, part]
    path = resolve(entry, "files").file
    if not groups:
        return region(path, n_vertices=n_vertices)
    masks = read_masks(path)
    if not set(groups) <= set(masks):
        raise InputError(f"has no vertex group {' and '.join(sorted(set(groups) - set(masks)))}.", path=path)
    chosen = [masks[group].reshape(-1) for group in groups]
    if any(indices.dtype.kind not in "iu" for indices in chosen):
        raise InputError("has vertex groups that are not whole numbers.", path=path)
    indices = np.unique(np.concatenate(chosen)).astype(np.int64)
    return _fitting(indices, n_vertices, path)


def read_masks(path: Path) -> dict[str, np.ndarray]:
    """FLAME's vertex groups by name, from its pickle; raises `InputError` where it has other content."""
    return read_arrays(path, hint="Download the file of FLAME's vertex groups again.")


def region(path: Path | str, *, n_vertices: int | None = None) -> np.ndarray:
    """Vertex indices int64 (n,) from a text file, separated by commas or white space, counted from 0.

    Raises `InputError` when the file is absent, has other content, or an index is outside the mesh.
    """
    return _fitting(read_indices(Path(path)), n_vertices, Path(path))


def _fitting(indices: np.ndarray, n_vertices: int | None, path: Path) -> np.ndarray:
    if not indices.size or indices.min() < 0 or (n_vertices is not None and indices.max() >= n_vertices):
        raise InputError(f"does not fit a mesh of {n_vertices} vertices.", path=path)
    return indices


def lip_errors(predicted: np.ndarray, true: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Largest squared distance over the lip vertices, per frame: (T,), in squared units of the mesh."""
    return np.square(predicted[:, lips] - true[:, lips]).sum(axis=2).max(axis=1)


def liveliness(vertices: np.ndarray, template: np.ndarray, upper: np.ndarray) -> float:
    """Mean over the upper-face vertices of the standard deviation over time of the squared distance from the template.

    Vertices (T,V,3), template (V,3), upper (n,); in squared units of the mesh.
    """
    moved = vertices[:, upper] - template[upper]
    return float(np.square(moved).sum(axis=2).std(axis=0).mean())


def vertex_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean distance over all vertices, per frame: (T,), in units of the mesh."""
    return np.linalg.norm(predicted - true, axis=2).mean(axis=1)


def chosen_region(arrays: Mapping[str, np.ndarray], name: str, file: str | None, *, what: str) -> np.ndarray:
    """The vertex indices among a clip's `arrays`, else those of the protocol's `file` or named set.

    Raises `ItemError("no_region")` where both are absent, `InputError` where an index is outside the mesh.
    """
    n_vertices = arrays["mesh"].shape[1]
    indices = arrays.get(name)
    if indices is not None:
        if indices.min() < 0 or indices.max() >= n_vertices:
            raise InputError(f"the {what}'s vertex indices do not fit a mesh of {n_vertices} vertices.", path=file)
        return indices
    if file is None:
        field = name.replace("mesh", "mesh_")
        raise ItemError(
            "no_region", f"the {what}'s vertex indices are needed: --protocol-set {field}=biwi, vocaset or a file"
        )
    return named_region(file, name.removeprefix("mesh"), n_vertices=n_vertices)
