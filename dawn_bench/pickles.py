"""A safe reader for pickles of numpy arrays. It runs no code from the file and creates none of its objects.

A pickle names functions and classes to call. Here each name that arrays need maps to a record of our own, which takes
plain numbers and bytes; arrays are built from those at the end. Any other name is refused. The arrays together may not
be larger than the file, which could otherwise name the same bytes thousands of times.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawn_bench.errors import InputError

#: Booleans, signed and unsigned integers, floats, and their size in bytes.
_DTYPE = re.compile(r"[biuf][0-9]{1,2}")
#: numpy's arrays have at most 64 axes.
_LONGEST_TUPLE = 64
_BYTE_ORDERS = ("<", ">", "=", "|")


def read_arrays(path: Path, *, hint: str = "Get the file again from its origin.") -> dict[str, np.ndarray]:
    """A pickled mapping of names to arrays of numbers, written by Python 2 or 3 under any version of numpy.

    Raises `InputError` for a file that is absent, damaged, holds anything else or needs code; `hint` ends its message.
    """
    if not path.is_file():  # a pipe would wait for ever
        raise InputError("there is no such file.", path=path)
    try:
        data = path.read_bytes()
        content = _Unpickler(io.BytesIO(data), encoding="latin1").load()
        if not isinstance(content, Mapping) or not content:
            raise InputError("holds no mapping of names to arrays.", path=path, hint=hint)
        if not all(isinstance(name, str) for name in content):
            raise Refused("has a name that is not text")
        left = len(data)
        for value in content.values():
            left -= size_of(value)
            if left < 0:
                raise Refused("has more numbers than bytes")
        return {name: value.array() for name, value in content.items()}
    except InputError:
        raise
    except Refused as error:
        raise InputError(f"{error}; it was not loaded.", path=path, hint=hint) from error
    except Exception as error:  # a damaged pickle raises a dozen types
        raise InputError("is damaged or no pickle.", path=path, hint=hint) from error


class Refused(Exception):
    """The pickle is valid but needs something that no array of numbers does."""


class DtypeRecord:
    """A dtype of a pickle: its checked text, and its byte order once that is known."""

    def __init__(self, text: str, *flags: object) -> None:
        if not isinstance(text, str) or not _DTYPE.fullmatch(text):
            raise Refused(f"has values of type {text!r}, not numbers")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields, *_ = state
        if order not in _BYTE_ORDERS or subarray is not None or names is not None or fields is not None:
            raise Refused("has values of a structured type, not numbers")
        self.dtype = self.dtype.newbyteorder(order)


class ArrayRecord:
    """An array of a pickle: its data, dtype, shape and order, which are set later in most protocols."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.parts = data, dtype, shape, "F" if fortran else "C"

    def array(self) -> np.ndarray:
        """The array itself, a copy."""
        return _numbers(*self.parts)


class Encoded(NamedTuple):
    """Bytes that a pickle states as text."""

    text: str


class _Name:
    """The replacement for a name in a pickle: it can be called or passed on, but nothing can be set on it."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def __call__(self, *args: Any) -> Any:
        return self.make(*args)

    def __setstate__(self, state: object) -> None:
        raise Refused("changes what it was given")


def _no_array(*_: object) -> None:
    """Files create arrays through the functions below, never through the class itself."""
    raise Refused("has an array made in a way of its own")


_NDARRAY = _Name(_no_array)


def _reconstruct(kind: object, shape: object, code: object) -> ArrayRecord:
    """Protocols up to 4: an empty array, whose state follows."""
    if kind is not _NDARRAY:
        raise Refused("has a kind of array of its own")
    return ArrayRecord()


def _frombuffer(data: object, dtype: object, shape: object, order: object) -> ArrayRecord:
    """Protocol 5: an array in one call."""
    return ArrayRecord(data, dtype, shape, order)


def _scalar(dtype: object, data: object) -> ArrayRecord:
    return ArrayRecord(data, dtype, (), "C")


def _encode(text: object, coding: object) -> Encoded:
    """The bytes of Python 2's arrays in later pickles."""
    if not isinstance(text, str) or coding not in ("latin1", "latin-1"):
        raise Refused(f"encodes text as {coding}")
    return Encoded(text)


