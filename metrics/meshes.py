"""Errors of a talking mesh against the true one: vertices float (T,V,3), regions as vertex numbers.

Canonical implementation: CodeTalker (`main/cal_metric.py`), which DiffSpeaker repeats; MVE is FaceDiffuser's. Computed
in the meshes' own dtype, as there: float32 meshes give the same float32 numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dawn_bench.errors import InputError, ItemError


def region(path: Path | str, *, n_vertices: int | None = None) -> np.ndarray:
    """Vertex numbers int64 (n,) from a text file, separated by commas or white space, counted from 0.

    Raises `InputError` when the file is absent, holds something else, or names a vertex that the mesh has not.
    """
    path = Path(path)
    try:
        numbers = np.array([int(word) for word in path.read_text().replace(",", " ").split()], dtype=np.int64)
    except OSError as error:
        raise InputError("the file of vertex numbers cannot be read.", path=path) from error
    except ValueError as error:
        raise InputError("is no list of vertex numbers.", path=path, mend="Example: 3, 17, 20") from error
    if not numbers.size or numbers.min() < 0 or (n_vertices is not None and numbers.max() >= n_vertices):
        raise InputError(f"does not fit a mesh of {n_vertices} vertices.", path=path)
    return numbers


def lip_errors(predicted: np.ndarray, true: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Largest squared distance over the lip vertices, per frame: (T,), in squared units of the mesh."""
    return np.square(predicted[:, lips] - true[:, lips]).sum(axis=2).max(axis=1)


def liveliness(vertices: np.ndarray, template: np.ndarray, upper: np.ndarray) -> float:
    """Mean over the upper face's vertices of the spread over time of the squared distance from the template (V,3)."""
    moved = vertices[:, upper] - template[upper]
    return float(np.square(moved).sum(axis=2).std(axis=0).mean())


def vertex_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean distance over all vertices, per frame: (T,), in units of the mesh."""
    return np.linalg.norm(predicted - true, axis=2).mean(axis=1)


def chosen_region(arrays: Mapping[str, np.ndarray], name: str, file: str | None, *, what: str) -> np.ndarray:
    """The vertex numbers among a clip's `arrays`, else those of the protocol's `file`.

    Raises `ItemError("no_region")` where there are neither, `InputError` where the mesh has no such vertex.
    """
    n_vertices = arrays["mesh"].shape[1]
    numbers = arrays.get(name)
    if numbers is not None:
        if numbers.min() < 0 or numbers.max() >= n_vertices:
            raise InputError(f"the {what}'s vertex numbers do not fit a mesh of {n_vertices} vertices.", path=file)
        return numbers
    if file is None:
        field = name.replace("mesh", "mesh_")
        raise ItemError(
            "no_region", f"the {what}'s vertex numbers are needed: set the protocol field {field} to their file"
        )
    return region(file, n_vertices=n_vertices)
