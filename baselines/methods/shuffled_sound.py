"""The true picture with another clip's sound: the floor of every lip-sync metric."""

from __future__ import annotations

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass
from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import ItemError


def other_clip(item: Item) -> Clip:
    """The next clip of the test set after this one, in index order, cyclic; raises `ItemError` when it is alone."""
    ids = [c.id for c in item.others]
    if len(ids) < 2:
        raise ItemError("no_other_clip", "the test set has a single clip, so there is no other sound to put under it")
    return item.others[(ids.index(item.clip.id) + 1) % len(ids)]


def looped(audio: np.ndarray, n_frames: int) -> np.ndarray:
    """Sound repeated or cut to the length of `n_frames` frames."""
    return np.resize(audio, n_frames * SAMPLES_PER_FRAME)


class ShuffledSound:
    """True frames, the sound of the next clip."""

    name = "shuffled-sound"
    method_class: MethodClass = "sanity"
    licence = "of the dataset"
    uses: tuple[str, ...] = ("truth", "others")
    fingerprint = "shuffled-sound/1"

    def generate(self, item: Item) -> Generated:
        sound = looped(np.asarray(other_clip(item)["audio"]), item.clip.n_frames)
        return Generated(np.asarray(item.clip["frames"]), sound)


@METHODS.register("shuffled-sound")
def build(context: Context) -> ShuffledSound:
    return ShuffledSound()
