"""DiffSpeaker (arXiv 2402.05712) on a mesh cache: from a trained run, or from a released checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from dawn_bench.baselines.base import METHODS, Context, Item, Method, MethodClass
from dawn_bench.baselines.meshes import MESH_METHODS
from dawn_bench.config import Config, validated
from dawn_bench.errors import InputError, ItemError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.diffspeaker.config import Sampler
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.released import load_released
from dawn_bench.provenance import fingerprint, sha256_file

#: The model's file in a run folder of `dawn-bench train --model diffspeaker`.
RUN_FILE = Path("diffspeaker", "model.safetensors")


class SpeakingOptions(Config):
    """What `--option` changes. None leaves what the checkpoint was made with."""

    sampler: Sampler | None = None
    steps: int | None = Field(None, ge=1, le=1000)
    style: str = Field(
        "auto", description="auto: the subject's own, all of them for an unseen one; or a subject's name"
    )
    encoder: Literal["hubert", "wav2vec2"] = Field("hubert", description="of a released file, which does not say")


class DiffSpeakerMethod:
    """Unseen subjects are spoken to in every training style, as the paper's protocol has it: one take a style."""

    name = "diffspeaker"
    method_class: MethodClass = "mesh"
    licence = "Apache-2.0 (weights: of whoever trained them; the released ones have no licence)"
    uses: tuple[str, ...] = ("source", "audio")

    def __init__(self, model: DiffSpeaker, options: SpeakingOptions, *, identity: str, device: str) -> None:
        changes = {k: v for k, v in (("sampler", options.sampler), ("steps", options.steps)) if v is not None}
        model.config = model.config.model_copy(update=changes)
        self.model, self.options, self.identity, self.device = model.to(device), options, identity, device
        if options.style not in ("auto", *model.config.subjects):
            raise InputError(
                f"option style={options.style} is no subject of this model.",
                hint=f"Known: auto, {', '.join(model.config.subjects)}.",
            )

    @property
    def fingerprint(self) -> str:
        config = self.model.config
        return f"diffspeaker/1/{self.identity}/{fingerprint([config.model_dump(mode='json'), self.options.style])}"

    def speak(self, item: Item) -> tuple[np.ndarray, tuple[str, ...]]:
        clip, config = item.clip, self.model.config
        template = clip["template"]
        if template.shape[1] != config.vertices or clip.fps != config.fps:
            have = f"{template.shape[1]} vertices at {clip.fps} fps"
            raise ItemError("wrong_mesh", f"{have}; the model was made for {config.vertices} at {config.fps}")
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
        return np.stack(takes), (f"hears {config.audio.encoder}; sampler {config.sampler}, {config.steps} steps", *note)

    def _styles(self, subject: str) -> tuple[list[int], tuple[str, ...]]:
        """Places of the styles to speak in, and what a reader must know of them."""
        subjects = self.model.config.subjects
        if self.options.style != "auto":
            return [subjects.index(self.options.style)], (f"style of {self.options.style}",)
        if subject in subjects:
            return [subjects.index(subject)], ()
        return list(range(len(subjects))), (f"unseen subject: mean over all {len(subjects)} styles",)


@MESH_METHODS.register("diffspeaker")
def build(context: Context) -> DiffSpeakerMethod:
    """Options: `sampler`, `steps`, `style`; for a released file also `encoder`."""
    path = context.checkpoint
    if path is None:
        raise InputError(
            "DiffSpeaker needs a trained run or a released .ckpt.",
            hint="Give one with --checkpoint; dawn-bench train --model diffspeaker makes a run.",
        )
    options = validated(SpeakingOptions, context.options, what="option")
    if path.is_dir():
        path = path / RUN_FILE
        model = load_checkpoint(path, "diffspeaker")[0]
    else:
        model = load_released(path, encoder=options.encoder)
    return DiffSpeakerMethod(model, options, identity=sha256_file(path)[:16], device=context.device)


@METHODS.register("diffspeaker")
def refuse(context: Context) -> Method:
    """On videos there is nothing for it to do."""
    raise InputError(
        "DiffSpeaker makes meshes, and this cache holds videos.",
        hint="Evaluate it on a cache of biwi, vocaset or embedded-mesh.",
    )
