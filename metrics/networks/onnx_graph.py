"""Networks in ONNX files as PyTorch modules, for the device of the scores: OpenCV's packages run them on a CPU only.

The reader knows the parts of the format that convolutional networks use, and the module their operations: those of
insightface's ArcFace and of MobileFaceNet. A file with another operation, an attribute that would change the numbers,
or numbers of another type raises `NotImplementedError` when it is read, so that another reader can take over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Numbers of fields in the messages of ONNX's protocol buffers.
_GRAPH = 7
_NODES, _INITIALIZERS, _INPUTS, _OUTPUTS = 1, 5, 11, 12
_TYPES: Mapping[int, np.dtype[Any]] = {1: np.dtype("<f4"), 6: np.dtype("<i4"), 7: np.dtype("<i8"), 11: np.dtype("<f8")}
#: Fields of a tensor with unpacked values, by type.
_VALUES = {1: 4, 6: 5, 7: 7, 11: 10}


@dataclass(frozen=True)
class Node:
    """One operation: its name in ONNX, the names of what goes in and comes out, and its attributes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class OnnxNetwork(nn.Module):
    """The network of an ONNX file with one input and one output; raises `ValueError` for a file that is none."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        graph = _fields(_one(_fields(memoryview(path.read_bytes())), _GRAPH))
        tensors = dict(_tensor(data) for data in graph.get(_INITIALIZERS, ()))
        nodes = [_node(data) for data in graph.get(_NODES, ())]
        tensors |= {node.outputs[0]: node.attributes["value"] for node in nodes if node.op == "Constant"}
        self.nodes = [node for node in nodes if node.op != "Constant"]
        if unknown := {node.op for node in self.nodes} - set(_OPERATIONS):
            raise NotImplementedError(f"operations {', '.join(sorted(unknown))}")
        for node in self.nodes:
            _check(node)
        inputs = [_text(_fields(data)[1][0]) for data in graph.get(_INPUTS, ())]
        self.input = next(name for name in inputs if name not in tensors)
        self.output = _text(_one(_fields(_one(graph, _OUTPUTS)), 1))
        self.fixed = {name: array.tolist() for name, array in tensors.items() if array.dtype.kind == "i"}
        self.buffer_names = {name: f"tensor{k}" for k, name in enumerate(tensors) if name not in self.fixed}
        for name, buffer in self.buffer_names.items():
            self.register_buffer(buffer, torch.from_numpy(tensors[name].astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """The network's output for a batch, float32."""
        values: dict[str, Any] = {name: getattr(self, buffer) for name, buffer in self.buffer_names.items()}
        values |= {**self.fixed, self.input: x, "": None}
        for node in self.nodes:
            values[node.outputs[0]] = _OPERATIONS[node.op](node.attributes, *(values[name] for name in node.inputs))
        return values[self.output]


def _conv(a: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
    more = {"stride": a.get("strides", 1), "dilation": a.get("dilations", 1), "groups": a.get("group", 1)}
    return F.conv2d(x, weight, bias, padding=(top, left), **more)


def _batch_norm(a: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, weight, bias, eps=a.get("epsilon", 1e-5))


def _gemm(a: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight if a.get("transB") else weight.T, bias)


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "PRelu": lambda a, x, slope: F.prelu(x, slope.flatten()),
    "Clip": lambda a, x, low=None, high=None: x.clamp(a.get("min", low), a.get("max", high)),
    "Relu": lambda a, x: F.relu(x),
    "Add": lambda a, x, y: x + y,
    "Gemm": _gemm,
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Reshape": lambda a, x, shape: x.reshape([x.shape[0], *shape[1:]]),
    "Identity": lambda a, x: x,
    "Dropout": lambda a, x, *_: x,
}


#: Attributes that the operations above read, and those that change nothing in inference.
_READ: Mapping[str, set[str]] = {
    "Conv": {"dilations", "group", "kernel_shape", "pads", "strides"},
    "BatchNormalization": {"epsilon", "momentum"},
    "Clip": {"min", "max"},
    "Gemm": {"transB"},
    "Flatten": {"axis"},
    "Dropout": {"ratio", "seed"},
}
#: The values with which other attributes change nothing.
_NEUTRAL: Mapping[str, Any] = {"alpha": 1.0, "beta": 1.0, "auto_pad": "NOTSET", "spatial": 1}


def _check(node: Node) -> None:
    """Raise `NotImplementedError` for an attribute that the operation does not read and that is not neutral."""
    for name, value in node.attributes.items():
        if name not in _READ.get(node.op, set()) and value != _NEUTRAL.get(name, 0):
            raise NotImplementedError(f"{node.op} with {name}={value}")


def _node(data: memoryview) -> Node:
    fields = _fields(data)
    attributes = dict(_attribute(each) for each in fields.get(5, ()))
    inputs, outputs = (tuple(map(_text, fields.get(number, ()))) for number in (1, 2))
    return Node(_text(_one(fields, 4)), inputs, outputs, attributes)


def _attribute(data: memoryview) -> tuple[str, Any]:
    """Name and value: a number, a list of whole numbers, a text, or an array; None for other kinds."""
    fields = _fields(data)
    if 8 in fields:
        return _text(_one(fields, 1)), tuple(_whole(fields[8]))
    if 5 in fields:
        return _text(_one(fields, 1)), _tensor(fields[5][0])[1]
    if 4 in fields:
        return _text(_one(fields, 1)), _text(fields[4][0])
    if 2 in fields:
        return _text(_one(fields, 1)), struct.unpack("<f", fields[2][0])[0]
    if {6, 7, 9} & set(fields):
        return _text(_one(fields, 1)), None
    return _text(_one(fields, 1)), fields.get(3, [0])[0]  # a file may leave out a zero


def _tensor(data: memoryview) -> tuple[str, np.ndarray]:
    fields = _fields(data)
    name, kind = _text(fields[8][0]) if 8 in fields else "", fields[2][0]
    if kind not in _TYPES:
        raise NotImplementedError(f"tensors of type {kind}")
    shape = tuple(_whole(fields.get(1, ())))
    if 9 in fields:
        return name, np.frombuffer(fields[9][0], _TYPES[kind]).reshape(shape)
    given = fields.get(_VALUES[kind], ())
    if _TYPES[kind].kind == "i":
        return name, np.array(list(_whole(given)), _TYPES[kind]).reshape(shape)
    return name, np.frombuffer(b"".join(given), _TYPES[kind]).reshape(shape)


def _fields(data: memoryview) -> dict[int, list[Any]]:
    """The fields of a protocol buffer message by number: whole numbers, or bytes."""
    fields: dict[int, list[Any]] = {}
    place = 0
    value: Any
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(data, place)
        else:
            size, place = _varint(data, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
            value, place = data[place : place + size], place + size
            if len(value) < size:
                raise ValueError("a message is cut off")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if not byte & 128:
            return value - (1 << 64) if value >> 63 else value, place


def _whole(values: Any) -> Iterator[int]:
    """Repeated whole numbers, one a field or packed."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        place = 0
        while place < len(value):
            number, place = _varint(value, place)
            yield number


def _one(fields: Mapping[int, list[Any]], number: int) -> Any:
    return fields[number][0]


def _text(data: memoryview) -> str:
    return bytes(data).decode()
