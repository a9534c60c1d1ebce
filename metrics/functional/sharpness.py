"""Picture quality without a reference: CPBD, PIQE and the variance of the Laplacian of grey frames.

* CPBD (Narvekar and Karam 2011): the share of edges whose blur is below what people notice. 0 to 1, higher is sharper.
  It needs blocks of 64 x 64 px with edges: 16 of them at 256 px, 4 at 128 px, which is too few to mean much. Noise
  raises it and blockiness hardly lowers it. Equal to package cpbd 1.0.7.
* PIQE (Venkatanath et al. 2015): distortion of the blocks of 16 x 16 px that are not smooth, by artefacts at their
  borders and by noise. 0 to 100, lower is better; 100 for a picture without such a block. Equal to package pypiqe 1.2.
* Block edges: by how much steps at the borders of blocks of 8 x 8 px exceed those inside them. 0 without blocks.
* Laplacian variance: OpenCV's, in squared grey levels. Noise raises it as detail does.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import convolve

#: CPBD: side of a block, pixels, and the share of edge pixels above which its edges count.
SIDE, EDGE_SHARE = 64, 0.002
#: CPBD: just noticeable widths of edges in pixels, for blocks of a contrast up to 50 grey levels and above it.
WIDE, NARROW, CONTRAST = 5.0, 3.0, 50
#: CPBD: the exponent, the longest way that an edge is followed, and the per cent of detection that are not noticed.
BETA, LONGEST, NOTICED = 3.6, 100, 64
#: PIQE: side of a block, length of a segment of its border, and the variance and deviation below which they are smooth.
BLOCK, SEGMENT, ACTIVE, SMOOTH = 16, 6, 0.1, 0.1


def cpbd(gray: np.ndarray) -> float:
    """CPBD of a grey picture uint8 (H,W), 0 to 1; 0 for one without edges or below 64 px."""
    from skimage.feature import canny

    if min(gray.shape) < SIDE:
        return 0.0
    image = gray.astype(np.float64)
    edges, widths = canny(image), _edge_widths(image)
    unnoticed = total = 0
    for top in range(0, image.shape[0] - SIDE + 1, SIDE):
        for left in range(0, image.shape[1] - SIDE + 1, SIDE):
            block = slice(top, top + SIDE), slice(left, left + SIDE)
            if np.count_nonzero(edges[block]) <= EDGE_SHARE * SIDE**2:
                continue
            noticeable = WIDE if int(np.ptp(image[block])) <= CONTRAST else NARROW
            measured = widths[block][widths[block] > 0]
            blurred = 1 - np.exp(-((measured / noticeable) ** BETA))
            unnoticed += int((np.round(blurred * 100) < NOTICED).sum())
            total += len(measured)
    return unnoticed / total if total else 0.0


def piqe(gray: np.ndarray) -> float:
    """PIQE of a grey picture uint8 (H,W), 0 to 100, lower is better; 100 where no block has structure."""
    image = np.pad(gray, [(0, -side % BLOCK) for side in gray.shape], mode="symmetric").astype(np.float64)
    image = np.round(255 * (image / max(image.max(), 1)))
    mean, mean_square = (_blurred(x) for x in (image, image * image))
    level = (image - mean) / (np.sqrt(np.abs(mean_square - mean * mean)) + 1)
    rows, columns = (side // BLOCK for side in level.shape)
    blocks = level.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)
    variance = blocks.var(axis=(1, 2), ddof=1)
    blocks, variance = blocks[variance > ACTIVE], variance[variance > ACTIVE]
    if not len(blocks):
        return 100.0
    score = (_has_artefact(blocks) * (1 - variance) + _is_noise(blocks, np.sqrt(variance)) * variance).sum()
    return float((score + 1) / (1 + len(blocks)) * 100)


def laplacian_variance(gray: np.ndarray) -> float:
    """The variance of OpenCV's Laplacian of a grey picture uint8 (H,W), in squared grey levels."""
    return float(cv2.Laplacian(gray, cv2.CV_64F).var())


