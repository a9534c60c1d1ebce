"""CPBD and PIQE of every frame, in grey as OpenCV makes it (`dawn_bench.metrics.functional.sharpness`)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.lazy import each_row
from dawn_bench.metrics.functional.distinct import rows_of_distinct
from dawn_bench.metrics.functional.sharpness import SIDE, cpbd, piqe
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature


@FEATURES.register("cpbd")
class Cpbd(Feature):
    """`cpbd` float64 (T,), 0 to 1; NaN for frames without a block of 64 x 64 px."""

    name, fields, version = "cpbd", ("frames",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The value of every frame."""
        if min(clip["frames"].shape[1:3]) < SIDE:
            return {self.name: np.full(clip.n_frames, np.nan)}
        return {self.name: of_gray(clip["frames"], cpbd)}


@FEATURES.register("piqe")
class Piqe(Feature):
    """`piqe` float64 (T,), 0 to 100."""

    name, fields, version = "piqe", ("frames",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The value of every frame."""
        return {self.name: of_gray(clip["frames"], piqe)}


def of_gray(frames: np.ndarray, measure: Callable[[np.ndarray], float]) -> np.ndarray:
    """`measure` of each frame of uint8 (T,H,W,3) in grey: float64 (T,). Equal frames are measured once."""

    def run(pictures: np.ndarray) -> np.ndarray:
        return np.array([[measure(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))] for picture in pictures])

    return rows_of_distinct(each_row(frames), run, size=16, count=len(frames))[:, 0]
