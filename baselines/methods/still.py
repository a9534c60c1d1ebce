"""The source portrait or face at rest, unmoving: what each metric gives to no motion at all."""

from __future__ import annotations

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass, serves


class Still:
    """Frame 0 repeated for the clip's length, with the true sound."""

    name = "still"
    method_class: MethodClass = "sanity"
    licence = "of the dataset"
    uses: tuple[str, ...] = ("source", "audio")
    fingerprint = "still/1"

    def generate(self, item: Item) -> Generated:
        """The first frame T times."""
        first = np.asarray(item.clip["frames"][0])
        return Generated(np.broadcast_to(first, (item.clip.n_frames, *first.shape)), np.asarray(item.clip["audio"]))


class StillMesh(Still):
    """The face at rest in every frame."""

    uses: tuple[str, ...] = ("source",)
    reads: tuple[str, ...] = ("template",)
    fingerprint = "mesh-still/1"

    def generate(self, item: Item) -> Generated:
        """The template T times as one take."""
        return Generated(vertices=np.repeat(item.clip["template"], item.clip.n_frames, axis=0)[None])


@METHODS.register("still")
@serves("video", "mesh")
def build(context: Context) -> Still:
    """No options."""
    return StillMesh() if context.modality == "mesh" else Still()
