"""Inference of networks whose numbers are compared: scores and the fields of a cache agree between devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients and full float32: on CUDA, neither convolutions nor matrix products are rounded to TF32.

    The settings are those of PyTorch's interface by operation. The older flags raise an error in a process that has
    used it, for example to allow TF32 in training.
    """
    cudnn = torch.backends.cudnn
    operations: tuple[Any, ...] = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [operation.fp32_precision for operation in operations]
    enabled, benchmark = cudnn.enabled, cudnn.benchmark
    try:
        for operation in operations:
            operation.fp32_precision = "ieee"
        cudnn.enabled, cudnn.benchmark = True, False
        with torch.inference_mode():
            yield
    finally:
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision
        cudnn.enabled, cudnn.benchmark = enabled, benchmark
