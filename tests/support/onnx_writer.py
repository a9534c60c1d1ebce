"""Writes small ONNX files, whose protocol buffers are a few lines."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_onnx(
    path: Path, nodes: Sequence[tuple[str, Sequence[str], str, Mapping[str, Any]]], tensors: Mapping[str, np.ndarray]
) -> Path:
    """A network of `nodes` (operation, inputs, output, attributes) from the input `x` (n,3,112,112) to `y`."""
    graph = b"".join(_field(1, _node(*node)) for node in nodes) + _field(2, b"graph")
    graph += b"".join(_field(5, _tensor(name, array)) for name, array in tensors.items())
    graph += _field(11, _value("x", (1, 3, 112, 112))) + _field(12, _value("y", (1, 8)))
    path.write_bytes(_number(1, 7) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 11)))
    return path


def _node(op: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any]) -> bytes:
    names = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    return names + _field(4, op.encode()) + b"".join(_field(5, _attribute(*item)) for item in attributes.items())


def _attribute(name: str, value: Any) -> bytes:
    start = _field(1, name.encode())
    if isinstance(value, float):
        return start + b"\x15" + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, str):
        return start + _field(4, value.encode()) + _number(20, 3)
    if isinstance(value, int):
        return start + _number(3, value) + _number(20, 2)
    return start + b"".join(_number(8, each) for each in value) + _number(20, 7)


def _tensor(name: str, array: np.ndarray) -> bytes:
    kind = {"f": 1, "i": 7}[array.dtype.kind]
    shape = b"".join(_number(1, side) for side in array.shape)
    return shape + _number(2, kind) + _field(8, name.encode()) + _field(9, np.ascontiguousarray(array).tobytes())


def _value(name: str, shape: Sequence[int]) -> bytes:
    sides = b"".join(_field(1, _number(1, side)) for side in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, 1) + _field(2, sides)))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
