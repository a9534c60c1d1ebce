"""Error and structural similarity of a generated clip against its true clip, frame by frame, by scikit-image.

SSIM is Wang et al.'s (2004): Gaussian window of 11 x 11 with sigma 1.5, K 0.01 and 0.03, population covariance, mean
over R, G, B and over the valid region. `ssim_window=uniform` is scikit-image's default, 7 x 7 with sample covariance,
which some papers print: 0.709 where the former is 0.645.

torchmetrics gives other numbers. Its SSIM includes a border padded by reflection: off by -1.4e-3 at 128 px, -2.9e-4 at
256 px, +1.8e-2 at 37 x 53. Without the border, in float64, it agrees to 1e-15 and takes 22 times as long as
scikit-image. Its PSNR takes logarithms in float32 (off by 9e-7 dB), is infinite for identical frames, and by default
pools the error of all frames (21.15 dB where the mean over frames is 26.52; `psnr_mean=pooled`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from skimage.metrics import mean_squared_error, structural_similarity

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.scoring.base import FEATURES, PairFeature

RANGE = 255.0
#: Side of each window and its options in scikit-image.
WINDOWS: dict[str, tuple[int, dict[str, Any]]] = {
    "gaussian": (11, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
    "uniform": (7, {}),
}


def mse_per_frame(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """uint8 (T,H,W,3) twice -> mean squared error of each frame, float64 (T,), in squared grey levels."""
    return np.array([mean_squared_error(a, b) for a, b in zip(generated, true, strict=True)])


def ssim_per_frame(generated: np.ndarray, true: np.ndarray, *, window: str = "gaussian") -> np.ndarray:
    """uint8 (T,H,W,3) or (T,H,W) twice -> SSIM of each frame, float64 (T,), at most 1.

    Raises `ItemError("too_small")` for frames smaller than the window.
    """
    side, options = WINDOWS[window]
    if min(generated.shape[1:3]) < side:
        height, width = generated.shape[1:3]
        raise ItemError("too_small", f"SSIM needs {side} x {side} pixels, the frames have {width} x {height}")
    axis = 2 if generated.ndim == 4 else None
    return np.array(
        [
            structural_similarity(a, b, data_range=RANGE, channel_axis=axis, **options)
            for a, b in zip(generated, true, strict=True)
        ]
    )


@FEATURES.register("images")
class Images(PairFeature):
    """`images.mse` and `images.ssim` float64 (T,)."""

    name, fields, version = "images", ("frames",), 2

    def settings(self) -> Mapping[str, Any]:
        """The window of SSIM."""
        return {"window": self.protocol.ssim_window}

    def run(self, generated: Clip, true: Clip) -> dict[str, np.ndarray]:
        """Both per frame."""
        a, b = generated["frames"], true["frames"]
        ssim = ssim_per_frame(a, b, window=self.protocol.ssim_window)
        return {"images.mse": mse_per_frame(a, b), "images.ssim": ssim}
