"""Masking of images, and compositing of generated regions.

T images, S image side in pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from dawn_bench.models.dit_head.mask import FILL


def cut_out(pictures_T3SS: Tensor, hole_TSS: Tensor) -> Tensor:
    """Images (T,3,S,S) with the masked region `hole_TSS` filled with `FILL`."""
    return torch.where(hole_TSS[:, None], torch.full_like(pictures_T3SS, FILL), pictures_T3SS)


def paste(generated: np.ndarray, original: np.ndarray, hole: np.ndarray, *, seam: float) -> np.ndarray:
    """Composite uint8 (T,S,S,3): `generated` inside the mask `hole` (T,S,S), the unmodified `original` outside [ours].

    To match the seam, generated colours are shifted by their difference to the original just outside the mask. The
    shift fades inwards over `seam` (a share of S; 0 disables it). Original pixels inside the mask are never read.
    """
    composite = original.copy()
    for picture, new, old, inside in zip(composite, generated, original, hole, strict=True):
        shifted = new.astype(np.float32)
        if seam > 0:
            shifted += _shift(new, old, inside, sigma=seam * len(new))
        picture[inside] = np.round(shifted.clip(0, 255))[inside].astype(np.uint8)
    return composite


def _shift(new: np.ndarray, old: np.ndarray, inside: np.ndarray, *, sigma: float) -> np.ndarray:
    """The smoothed colour difference outside the mask, float32 (S,S,3): full at its edge, 0 deep inside."""
    known = (~inside).astype(np.float32)
    off = np.where(inside[..., None], 0, old.astype(np.float32) - new.astype(np.float32))
    share = cv2.GaussianBlur(known, (0, 0), sigma)
    return cv2.GaussianBlur(off, (0, 0), sigma) / np.maximum(share, 0.5)[..., None]
