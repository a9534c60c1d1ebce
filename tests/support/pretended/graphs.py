"""CUDA graphs of the pretended device: the operations of a block are kept, and computed again at each replay.

As on CUDA the results lie where those of the recording lay, and nothing of Python runs in a replay: a value that was
computed on the host stays as it was. The host must not wait in a recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from pretended import autocast
from pretended.record import RECORD, DeviceMismatch, note_operation
from pretended.tensor import Current, on_device


class Recording:
    """The graph that is being recorded, or None."""

    graph: PretendedGraph | None = None


class PretendedGraph:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.operations: list[Callable[[], None]] = []
        self.index = 0

    def replay(self) -> None:
        """Compute all operations again: one start."""
        note_operation("graph", [], self.index)
        with torch._C._DisableAutocast():  # it has acted on the operations already
            for operation in self.operations:
                operation()


class recording:
    """In place of `torch.cuda.graph`."""

    def __init__(self, graph: PretendedGraph, *_: Any, **__: Any) -> None:
        self.graph = graph

    def __enter__(self) -> None:
        self.before = RECORD.blocking()
        self.graph.index, Recording.graph = Current.index, self.graph

    def __exit__(self, *error: Any) -> None:
        Recording.graph = None
        waits = RECORD.blocking() - self.before
        if waits and error[0] is None:
            raise DeviceMismatch(f"operation not permitted when stream is capturing: the host waits in {dict(waits)}")


class device:
    """In place of `torch.cuda.device`: the current device of a block."""

    def __init__(self, device: Any) -> None:
        self.index = device if isinstance(device, int) else on_device(device).index

    def __enter__(self) -> None:
        self.before, Current.index = Current.index, self.index

    def __exit__(self, *_: Any) -> None:
        Current.index = self.before


def note(compute: Callable[[], Any], out: Any, *, copies: bool) -> None:
    """Add an operation to the recording; its results are copied into `out` unless it writes or views its operands."""
    if Recording.graph is None:
        return

    types = dict(autocast.ENABLED)

    def again() -> None:
        with mock.patch.dict(autocast.ENABLED, types, clear=True):
            result = compute()
        if copies:
            for old, new in zip(_tensors(out), _tensors(result), strict=True):
                old.copy_(new)

    Recording.graph.operations.append(again)


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for each in value for t in _tensors(each)] if isinstance(value, list | tuple) else []
