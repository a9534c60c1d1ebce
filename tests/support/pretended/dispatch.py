"""Every operation that reaches PyTorch's dispatcher: checked by CUDA's rules, counted, computed on the CPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from pretended import autocast, graphs
from pretended.graphs import Recording
from pretended.kernels import REPLACED
from pretended.pinned import is_pinned
from pretended.record import RECORD, DeviceMismatch, note_operation, place
from pretended.tensor import PretendedTensor, numbers_of, on_device
from pretended.trees import replaced, tensors_of
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

aten = torch.ops.aten

#: Operations that take tensors of two devices.
_COPIES = {aten.copy_.default, aten._to_copy.default, aten._copy_from.default, aten.set_.source_Tensor}
#: Their indices may be on the CPU; the tensor itself and the values may not.
_INDEXED = {
    aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}  # fmt: skip
#: The size or value of their result is needed on the host.
_WAITS = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten._unique2.default, aten.unique_consecutive.default,
    aten.masked_select.default, aten.equal.default, aten.is_nonzero.default, aten.unique_dim.default,
}  # fmt: skip
#: Views and allocations start no kernel.
_FREE = {
    "view", "_unsafe_view", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze", "slice", "select", "split",
    "split_with_sizes", "detach", "as_strided", "unbind", "alias", "empty", "empty_like", "new_empty", "empty_strided",
    "new_empty_strided", "view_as_real", "view_as_complex", "unfold", "chunk", "diagonal", "real", "imag", "lift_fresh",
    "_reshape_alias", "resize_", "sym_size", "is_pinned", "_fused_sdp_choice", "narrow",
}  # fmt: skip


class Dispatch(TorchDispatchMode):
    """Sends operations without a pretended tensor, such as factories, the same way."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Check, count and compute one operation."""
    tensors = tensors_of((args, kwargs))
    ours = [t for t in tensors if isinstance(t, PretendedTensor)]
    asked = kwargs.get("device")
    asked = torch.device(asked) if asked is not None else None
    wanted = asked if asked is not None and asked.type == "cuda" else None
    if not ours and wanted is None:
        return func(*args, **kwargs)
    name = func._schema.name.removeprefix("aten::")
    device = on_device(wanted if wanted is not None else ours[0].location)
    autocast.check(name)
    _check(func, name, args, kwargs, tensors, ours, asked)
    if name not in _FREE:
        note_operation(name, tensors, device.index)
    if func in _WAITS or (func in _INDEXED and any(_is_mask(t) for t in tensors_of(args[1]))):
        RECORD.waits[name, place()] += 1
    if func is aten.copy_.default:
        note_copy(args[1], args[0].device)
    out = _compute(func, name, args, kwargs, tensors)
    if Recording.graph is not None:
        graphs.note(lambda: _compute(func, name, args, kwargs, tensors), out, copies=not _aliases(func))
    if func in _COPIES and not isinstance(args[0], PretendedTensor) and wanted is None:
        return args[0]  # a CPU tensor took the numbers
    known = {id(t.numbers): t for t in ours}

    def wrap(value: torch.Tensor) -> torch.Tensor:
        return known[id(value)] if id(value) in known else PretendedTensor(value, device)

    wrapped = replaced(wrap, out)
    if func.namespace == "aten" and name not in REPLACED and ours and _writes(func):
        return return_and_correct_aliasing(func, args, kwargs, wrapped)
    return wrapped


def note_copy(source: torch.Tensor, onto: torch.device) -> None:
    """Count a copy from `source` to the device `onto`, and the host's wait for it."""
    if isinstance(source, PretendedTensor) and onto.type == "cpu":
        RECORD.waits["to the CPU", place()] += 1
    if not isinstance(source, PretendedTensor) and onto.type == "cuda":
        RECORD.copies["pinned" if is_pinned(source) else "pageable", place()] += 1


def _compute(func: Any, name: str, args: Any, kwargs: dict[str, Any], tensors: list[torch.Tensor]) -> Any:
    """The operation on the numbers, in the types that CUDA's autocast gives it."""
    given = dict(kwargs)
    if given.get("device") is not None:
        given["device"] = torch.device("cpu")
    if given.pop("pin_memory", None):
        raise DeviceMismatch(f"{name}: pin_memory of a CUDA tensor in {place()}")
    if name == "_to_copy":
        given.pop("non_blocking", None)
    args, given = (replaced(numbers_of, x) for x in (args, given))
    mixed = "_backward" in name and len({t.dtype for t in tensors if t.is_floating_point()}) > 1
    if mixed or (autocast.enabled() and name in autocast.IN_FLOAT32):
        args, given = (replaced(autocast.widened, x) for x in (args, given))
    if name in ("_softmax_backward_data", "_log_softmax_backward_data"):
        args = (*args[:3], args[0].dtype)  # the cast of forward lies below autograd here
    return REPLACED.get(name, func)(*args, **given)


def _check(
    func: Any,
    name: str,
    args: Any,
    kwargs: dict[str, Any],
    tensors: list[torch.Tensor],
    ours: list[PretendedTensor],
    asked: torch.device | None,
) -> None:
    """Raise `DeviceMismatch` for operands that CUDA would refuse."""
    if len({t.location for t in ours}) > 1 and func not in _COPIES:
        _refuse(name, tensors)
    foreign = [t for t in tensors if not isinstance(t, PretendedTensor)]
    if foreign and func in _INDEXED:
        fixed = [args[0], *args[2:3]] if "put" in name else [args[0]]
        if any(isinstance(t, torch.Tensor) and not isinstance(t, PretendedTensor) and t.dim() for t in fixed):
            _refuse(name, tensors)
        if not isinstance(args[0], PretendedTensor):
            _refuse(name, tensors)
        RECORD.waits["index on the CPU", place()] += 1
    elif foreign and ours and name.startswith("_fused_adam"):
        _refuse(name, tensors)  # step counters too
    elif foreign and func not in _COPIES and ours:
        into_number = (
            name.endswith("_") and isinstance(args[0], torch.Tensor) and not isinstance(args[0], PretendedTensor)
        )
        joined = name in ("stack", "cat")
        if any(t.dim() for t in foreign) or into_number or joined:  # single numbers of the CPU may be operands
            _refuse(name, tensors)
    generator = kwargs.get("generator")
    if generator is not None:
        check_generator(name, generator, ours[0].location if ours else asked or torch.device("cpu"))


def check_generator(name: str, generator: torch.Generator, device: torch.device) -> None:
    """Raise `DeviceMismatch` where a generator is of another device than the tensor that is drawn."""
    device = on_device(device) if device.type == "cuda" else device
    if generator.device != device:
        raise DeviceMismatch(
            f"{name}: expected a {str(device)!r} generator, got {str(generator.device)!r} in {place()}"
        )


def _refuse(name: str, tensors: list[torch.Tensor]) -> None:
    each = ", ".join(f"{tuple(t.shape)} on {t.device}" for t in tensors)
    raise DeviceMismatch(f"{name}: expected all tensors on one device, got {each} in {place()}")


@cache
def _writes(func: Any) -> bool:
    return any(a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments)


@cache
def _aliases(func: Any) -> bool:
    """Whether the result is an operand, or a view of one."""
    return any(r.alias_info is not None for r in func._schema.returns) or _writes(func)


def _is_mask(value: torch.Tensor) -> bool:
    return value.dtype in (torch.bool, torch.uint8)
