"""What does not change between steps, frames or clips is computed once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from micro_dit_head import micro_settings as dit_head_settings
from small_configs import LFG_CONFIG
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.diffspeaker import denoiser
from dawn_bench.models.diffspeaker.config import DiffSpeakerConfig
from dawn_bench.models.diffspeaker.denoiser import Denoiser
from dawn_bench.models.dit_head import dit as dit_module
from dawn_bench.models.dit_head.dit import DiT


class Operations(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


def test_the_regions_of_a_source_are_those_of_one_picture_for_all_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three frames each of two sources, in the order of the frames."""
    torch.manual_seed(0)
    lfg = LFG(LFG_CONFIG).eval()
    source, driving = torch.rand(2, 3, 32, 32), torch.rand(6, 3, 32, 32)
    whole = lfg.motion(source.repeat_interleave(3, dim=0), driving)
    seen, real = [], type(lfg.region_predictor).forward

    def forward(self: Any, picture: Tensor) -> Any:
        seen.append(len(picture))
        return real(self, picture)

    monkeypatch.setattr(type(lfg.region_predictor), "forward", forward)
    for ours, theirs in zip(lfg.motion(source, driving), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert seen == [2, 6]
    alone = [lfg.motion(source[i : i + 1], driving[3 * i : 3 * i + 3]) for i in range(2)]
    for ours, parts in zip(whole, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(ours, torch.cat(parts), rtol=0, atol=1e-5)


def small_denoiser() -> Denoiser:
    torch.manual_seed(0)
    denoiser._fixed_biases.cache_clear()
    config = DiffSpeakerConfig(vertices=4, subjects=("a",), latent=16, heads=2, layers=1, ff=16, period=5)
    return Denoiser(config).eval()


def test_a_second_step_of_diffspeaker_makes_no_bias() -> None:
    network = small_denoiser()
    x, step, style = torch.randn(1, 9, 12), torch.tensor([5]), torch.tensor([0])
    counts = []
    for _ in range(2):
        with torch.no_grad(), Operations() as operations:
            network(x, torch.randn(1, 9, 16), step, style)
        counts.append(operations.counts)
    assert counts[0]["where"] == 1 and not {"where", "fill_diagonal_", "constant_pad_nd"} & set(counts[1])
    assert counts[1].total() < counts[0].total() - 10


def test_padding_of_one_clip_stays_out_of_the_bias_that_clips_share() -> None:
    network, x = small_denoiser(), torch.randn(2, 9, 12)
    kept = [bias.clone() for bias in network._biases(x, None)]
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, 6:] = False
    for bias, masked in zip(kept, network._biases(x, valid), strict=True):
        assert torch.equal(masked[:2], bias[:2])  # the heads of the first clip
        assert (masked[2:, :, 2 + 6 :] == -torch.inf).all() and torch.equal(masked[2:, :, :8], bias[2:, :, :8])
    assert all(torch.equal(a, b) for a, b in zip(network._biases(x, None), kept, strict=True))


def test_the_places_of_dit_head_are_computed_once_for_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], dit_module.places

    def places(side: int, dim: int) -> Tensor:
        calls.append(side)
        return real(side, dim)

    monkeypatch.setattr(dit_module, "places", places)
    config = dit_head_settings().dit.model
    model = DiT(config)
    for side in (8, 8, 16, 8):
        latents = torch.zeros(1, config.latent_channels, side, side)
        masked = torch.zeros(1, config.masked_channels, side, side)
        tokens = model.tokens(latents, latents, masked)
        expected = model.patchify(torch.cat([latents, latents, masked], 1)).flatten(2).transpose(1, 2)
        assert torch.equal(tokens, expected + real(side // config.patch, config.dim))
    assert calls == [8 // config.patch, 16 // config.patch]
    assert not any("places" in name for name in model.state_dict())
