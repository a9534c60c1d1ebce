"""A GPU that computes nothing: what a computation costs on one, without memory and without a GPU.

Tensors have shapes, types and the device `cuda`, but no numbers (PyTorch's FakeTensor). `Counts` counts operations of
the device (about one kernel launch each), floating-point operations, and bytes that they read and write if nothing
stays in a cache; `Saved` counts what autograd keeps for the backward pass, each storage once. PyTorch's autograd engine
asks a real GPU for its streams, so `backward` walks the graph itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import flop_registry

GIB = 1 << 30
#: Operations that launch nothing, besides views: they allocate or give a tensor another name.
NOTHING = {
    "empty",
    "empty_strided",
    "new_empty",
    "empty_like",
    "detach",
    "alias",
    "_unsafe_view",
    "lift_fresh",
    "device",
}


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Within this context new tensors are fake, and `cuda` is a device with bfloat16."""
    torch._C._ensureCUDADeviceGuardSet()
    with (
        mock.patch("torch.cuda.is_available", lambda: True),
        mock.patch("torch.cuda.is_bf16_supported", lambda *_: True),
        mock.patch("torch.cuda._lazy_init", lambda: None),
        mock.patch.object(torch.nn.Module, "to", _moved),
        mock.patch.object(torch.Tensor, "new_tensor", lambda like, data: like.new_empty(np.shape(data))),
        mock.patch("torch.nn.functional.scaled_dot_product_attention", _fused_attention),
        FakeTensorMode(allow_non_fake_inputs=True),
        _Assumed(),
    ):
        yield


def _fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_: Any,
) -> Tensor:
    """The kernel that PyTorch chooses on a GPU, by whether there is a mask; without a GPU it chooses none."""
    gradient = any(t is not None and t.requires_grad for t in (q, k, v, attn_mask))
    if attn_mask is None and q.dtype != torch.float32:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal)[0]
    bias = None if attn_mask is None else attn_mask.to(q.dtype).expand(*q.shape[:-1], k.shape[-2])
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(q, k, v, bias, gradient, dropout_p, is_causal)[0]


class _Assumed(TorchDispatchMode):
    """What depends on numbers is taken at its largest: masks choose everything, and a number is one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if packet is torch.ops.aten._local_scalar_dense:
            return 1
        if packet is torch.ops.aten.nonzero:
            return torch.empty((args[0].numel(), args[0].dim()), dtype=torch.int64, device=args[0].device)
        if packet is torch.ops.aten._unique2:
            return tuple(torch.empty_like(args[0].flatten()) for _ in range(3))
        if packet is torch.ops.aten.cudnn_grid_sampler:  # has no form for fake tensors
            return torch.ops.aten.grid_sampler_2d(*args, 0, 0, True)
        if packet is torch.ops.aten.cudnn_grid_sampler_backward:
            picture, grid, gradient = args
            return torch.ops.aten.grid_sampler_2d_backward(gradient, picture, grid, 0, 0, True, [True, True])
        if packet in (torch.ops.aten.index, torch.ops.aten.index_put_, torch.ops.aten.index_put):
            chosen = [part for index in args[1] for part in _places(index)]
            args = (args[0], chosen, *args[2:])
        return func(*args, **(kwargs or {}))


def _places(index: Tensor | None) -> list[Tensor | None]:
    if index is None or index.dtype != torch.bool:
        return [index]
    return [torch.empty(index.numel(), dtype=torch.int64, device=index.device) for _ in range(index.dim())]


def _moved(
    module: torch.nn.Module, device: str | None = None, memory_format: torch.memory_format = torch.preserve_format
) -> torch.nn.Module:
    """`Module.to` with new tensors: fake ones cannot be exchanged in place."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                layout = memory_format if parameter.dim() == 5 else torch.preserve_format
                place = device or parameter.device
                moved = torch.empty_like(parameter, device=place, requires_grad=False, memory_format=layout)
                part._parameters[name] = torch.nn.Parameter(moved, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device or buffer.device)
    return module


