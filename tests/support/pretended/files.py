"""`torch.save` and `torch.load`: a saved tensor names its device and is loaded there, or where `map_location` says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pretended.record import RECORD, DeviceMismatch, place
from pretended.tensor import PretendedTensor, on_device
from pretended.trees import replaced

#: Storages that belong to the device, by address, with their device; kept, so that no other takes their address.
_MARKED: dict[int, tuple[torch.device, Any]] = {}


def mark(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Note that a CPU tensor stands for one of the device, for the file that is being written or read."""
    storage = x.untyped_storage()
    _MARKED[storage.data_ptr()] = (on_device(device), storage)
    return x


def forget() -> None:
    """Let go of the marked storages."""
    _MARKED.clear()


def _tag(storage: Any) -> str | None:
    marked = _MARKED.get(storage.data_ptr()) if storage.nbytes() else None
    return str(marked[0]) if marked else None


def _restore(storage: Any, location: str) -> Any:
    if not location.startswith("cuda"):
        return None
    raw = getattr(storage, "_untyped_storage", storage)
    _MARKED[raw.data_ptr()] = (on_device(location), raw)
    return storage


def packages(known: list[Any]) -> list[Any]:
    """PyTorch's table of storage locations with the pretended device first."""
    return [(0, _tag, _restore), *known]


def loading(real: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.load`, which puts tensors on the device that their storage was restored to."""

    def load(*args: Any, **kwargs: Any) -> Any:
        _MARKED.clear()
        state = real(*args, **kwargs)

        def placed(value: torch.Tensor) -> torch.Tensor:
            marked = _MARKED.get(value.untyped_storage().data_ptr())
            if marked is None:
                return value
            RECORD.devices[marked[0].index] += 1  # it takes memory there
            return PretendedTensor(value, marked[0])

        state = replaced(placed, state)
        _MARKED.clear()
        return state

    return load


class Script:
    """A TorchScript module on the pretended device."""

    def __init__(self, script: Any, device: torch.device) -> None:
        self.script, self.location = script, device

    def eval(self) -> Script:
        """Evaluation mode."""
        self.script.eval()
        return self

    def __call__(self, x: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        if x.device != self.location:
            raise DeviceMismatch(f"TorchScript: input on {x.device}, weights on {self.location} in {place()}")
        return PretendedTensor(self.script(x.numbers, **kwargs), self.location)


def loading_script(real: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.jit.load`."""

    def load(file: Any, map_location: Any = None, **kwargs: Any) -> Any:
        script = real(file, map_location="cpu", **kwargs)
        onto = torch.device(map_location) if map_location is not None else torch.device("cpu")
        return Script(script, on_device(onto)) if onto.type == "cuda" else script

    return load
