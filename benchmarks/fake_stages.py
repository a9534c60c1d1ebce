"""The training stages of every preset at their published widths on a `fake_gpu`, with a batch of any size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.models import dawn, dit_head
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.models.perceptual import VGGLoss
from dawn_bench.models.spec import MODELS, stage_key

#: Frames of the clip that batches are cut from: longer than every window; a sentence of BIWI and VOCASET.
FRAMES = 220
#: Values that a loss reads on the host, which fake tensors do not have: the epoch and step with every part of the loss.
HOST = {"epoch": 50_000, "step": 100_000}


class OneClip:
    """As much of a cache as stages ask for: one clip of zeros, which takes no memory."""

    splits: tuple[str, ...] = ()
    root = Path("cache")

    def __init__(self, size: int, *, vertices: int | None = None, speaker: str = "a", fps: int = 25) -> None:
        self.size = size
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "frames": ((FRAMES, size, size, 3), np.uint8),
            "hubert": ((FRAMES, 1024), np.float16),
            "wav2vec2": ((FRAMES, 768), np.float16),
            "pose": ((FRAMES, 7), np.float32),
            "blink": ((FRAMES, 2), np.float32),
            "landmarks": ((FRAMES, 68, 2), np.float32),
            "bbox": ((FRAMES, 4), np.float32),
            "valid": ((FRAMES,), bool),
            "audio": ((FRAMES * SAMPLES_PER_FRAME * 25 // fps,), np.int16),
        }
        if vertices is not None:
            shapes = {"audio": shapes["audio"], "vertices": ((FRAMES, vertices, 3), np.float32)}
            shapes["template"] = ((1, vertices, 3), np.float32)
        arrays = {name: np.broadcast_to(np.zeros((), dtype), shape) for name, (shape, dtype) in shapes.items()}
        self.clip = Clip("c", speaker, "train", FRAMES, arrays, fps=fps)

    def ids(self, split: str | None = None) -> list[str]:
        """The one clip."""
        return ["c"]

    def __getitem__(self, name: str) -> Clip:
        return self.clip

    def __iter__(self) -> Iterator[Clip]:
        return iter([self.clip])


def preset_of(model: str, name: str, *, size: int) -> tuple[Any, OneClip]:
    """The settings of a preset, with the longest windows and no file to start from, and a cache for them."""
    settings = MODELS[model].preset(name)
    changes: dict[str, Any] = {}
    cache = OneClip(size)
    if model == "diffspeaker":
        training = settings.diffspeaker
        changes["diffspeaker"] = training.model_copy(update={"pretrained": False})
        config = training.model
        cache = OneClip(size, vertices=config.vertices, speaker=config.subjects[0], fps=config.fps)
    if model == "dawn":
        changes["lfg"] = settings.lfg.model_copy(update={"start": "random"})
        for key in ("a2v_1", "a2v_2", "a2v_ttr"):
            if (stage := getattr(settings, key)) is not None:
                changes[key] = stage.model_copy(update={"min_frames": None})
    return MODELS[model].fit_to_cache(settings.model_copy(update=changes), cache), cache  # type: ignore[arg-type]


class FakeStage:
    """A stage on the fake GPU; `losses(rows)` are those of a batch of so many items."""

    def __init__(self, model: str, settings: Any, cache: OneClip, stage: str) -> None:
        key = stage_key(stage)
        part = getattr(settings, key)
        settings = settings.model_copy(
            update={key: part.model_copy(update={"loop": part.loop.model_copy(update={"batch_size": 1})})}
        )
        self.loop = part.loop
        with _without_files(model, settings):
            self.stage = MODELS[model].stage(stage)(cache, settings, run=Path("run"), seed=0, device="cuda")
        self.module: nn.Module = self.stage.module.to("cuda").train()
        with unset_fake_temporarily():
            self.row = self.stage.batch(0)

    def losses(self, rows: int) -> dict[str, Tensor]:
        """The losses of `rows` items, in the precision of the stage's settings."""
        batch: dict[str, Any] = {
            name: torch.empty((rows, *value.shape[1:]), dtype=value.dtype, device="cuda")
            for name, value in self.row.items()
        }
        batch |= {name: np.array([value]) for name, value in HOST.items() if name in batch}
        with _without_files("", None), torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.loop.amp):
            return self.stage.losses(batch, torch.Generator())


@contextmanager
def _without_files(model: str, settings: Any) -> Iterator[None]:
    """Frozen networks have no weights, and nothing depends on drawn numbers."""

    def frozen(path: Path, kind: str) -> tuple[nn.Module, dict[str, Any]]:
        if kind == "lfg":
            return LFG(settings.lfg.model), {}
        part = settings.vqgan_face if path.parent.name == "vqgan-face" else settings.vqgan_masked
        return VQGAN(part.model), {}

    def same(pictures: Any, *_: Any) -> Any:
        return pictures

    def pair(source: Tensor, driving: Tensor, _: Any) -> tuple[Tensor, Tensor]:
        return source, driving

    places = {
        f"{dawn.__name__}.stages.a2v": {"load_checkpoint": frozen, "jitter": same},
        f"{dawn.__name__}.stages.lfg": {"picture_loss": _vgg, "jitter": same, "flips": pair},
        f"{dit_head.__name__}.stages.dit": {"load_checkpoint": frozen},
        f"{dit_head.__name__}.stages.vqgan": {"picture_loss": _vgg},
        f"{dit_head.__name__}.vqgan_loss": {"adaptive_weight": _one},
    }
    with ExitStack() as stack:
        for place, names in places.items():
            for name, stand_in in names.items():
                stack.enter_context(mock.patch(f"{place}.{name}", stand_in))
        yield


def _one(likeness: Tensor, *_: Any) -> Tensor:
    return torch.ones_like(likeness)


def _vgg(policy: str) -> VGGLoss:
    return VGGLoss(identity="no weights")
