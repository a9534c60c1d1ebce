"""A tensor that says `cuda`, has its numbers on the CPU, and refuses to become an array."""

from __future__ import annotations

from typing import Any

import torch
from pretended.record import place


class Current:
    """The device that plain `cuda` means; `torch.cuda.set_device` changes it."""

    index = 0


def on_device(device: torch.device | str) -> torch.device:
    """A CUDA device with its index."""
    device = torch.device(device)
    return device if device.index is not None else torch.device("cuda", Current.index)


class PretendedTensor(torch.Tensor):
    """A tensor on the pretended device; `numbers` is the CPU tensor behind it."""

    numbers: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers: torch.Tensor, device: torch.device) -> PretendedTensor:
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=numbers.device,  # to C++ it is on the CPU: autograd would ask a real GPU for its streams
            requires_grad=numbers.requires_grad,
        )
        wrapper.numbers = numbers.detach() if numbers.requires_grad else numbers
        wrapper.location = on_device(device)
        return wrapper

    device = property(lambda self: self.location)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def get_device(self) -> int:
        """Index of the device."""
        return self.location.index

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"PretendedTensor({self.numbers!r}, device='{self.location}')"

    def numpy(self, **_: Any) -> Any:  # type: ignore[override]
        """Raise, as on CUDA."""
        raise TypeError(
            f"can't convert {self.location} device type tensor to numpy. Use Tensor.cpu() first. In {place()}"
        )

    def __array__(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        return self.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            copied: Any = PretendedTensor(self.numbers.clone(), self.location)
            if getattr(self, "_is_param", False):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        from pretended.files import mark

        copied = mark(self.numbers.clone(), self.location)  # saved as the tensors of a GPU: with its name
        return copied.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from pretended.dispatch import run

        return run(func, args, kwargs or {})


def numbers_of(x: torch.Tensor) -> torch.Tensor:
    """The CPU tensor behind a pretended one; another tensor as it is."""
    return x.numbers if isinstance(x, PretendedTensor) else x


class Move(torch.autograd.Function):
    """To or from the pretended device; the gradient moves back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, onto: torch.device) -> torch.Tensor:
        ctx.origin = x.device
        numbers = x.numbers if isinstance(x, PretendedTensor) else x.detach()
        return PretendedTensor(numbers.clone(), onto) if onto.type == "cuda" else numbers.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return Move.apply(gradient, ctx.origin), None
