"""DiT-Head (arXiv 2312.06400) from a trained run: it dubs the true video with the lower face masked, or a portrait.

Dubbing sees the upper face of every true frame, so its rows form a class of their own ("dub") and are never ranked with
methods that see one portrait. From one portrait only the lips move ("static-lips").
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass, check_fit
from dawn_bench.baselines.methods.shuffled_sound import looped, other_clip
from dawn_bench.clip import Clip
from dawn_bench.config import validated
from dawn_bench.errors import InputError
from dawn_bench.models.dit_head.generator import DitHeadGenerator, DubOptions
from dawn_bench.provenance import fingerprint

Mode = Literal["dub", "portrait"]


class DitHeadMethod:
    """DiT-Head in one of its modes.

    `swap_sound` drives it with another clip's sound, to show whether its lips follow the audio.
    """

    licence = "Apache-2.0 (no official code or weights exist; weights: of whoever trained them)"

    def __init__(
        self, dubber: DitHeadGenerator, options: DubOptions, *, name: str, mode: Mode, swap_sound: bool
    ) -> None:
        self.dubber, self.options, self.name, self.mode, self.swap_sound = dubber, options, name, mode, swap_sound
        self.method_class: MethodClass = "dub" if mode == "dub" else "static-lips"
        sight = ("masked-truth",) if mode == "dub" else ("source",)
        self.uses = (*sight, "audio", *(("others",) if swap_sound else ()))

    @property
    def reads(self) -> tuple[str, ...]:
        """The points that place the mask, and the sound as the model hears it."""
        return "landmarks", self.dubber.audio_encoder

    @property
    def fingerprint(self) -> str:
        """Identifies checkpoint, options and mode."""
        facts = [self.options.model_dump(), self.mode, self.swap_sound]
        return f"dit-head/1/{self.dubber.identity}/{fingerprint(facts)}"

    def check(self, clip: Clip) -> None:
        """Raise `InputError` for a clip of another size, or without the model's audio features."""
        self.remarks(clip)

    def remarks(self, clip: Clip) -> tuple[str, ...]:
        """How the clip's cache differs from the training data, as notes; raises as `check`."""
        dubber = self.dubber
        return check_fit(
            clip,
            size=dubber.size,
            encoder=dubber.audio_encoder,
            width=dubber.dit.config.audio_dim,
            trained=dubber.extractors,
            fields=("face",),
        )

    def generate(self, item: Item) -> Generated:
        """Frames of the true clip's length, with the sound that they were generated from."""
        clip, encoder = item.clip, self.dubber.audio_encoder
        speech = other_clip(item) if self.swap_sound else clip
        self.check(speech)
        features = np.resize(speech[encoder], (clip.n_frames, speech[encoder].shape[1]))
        sound = looped(np.asarray(speech["audio"]), clip.n_frames) if self.swap_sound else np.asarray(clip["audio"])
        visible = slice(None) if self.mode == "dub" else slice(1)
        frames = self.dubber.dub(
            np.asarray(clip["frames"][visible]),
            np.asarray(clip["landmarks"][visible]),
            features,
            seed=item.own_seed,
            options=self.options,
        )
        return Generated(frames, sound)


@METHODS.register("dit-head")
def build(context: Context) -> DitHeadMethod:
    """The paper's protocol. Options: `steps`, `eta`, `guidance`, `interpolation` (none, blend), `seam`."""
    return _build(context, name="dit-head", mode="dub")


@METHODS.register("dit-head-portrait")
def build_portrait(context: Context) -> DitHeadMethod:
    """From the first frame alone: the head does not move."""
    return _build(context, name="dit-head-portrait", mode="portrait")


@METHODS.register("dit-head-shuffled")
def build_shuffled(context: Context) -> DitHeadMethod:
    """Dubbing with another clip's sound."""
    return _build(context, name="dit-head-shuffled", mode="dub", swap_sound=True)


def _build(context: Context, *, name: str, mode: Mode, swap_sound: bool = False) -> DitHeadMethod:
    if context.checkpoint is None:
        hint = "Give one with --checkpoint RUN; dawn-bench train --model dit-head trains one."
        raise InputError("DiT-Head needs a trained run.", hint=hint)
    options = validated(DubOptions, dict(context.options), what="option")
    dubber = DitHeadGenerator.load(context.checkpoint, device=context.device)
    return DitHeadMethod(dubber, options, name=name, mode=mode, swap_sound=swap_sound)
