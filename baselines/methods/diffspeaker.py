"""DiffSpeaker (arXiv 2402.05712), a method for meshes: from a trained run, or from a released checkpoint."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass, serves
from dawn_bench.config import validated
from dawn_bench.errors import InputError, ItemError, nearest
from dawn_bench.files import sha256_file
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.diffspeaker.generator import RUN_FILE, SpeakingOptions
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.released import load_released
from dawn_bench.provenance import fingerprint


class DiffSpeakerMethodOptions(SpeakingOptions):
    """Options of the method."""

    style: str = Field("auto", description="a training subject; auto: the clip's subject, or all if it is unseen")
    encoder: Literal["hubert", "wav2vec2"] = Field("hubert", description="of a released file, which does not record it")


class DiffSpeakerMethod:
    """Offsets from the face at rest. An unseen subject gets one take per training style, as in the paper's protocol."""

    name = "diffspeaker"
    method_class: MethodClass = "mesh"
    licence = "Apache-2.0 (weights: of whoever trained them; the released ones have no licence)"
    uses: tuple[str, ...] = ("source", "audio")
    reads: tuple[str, ...] = ("template",)

    def __init__(self, model: DiffSpeaker, options: DiffSpeakerMethodOptions, *, identity: str, device: str) -> None:
        changes = {k: v for k, v in (("sampler", options.sampler), ("steps", options.steps)) if v is not None}
        model.config = model.config.model_copy(update=changes)
        self.model, self.options, self.identity, self.device = model.to(device), options, identity, device
        if options.style not in ("auto", *model.config.subjects):
            raise InputError(
                f"option style={options.style} is not a subject of this model.",
                hint=nearest(options.style, ("auto", *model.config.subjects)),
            )

    @property
    def fingerprint(self) -> str:
        """Identifies checkpoint, configuration and style."""
        config = self.model.config
        return f"diffspeaker/1/{self.identity}/{fingerprint([config.model_dump(mode='json'), self.options.style])}"

    def generate(self, item: Item) -> Generated:
        """Vertices (takes,T,V,3); raises `ItemError("wrong_mesh")` for another topology or frame rate."""
        clip, config = item.clip, self.model.config
        template = clip["template"]
        if template.shape[1] != config.vertices or clip.fps != config.fps:
            have = f"{template.shape[1]} vertices at {clip.fps} fps"
            raise ItemError("wrong_mesh", f"{have}; the model was trained for {config.vertices} at {config.fps}")
        styles, note = self._styles(clip.speaker)
        audio = torch.from_numpy(np.asarray(clip["audio"], np.float32) / 32768)[None].to(self.device)
        seed = item.own_seed
        takes = []
        for style in styles:
            offsets = self.model.generate(
                audio,
                torch.tensor([style], device=self.device),
                generator=torch.Generator(device=self.device).manual_seed(seed),
                frames=clip.n_frames,
            )
            takes.append(template + offsets[0].float().cpu().numpy().reshape(clip.n_frames, -1, 3))
        notes = (f"speech encoder {config.audio.encoder}; sampler {config.sampler}, {config.steps} steps", *note)
        return Generated(vertices=np.stack(takes), notes=notes)

    def _styles(self, subject: str) -> tuple[list[int], tuple[str, ...]]:
        """Indices of the styles to generate, and notes on them for the score's row."""
        subjects = self.model.config.subjects
        if self.options.style != "auto":
            return [subjects.index(self.options.style)], (f"style of {self.options.style}",)
        if subject in subjects:
            return [subjects.index(subject)], ()
        return list(range(len(subjects))), (f"unseen subject: mean over all {len(subjects)} styles",)


@METHODS.register("diffspeaker")
@serves("mesh")
def build(context: Context) -> DiffSpeakerMethod:
    """Options: `sampler`, `steps`, `style`; for a released file also `encoder`."""
    path = context.checkpoint
    if path is None:
        raise InputError(
            "DiffSpeaker needs a trained run or a released .ckpt.",
            hint="Give one with --checkpoint; or train one with dawn-bench train --model diffspeaker.",
        )
    options = validated(DiffSpeakerMethodOptions, context.options, what="option")
    if path.is_dir():
        path = path / RUN_FILE
        model = load_checkpoint(path, "diffspeaker")[0]
    else:
        model = load_released(path, encoder=options.encoder)
    return DiffSpeakerMethod(model, options, identity=sha256_file(path)[:16], device=context.device)
