"""Pictures between bytes and the models' range, the hole in them, and the paste back.

T pictures, S pixels a side.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from dawn_bench.models.dit_head.mask import FILL


def signed(pictures_T3SS: Tensor) -> Tensor:
    """uint8 0–255 -> float32 in [-1, 1]."""
    return pictures_T3SS.float() / 127.5 - 1


def to_bytes(pictures_T3SS: Tensor) -> np.ndarray:
    """float (T,3,S,S) in [-1, 1] -> uint8 (T,S,S,3), rounded."""
    held = ((pictures_T3SS.clamp(-1, 1) + 1) * 127.5).round()
    return held.byte().permute(0, 2, 3, 1).cpu().numpy()


def cut_out(pictures_T3SS: Tensor, hole_TSS: Tensor) -> Tensor:
    """The pictures with the hole filled."""
    return torch.where(hole_TSS[:, None], torch.full_like(pictures_T3SS, FILL), pictures_T3SS)


def paste(made: np.ndarray, given: np.ndarray, hole: np.ndarray, *, seam: float) -> np.ndarray:
    """uint8 (T,S,S,3): `given` outside the hole (T,S,S), bit for bit; inside it `made`, its seam matched [ours].

    The colours of what was made are shifted by how much it differs from the given picture just outside the hole,
    fading inwards over `seam` (a share of S; 0 switches it off). No given pixel inside the hole is looked at.
    """
    done = given.copy()
    for picture, new, old, inside in zip(done, made, given, hole, strict=True):
        shifted = new.astype(np.float32)
        if seam > 0:
            shifted += _shift(new, old, inside, sigma=seam * len(new))
        picture[inside] = np.round(shifted.clip(0, 255))[inside].astype(np.uint8)
    return done


def _shift(new: np.ndarray, old: np.ndarray, inside: np.ndarray, *, sigma: float) -> np.ndarray:
    """The smoothed difference outside the hole, float32 (S,S,3): whole at its edge, nothing deep inside."""
    known = (~inside).astype(np.float32)
    off = np.where(inside[..., None], 0, old.astype(np.float32) - new.astype(np.float32))
    share = cv2.GaussianBlur(known, (0, 0), sigma)
    return cv2.GaussianBlur(off, (0, 0), sigma) / np.maximum(share, 0.5)[..., None]
