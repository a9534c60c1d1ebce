"""Colours of video: which matrix decodes them, and how high dynamic range becomes the range of a screen.

High dynamic range is mapped by one fixed rule, so that a clip's frames do not depend on each other:

1. PQ (SMPTE ST 2084) or HLG (ARIB STD-B67, with the display gamma 1.2 of a 1000 cd/m² screen) gives light in cd/m²,
   which is divided by 203 cd/m², the white of BT.2408.
2. BT.2020 or P3 primaries become those of BT.709; what lies outside is clipped.
3. Up to half of white, light is kept. Above, the largest of the three components follows a curve of slope 1 at first,
   which reaches white at 1000 cd/m²; all three are scaled alike, so that hues stay.
4. Light is encoded for a screen of gamma 2.4 (BT.1886).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dawn_bench.errors import ItemError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

#: Numbers of ITU-T H.273 for transfer characteristics.
PQ, HLG = 16, 18
HDR = {PQ: "PQ", HLG: "HLG"}
#: H.273 for matrix coefficients: no matrix of Y'CbCr (RGB, reserved), not stated, BT.601, and BT.2020.
NO_MATRIX, UNSTATED, BT601, BT2020 = (0, 3), 2, 5, 9
#: Matrices that FFmpeg's scaler would silently replace by that of BT.601.
_UNKNOWN = {
    8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE 2085", 12: "chromaticity-derived",
    13: "chromaticity-derived", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-R", 17: "YCgCo-R",
}  # fmt: skip
#: H.273 for primaries: to those of BT.709, in linear light (BT.2087; P3 from its chromaticities with a D65 white).
_TO_BT709 = {
    1: np.eye(3),
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    12: np.array([[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0197, -0.0786, 1.0983]]),
}
_WHITE, _PEAK = 203.0, 1000.0
_KNEE = 0.5
_LUMINANCE = (0.2627, 0.6780, 0.0593)


def check_matrix(frame: VideoFrame, *, name: str) -> None:
    """Raise `ItemError("unreadable")` for colours that cannot be decoded."""
    if frame.colorspace in _UNKNOWN and is_yuv(frame.format.name):
        what = f"its colours are stored as {_UNKNOWN[frame.colorspace]}, which is not supported: convert it to BT.709"
        raise ItemError("unreadable", f"{name}: {what}")


@cache
def is_yuv(format: str) -> bool:
    """Whether pixels of this format are brightness and colour differences."""
    import av

    components = av.VideoFormat(format).components
    return sum(component.is_chroma for component in components) == 2


def tone_mapped(signal: np.ndarray, *, transfer: int, primaries: int) -> np.ndarray:
    """uint8 RGB (H,W,3) for a screen, from the uint16 R'G'B' (H,W,3) of a `transfer` in `HDR`."""
    import cv2

    light = np.take(_linear(transfer), signal)
    if transfer == HLG:
        luminance = cv2.transform(light, np.array([_LUMINANCE], np.float32))
        light *= (cv2.pow(luminance, 0.2) * np.float32(_PEAK / _WHITE))[..., None]
    light = cv2.transform(light, _TO_BT709.get(primaries, _TO_BT709[BT2020]).astype(np.float32))
    np.maximum(light, 0, out=light)
    largest = cv2.max(cv2.max(light[..., 0], light[..., 1]), light[..., 2])
    light = light * (_rolled_off(largest) / np.maximum(largest, 1e-6))[..., None]
    return cv2.convertScaleAbs(cv2.pow(light, 1 / 2.4), alpha=255)


def _rolled_off(light: np.ndarray) -> np.ndarray:
    """Light relative to white, at most 1: an extended Reinhard curve above the knee."""
    beyond = (np.minimum(light, _PEAK / _WHITE) - _KNEE).clip(0) / (1 - _KNEE)
    furthest = (_PEAK / _WHITE - _KNEE) / (1 - _KNEE)
    return np.minimum(light, _KNEE) + (1 - _KNEE) * beyond * (1 + beyond / furthest**2) / (1 + beyond)


@cache
def _linear(transfer: int) -> np.ndarray:
    """float32 (65536,): light by code. PQ relative to white; HLG the scene's, at most 1 (BT.2100, tables 4 and 5)."""
    signal = np.arange(1 << 16) / 65535
    if transfer == PQ:
        root = signal ** (32 / 2523)
        light = (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)
        return (light * 10_000 / _WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
