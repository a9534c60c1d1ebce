"""dlib's convolutional face detector (King 2015, max-margin object detection), computed with numpy.

dlib's own interface scans an image pyramid of many scales and takes 130 ms for 160×160 px. A search near a known face
needs one to three scales, and matrix products by numpy take 3 ms for one. It sees profiles, blurred faces and faces
partly outside the picture, which HOG misses. Scores lie near 1 on faces and near -1 elsewhere.

The network: three 5×5 convolutions with stride 2 (16, 32, 32 channels), three 5×5 convolutions (45 channels) and one
9×9 convolution to the score; batch normalisation and ReLU after all but the last. The window is 80 px.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dawn_bench.pipelines.faces.base import extended, overlap

#: Side of the detector's window, pixels, and the input pixels per score.
_WINDOW, _STRIDE = 80.0, 8
#: Input position of the middle of score 0, 0: the receptive field's centre (14) and the median offset on real faces.
_FIRST = np.array([17.0, 18.5])
#: Faces of 65 to 100 px score above 0.5, so scales this factor apart miss none.
_STEP = 1.45
#: Side of the picture searched near a known face, in face sides.
_AROUND = 2.0
#: Sizes of the faces searched in whole pictures, as shares of the longest side; smaller faces are left to HOG.
_SHARES = (0.9, 0.6, 0.4, 0.27)
#: Border added to whole pictures for faces partly outside, as a share of the longest side.
_BORDER = 0.15
#: Smallest sides of a scanned picture, pixels: the first three layers need 29.
_LEAST = 48
#: Scores from which a window is a face: near a known face, and in a whole picture.
_NEAR_SCORE, _WHOLE_SCORE = -0.8, 0.5
#: Boxes that overlap more than this are one face.
_SAME_FACE_IOU = 0.3
_MEAN = np.array([122.782, 117.001, 104.298], np.float32)
_EPSILON = 1e-4  # of the batch normalisation
_CONVOLUTION, _NORMALISATION = b"\x05con_4", b"\x07bn_con2"

#: All that the numbers depend on besides the file.
SETTINGS = [_WINDOW, *_FIRST.tolist(), _STEP, _AROUND, *_SHARES, _BORDER, _NEAR_SCORE, _WHOLE_SCORE, _SAME_FACE_IOU]


class Layer(NamedTuple):
    """One convolution: weight (size·size·channels, filters), bias (filters,), and whether ReLU follows."""

    weight: np.ndarray
    bias: np.ndarray
    size: int
    stride: int
    padding: int
    relu: bool


class MmodDetector:
    """The detector in `mmod_human_face_detector.dat`. Boxes are square, as `box_around` gives them.

    Raises `ValueError` for a file of another layout.
    """

    def __init__(self, path: Path) -> None:
        self.layers = read_layers(path.read_bytes())

    def near(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Boxes (n,4) of faces near `box` and of about its size, best first; frames are uint8 (H,W[,3])."""
        side = max(float(box[2] - box[0]), 8.0)
        middle = (np.asarray(box[:2], np.float64) + box[2:]) / 2
        for factor in (1.0, 1 / _STEP, _STEP):
            boxes = self._scan(frame, middle, side * factor, side * _AROUND, _NEAR_SCORE)
            if len(boxes):
                return boxes[:, :4].astype(np.float32)
        return np.zeros((0, 4), np.float32)

    def whole(self, frame: np.ndarray) -> np.ndarray:
        """Boxes (n,4) of all faces of at least a quarter of the longest side, largest first."""
        height, width = frame.shape[:2]
        longest = max(height, width)
        middle = np.array([width - 1, height - 1]) / 2
        extent = np.array([width, height]) + 2 * _BORDER * longest
        scans = [self._scan(frame, middle, share * longest, extent, _WHOLE_SCORE) for share in _SHARES]
        boxes = _distinct(np.concatenate(scans))
        return boxes[np.argsort(boxes[:, 0] - boxes[:, 2], kind="stable"), :4].astype(np.float32)

    def scores(self, picture: np.ndarray) -> np.ndarray:
        """Scores float32 (h,w) of a picture uint8 (H,W[,3]); its sides are at least 40 px."""
        x = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        x = (x.astype(np.float32) - _MEAN) / 256
        for layer in self.layers:
            if layer.padding:
                x = np.pad(x, ((layer.padding,) * 2, (layer.padding,) * 2, (0, 0)))
            windows = sliding_window_view(x, (layer.size, layer.size), axis=(0, 1))[:: layer.stride, :: layer.stride]
            height, width = windows.shape[:2]
            columns = windows.transpose(0, 1, 3, 4, 2).reshape(height * width, -1)
            x = (columns @ layer.weight + layer.bias).reshape(height, width, -1)
            if layer.relu:
                np.maximum(x, 0, out=x)
        return x[..., 0]

    def _scan(
        self, frame: np.ndarray, middle: np.ndarray, face: float, extent: float | np.ndarray, least: float
    ) -> np.ndarray:
        """Boxes and scores (n,5), best first, of faces of side `face` in the part of this middle and extent."""
        first = np.floor(middle - np.asarray(extent) / 2).astype(int)
        stop = np.maximum(np.ceil(middle + np.asarray(extent) / 2).astype(int), first + 1)
        size = np.maximum(np.round((stop - first) * _WINDOW / face), _LEAST).astype(int)
        scale = size / (stop - first)
        part = extended(frame, first, stop)
        shrinks = size[0] < part.shape[1]
        part = cv2.resize(part, size.tolist(), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        scores = self.scores(part)
        rows, columns = np.nonzero(scores > least)
        best = np.argsort(-scores[rows, columns], kind="stable")
        boxes = []
        for row, column in zip(rows[best], columns[best], strict=True):
            centre = (_peak(scores, row, column) * _STRIDE + _FIRST + 0.5) / scale - 0.5 + first
            boxes.append([*(centre - face / 2), *(centre + face / 2), scores[row, column]])
        return _distinct(np.array(boxes).reshape(-1, 5))


def read_layers(data: bytes) -> list[Layer]:
    """The network's layers, batch normalisation folded in; raises `ValueError` for another layout."""
    places = list(re.finditer(re.escape(_CONVOLUTION) + b"|" + re.escape(_NORMALISATION), data))
    if [match.group() for match in places] != [*(_CONVOLUTION, _NORMALISATION) * 6, _CONVOLUTION]:
        raise ValueError("not the layers of dlib's face detector")
    layers = []
    for first, after in zip(places[::2], [*places[1::2], None], strict=True):
        parameters, at = _tensor(data, first.end())
        (filters, size, _, stride, _, padding, _), at = _integers(data, at, 7)
        weight, bias = parameters[:-filters].astype(np.float64).reshape(filters, -1, size, size), parameters[-filters:]
        if after is not None:
            learned, at = _tensor(data, after.end())
            _, at = _integers(data, at, 10)  # where the two halves of `learned` begin
            _, at = _tensor(data, at)
            _, at = _tensor(data, at)
            mean, at = _tensor(data, at)
            variance, at = _tensor(data, at)
            factor = learned[:filters] / np.sqrt(variance.astype(np.float64) + _EPSILON)
            weight, bias = weight * factor[:, None, None, None], (bias - mean) * factor + learned[filters:]
        matrix = weight.transpose(2, 3, 1, 0).reshape(-1, filters)  # rows in the order of `scores`
        floats = [np.ascontiguousarray(values, np.float32) for values in (matrix, bias)]
        layers.append(Layer(floats[0], floats[1], size, stride, padding, after is not None))
    return layers


def _integers(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """dlib's integers (a byte with the length and sign, then the bytes), and the position after them."""
    values = []
    for _ in range(count):
        length = data[at] & 0x0F
        value = int.from_bytes(data[at + 1 : at + 1 + length], "little")
        values.append(-value if data[at] & 0x80 else value)
        at += 1 + length
    return values, at


def _tensor(data: bytes, at: int) -> tuple[np.ndarray, int]:
    """The float32 values of a tensor, flat, and the position after it."""
    (version, *shape), at = _integers(data, at, 5)
    count = int(np.prod(shape))
    if version != 2 or not 0 < count <= (len(data) - at) // 4:
        raise ValueError("not a tensor of dlib's format 2")
    return np.frombuffer(data, "<f4", count, at), at + 4 * count


def _peak(scores: np.ndarray, row: int, column: int) -> np.ndarray:
    """x, y of a peak between the scores: the mean place of its neighbours, weighted by their scores above -1."""
    rows, columns = (np.arange(max(i - 1, 0), min(i + 2, n)) for i, n in zip((row, column), scores.shape, strict=True))
    weights = np.clip(scores[np.ix_(rows, columns)] + 1, 0, None)
    return np.array([weights.sum(axis=0) @ columns, weights.sum(axis=1) @ rows]) / weights.sum()


def _distinct(boxes: np.ndarray) -> np.ndarray:
    """Boxes with scores (n,5), best first, without those that overlap a better one."""
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-boxes[:, 4], kind="stable")]:
        if all(overlap(box[:4], other[:4]) < _SAME_FACE_IOU for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 5)
