"""DiT-Head (arXiv 2312.06400) from a trained run: it dubs the true video, whose mouth it does not see, or a portrait.

Dubbing shows the method the true frames but for the lower face, so its rows are a class of their own ("dub") and are
never ranked with methods that have one portrait; with one portrait only its lips move ("static-lips").
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass, check_fit
from dawn_bench.baselines.methods.shuffled_sound import looped, other_clip
from dawn_bench.clip import Clip
from dawn_bench.config import validated
from dawn_bench.errors import InputError
from dawn_bench.models.dit_head.generator import Dubber, DubOptions
from dawn_bench.provenance import fingerprint

Mode = Literal["dub", "portrait"]


class DitHead:
    """`swap_sound`: it listens to another clip's sound, which shows whether its lips follow what it hears."""

    licence = "Apache-2.0 (no official code or weights exist; weights: of whoever trained them)"

    def __init__(self, dubber: Dubber, options: DubOptions, *, name: str, mode: Mode, swap_sound: bool) -> None:
        self.dubber, self.options, self.name, self.mode, self.swap_sound = dubber, options, name, mode, swap_sound
        self.method_class: MethodClass = "dub" if mode == "dub" else "static-lips"
        seen = ("masked-truth",) if mode == "dub" else ("source",)
        self.uses = (*seen, "audio", *(("others",) if swap_sound else ()))

    @property
    def fingerprint(self) -> str:
        facts = [self.options.model_dump(), self.mode, self.swap_sound]
        return f"dit-head/1/{self.dubber.identity}/{fingerprint(facts)}"

    def check(self, clip: Clip) -> None:
        """Raise `InputError` for a clip of another size, or without the sound features that the model hears."""
        check_fit(clip, size=self.dubber.size, encoder=self.dubber.audio_encoder)

    def generate(self, item: Item) -> Generated:
        clip, encoder = item.clip, self.dubber.audio_encoder
        heard = other_clip(item) if self.swap_sound else clip
        self.check(heard)
        features = np.resize(heard[encoder], (clip.n_frames, heard[encoder].shape[1]))
        sound = looped(np.asarray(heard["audio"]), clip.n_frames) if self.swap_sound else np.asarray(clip["audio"])
        seen = slice(None) if self.mode == "dub" else slice(1)
        frames = self.dubber.dub(
            np.asarray(clip["frames"][seen]),
            np.asarray(clip["landmarks"][seen]),
            features,
            seed=item.own_seed,
            options=self.options,
        )
        return Generated(frames, sound)


@METHODS.register("dit-head")
def build(context: Context) -> DitHead:
    """The paper's protocol. Options: `steps`, `eta`, `guidance`, `interpolation` (none, blend), `seam`."""
    return _build(context, name="dit-head", mode="dub")


@METHODS.register("dit-head-portrait")
def build_portrait(context: Context) -> DitHead:
    """From the first frame alone: its head stands still."""
    return _build(context, name="dit-head-portrait", mode="portrait")


@METHODS.register("dit-head-shuffled")
def build_shuffled(context: Context) -> DitHead:
    """Dubbing with another clip's sound."""
    return _build(context, name="dit-head-shuffled", mode="dub", swap_sound=True)


def _build(context: Context, *, name: str, mode: Mode, swap_sound: bool = False) -> DitHead:
    if context.checkpoint is None:
        hint = "Give one with --checkpoint RUN; dawn-bench train --model dit-head makes it."
        raise InputError("DiT-Head needs a trained run.", hint=hint)
    options = validated(DubOptions, dict(context.options), what="option")
    dubber = Dubber.load(context.checkpoint, device=context.device)
    return DitHead(dubber, options, name=name, mode=mode, swap_sound=swap_sound)
