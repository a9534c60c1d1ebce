"""A pretended CUDA device for machines without one.

    with pretended_cuda() as record:
        train(..., device="cuda:1")
    record.waits        # where the host waited for the device

Tensors say `cuda`, compute on the CPU and refuse what CUDA refuses: another device's tensors and generators, arrays of
them, CPU tensors in a collective. What it cannot show: kernels that CUDA lacks, speed, memory, NCCL itself. There are
two devices; `cuda` means the first. A test that uses the second also sees where the index is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # before anything is replaced: it has tables of PyTorch's functions
import torch.distributed
from pretended import autocast, files, graphs
from pretended.dispatch import Dispatch
from pretended.functions import Functions
from pretended.parallel import PretendedDataParallel
from pretended.pinned import PINNED
from pretended.record import RECORD, DeviceMismatch, Record, place
from pretended.tensor import Current, PretendedTensor, on_device
from torch.optim import optimizer

__all__ = ["DeviceMismatch", "PretendedTensor", "Record", "pretended_cuda"]
_Generator = torch.Generator


class PretendedGenerator(_Generator):
    """A generator that says `cuda` and draws on the CPU."""

    def __new__(cls, device: Any = "cpu") -> Any:
        generator = super().__new__(cls, device="cpu")
        kind = torch.device(device)
        generator.location = on_device(kind) if kind.type == "cuda" else kind
        return generator

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device that it says."""
        return self.location

    def manual_seed(self, seed: int) -> PretendedGenerator:
        """Seed it; the C function would return the C type."""
        super().manual_seed(seed)
        return self


def _collective(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """A collective of NCCL, which takes dense tensors of this process's device alone."""

    def collect(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(tensor, PretendedTensor):
            raise DeviceMismatch(f"NCCL {name}: a CPU tensor in {place()}")
        if tensor.location.index != Current.index:
            raise DeviceMismatch(
                f"NCCL {name}: a tensor of {tensor.location}, the device is {Current.index}, in {place()}"
            )
        numbers = tensor.numbers
        dense = numbers.is_contiguous() or (
            numbers.dim() == 4 and numbers.is_contiguous(memory_format=torch.channels_last)
        )
        if not dense:
            raise DeviceMismatch(f"NCCL {name}: a tensor that is not dense in {place()}")
        RECORD.reduced[name, place()] += 1
        return real(numbers, *args, **kwargs)

    return collect


def _grouped(real: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch's groups of tensors by device and type: its C++ takes the pretended tensors' device for the CPU."""

    def group(lists: Any, with_indices: bool = False) -> Any:
        groups = real(lists, with_indices)
        return {
            (next((t.device for t in tensors[0] if isinstance(t, torch.Tensor)), key[0]), key[1]): (tensors, places)
            for key, (tensors, places) in groups.items()
        }

    return group


def _set_device(device: Any) -> None:
    Current.index = device if isinstance(device, int) else on_device(device).index


def _inference_mode(mode: Any = True) -> Any:
    """Without gradients alone: wrapped tensors have no version in PyTorch's own."""
    if callable(mode):
        return torch.no_grad()(mode)
    return torch.no_grad() if mode else nullcontext()


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _replacements() -> dict[str, Any]:
    return {
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: 2,
        "torch.cuda._lazy_init": _nothing,
        "torch.cuda.is_bf16_supported": lambda *_, **__: True,
        "torch.cuda.get_device_name": lambda device=None: f"Pretended GPU {on_device(device or 'cuda').index}",
        "torch.cuda.set_device": _set_device,
        "torch.cuda.current_device": lambda: Current.index,
        "torch.cuda.synchronize": _nothing,
        "torch.cuda.device": graphs.device,
        "torch.cuda.CUDAGraph": graphs.PretendedGraph,
        "torch.cuda.graph": graphs.recording,
        "torch.cuda.reset_peak_memory_stats": _nothing,
        "torch.cuda.max_memory_allocated": lambda *_: 0,
        "torch.cuda.memory_allocated": lambda *_: 0,
        "torch.cuda.memory_reserved": lambda *_: 0,
        "torch.cuda.mem_get_info": lambda *_: (80 * 2**30, 80 * 2**30),
        "torch.cuda.manual_seed_all": _nothing,
        "torch.cuda.get_device_capability": lambda *_: (9, 0),
        "torch.accelerator.is_available": lambda: True,
        "torch.accelerator.current_accelerator": lambda *_, **__: torch.device("cuda"),
        "torch.inference_mode": _inference_mode,
        "torch.Generator": PretendedGenerator,
        "torch.autocast": autocast.PretendedAutocast,
        "torch.amp.autocast": autocast.PretendedAutocast,
        "torch.is_autocast_enabled": autocast.enabled,
        "torch.serialization._package_registry": files.packages(torch.serialization._package_registry),
        "torch.load": files.loading(torch.load),
        "torch.jit.load": files.loading_script(torch.jit.load),
        "torch.nn.parallel.DistributedDataParallel": PretendedDataParallel,
        "torch.distributed.all_reduce": _collective("all_reduce", torch.distributed.all_reduce),
        "torch.distributed.broadcast": _collective("broadcast", torch.distributed.broadcast),
    }


@contextmanager
def pretended_cuda() -> Iterator[Record]:
    """A block in which `cuda:0` and `cuda:1` are devices; yields what happens on them."""
    RECORD.clear()
    with ExitStack() as stack:
        for name, replacement in _replacements().items():
            stack.enter_context(mock.patch(name, replacement))
        for check in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            if hasattr(optimizer.Optimizer, check):
                stack.enter_context(mock.patch.object(optimizer.Optimizer, check, _nothing))
        for module in (optimizer, torch.nn.utils.clip_grad):
            grouped = _grouped(module._group_tensors_by_device_and_dtype)
            stack.enter_context(mock.patch.object(module, "_group_tensors_by_device_and_dtype", grouped))
        for module in (optimizer, torch.utils._foreach_utils):
            if hasattr(module, "_foreach_supported_types"):
                types = [*module._foreach_supported_types, PretendedTensor]
                stack.enter_context(mock.patch.object(module, "_foreach_supported_types", types))
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # `.data =` would lose the class
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        stack.callback(PINNED.clear)
        stack.callback(files.forget)
        stack.callback(setattr, Current, "index", 0)
        stack.enter_context(Functions())
        stack.enter_context(Dispatch())
        yield RECORD