def block_edges(gray: np.ndarray, *, side: int = 8) -> float:
    """(b - i) / (b + i) of the mean steps b at the borders of blocks of `side` px and i inside them, -1 to 1.

    Steps are absolute differences of neighbours of a grey picture uint8 (H,W) in both directions. 1: flat blocks. 0 for
    a picture without steps, or of one block.
    """
    at = inside = 0.0
    for axis in (0, 1):
        if gray.shape[axis] > side:
            steps = np.abs(np.diff(gray.astype(np.int16), axis=axis)).mean(axis=1 - axis)
            border = np.arange(1, len(steps) + 1) % side == 0
            at, inside = at + float(steps[border].mean()), inside + float(steps[~border].mean())
    return (at - inside) / (at + inside) if at + inside else 0.0


def _edge_widths(image: np.ndarray) -> np.ndarray:
    """Widths in pixels of the edges of an image (H,W) that rise or fall along a row, 0 elsewhere (Marziliano et al.).

    The width is the way from the local minimum to the local maximum around an edge. Pixels whose gradient has no part
    along the row count as rising, as in the package.
    """
    down, along = np.gradient(image)
    angle = np.where(along != 0, np.degrees(np.arctan2(down, along)), 0.0)
    if not angle.any():
        return np.zeros(image.shape)
    angle = 45 * np.round(angle / 45)
    widths = np.where(angle == 0, _way(image), np.where(np.abs(angle) == 180, _way(-image), 0))
    widths[~_sobel_edges(image)] = 0
    widths[[0, -1]] = 0
    widths[:, [0, -1]] = 0
    return widths


def _way(image: np.ndarray) -> np.ndarray:
    """For each pixel of (H,W) how far the values fall to its left and rise to its right, from its neighbours on."""
    rises = np.diff(image, axis=1) > 0
    before, after = np.zeros(image.shape), np.zeros(image.shape)
    for k in range(1, image.shape[1]):
        before[:, k] = np.where(rises[:, k - 1], before[:, k - 1] + 1, 0)
        after[:, -1 - k] = np.where(rises[:, -k], after[:, -k] + 1, 0)
    ways = np.zeros(image.shape)
    ways[:, 1:-1] = np.minimum(before[:, :-2], LONGEST) + np.minimum(after[:, 2:], LONGEST) + 2
    return ways


def _sobel_edges(image: np.ndarray) -> np.ndarray:
    """Where the gradient along the rows is strong and larger than beside or than above and below: bool (H,W)."""
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    strength = np.square(convolve(image, kernel))
    strength[strength <= 2 * np.sqrt(strength.mean())] = 0
    around = np.pad(strength, 1)
    beside = (strength > around[1:-1, :-2]) & (strength > around[1:-1, 2:])
    return beside | ((strength > around[:-2, 1:-1]) & (strength > around[2:, 1:-1]))


def _blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (7, 7), sigmaX=7 / 6, borderType=cv2.BORDER_REPLICATE)


def _has_artefact(blocks: np.ndarray) -> np.ndarray:
    """Whether a part of the border of blocks (N,16,16) is smooth: bool (N,)."""
    sides = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    segments = np.lib.stride_tricks.sliding_window_view(sides, SEGMENT, axis=2)
    return (segments.std(axis=3, ddof=1) < SMOOTH).any(axis=(1, 2))


def _is_noise(blocks: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Whether the middle columns of blocks (N,16,16) vary as the rest does: bool (N,); `deviation` (N,) of the blocks.

    The rest lacks columns 7 and 9, not 7 and 8, as in the package.
    """
    middle = blocks[:, :, 7:9].std(axis=(1, 2), ddof=1)
    rest = np.delete(blocks, [7, 9], axis=2).std(axis=(1, 2), ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(middle / rest, nan=0.0, posinf=np.inf)
        return deviation > 2 * np.abs(deviation - ratio) / np.maximum(deviation, ratio)
