"""The true clip after one ordinary lossy encoding: the effect of a codec alone on each metric."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass
from dawn_bench.lazy import stretch
from dawn_bench.pipelines.media.film import read_film
from dawn_bench.pipelines.media.video import write_video

#: x264's default quality, which most released scripts use without saying so.
CRF = 23


class Reencoded:
    """Frames encoded as H.264 at CRF 23, 4:2:0; the sound is unchanged."""

    name = "ground-truth-reencoded"
    method_class: MethodClass = "sanity"
    licence = "of the dataset"
    uses: tuple[str, ...] = ("truth",)
    fingerprint = f"ground-truth-reencoded/1/crf{CRF}"

    def generate(self, item: Item) -> Generated:
        """The true frames, encoded and decoded once."""
        folder = tempfile.TemporaryDirectory()  # of a long clip, as long as its frames
        path = Path(folder.name) / "clip.mp4"
        write_video(path, item.clip["frames"], crf=CRF)
        frames = stretch(read_film(path, keeps=folder), 0, item.clip.n_frames)
        return Generated(frames, np.asarray(item.clip["audio"]))


@METHODS.register("ground-truth-reencoded")
def build(context: Context) -> Reencoded:
    """No options."""
    return Reencoded()
