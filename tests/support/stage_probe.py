"""What a training stage does with its settings, compared between two settings of it, cheapest first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache as once
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.networks import DawnNetworks
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.training.validation import Validation

#: The step whose batch is compared: in the middle of schedules, after the first epoch.
STEP = 3


@once
def _frozen(path: Path, kind: str) -> Any:
    """`load_checkpoint`, once for each file: the stages share their frozen networks."""
    return load_checkpoint(path, kind)


class Probe:
    """One stage with one set of settings; each property is computed when it is asked for."""

    def __init__(self, model: str, stage: str, settings: Any, cache: Cache, run: Path) -> None:
        self.name, self.cache = stage, cache
        spec = MODELS[model]
        self.settings = spec.fit_to_cache(settings, cache)
        with pytest.MonkeyPatch.context() as patch:
            for place in ("dawn.stages.a2v", "dit_head.stages.dit"):
                patch.setattr(f"dawn_bench.models.{place}.load_checkpoint", _frozen)
            self.stage = spec.stages[stage](cache, self.settings, run=run, seed=3, device="cpu")
        config = getattr(self.settings, stage_key(stage))
        assert (self.stage.config, self.stage.loop, self.stage.name) == (config, config.loop, stage)

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """The weights and buffers from which training starts."""
        module = self.stage.module
        named = {**module.state_dict(), **{f"buffer {k}": v for k, v in module.named_buffers()}}
        return {k: v.clone() for k, v in named.items()}  # training and `generated` change them

    @cached_property
    def batches(self) -> dict[str, torch.Tensor]:
        """The batch of a step of the fourth epoch, where an epoch is a step."""
        return self.stage.batch(STEP)

    @cached_property
    def losses(self) -> dict[str, torch.Tensor]:
        """The losses of that batch, and their gradients."""
        module = self.stage.module.train()
        module.zero_grad()
        torch.manual_seed(0)
        values = self.stage.losses(dict(self.batches), torch.Generator().manual_seed(5))
        values["total"].backward()
        slopes = {f"slope {k}": p.grad for k, p in module.named_parameters() if p.grad is not None}
        return {k: v.detach() for k, v in values.items()} | slopes

    @cached_property
    def generated(self) -> dict[str, Any]:
        """What the module generates in validation, from weights that do not start at zero; pictures as DAWN shows."""
        torch.manual_seed(1)
        with torch.no_grad():
            for p in self.stage.module.parameters():
                p.add_(0.05 * torch.randn_like(p))
        module = self.stage.module.eval()
        clips: list[Any] = []

        def noting(generated: Any) -> Validation:
            clips.extend(frames for _, frames in generated)
            return Validation({"psnr": 0.0}, "psnr")

        with pytest.MonkeyPatch.context() as patch:
            for place in ("dawn.stages.a2v", "dit_head.stages.dit"):
                patch.setattr(f"dawn_bench.models.{place}.compare_with_truth", noting)
            sample = A2VFDM.sample
            patch.setattr(A2VFDM, "sample", lambda *given, **named: sample(*given, **named, steps=4))
            patch.setattr("dawn_bench.models.dit_head.stages.dit.mouth_agreement", lambda clip, frames: 0.0)
            patch.setattr(
                "dawn_bench.models.dawn.stages.pbnet._tracks", lambda true, drawn, title: np.asarray(drawn)[None]
            )
            seen = self.stage.validate(module, self.cache.clips("val"), device="cpu")
        return {**seen.values, "clips": clips, "pictures": dict(seen.pictures), "shown": self._shown(module)}

    def _shown(self, module: Any) -> Any:
        if self.name != "lfg":
            return None
        networks = DawnNetworks(module, A2VFDM(self.settings.a2v_1.model), None)
        with torch.no_grad():
            encoded = module.encode(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)))
        side = encoded.features_BChh.shape[-1]
        z = torch.rand(1, 3, 2, side, side, generator=torch.Generator().manual_seed(3))
        return networks.show(SimpleNamespace(encoded=encoded), z)  # type: ignore[arg-type]


#: What a setting may change, in the order of training: the first difference names the setting's effect.
EFFECTS = ("weights", "batches", "losses", "generated")


def effect(base: Probe, model: str, settings: Any, run: Path) -> str:
    """The first of `EFFECTS` that differs, and its parts: `losses lip total`.

    `refused` where the stage cannot be set up with the settings, `nothing` if nothing differs. Settings that change the
    weights need not keep anything else; those that change batches keep the weights, and so on.
    """
    try:
        if MODELS[model].fit_to_cache(settings, base.cache) == base.settings:
            return "nothing"
        other = Probe(model, base.name, settings, base.cache, run)
    except InputError:
        return "refused"
    for what in EFFECTS:
        ours, theirs = getattr(base, what), getattr(other, what)
        if not alike(ours, theirs):
            return f"{what} {' '.join(sorted(_PARTS[what](ours, theirs)))}".strip()
    return "nothing"


def _modules(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> set[str]:
    """The parts of a module whose tensors have other shapes; if none has, those whose tensors have other values."""
    shapes = [{k: v.shape for k, v in side.items()} for side in (a, b)]
    reshaped = {k for k in {**a, **b} if shapes[0].get(k) != shapes[1].get(k)}
    return {k.removeprefix("buffer ").split(".")[0] for k in reshaped or {k for k in a if not alike(a[k], b[k])}}


def _keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> set[str]:
    return {k for k in {**a, **b} if not alike(a.get(k), b.get(k)) and not k.startswith("slope ")}


_PARTS: dict[str, Any] = {"weights": _modules, "batches": _keys, "losses": _keys, "generated": lambda a, b: set()}


def alike(a: Any, b: Any) -> bool:
    """Whether two results are equal to the last bit."""
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    return type(a) is type(b) and np.array_equal(a, b)
