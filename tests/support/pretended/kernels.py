"""Operations that exist on CUDA alone, or differ there, by what computes the same on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import adam

aten = torch.ops.aten


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, momentum: float, eps: float
) -> Any:
    out = aten.native_batch_norm(x, weight, bias, mean, variance, training, momentum, eps)
    return *out, torch.empty(0, dtype=torch.uint8)


def _batch_norm_backward(
    x: Tensor,
    grad: Tensor,
    weight: Any,
    mean: Any,
    variance: Any,
    save_mean: Any,
    save_variance: Any,
    eps: float,
    _: Any,
) -> Any:
    wanted = [True, True, True]
    return aten.native_batch_norm_backward(grad, x, weight, mean, variance, save_mean, save_variance, True, eps, wanted)


def _grid_sampler_backward(x: Tensor, grid: Tensor, grad: Tensor) -> Any:
    return aten.grid_sampler_2d_backward(grad, x, grid, 0, 0, True, [True, True])


def _fused_adamw(
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    largest: list[Tensor],
    steps: list[Tensor],
    **settings: Any,
) -> None:
    """AdamW as the CPU computes it, so that both devices give the same bits; the steps are counted already."""
    before, unscaled = [step - 1 for step in steps], {"grad_scale": None, "found_inf": None}
    adam._single_tensor_adam(
        parameters, gradients, means, squares, largest, before, has_complex=False, capturable=False,
        differentiable=False, decoupled_weight_decay=True, **(settings | unscaled),
    )  # fmt: skip


REPLACED: dict[str, Callable[..., Any]] = {
    "_fused_adamw_": _fused_adamw,
    "_fused_sdp_choice": lambda *_, **__: 0,
    "cudnn_batch_norm": _batch_norm,
    "cudnn_batch_norm_backward": _batch_norm_backward,
    "cudnn_grid_sampler": lambda x, grid: aten.grid_sampler_2d(x, grid, 0, 0, True),
    "cudnn_grid_sampler_backward": _grid_sampler_backward,
}
