"""Sound and motion of two different clips: the floor of every lip-sync metric."""

from __future__ import annotations

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass, serves
from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import ItemError


def other_clip(item: Item) -> Clip:
    """The next clip of the test set after this one, in index order, cyclic; raises `ItemError` when it is alone."""
    ids = [c.id for c in item.others]
    if len(ids) < 2:
        raise ItemError("no_other_clip", "the test set has a single clip, so there is no other sound to use")
    return item.others[(ids.index(item.clip.id) + 1) % len(ids)]


def looped(audio: np.ndarray, n_frames: int) -> np.ndarray:
    """Sound int16 (n,) repeated or cut to the length of `n_frames` frames at 25 fps."""
    return np.resize(audio, n_frames * SAMPLES_PER_FRAME)


class ShuffledSound:
    """True frames, the sound of the next clip."""

    name = "shuffled-sound"
    method_class: MethodClass = "sanity"
    licence = "of the dataset"
    uses: tuple[str, ...] = ("truth", "others")
    fingerprint = "shuffled-sound/1"

    def generate(self, item: Item) -> Generated:
        """Raises `ItemError` where there is no other clip."""
        sound = looped(np.asarray(other_clip(item)["audio"]), item.clip.n_frames)
        return Generated(item.clip["frames"], sound)


class ShuffledMotion(ShuffledSound):
    """The true motion of the next clip on this clip's face, as if it spoke to the wrong sound."""

    reads: tuple[str, ...] = ("template",)
    fingerprint = "mesh-shuffled-sound/1"

    def generate(self, item: Item) -> Generated:
        """Raises `ItemError` where there is no other clip."""
        other = other_clip(item)
        offsets = other["vertices"] - other["template"]
        frames = np.arange(item.clip.n_frames) % len(offsets)
        return Generated(vertices=(item.clip["template"] + offsets[frames])[None])


@METHODS.register("shuffled-sound")
@serves("video", "mesh")
def build(context: Context) -> ShuffledSound:
    """No options."""
    return ShuffledMotion() if context.modality == "mesh" else ShuffledSound()
