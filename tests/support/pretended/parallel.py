"""DistributedDataParallel on the pretended device: its C++ would take the tensors for those of the CPU.

Processes exchange the gradients of a backward pass through the pretended `all_reduce`, except in `no_sync`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pretended.record import RECORD, DeviceMismatch, place
from pretended.tensor import Current, PretendedTensor


class PretendedDataParallel(torch.nn.Module):
    """Averages each gradient as soon as it is complete; refuses parameters of another device than this process's."""

    def __init__(self, module: torch.nn.Module, **_: Any) -> None:
        super().__init__()
        self.module, self.exchanges = module, True
        for parameter in (p for p in module.parameters() if p.requires_grad):
            if not isinstance(parameter, PretendedTensor) or parameter.location.index != Current.index:
                raise DeviceMismatch(
                    f"NCCL: parameters on {parameter.device}, the device is {Current.index}: {place()}"
                )
            parameter.register_post_accumulate_grad_hook(self._average)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """A block without exchange."""
        self.exchanges = False
        try:
            yield
        finally:
            self.exchanges = True

    def _average(self, parameter: torch.Tensor) -> None:
        if self.exchanges:
            assert isinstance(parameter.grad, PretendedTensor)
            RECORD.reduced["gradient", place()] += 1
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()
