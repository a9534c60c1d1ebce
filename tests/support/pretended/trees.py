"""Arguments of an operation: tensors in tuples, lists and dictionaries. PyTorch's own functions take half of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def tensors_of(value: Any) -> list[torch.Tensor]:
    """The tensors in a value, in order."""
    tensors: list[torch.Tensor] = []
    _collect(value, tensors)
    return tensors


def _collect(value: Any, into: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        into.append(value)
    elif isinstance(value, tuple | list):
        for each in value:
            _collect(each, into)
    elif isinstance(value, dict):
        for each in value.values():
            _collect(each, into)


def replaced(change: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """The value with every tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple):
        changed = [replaced(change, each) for each in value]
        return type(value)(*changed) if hasattr(value, "_fields") else type(value)(changed)
    if isinstance(value, list):
        return [replaced(change, each) for each in value]
    if isinstance(value, dict):
        return {key: replaced(change, each) for key, each in value.items()}
    return value
