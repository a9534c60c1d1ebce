"""Mesh dataset files: vertices, templates, vertex indices, triangles. Code in a file is never executed.

V vertices, T frames, F triangles. Units are those of the files.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import IO

import numpy as np

from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import replacing
from dawn_bench.pickles import read_arrays
from dawn_bench.readers import guarded, read_array, read_text
from dawn_bench.storage import raise_if_refused

#: Hint for a dataset file that cannot be read.
HINT = "Use the original file of the dataset."


def read_templates(path: Path) -> dict[str, np.ndarray]:
    """Read `templates.pkl`: the neutral face float32 (V,3) of each subject.

    Raises `InputError` for an unreadable file, for arrays that are not (V,3), or where V differs between subjects.
    """
    templates = {}
    for name, array in read_arrays(path, hint=HINT).items():
        if array.dtype.kind not in "fiu" or array.size % 3 or not array.size or not np.isfinite(array).all():
            raise InputError(f"subject {name} is {array.dtype} {array.shape}, not (vertices, 3) numbers.", path=path)
        by_axis = array.ndim == 2 and array.shape[0] == 3 != array.shape[1]  # (3,V)
        templates[name] = (array.T if by_axis else array).reshape(-1, 3).astype(np.float32)
    counts = {len(t) for t in templates.values()}
    if len(counts) > 1:
        raise InputError(f"has faces of {' and '.join(map(str, sorted(counts)))} vertices.", path=path)
    return templates


def read_vertices(path: Path, *, vertices: int) -> np.ndarray:
    """Read float32 (T,V,3) from an npy file of shape (T,3V), (T,V,3) or (T,3,V).

    Raises `ItemError` with reason unreadable, bad_shape or not_finite.
    """
    try:
        array = read_array(path)
    except InputError as error:
        raise_if_refused(error)
        raise ItemError("unreadable", f"{path.name}: {error.what}") from error
    flat = array.dtype.kind in "fiu" and array.ndim in (2, 3) and len(array)
    if not flat or math.prod(array.shape[1:]) != 3 * vertices:
        needed = f"(frames, {3 * vertices}) as its template requires"
        raise ItemError("bad_shape", f"{path.name}: is {array.shape}, not {needed}")
    coordinates = interleaved(array, vertices=vertices).astype(np.float32)
    if not np.isfinite(coordinates).all():
        raise ItemError("not_finite", f"{path.name}: has NaN or infinite coordinates")
    return coordinates


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write an npy file. Raises `StorageError` where the disk is full."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(_Written(file), array)


class _Written:
    """A file as far as numpy writes to it. Of a real file numpy takes the C stream, and ignores that closing it fails:
    on a full disk the last four kilobytes would be lost without an error.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def interleaved(array: np.ndarray, *, vertices: int) -> np.ndarray:
    """(T,V,3) of an array (T,3V), (T,V,3) or (T,3,V); V is not 3."""
    if array.shape[1:] == (3, vertices):
        return array.transpose(0, 2, 1)
    return array.reshape(len(array), vertices, 3)


def read_indices(path: Path) -> np.ndarray:
    """Zero-based vertex indices int64 (n,) from a text file, in its order, separated by `,`, `;` or white space.

    Raises `InputError` for a file that cannot be read or has other content.
    """
    text = read_text(path, hint=HINT)
    try:
        return np.array([int(word) for word in re.split(r"[\s,;]+", text) if word], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError("is not a list of vertex indices.", path=path, hint="Example: 3, 17, 20") from error


def checked_indices(given: np.ndarray, *, vertices: int, path: Path) -> np.ndarray:
    """The indices `given` sorted, unique, as int32; raises `InputError` for an index outside a mesh of `vertices`."""
    indices = np.unique(np.asarray(given).reshape(-1))
    if not len(indices) or indices.dtype.kind not in "iu" or indices[0] < 0 or indices[-1] >= vertices:
        raise InputError(f"has vertex indices outside a mesh of {vertices} vertices.", path=path)
    return indices.astype(np.int32)


def read_triangles(path: Path, *, vertices: int) -> np.ndarray:
    """Read triangles int32 (F,3) from a PLY file (ascii or little-endian binary); larger polygons are split into fans.

    Raises `InputError` for another format or another number of vertices.
    """
    what = f"a PLY mesh of {vertices} vertices"
    triangles = guarded(lambda: _fans(_ply_faces(path.read_bytes(), vertices)), path, what, HINT)
    if not len(triangles) or triangles.min() < 0 or triangles.max() >= vertices:
        raise InputError(f"has no triangles of a mesh of {vertices} vertices.", path=path)
    return triangles.astype(np.int32)


def _fans(faces: list[list[int]]) -> np.ndarray:
    """Polygons as triangles int64 (F,3) around their first corner."""
    fans = [(f[0], f[k], f[k + 1]) for f in faces for k in range(1, len(f) - 1)]
    return np.array(fans, dtype=np.int64).reshape(-1, 3)


_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "<i1"), **dict.fromkeys(("uchar", "uint8"), "<u1"),
    **dict.fromkeys(("short", "int16"), "<i2"), **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"), **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"), **dict.fromkeys(("double", "float64"), "<f8"),
}  # fmt: skip


def _ply_faces(data: bytes, vertices: int) -> list[list[int]]:
    """The faces as lists of vertex indices. Expects vertices first, then faces whose first property is the list."""
    end = data.index(b"end_header")
    body = data[data.index(b"\n", end) + 1 :]
    lines = [line.split() for line in data[:end].decode("ascii").splitlines()]
    coding = next(line[1] for line in lines if line[:1] == ["format"])
    elements: list[tuple[str, int, list[list[str]]]] = []
    for line in lines:
        if line[:1] == ["element"]:
            elements.append((line[1], int(line[2]), []))
        elif line[:1] == ["property"]:
            elements[-1][2].append(line[1:])
    kinds = [name for name, _, _ in elements]
    if kinds[:2] != ["vertex", "face"] or elements[0][1] != vertices or elements[1][2][0][0] != "list":
        raise ValueError(f"its elements are {', '.join(f'{count} {name}' for name, count, _ in elements)}")
    count, properties = elements[1][1], elements[1][2]
    if coding == "ascii":
        rows = body.decode("ascii").splitlines()[vertices : vertices + count]
        return [[int(word) for word in row.split()[1 : 1 + int(row.split()[0])]] for row in rows]
    if coding != "binary_little_endian" or len(properties) > 1:
        raise ValueError(f"its format is {coding} with {len(properties)} properties per face")
    at = vertices * sum(np.dtype(_PLY_TYPES[p[0]]).itemsize for p in elements[0][2])
    size, kind = np.dtype(_PLY_TYPES[properties[0][1]]), np.dtype(_PLY_TYPES[properties[0][2]])
    faces = []
    for _ in range(count):
        length = int(np.frombuffer(body, size, 1, at)[0])
        faces.append(np.frombuffer(body, kind, length, at + size.itemsize).tolist())
        at += size.itemsize + length * kind.itemsize
    return faces
