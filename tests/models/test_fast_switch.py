"""One switch between the fast path of inference and the plain networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dawn_bench.baselines.methods.dawn import source_of
from dawn_bench.cache import Cache
from dawn_bench.models.dawn import a2v, fast
from dawn_bench.models.dawn.fast.unet import FastUNet
from dawn_bench.models.dawn.fast.winograd import supports
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.options import SamplingOptions


@torch.no_grad()
def test_both_networks_of_a_clip_predict_the_same(micro_run: Path) -> None:
    model = DawnGenerator.load(micro_run).a2v
    unet, g = model.diffusion.denoise_fn, torch.Generator().manual_seed(0)
    sizes = {"source_CHW": (model.config.source_dim, 8, 8), "mask_MHW": (model.config.mask_dims[1], 8, 8)}
    clip = {name: torch.randn(size, generator=g) for name, size in sizes.items()}
    clip["cond_FD"] = torch.randn(9, model.config.condition_dim, generator=g)
    x, t = torch.randn(3, 9, 8, 8, generator=g), torch.tensor([30])
    quick = FastUNet(unet).prepare(**clip, win_width=3)(x, t)
    plain = a2v.plain_clip(unet, **clip, win_width=3)(x, t)
    torch.testing.assert_close(quick, plain, rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_switch_covers_winograds_convolutions_and_ends_with_its_block() -> None:
    weight = torch.zeros(64, 64, 3, 3)
    assert supports(weight, 4, (32, 32))
    with pytest.raises(ValueError, match="stop"), fast.disabled():
        assert not supports(weight, 4, (32, 32)) and not fast.enabled()
        raise ValueError("stop")
    assert supports(weight, 4, (32, 32)) and fast.enabled()


def test_a_clip_without_the_fast_path_is_the_same_within_rounding(
    micro_run: Path, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dawn, clip = DawnGenerator.load(micro_run), Cache(tiny_cache)["c4"]
    options = SamplingOptions(steps=2)
    quick = dawn.talk(source_of(clip), clip["logmel"][:5], seed=1, options=options)
    monkeypatch.setattr(a2v, "FastUNet", lambda unet: pytest.fail("the fast path was taken"))
    with fast.disabled():
        plain = dawn.talk(source_of(clip), clip["logmel"][:5], seed=1, options=options)
    assert np.abs(quick.astype(int) - plain).max() <= 1
