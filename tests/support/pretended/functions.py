"""What never reaches the dispatcher with its device: constructors of Python values, moves, pinning, generators."""

from __future__ import annotations

from typing import Any

import torch
from pretended.dispatch import check_generator, note_copy
from pretended.pinned import is_pinned, pin
from pretended.record import RECORD, DeviceMismatch, note_operation, place
from pretended.tensor import Move, PretendedTensor, numbers_of, on_device
from pretended.trees import replaced
from torch.overrides import TorchFunctionMode


class Functions(TorchFunctionMode):
    """Intercepts PyTorch's Python functions."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        device = torch.device(device) if isinstance(device, str | torch.device) else None
        first = args[0] if args else None
        if kwargs.get("generator") is not None:
            own = first.device if isinstance(first, torch.Tensor) else torch.device("cpu")
            check_generator(func.__name__, kwargs["generator"], device or own)
        if func in _SPECIAL:
            return _SPECIAL[func](*args, **kwargs)
        if func in _CONSTRUCTORS:
            return _constructed(func, device, args, kwargs)
        if isinstance(first, PretendedTensor) and func in _READERS:
            RECORD.waits[func.__name__, place()] += 1
            return getattr(first.numbers, func.__name__)()
        if isinstance(first, PretendedTensor) and func is torch.Tensor.numpy:
            return first.numpy()
        if device is None or device.type == "meta":
            return func(*args, **kwargs)
        if device.type == "cpu":
            out = func(*args, **kwargs)
            return replaced(numbers_of, out)
        return _created_on(on_device(device), func, args, kwargs)


def _created_on(device: torch.device, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of a factory on the device."""
    name = getattr(func, "__name__", str(func))
    if kwargs.get("pin_memory"):
        raise DeviceMismatch(f"{name}: pin_memory of a CUDA tensor in {place()}")
    if any(isinstance(a, PretendedTensor) for a in args):  # `zeros_like` and its relatives keep the argument's device
        out = func(*args, **(kwargs | {"device": torch.device("cpu")}))
        return replaced(lambda a: PretendedTensor(numbers_of(a), device), out)
    out = func(*args, **(kwargs | {"device": torch.device("cpu")}))
    note_operation(name, [], device.index)
    return replaced(lambda a: PretendedTensor(a, device), out)


def _constructed(func: Any, device: torch.device | None, args: Any, kwargs: dict[str, Any]) -> Any:
    """A tensor of Python values, of an array or of another tensor."""
    data = args[0] if args else kwargs["data"]
    if isinstance(data, PretendedTensor) and (device is None or device.type == "cuda"):
        return move(data, device=device, dtype=kwargs.get("dtype"))
    if isinstance(data, list | tuple) and any(isinstance(a, PretendedTensor) for a in data):
        RECORD.waits["tensor of tensors", place()] += 1
    if device is None or device.type == "cpu":
        return func(*args, **kwargs)
    if isinstance(data, torch.Tensor):
        return move(data, device=device, dtype=kwargs.get("dtype"))
    values = func(*args, **(kwargs | {"device": torch.device("cpu")}))
    RECORD.copies["from Python", place()] += 1
    return PretendedTensor(values.clone(), device)


def _new_tensor(like: torch.Tensor, data: Any, **kwargs: Any) -> torch.Tensor:
    kwargs = {"dtype": like.dtype, "device": like.device} | {k: v for k, v in kwargs.items() if v is not None}
    return _constructed(torch.tensor, torch.device(kwargs["device"]), (data,), kwargs)


def _moved(x: torch.Tensor, onto: torch.device) -> torch.Tensor:
    onto = on_device(onto) if onto.type == "cuda" else onto
    if x.device == onto:
        return x
    note_copy(x, onto)
    return Move.apply(x, onto)


def move(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`Tensor.to`."""
    kwargs.pop("non_blocking", None)
    options = {k: kwargs.pop(k) for k in ("copy", "memory_format") if k in kwargs}
    onto, dtype = kwargs.get("device"), kwargs.get("dtype")
    for a in args:
        if isinstance(a, torch.Tensor):
            onto, dtype = a.device, a.dtype
        elif isinstance(a, torch.dtype):
            dtype = a
        elif isinstance(a, str | torch.device):
            onto = a
        elif isinstance(a, int) and not isinstance(a, bool):
            onto = torch.device("cuda", a)
    if onto is not None:
        x = _moved(x, torch.device(onto))
    if (dtype is not None and dtype != x.dtype) or options:
        with torch._C.DisableTorchFunction():
            return x.to(dtype or x.dtype, **options)
    return x


_CONSTRUCTORS = {torch.tensor, torch.as_tensor, torch.asarray}
#: Read the values on the host.
_READERS = {torch.Tensor.tolist}
_SPECIAL: dict[Any, Any] = {
    torch.Tensor.to: move,
    torch.Tensor.cpu: lambda x, *_, **__: _moved(x, torch.device("cpu")),
    torch.Tensor.cuda: lambda x, device=None, **_: _moved(x, torch.device("cuda" if device is None else device)),
    torch.Tensor.type_as: lambda x, other: move(x, other),
    torch.Tensor.new_tensor: _new_tensor,
    torch.Tensor.pin_memory: lambda x, *_: _pinned(x),
    torch.Tensor.is_pinned: lambda x, *_: not isinstance(x, PretendedTensor) and is_pinned(x),
}


def _pinned(x: torch.Tensor) -> torch.Tensor:
    if isinstance(x, PretendedTensor):
        raise DeviceMismatch(f"pin_memory of a CUDA tensor in {place()}")
    return pin(x)
