"""Float32 on CUDA: exact, or rounded to TF32 where that is asked for.

PyTorch rounds convolutions to TF32 by default. Networks whose numbers are compared (scores, the fields of a cache,
frames in `fp32`) are computed exactly, so that devices agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch


@contextmanager
def float32_products(rounding: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Convolutions and matrix products of float32 on CUDA are exact (`ieee`), or rounded to the 11 bits of `tf32`.

    The settings are those of PyTorch's interface by operation. The older flags raise an error in a process that has
    used it, for example to allow TF32 in training.
    """
    cudnn = torch.backends.cudnn
    operations: tuple[Any, ...] = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [operation.fp32_precision for operation in operations]
    try:
        for operation in operations:
            operation.fp32_precision = rounding
        yield
    finally:
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision


@contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients and full float32: on CUDA, neither convolutions nor matrix products are rounded to TF32."""
    cudnn = torch.backends.cudnn
    enabled, benchmark = cudnn.enabled, cudnn.benchmark
    try:
        cudnn.enabled, cudnn.benchmark = True, False
        with float32_products("ieee"), torch.inference_mode():
            yield
    finally:
        cudnn.enabled, cudnn.benchmark = enabled, benchmark
