"""Frame by frame error and structural similarity of a generated clip against its true clip.

SSIM is Wang et al.'s (2004): Gaussian window of 11 x 11 with sigma 1.5, K 0.01 and 0.03, population covariance, mean
over R, G, B and over the valid region. scikit-image gives this number with `gaussian_weights=True, sigma=1.5,
use_sample_covariance=False, data_range=255`; its default (7 x 7 uniform window, sample covariance) does not, and
torchmetrics, which pads by reflection and averages the border in, does not either.
"""

from __future__ import annotations

import cv2
import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.base import FEATURES, PairFeature

WINDOW, SIGMA = 11, 1.5
RANGE = 255.0


def mse_per_frame(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """uint8 (T,H,W,3) twice -> mean squared error of each frame, float64 (T,), in squared grey levels."""
    out = np.empty(len(generated))
    for i, (a, b) in enumerate(zip(generated, true, strict=True)):
        gap = a.astype(np.float64) - b
        out[i] = np.mean(gap * gap)
    return out


def psnr_of_mse(mse: np.ndarray, *, cap: float) -> np.ndarray:
    """dB for a range of 255; at most `cap`, which identical frames get."""
    with np.errstate(divide="ignore"):
        return np.minimum(10 * np.log10(RANGE**2 / np.asarray(mse, dtype=np.float64)), cap)


def ssim_per_frame(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """uint8 (T,H,W,3) or (T,H,W) twice -> SSIM of each frame, float64 (T,), at most 1.

    Raises `ItemError("too_small")` for pictures that no window fits into.
    """
    if min(generated.shape[1:3]) < WINDOW:
        height, width = generated.shape[1:3]
        raise ItemError("too_small", f"SSIM needs {WINDOW} x {WINDOW} pixels, the frames have {width} x {height}")
    return np.array([_ssim(a, b) for a, b in zip(generated, true, strict=True)])


def _ssim(one: np.ndarray, two: np.ndarray) -> float:
    x, y = one.astype(np.float64), two.astype(np.float64)
    mx, my = _blur(x), _blur(y)
    vx, vy, vxy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    return float(np.mean((2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))))


def _blur(x: np.ndarray) -> np.ndarray:
    half = WINDOW // 2
    return cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA)[half:-half, half:-half]


@FEATURES.register("images")
class Images(PairFeature):
    """`images.mse` and `images.ssim` float64 (T,)."""

    name, fields = "images", ("frames",)

    def run(self, generated: Clip, true: Clip) -> dict[str, np.ndarray]:
        """Both per frame."""
        a, b = generated["frames"], true["frames"]
        return {"images.mse": mse_per_frame(a, b), "images.ssim": ssim_per_frame(a, b)}
