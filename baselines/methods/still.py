"""The source portrait, unmoving, with the true sound: what each metric gives to no motion at all."""

from __future__ import annotations

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass


class Still:
    """Frame 0 repeated for the clip's length."""

    name = "still"
    method_class: MethodClass = "sanity"
    licence = "of the dataset"
    uses: tuple[str, ...] = ("source", "audio")
    fingerprint = "still/1"

    def generate(self, item: Item) -> Generated:
        first = np.asarray(item.clip["frames"][0])
        return Generated(np.repeat(first[None], item.clip.n_frames, axis=0), np.asarray(item.clip["audio"]))


@METHODS.register("still")
def build(context: Context) -> Still:
    return Still()