class Counts(TorchDispatchMode):
    """Operations of the device (`launches`), their FLOPs and their bytes; `by_name` has the bytes of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.flops = self.bytes = 0
        self.by_name: Counter[str] = Counter()
        self.launches_by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if func.is_view or name in NOTHING:
            return out
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor) and t.device.type == "cuda"]
        if not tensors:
            return out
        moved = sum(_size(t) for t in tensors)
        self.launches += 1
        self.bytes += moved
        self.by_name[name] += moved
        self.launches_by_name[name] += 1
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
        return out


class Saved(torch.autograd.graph.saved_tensors_hooks):
    """Within this context counts the bytes that autograd saves for backward, except those of `module`'s parameters."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._known = {t.untyped_storage()._cdata for t in [*module.parameters(), *module.buffers()]}
        self._kept: list[Tensor] = []
        self.sizes: dict[int, int] = {}
        super().__init__(self._pack, lambda tensor: tensor)

    def __enter__(self) -> Self:
        """Also counts the inputs of recomputed parts, which PyTorch keeps in another way."""
        self._patch = mock.patch("dawn_bench.models.dawn.unet.checkpoint", self._checkpoint)
        self._patch.start()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._patch.stop()

    def _checkpoint(self, part: Any, *inputs: Any, **how: Any) -> Any:
        for value in inputs:
            if isinstance(value, Tensor):
                self._pack(value)
        return checkpoint(part, *inputs, **how)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known and storage._cdata not in self.sizes and tensor.device.type == "cuda":
            self.sizes[storage._cdata] = storage.nbytes()
            self._kept.append(tensor)  # a freed storage would give its address to another
        return tensor

    @property
    def bytes(self) -> int:
        """The bytes saved so far."""
        return sum(self.sizes.values())


def backward(loss: Tensor) -> None:
    """Run every step of the backward pass of `loss` on fake tensors; gradients of parameters are dropped."""
    assert loss.grad_fn is not None
    waiting = _uses(loss.grad_fn)
    ready: list[tuple[Any, dict[int, Tensor]]] = [(loss.grad_fn, {0: torch.ones_like(loss)})]
    pending: dict[Any, dict[int, Tensor]] = {}
    with mock.patch("torch._C._current_graph_task_id", lambda: 1), torch.no_grad():
        while ready:
            node, slots = ready.pop()
            gradients = _apply(node, slots)
            for (following, slot), gradient in zip(node.next_functions, gradients, strict=False):
                if following is None:
                    continue
                inputs = pending.setdefault(following, {})
                if gradient is not None:
                    gradient = _fitted(following, slot, gradient)
                    inputs[slot] = gradient if slot not in inputs else inputs[slot] + gradient
                waiting[following] -= 1
                if waiting[following] == 0:
                    del pending[following]
                    if following.next_functions:
                        ready.append((following, inputs))


def _apply(node: Any, slots: Mapping[int, Tensor]) -> tuple[Tensor | None, ...]:
    if not slots:
        return (None,) * len(node.next_functions)
    width = len(node._input_metadata)
    inputs = [slots.get(i) for i in range(width)]
    result = node(*inputs) if callable(node) else node.apply(*inputs)  # PyTorch's own, or an autograd.Function
    return result if isinstance(result, tuple) else (result,)


def _fitted(node: Any, slot: int, gradient: Tensor) -> Tensor:
    """The gradient in the shape and type of the node's output, as the engine gives it."""
    wanted = node._input_metadata[slot] if slot < len(node._input_metadata) else None
    if wanted is None:
        return gradient
    if gradient.shape != wanted.shape:
        gradient = gradient.sum_to_size(wanted.shape)
    return gradient if gradient.dtype == wanted.dtype else gradient.to(wanted.dtype)


def _uses(root: Any) -> Counter[Any]:
    """How many edges lead to each node of the graph."""
    uses: Counter[Any] = Counter()
    seen, stack = {root}, [root]
    while stack:
        for following, _ in stack.pop().next_functions:
            if following is None:
                continue
            uses[following] += 1
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return uses


def _size(tensor: Tensor) -> int:
    """Bytes of the elements of a tensor, those of an expanded axis once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else min(size, 1)
    return count * tensor.element_size()
