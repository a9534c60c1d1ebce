"""VOCASET: FLAME meshes of 5,023 vertices at 60 fps, subsampled to 30 fps as in FaceFormer.

Train on sentences 1-40 of eight subjects; validate on sentences 21-40 of two others, test on those of two more.
"""

from __future__ import annotations

from dawn_bench.pipelines.datasets.base import DATASETS
from dawn_bench.pipelines.meshes.layout import MeshDataset

TRAIN_SUBJECTS = (
    "FaceTalk_170728_03272_TA",
    "FaceTalk_170904_00128_TA",
    "FaceTalk_170725_00137_TA",
    "FaceTalk_170915_00223_TA",
    "FaceTalk_170811_03274_TA",
    "FaceTalk_170913_03279_TA",
    "FaceTalk_170904_03276_TA",
    "FaceTalk_170912_03278_TA",
)
VAL_SUBJECTS = ("FaceTalk_170811_03275_TA", "FaceTalk_170908_03277_TA")
TEST_SUBJECTS = ("FaceTalk_170809_00138_TA", "FaceTalk_170731_00024_TA")


@DATASETS.register("vocaset")
class Vocaset(MeshDataset):
    """The published sequences."""

    name, fps, stride = "vocaset", 30, 2

    def split(self, subject: str, sentence: int) -> str | None:
        """The published split of a sequence: train, val or test; None outside the published split."""
        if subject in TRAIN_SUBJECTS and 1 <= sentence <= 40:
            return "train"
        if not 21 <= sentence <= 40:
            return None
        return "val" if subject in VAL_SUBJECTS else "test" if subject in TEST_SUBJECTS else None
