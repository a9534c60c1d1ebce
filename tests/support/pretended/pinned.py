"""Page-locked memory: which tensors were pinned."""

from __future__ import annotations

import torch

#: Pinned tensors by address; kept, so that no other tensor takes their address.
PINNED: dict[int, torch.Tensor] = {}


def pin(x: torch.Tensor) -> torch.Tensor:
    """A pinned copy."""
    copied = x.clone()
    PINNED[copied.untyped_storage().data_ptr()] = copied
    return copied


def is_pinned(x: torch.Tensor) -> bool:
    """Whether a tensor is in pinned memory."""
    return x.untyped_storage().data_ptr() in PINNED
