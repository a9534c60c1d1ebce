"""Tensors of PyTorch files that also hold objects: Lightning's hyperparameters, configurations, numpy scalars, models.

`torch.load(weights_only=True)` refuses such a file as a whole. With an unpickler of ours as its `pickle_module`,
`torch.load` would still hand TorchScript to `torch.jit.load`, and its own `persistent_load` makes storages of the sizes
that the file states. So both formats, PyTorch's zip archives and the legacy one of versions before 1.6, are read here,
and each size is compared with the file's before memory is taken.

Objects become placeholders (`dawn_bench.inert`). Tensors are built with the functions named in `_builders` alone, from
bytes of the file, and each is checked against its storage. Sparse and quantised tensors are refused.
"""

from __future__ import annotations

import mmap
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile, is_zipfile

from dawn_bench import pickles
from dawn_bench.inert import Builder, Builders, InertUnpickler, Placeholder, UnsupportedContent, is_plain_key

if TYPE_CHECKING:
    import torch

#: First pickle of a legacy file, and the version that follows.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
#: PyTorch's types of storage, with the type of their numbers.
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}  # fmt: skip
_DTYPES = (
    *dict.fromkeys(_STORAGES.values()), "uint16", "uint32", "uint64", "complex32", "float8_e4m3fn", "float8_e5m2",
    "float8_e4m3fnuz", "float8_e5m2fnuz",
)  # fmt: skip
_MOST_AXES = 64
#: Functions that rebuild tensors of other kinds.
_OTHER_KINDS = (
    "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor", "_rebuild_qtensor", "_rebuild_nested_tensor",
    "_rebuild_meta_tensor_no_storage", "_rebuild_wrapper_subclass",
)  # fmt: skip
_PLAIN = (dict, Placeholder, list, tuple, str, int, float, bool, bytes, type(None))
#: Names that make plain Python values, not worth a line.
_COMMON = ("builtins.", "__builtin__.", "_codecs.", "copyreg.", "copy_reg.", "numpy.", "torch.device", "typing.")


class _Type(NamedTuple):
    """A type of numbers, named by a storage or a tensor."""

    dtype: torch.dtype


class _Storage(NamedTuple):
    """Bytes of the file, in memory: `length` numbers of a type, from number `first` on."""

    dtype: torch.dtype
    bytes: torch.Tensor
    first: int
    length: int


