"""The neutral face that DiffSpeaker animates: a user's file, or the embedded face.

V vertices, F triangles. Units are the file's own; they must be those of the model's training data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawn_bench.errors import InputError
from dawn_bench.npy import read_npy
from dawn_bench.pipelines.meshes.face import FaceShape, make_face
from dawn_bench.pipelines.meshes.files import read_triangles

_FLOATS = {"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"}
_HINT = "Give a .ply mesh, a .npy file of vertices (V, 3), or no file for the embedded face."


def read_rest(path: Path | None, *, vertices: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Vertices float32 (V,3) of the neutral face, and its triangles int32 (F,3) if the file has any.

    Args:
        path: a .ply file, a .npy file of (V,3), (1,V,3) or (3V,) numbers, or None for the embedded face.
        vertices: V of the model.

    Raises `InputError` for another format, another number of vertices, or coordinates that are not finite.
    """
    triangles = None
    if path is None:
        face = make_face(FaceShape(width=1, height=1, nose=1, reach=1))
        rest, triangles = face.rest.astype(np.float32), face.triangles
    elif path.suffix.lower() == ".npy":
        rest = _read_npy(path)
    elif path.suffix.lower() == ".ply":
        rest = _read_ply(path)
        if len(rest) == vertices:
            triangles = read_triangles(path, vertices=vertices)
    else:
        raise InputError("is not a mesh file.", path=path, hint=_HINT)
    if len(rest) != vertices or not np.isfinite(rest).all():
        name = path or "the embedded face"
        raise InputError(f"has {len(rest)} vertices; the model needs {vertices}, all finite.", path=name, hint=_HINT)
    return rest, triangles


def _read_npy(path: Path) -> np.ndarray:
    try:
        array = read_npy(path)
    except (OSError, ValueError, MemoryError) as error:
        raise InputError("is not a readable npy file.", path=path, hint=_HINT) from error
    if array.dtype.kind not in "fiu" or array.size % 3 or not array.size or (array.ndim > 1 and array.shape[-1] != 3):
        raise InputError(f"is {array.dtype} {array.shape}, not (vertices, 3) numbers.", path=path, hint=_HINT)
    return array.reshape(-1, 3).astype(np.float32)


def _read_ply(path: Path) -> np.ndarray:
    try:
        return _ply_vertices(path.read_bytes())
    except (OSError, ValueError, IndexError, KeyError, UnicodeDecodeError, StopIteration) as error:
        raise InputError(f"is not a readable PLY mesh ({error}).", path=path, hint=_HINT) from error


def _ply_vertices(data: bytes) -> np.ndarray:
    """float32 (V,3) of a PLY file, ascii or little-endian binary, whose first element is the vertex."""
    end = data.index(b"end_header")
    body = data[data.index(b"\n", end) + 1 :]
    lines = [line.split() for line in data[:end].decode("ascii").splitlines()]
    coding = next(line[1] for line in lines if line[:1] == ["format"])
    elements = [k for k, line in enumerate(lines) if line[:1] == ["element"]]
    first, last = elements[0], (*elements, len(lines))[1]
    if lines[first][1] != "vertex":
        raise ValueError("its first element is not the vertex")
    count = int(lines[first][2])
    fields = [(line[2], line[1]) for line in lines[first + 1 : last] if line[:1] == ["property"]]
    columns = [[name for name, _ in fields].index(axis) for axis in "xyz"]
    if coding == "ascii":
        rows = [line.split() for line in body.decode("ascii").splitlines()[:count]]
        return np.array([[float(row[k]) for k in columns] for row in rows], np.float32).reshape(count, 3)
    if coding != "binary_little_endian":
        raise ValueError(f"its format is {coding}")
    kind = np.dtype([(name, "<" + (_FLOATS.get(word) or _INTEGERS[word])) for name, word in fields])
    values = np.frombuffer(body, kind, count)
    return np.stack([values[axis].astype(np.float32) for axis in "xyz"], axis=1)


_INTEGERS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
}  # fmt: skip
