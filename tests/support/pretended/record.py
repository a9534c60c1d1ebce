"""What happened on the pretended device: operations, waits of the host, copies, types, products in TF32, each by place.

A place is `file:function` of the project, not a line, so that an edit elsewhere in the file moves no entry of a budget.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import dawn_bench

_ROOT = f"{Path(dawn_bench.__file__).parent}/"

#: What was done, and where.
Event = tuple[str, str]


class DeviceMismatch(RuntimeError):
    """What CUDA reports as "Expected all tensors to be on the same device", and its relatives."""


@dataclass
class Record:
    """Counts since the device was pretended, or since `clear`."""

    #: Kernels started, by operation.
    operations: Counter[str] = field(default_factory=Counter)
    #: The host waits for the device: `.item()`, `.cpu()`, `nonzero`, a mask as an index.
    waits: Counter[Event] = field(default_factory=Counter)
    #: Host to device, as `pinned`, `pageable` (the host waits) or `from Python`.
    copies: Counter[Event] = field(default_factory=Counter)
    #: Operations by their widest floating type.
    types: Counter[tuple[str, torch.dtype]] = field(default_factory=Counter)
    #: Convolutions and matrix products of float32 that the settings of that moment allow to be rounded to TF32.
    rounded: Counter[Event] = field(default_factory=Counter)
    #: Operations of float64, which a GPU computes at a fraction of its speed.
    doubles: Counter[Event] = field(default_factory=Counter)
    #: Operations by the index of the device that runs them.
    devices: Counter[int] = field(default_factory=Counter)
    #: Collective operations.
    reduced: Counter[Event] = field(default_factory=Counter)

    @property
    def launches(self) -> int:
        """Number of kernels started."""
        return sum(self.operations.values())

    def clear(self) -> None:
        """Start anew, in place."""
        for each in fields(self):
            getattr(self, each.name).clear()

    def blocking(self) -> Counter[str]:
        """How often the host waited at each place, copies from pageable memory and of Python values included."""
        waits: Counter[str] = Counter()
        for (_, where), count in self.waits.items():
            waits[where] += count
        for (kind, where), count in self.copies.items():
            waits[where] += count if kind != "pinned" else 0
        return waits


#: The record of the block that is entered; `pretended_cuda` clears it.
RECORD = Record()


def place() -> str:
    """The nearest function of the project on the stack, as `training/loop.py:_one_step`; else `elsewhere`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_ROOT):
            return f"{name.removeprefix(_ROOT)}:{frame.f_code.co_qualname.split('.<locals>')[0]}"
        frame = frame.f_back
    return "elsewhere"


def note_operation(name: str, tensors: list[Any], index: int) -> None:
    """Count one kernel, its device, its widest floating type, and whether TF32 may round it."""
    RECORD.operations[name] += 1
    RECORD.devices[index] += 1
    types = [t.dtype for t in tensors if t.is_floating_point()]
    if types:
        RECORD.types[name, max(types, key=lambda t: t.itemsize)] += 1
        if torch.float64 in types:
            RECORD.doubles[name, place()] += 1
    if name in _PRODUCTS and torch.float32 in types and _rounds(name):
        RECORD.rounded[name, place()] += 1


_CONVOLUTIONS = {"convolution", "convolution_overrideable", "cudnn_convolution", "convolution_backward"}
_PRODUCTS = _CONVOLUTIONS | {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "_cdist_forward"}


def _rounds(name: str) -> bool:
    """Whether PyTorch would run a float32 product in TF32 now, by whichever of its two interfaces it was allowed."""
    backend = torch.backends.cudnn.conv if name in _CONVOLUTIONS else torch.backends.cuda.matmul
    for setting in (backend, torch.backends.cudnn if name in _CONVOLUTIONS else torch.backends, torch.backends):
        if setting.fp32_precision != "none":
            return bool(setting.fp32_precision == "tf32")
    return False