def read_tensors(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The content of a PyTorch file with placeholders for objects, and the names of what was skipped.

    Entries of dictionaries whose value is an empty placeholder are left out. No code of the file runs. Raises
    `UnsupportedContent`, whose text says why, for a file without tensors or with tensors of special kinds, and
    exceptions of many types for a damaged file and for one of another format.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Zip(path, data) if is_zipfile(path) else _Legacy(data)
        content = reader.read()
        has_tensors = _tidied(content, budget=len(data))
    if not has_tensors:
        raise UnsupportedContent("holds objects other than tensors, which could run code")
    names = [name for name in reader.skipped if not name.startswith(_COMMON)]
    return content, tuple(names)


class _Reader(ABC):
    """What both formats share: storages by key, and the pickles."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.left = len(data)
        self.skipped: dict[str, None] = {}
        self.storages: dict[str, _Storage] = {}

    def load(self, file: Any) -> Any:
        """One pickle."""
        unpickler = InertUnpickler(file, builders=_builders(len(self.data)), persistent=self.persistent)
        content = unpickler.load()
        self.skipped |= unpickler.skipped
        return content

    def persistent(self, pid: Any) -> Any:
        """The storage that `pid` names; a placeholder for the source code of a module."""
        if type(pid) is not tuple or len(pid) < 5 or pid[0] != "storage":
            return Placeholder("source")
        kind, key, _, count, *view = pid[1:]
        if type(kind) is not Builder or not isinstance(kind.build, _AsType):
            raise UnsupportedContent("holds tensors of another kind than plain numbers")
        if type(key) is not str or type(count) is not int or count < 0:
            raise ValueError("a storage has no name or no size")
        if key not in self.storages:
            self.storages[key] = self.storage(key, kind.build.type.dtype, count)
        whole = self.storages[key]._replace(dtype=kind.build.type.dtype, length=count)
        if count * whole.dtype.itemsize != len(whole.bytes):
            raise ValueError("a storage has two sizes")
        if view and view[0] is not None:  # legacy files: a part of another storage
            _, first, size = view[0]
            if not (type(first) is type(size) is int and 0 <= first <= first + size <= whole.length):
                raise ValueError("a storage is outside of another")
            return _Storage(whole.dtype, whole.bytes, first, size)
        return whole

    def allocate(self, dtype: torch.dtype, count: int) -> _Storage:
        """Memory for a storage; raises `ValueError` if all storages together are larger than the file."""
        import torch

        size = count * dtype.itemsize
        self.left -= size
        if self.left < 0:
            raise ValueError("its tensors are larger than the file")
        return _Storage(dtype, torch.empty(size, dtype=torch.uint8), 0, count)

    def fill(self, storage: _Storage, start: int) -> None:
        """Copy the storage's bytes from `start` of the file."""
        import numpy as np

        size = len(storage.bytes)
        if start < 0 or start + size > len(self.data):
            raise ValueError("it is cut short")
        if size:
            storage.bytes.numpy()[:] = np.frombuffer(self.data, np.uint8, size, start)

    @abstractmethod
    def storage(self, key: str, dtype: torch.dtype, count: int) -> _Storage:
        """A new storage."""


class _Zip(_Reader):
    """PyTorch's archives since version 1.6: `NAME/data.pkl` and an uncompressed file for each storage."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        super().__init__(data)
        with ZipFile(path) as archive:
            self.entries = {entry.filename: entry for entry in archive.infolist()}
            pickled = [name for name in self.entries if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickled) != 1:
                raise ValueError("it has no data.pkl")
            self.folder = pickled[0].removesuffix("data.pkl")
            order = f"{self.folder}byteorder"
            if f"{self.folder}constants.pkl" in self.entries:
                raise UnsupportedContent("is TorchScript, which runs code")
            if order in self.entries and archive.read(order) != b"little":
                raise UnsupportedContent("has numbers in another order of bytes")
            self.pickled = archive.read(pickled[0])

    def read(self) -> Any:
        return self.load(BytesIO(self.pickled))

    def storage(self, key: str, dtype: torch.dtype, count: int) -> _Storage:
        entry = self.entries[f"{self.folder}data/{key}"]
        storage = self.allocate(dtype, count)
        if entry.file_size != len(storage.bytes):
            raise ValueError(f"storage {key[:20]} has another size than stated")
        place = entry.header_offset
        name, extra = struct.unpack("<HH", self.data[place + 26 : place + 30])
        self.fill(storage, place + 30 + name + extra)
        return storage


class _Legacy(_Reader):
    """The format before version 1.6: five pickles, then each storage's length and bytes."""

    def read(self) -> Any:
        if self.load(self.data) != _MAGIC or self.load(self.data) != _VERSION:
            raise ValueError("it is no PyTorch file")
        system = self.load(self.data)
        if not isinstance(system, dict) or not system.get("little_endian", True):
            raise UnsupportedContent("has numbers in another order of bytes")
        content, keys = self.load(self.data), self.load(self.data)
        if type(keys) is not list or not all(type(key) is str for key in keys):
            raise ValueError("it has no list of storages")
        place, waiting = self.data.tell(), dict(self.storages)
        for key in keys:
            storage = waiting.pop(key)
            (count,) = struct.unpack("<q", self.data[place : place + 8])
            if count != storage.length:
                raise ValueError(f"storage {key[:20]} has another size than stated")
            self.fill(storage, place + 8)
            place += 8 + len(storage.bytes)
        if waiting:
            raise ValueError("a storage is missing")
        return content

    def storage(self, key: str, dtype: torch.dtype, count: int) -> _Storage:
        return self.allocate(dtype, count)  # filled after the pickles


class _AsType:
    """A storage class or a dtype, which is named and not called."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.type = _Type(dtype)

    def __call__(self, *_: object) -> Any:
        raise UnsupportedContent("makes a storage in a way of its own")


class _Array:
    """A numpy array or scalar of the file, built by `dawn_bench.pickles` once it is complete."""

    def __init__(self, record: Any) -> None:
        self.record = record

    def set_state(self, state: Any) -> None:
        """The content that follows in most protocols."""
        if type(state) is tuple and len(state) == 5:
            self.record.__setstate__(tuple(_unwrapped(part) for part in state))


class _NumpyType:
    """A numpy dtype of the file; `record` is None for any but plain numbers."""

    def __init__(self, *parts: Any) -> None:
        self.record: pickles.DtypeRecord | None = None
        with suppress(pickles.Refused, TypeError):
            self.record = pickles.DtypeRecord(*parts)

    def set_state(self, state: Any) -> None:
        """Its byte order."""
        if self.record is not None:
            try:
                self.record.__setstate__(state)
            except (pickles.Refused, TypeError, ValueError):
                self.record = None


def _unwrapped(value: Any) -> Any:
    return value.record if type(value) is _NumpyType else value


def _builders(budget: int) -> Builders:
    """What a pickle may call. Mappings and arrays are copies: together they have no more than `budget` entries."""
    import torch

    left = budget

    def mapping(*arguments: Any) -> dict[Any, Any]:
        nonlocal left
        entries = arguments[-1] if arguments and type(arguments[-1]) in (dict, list) else ()
        left -= len(entries)
        if left < 0:
            raise ValueError("it repeats its entries")
        pairs = entries.items() if isinstance(entries, dict) else entries
        return {p[0]: p[1] for p in pairs if type(p) in (list, tuple) and len(p) == 2 and is_plain_key(p[0])}

    def refuse(*_: object) -> Any:
        raise UnsupportedContent("holds sparse, quantised or other special tensors")

    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
        ("torch.nn.parameter", "Parameter"): _parameter,
        ("torch.nn.parameter", "Buffer"): _parameter,
        ("torch", "Size"): lambda sizes=(): sizes if type(sizes) is tuple else (),
        ("collections", "OrderedDict"): mapping,
        ("collections", "defaultdict"): mapping,
        ("numpy", "dtype"): _NumpyType,
    }
    names |= {("torch._utils", name): refuse for name in _OTHER_KINDS}
    for module in ("torch", "torch.cuda", "torch.storage"):
        names |= {(module, name): _AsType(getattr(torch, dtype)) for name, dtype in _STORAGES.items()}
    names |= {("torch", name): _AsType(getattr(torch, name)) for name in _DTYPES if hasattr(torch, name)}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "scalar"] = lambda dtype=None, data=b"": _array(data, dtype, (), "C")
        names[f"{core}.multiarray", "_reconstruct"] = lambda *_: _Array(pickles.ArrayRecord())
        names[f"{core}.numeric", "_frombuffer"] = _array
    names["_codecs", "encode"] = lambda text=None, coding=None: pickles.Encoded(text if type(text) is str else "")
    return names


def _array(*parts: Any) -> _Array:
    return _Array(pickles.ArrayRecord(*(_unwrapped(part) for part in parts)))


def _tensor(storage: Any, first: Any, shape: Any, strides: Any, *rest: Any) -> torch.Tensor:
    """A view of a storage; `rest`: whether it needs a gradient, its hooks, and flags of other kinds of views."""
    import torch

    if type(storage) is not _Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("a tensor has no storage or no shape")
    whole = (first, *shape, *strides)
    if (
        not len(shape) == len(strides) <= _MOST_AXES
        or not all(type(n) is int and n >= 0 for n in whole)
        or any(rest[2:])
    ):
        raise ValueError("a tensor is a view of another kind")
    count, last = 1, first
    for length, stride in zip(shape, strides, strict=True):
        count, last = count * length, last + (length - 1) * stride
    if count > storage.length or (count and last >= storage.length):
        raise ValueError("a tensor is larger than its storage")
    numbers = torch.empty(0, dtype=storage.dtype)
    if not count:
        return numbers.reshape(shape)
    return numbers.set_(storage.bytes.untyped_storage(), storage.first + first, shape, strides)


def _typed_tensor(storage: Any, first: Any, shape: Any, strides: Any, *rest: Any) -> torch.Tensor:
    """A tensor whose type is stated apart from its storage: `rest` has it after the hooks."""
    if type(storage) is not _Storage or len(rest) < 3 or type(rest[2]) is not Builder or any(rest[3:]):
        raise ValueError("a tensor has no storage or no type")
    kind = rest[2].build
    if not isinstance(kind, _AsType) or storage.first:
        raise ValueError("a tensor has no type")
    dtype = kind.type.dtype
    return _tensor(_Storage(dtype, storage.bytes, 0, len(storage.bytes) // dtype.itemsize), first, shape, strides)


def _parameter(data: Any = None, *_: Any) -> Any:
    import torch

    return data if isinstance(data, torch.Tensor) else Placeholder("torch.nn.parameter.Parameter")


def _tidied(content: Any, *, budget: int) -> bool:
    """Leave out of dictionaries what is neither a tensor nor plain, and build arrays of at most `budget` bytes.

    Returns whether a tensor is left.
    """
    import torch

    waiting, seen, has_tensors = [content], set[int](), isinstance(content, torch.Tensor)
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if not isinstance(value, dict):
            waiting += (part for part in value if isinstance(part, dict | list | tuple)) if _is_sequence(value) else ()
            has_tensors = has_tensors or (_is_sequence(value) and any(isinstance(p, torch.Tensor) for p in value))
            continue
        for key, part in list(value.items()):
            if type(part) is _Array:
                budget -= _size(part)
                part = value[key] = _built(part) if budget >= 0 else None
            if isinstance(part, torch.Tensor):
                has_tensors = True
            elif type(part) not in _PLAIN or (type(part) is Placeholder and not part):
                del value[key]
            elif isinstance(part, dict | list | tuple):
                waiting.append(part)
    return has_tensors


def _is_sequence(value: Any) -> bool:
    return type(value) in (list, tuple)


def _size(array: _Array) -> int:
    try:
        return pickles.size_of(array.record)
    except pickles.Refused:
        return 0


def _built(array: _Array) -> Any:
    """The tensor of an array, the number of a scalar; None for anything else, such as an array of objects."""
    import numpy as np
    import torch

    try:
        numbers: np.ndarray = array.record.array()
        return torch.from_numpy(numbers) if numbers.ndim else numbers.item()
    except Exception:  # objects, other types, wrong sizes: skipped as any object is
        return None
