"""Reads the files of mesh datasets: vertices, faces at rest, vertex numbers, triangles. Nothing in them is ever run.

V vertices, T frames, F triangles. Units are the files' own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawn_bench.errors import InputError, ItemError
from dawn_bench.pickles import read_arrays

#: What to do about a file of a dataset that cannot be read.
HINT = "Get the dataset's own file."


def read_templates(path: Path) -> dict[str, np.ndarray]:
    """`templates.pkl`: every subject's face at rest, float32 (V,3), all of one V. Raises `InputError`."""
    templates = {}
    for name, array in read_arrays(path, hint=HINT).items():
        if array.dtype.kind not in "fiu" or array.size % 3 or not array.size or not np.isfinite(array).all():
            raise InputError(f"subject {name} is {array.dtype} {array.shape}, not (vertices, 3) numbers.", path=path)
        templates[name] = array.reshape(-1, 3).astype(np.float32)
    counts = {len(t) for t in templates.values()}
    if len(counts) > 1:
        raise InputError(f"has faces of {' and '.join(map(str, sorted(counts)))} vertices.", path=path)
    return templates


def read_vertices(path: Path, *, vertices: int) -> np.ndarray:
    """float32 (T,V,3) from an npy file of (T,3V) or (T,V,3).

    Raises `ItemError` unreadable, bad_shape or not_finite.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise ItemError("unreadable", f"{path.name}: is no readable npy file ({error})") from error
    flat = isinstance(array, np.ndarray) and array.dtype.kind in "fiu" and array.ndim in (2, 3) and len(array)
    if not flat or array.reshape(len(array), -1).shape[1] != 3 * vertices:
        shape = getattr(array, "shape", type(array).__name__)
        raise ItemError("bad_shape", f"{path.name}: is {shape}, not (frames, {3 * vertices}) as its template has it")
    made = array.reshape(len(array), vertices, 3).astype(np.float32)
    if not np.isfinite(made).all():
        raise ItemError("not_finite", f"{path.name}: has NaN or infinite coordinates")
    return made


def read_numbers(path: Path, *, vertices: int) -> np.ndarray:
    """Vertex numbers int32 (n,), sorted, from a text file, counted from 0. Raises `InputError`."""
    try:
        numbers = np.array([int(word) for word in path.read_text().replace(",", " ").split()], dtype=np.int64)
    except (OSError, ValueError) as error:
        raise InputError("is no list of vertex numbers.", path=path, hint="Example: 3, 17, 20") from error
    return checked(numbers, vertices=vertices, path=path)


def checked(numbers: np.ndarray, *, vertices: int, path: Path) -> np.ndarray:
    """`numbers` as sorted int32 without repeats; raises `InputError` where the mesh has no such vertex."""
    made = np.unique(np.asarray(numbers).reshape(-1))
    if not len(made) or made.dtype.kind not in "iu" or made[0] < 0 or made[-1] >= vertices:
        raise InputError(f"names vertices that a mesh of {vertices} does not have.", path=path)
    return made.astype(np.int32)


def read_triangles(path: Path, *, vertices: int) -> np.ndarray:
    """Triangles int32 (F,3) of a PLY file (ascii or little-endian binary); larger faces become fans.

    Raises `InputError` when it is no such file or is of another mesh.
    """
    try:
        faces = _ply_faces(path.read_bytes(), vertices)
    except (OSError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"is no readable PLY mesh of {vertices} vertices ({error}).", path=path) from error
    fans = [(f[0], f[k], f[k + 1]) for f in faces for k in range(1, len(f) - 1)]
    made = np.array(fans, dtype=np.int64).reshape(-1, 3)
    if not len(made) or made.min() < 0 or made.max() >= vertices:
        raise InputError(f"has no triangles of a mesh of {vertices} vertices.", path=path)
    return made.astype(np.int32)


_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "<i1"), **dict.fromkeys(("uchar", "uint8"), "<u1"),
    **dict.fromkeys(("short", "int16"), "<i2"), **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"), **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"), **dict.fromkeys(("double", "float64"), "<f8"),
}  # fmt: skip


def _ply_faces(data: bytes, vertices: int) -> list[list[int]]:
    """The faces as lists of vertex numbers; vertices come first, then faces of one list property first."""
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
        raise ValueError(f"its format is {coding} with {len(properties)} properties a face")
    at = vertices * sum(np.dtype(_PLY_TYPES[p[0]]).itemsize for p in elements[0][2])
    size, kind = np.dtype(_PLY_TYPES[properties[0][1]]), np.dtype(_PLY_TYPES[properties[0][2]])
    faces = []
    for _ in range(count):
        length = int(np.frombuffer(body, size, 1, at)[0])
        faces.append(np.frombuffer(body, kind, length, at + size.itemsize).tolist())
        at += size.itemsize + length * kind.itemsize
    return faces
