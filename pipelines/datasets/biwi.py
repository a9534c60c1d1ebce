"""BIWI (3-D Audiovisual Corpus of Affective Communication) in the layout of FaceFormer and CodeTalker, 25 fps.

Train on sentences 1-32 of six subjects, validate on 33-36, test on 37-40 (Test-A, split `test`). Test-B, split
`test-b`, is sentences 37-40 of the eight other subjects.
"""

from __future__ import annotations

from dawn_bench.pipelines.datasets.base import DATASETS
from dawn_bench.pipelines.meshes.layout import MeshDataset

TRAIN_SUBJECTS = ("F2", "F3", "F4", "M3", "M4", "M5")
UNSEEN_SUBJECTS = ("F1", "F5", "F6", "F7", "F8", "M1", "M2", "M6")


@DATASETS.register("biwi")
class Biwi(MeshDataset):
    """The published sequences."""

    name, fps, stride = "biwi", 25, 1

    def split(self, subject: str, sentence: int) -> str | None:
        """The published split of a sequence: train, val, test or test-b; None outside the published splits."""
        if subject in UNSEEN_SUBJECTS:
            return "test-b" if 37 <= sentence <= 40 else None
        if subject not in TRAIN_SUBJECTS or not 1 <= sentence <= 40:
            return None
        return "train" if sentence <= 32 else "val" if sentence <= 36 else "test"
