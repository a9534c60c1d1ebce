"""`torch.autocast("cuda")` by way of the processor's, with CUDA's longer list of operations in float32."""

from __future__ import annotations

from typing import Any

import torch
from pretended.record import DeviceMismatch, place

#: What autocast runs in float32 on CUDA, besides what it does so on a processor.
IN_FLOAT32 = {
    "native_layer_norm", "_softmax", "_log_softmax", "exp", "log", "log2", "log10", "log1p", "pow", "rsqrt",
    "reciprocal", "cumsum", "cumprod", "sum", "prod", "linalg_vector_norm", "norm", "native_group_norm", "mse_loss",
    "smooth_l1_loss", "softplus", "tan", "acos", "asin", "cosh", "erfinv", "expm1", "sinh", "_cdist_forward", "renorm",
    "dist", "binary_cross_entropy_with_logits", "l1_loss", "nll_loss_forward",
}  # fmt: skip
#: The type of the innermost autocast that is enabled, by kind of device.
ENABLED: dict[str, torch.dtype] = {}
_Autocast = torch.autocast


class PretendedAutocast(_Autocast):
    """Autocast of one kind of device. The processor's own is only noted: its list would change pretended tensors."""

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: Any = None) -> None:
        self.kind, self.on = device_type, enabled
        mirrored = enabled if device_type == "cuda" else "cuda" in ENABLED
        super().__init__("cpu", dtype=dtype or torch.bfloat16, enabled=mirrored, cache_enabled=cache_enabled)

    def __enter__(self) -> Any:
        self.before = dict(ENABLED)
        ENABLED.pop(self.kind, None)
        if self.on:
            ENABLED[self.kind] = self.fast_dtype
        entered = super().__enter__()
        self.prev = "cuda" in self.before  # the state of the processor's, which `enabled` does not tell
        return entered

    def __exit__(self, *error: Any) -> Any:
        ENABLED.clear()
        ENABLED.update(self.before)
        return super().__exit__(*error)


def enabled(device_type: str | None = None) -> bool:
    """In place of `torch.is_autocast_enabled`."""
    return (device_type or "cuda") in ENABLED


def check(name: str) -> None:
    """Raise `DeviceMismatch` where autocast is on for the processor alone: on CUDA it would change nothing."""
    if "cpu" in ENABLED and "cuda" not in ENABLED:
        raise DeviceMismatch(f"{name}: autocast is on for the CPU, the tensors are on CUDA, in {place()}")


def widened(x: torch.Tensor) -> torch.Tensor:
    """A tensor of half precision as float32; another as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
