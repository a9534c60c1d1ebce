"""Mean colour, block edges and change from the frame before, of every frame."""

from __future__ import annotations

import cv2
import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.lazy import each_row
from dawn_bench.metrics.functional.sharpness import block_edges
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature


@FEATURES.register("levels")
class Levels(Feature):
    """`levels.lab` float64 (T,3), `levels.blocks` float64 (T,), `levels.change` float64 (T,).

    The mean of L*, a*, b* (D65, L* from 0 to 100), the steps at the borders of blocks of 8 px against the others
    (`block_edges`), and the mean absolute difference from the frame before in grey levels, 0 for the first one.
    """

    name, fields, version = "levels", ("frames",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """All three of every frame."""
        lab, blocks, change = list[np.ndarray](), list[float](), list[float]()
        before: np.ndarray | None = None
        for row in each_row(clip["frames"]):
            frame = np.array(row)
            lab.append(cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).mean((0, 1), dtype=np.float64))
            blocks.append(block_edges(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)))
            change.append(0.0 if before is None else float(cv2.absdiff(frame, before).mean()))
            before = frame
        return {"levels.lab": np.stack(lab), "levels.blocks": np.array(blocks), "levels.change": np.array(change)}