def _no_bytes() -> bytes:
    """How protocols up to 2 write the content of an empty array."""
    return b""


_ALLOWED: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Name(DtypeRecord),
    ("_codecs", "encode"): _Name(_encode),
    **{(module, "bytes"): _Name(_no_bytes) for module in ("__builtin__", "builtins")},
    **{(f"numpy.{c}.multiarray", "_reconstruct"): _Name(_reconstruct) for c in ("core", "_core")},
    **{(f"numpy.{c}.numeric", "_frombuffer"): _Name(_frombuffer) for c in ("core", "_core")},
    **{(f"numpy.{c}.multiarray", "scalar"): _Name(_scalar) for c in ("core", "_core")},
}


def _checked(load: Callable[[Any], None]) -> Callable[[Any], None]:
    """The operation `load` of the unpickler that makes a tuple, but for small and flat ones only.

    Tuples of one tuple twice, forty times nested, are a short pickle and take years to hash as the key of a mapping.
    """

    def operation(unpickler: Any) -> None:
        load(unpickler)
        entries = unpickler.stack[-1]
        inner = (part for entry in entries if isinstance(entry, tuple) for part in entry)
        if len(entries) > _LONGEST_TUPLE or any(isinstance(part, tuple) for part in inner):
            raise Refused("nests tuples as no array does")

    return operation


_TUPLES = (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)


#: Sets of sets take years to compare, as tuples do; objects, extensions and buffers from elsewhere are never needed.
_SETS_AND_OBJECTS = (
    pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX,
    pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
)  # fmt: skip


def _not_needed(unpickler: Any) -> None:
    raise Refused("has objects that no array needs")


def load_bytearray(unpickler: Any) -> None:
    """The operation BYTEARRAY8; Python's own gets memory for the stated length before it reads."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    data = unpickler.read(min(length, sys.maxsize))
    if len(data) != length:
        raise ValueError("its bytes are cut short")
    unpickler.append(bytearray(data))


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler, not the compiled one: its operations can be checked."""

    dispatch = (
        pickle._Unpickler.dispatch
        | {code[0]: _checked(pickle._Unpickler.dispatch[code[0]]) for code in _TUPLES}
        | {code[0]: _not_needed for code in _SETS_AND_OBJECTS}
        | {pickle.BYTEARRAY8[0]: load_bytearray}
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise Refused(f"asks for {f'{module}.{name}'[:80]!r}, which is not an array and could run code")
        return _ALLOWED[module, name]


def _numbers(data: Any, dtype: object, shape: Any, order: Any) -> np.ndarray:
    """A new array of the bytes `data` (Python 2: text, a byte a character)."""
    if not isinstance(dtype, DtypeRecord) or order not in ("C", "F"):
        raise Refused("has an array without a type of numbers")
    text = data.text if isinstance(data, Encoded) else data
    content = text.encode("latin1") if isinstance(text, str) else text
    if not isinstance(content, bytes | bytearray):
        raise Refused("has an array of no bytes")
    if not isinstance(shape, tuple) or not all(type(length) is int for length in shape):
        raise Refused("has an array of no shape")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes do not make an array {shape} of {dtype.dtype}")
    return np.frombuffer(content, dtype.dtype).reshape(shape, order=order).copy(order="K")


def size_of(value: object) -> int:
    """Bytes of an array of a pickle, before it is built."""
    if not isinstance(value, ArrayRecord) or not value.parts:
        raise Refused("holds no mapping of names to arrays")
    data = value.parts[0]
    text = data.text if isinstance(data, Encoded) else data
    return len(text) if isinstance(text, str | bytes | bytearray) else 0
