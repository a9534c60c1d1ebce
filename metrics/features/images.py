"""Error and structural similarity of a generated clip against its true clip, frame by frame, by scikit-image.

SSIM is Wang et al.'s (2004): Gaussian window of 11 x 11 with sigma 1.5, K 0.01 and 0.03, population covariance, mean
over R, G, B and over the valid region. `ssim_window=uniform` is scikit-image's default, 7 x 7 with sample covariance,
which some papers print: 0.709 where the former is 0.645.

torchmetrics gives other numbers. Its SSIM includes a border padded by reflection: off by -1.4e-3 at 128 px, -2.9e-4 at
256 px, +1.8e-2 at 37 x 53. Without the border, in float64, it agrees to 1e-15 and takes 22 times as long as
scikit-image. Its PSNR takes logarithms in float32 (off by 9e-7 dB), is infinite for identical frames, and by default
pools the error of all frames (21.15 dB where the mean over frames is 26.52; `psnr_mean=pooled`).

The filters run over several frames at once, in scikit-image's order of operations: the same bits, 1.0 to 1.2 times
the speed at 128 px and above, 4 to 9 times for frames below 20 px.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.metrics import mean_squared_error

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.lazy import MOST_ROWS, row_blocks
from dawn_bench.metrics.scoring.base import FEATURES, PairFeature

C1, C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
#: Side of each window, its filter over the last two axes, and the factor that makes its covariance a sample's.
WINDOWS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray], float]] = {
    "gaussian": (11, partial(gaussian_filter, sigma=(0, 1.5, 1.5), truncate=3.5, mode="reflect"), 1.0),
    "uniform": (7, partial(uniform_filter, size=(1, 7, 7)), 49 / 48),
}
#: Values that are filtered at once: the intermediate arrays stay in the processor's cache.
BLOCK = 1 << 16


def mse_per_frame(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """uint8 (T,H,W,3) twice -> mean squared error of each frame, float64 (T,), in squared grey levels."""
    return np.array([mean_squared_error(a, b) for a, b in zip(generated, true, strict=True)])


def ssim_per_frame(generated: np.ndarray, true: np.ndarray, *, window: str = "gaussian") -> np.ndarray:
    """uint8 (T,H,W,3) or (T,H,W) twice -> SSIM of each frame, float64 (T,), at most 1, which equal frames have.

    Raises `ItemError("too_small")` for frames smaller than the window.
    """
    side, _, _ = WINDOWS[window]
    if min(generated.shape[1:3]) < side:
        height, width = generated.shape[1:3]
        raise ItemError("too_small", f"SSIM needs {side} x {side} pixels, the frames have {width} x {height}")
    if generated.shape != true.shape:
        raise ValueError(f"{generated.shape} and {true.shape} are not frames of one clip")
    height, width, channels = (*generated.shape[1:], 1)[:3]
    frames = max(1, BLOCK // (height * width))
    planes = [x.reshape(-1, height, width, channels) for x in (generated, true)]
    other = np.flatnonzero([not np.array_equal(x, y) for x, y in zip(*planes, strict=True)])
    a, b = (np.moveaxis(x[other] if len(other) < len(x) else x, 3, 0) for x in planes)
    similarity = np.ones(len(generated))
    for start in range(0, len(other), frames):
        by_channel = [
            _ssim(x[start : start + frames], y[start : start + frames], window) for x, y in zip(a, b, strict=True)
        ]
        similarity[other[start : start + frames]] = np.mean(by_channel, axis=0)
    return similarity


def _ssim(x: np.ndarray, y: np.ndarray, window: str) -> np.ndarray:
    """One channel of several frames, uint8 (N,H,W) twice -> SSIM of each, float64 (N,)."""
    side, smooth, sample = WINDOWS[window]
    x, y = x.astype(np.float64, order="C"), y.astype(np.float64, order="C")
    ux, uy = smooth(x), smooth(y)
    vx = sample * (smooth(x * x) - ux * ux)
    vy = sample * (smooth(y * y) - uy * uy)
    vxy = sample * (smooth(x * y) - ux * uy)
    similarity = ((2 * ux * uy + C1) * (2 * vxy + C2)) / ((ux**2 + uy**2 + C1) * (vx + vy + C2))
    border = (side - 1) // 2
    return np.array([plane[border:-border, border:-border].mean() for plane in similarity])


@FEATURES.register("images")
class Images(PairFeature):
    """`images.mse` and `images.ssim` float64 (T,)."""

    name, fields, version = "images", ("frames",), 2

    def settings(self) -> Mapping[str, Any]:
        """The window of SSIM."""
        return {"window": self.protocol.ssim_window}

    def run(self, generated: Clip, true: Clip) -> dict[str, np.ndarray]:
        """Both per frame."""
        frames = generated["frames"], true["frames"]
        parts = zip(*(row_blocks(array, most=MOST_ROWS) for array in frames), strict=True)
        mse, ssim = [], []
        for a, b in parts:
            ssim.append(ssim_per_frame(a, b, window=self.protocol.ssim_window))
            mse.append(mse_per_frame(a, b))
        return {"images.mse": np.concatenate(mse), "images.ssim": np.concatenate(ssim)}
