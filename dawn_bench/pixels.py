"""Image conversion between bytes and floats, for numpy arrays and torch tensors, and the peak signal-to-noise ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

    Pictures = TypeVar("Pictures", np.ndarray, torch.Tensor)


def to_unit(pictures: Pictures) -> Pictures:
    """uint8 0 to 255 -> float32 in [0, 1], of the same kind, shape and device."""
    return _float32(pictures) / 255


def to_signed(pictures: Pictures) -> Pictures:
    """uint8 0 to 255 -> float32 in [-1, 1], of the same kind, shape and device."""
    return _float32(pictures) / 127.5 - 1


def to_bytes(pictures: Pictures, *, signed: bool = False, truncate: bool = False) -> Pictures:
    """float in [0, 1] (`signed`: in [-1, 1]) -> uint8, of the same kind, shape and device.

    Values outside the range are clipped. Values are rounded to the nearest byte; `truncate` cuts off the fraction.
    """
    values = (pictures.clip(-1, 1) + 1) * 127.5 if signed else pictures.clip(0, 1) * 255
    values = values if truncate else values.round()
    return values.astype(np.uint8) if isinstance(values, np.ndarray) else values.byte()


def from_frames(
    frames: torch.Tensor, *, signed: bool = False, memory_format: torch.memory_format | None = None
) -> torch.Tensor:
    """uint8 tensor (...,H,W,3) as cached -> float32 (...,3,H,W) in [0, 1] (`signed`: [-1, 1]), with one copy.

    The result is contiguous; `torch.preserve_format` leaves the channels last in memory.
    """
    import torch

    layout = memory_format or torch.contiguous_format
    values = frames.movedim(-1, -3).to(torch.float32, memory_format=layout)
    return values.div_(127.5).sub_(1) if signed else values.div_(255)


def to_frames(pictures: torch.Tensor, *, signed: bool = False, truncate: bool = False) -> np.ndarray:
    """float tensor (...,3,H,W) on any device -> uint8 array (...,H,W,3); options as in `to_bytes`."""
    return to_bytes(pictures, signed=signed, truncate=truncate).movedim(-3, -1).cpu().numpy()


def psnr(mse: np.ndarray | float, *, peak: float = 255.0, cap: float = 100.0) -> np.ndarray:
    """Peak signal-to-noise ratio in dB, float64, of mean squared errors of images whose largest value is `peak`.

    At most `cap`, which is also the value for identical images.
    """
    with np.errstate(divide="ignore"):
        return np.minimum(10 * np.log10(peak**2 / np.asarray(mse, dtype=np.float64)), cap)


def _float32(pictures: Any) -> Any:
    return pictures.float() if hasattr(pictures, "float") else np.asarray(pictures, np.float32)
