"""Colour profiles (ICC) of picture files: pictures of phones are often in Display P3, those of cameras in Adobe RGB."""

from __future__ import annotations

import io
from itertools import product

import numpy as np

#: Grey levels by which a profile may differ from sRGB and still be called that: many variants of it are in use.
_SAME = 3


def in_srgb(rgb: np.ndarray, profile: bytes | None) -> np.ndarray:
    """uint8 RGB (H,W,3) in sRGB, from values of an ICC `profile`; unchanged without one for RGB, or for sRGB."""
    if not profile:
        return rgb
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":
            return rgb
        convert = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (OSError, ImageCms.PyCMSError):
        return rgb  # viewers ignore a damaged profile too

    def converted(values: np.ndarray) -> np.ndarray:
        return np.asarray(ImageCms.applyTransform(Image.fromarray(values), convert))

    samples = np.array(list(product((30, 120, 220), repeat=3)), np.uint8)[None]
    if np.abs(converted(samples).astype(int) - samples).max() <= _SAME:
        return rgb
    return converted(rgb)
