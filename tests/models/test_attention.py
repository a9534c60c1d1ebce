"""The attentions for inference give the numbers of the plain ones, for every window and length."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.attention import (
    RelativePositionBias,
    RotaryEmbedding,
    SpatialAttention,
    SpatialLinearAttention,
    TemporalAttention,
    relative_buckets,
)
from dawn_bench.models.dawn.fast.attention import (
    KEY_MULTIPLE,
    ONE_BLOCK,
    QUERY_BLOCK,
    Bands,
    CrossKeys,
    FastCross,
    FastTemporal,
    linear_attention_,
    spatial_attention_,
)
from dawn_bench.models.dawn.fast.scratch import Scratch
from dawn_bench.models.dawn.unet import windowed_bias
from dawn_bench.models.dawn.unet_blocks import ConditionedBlock, Residual

HEADS = {"heads": 2, "head_dim": 8}
DIM = 16


def noisy(module: nn.Module) -> nn.Module:
    """Gains and biases away from one and zero, so that leaving one out shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def working_layout(x_1CFHW: torch.Tensor) -> torch.Tensor:
    return x_1CFHW[0].permute(1, 2, 3, 0).flatten(1, 2).contiguous()


@pytest.mark.parametrize("frames", [1, 2, QUERY_BLOCK, QUERY_BLOCK + 1, 80, 81, ONE_BLOCK, ONE_BLOCK + 1, 300])
@pytest.mark.parametrize("window", [1, 5, 40, 80, 299, None])
@torch.no_grad()
def test_banded_attention_equals_masked_dense(frames: int, window: int | None) -> None:
    residual, bias = noisy(Residual(DIM, TemporalAttention(DIM, **HEADS))), noisy(RelativePositionBias(2))
    x = torch.randn(1, DIM, frames, 2, 3)
    dense = residual(x, windowed_bias(bias(frames), window))
    banded = working_layout(x)
    FastTemporal(residual)(banded, Bands(bias, frames, window))
    torch.testing.assert_close(banded, working_layout(dense), rtol=0, atol=2e-5)


def bias_of_bands(bias: RelativePositionBias, frames: int, window: int | None) -> torch.Tensor:
    """The dense bias that the blocks of a clip amount to."""
    whole = torch.full((2, frames, frames), float("-inf"))
    for queries, keys, part in Bands(bias, frames, window).blocks:
        whole[:, queries, keys] = part
    return whole


@pytest.mark.parametrize("window", [1, 2, 31, 40, 80, 150, None])
@torch.no_grad()
def test_bands_are_the_masked_bias_for_every_length(window: int | None) -> None:
    bias = noisy(RelativePositionBias(2))
    dense = windowed_bias(bias(300), window)
    for frames in range(1, 301):
        assert torch.equal(bias_of_bands(bias, frames, window), dense[:, :frames, :frames]), frames


@pytest.mark.parametrize("frames", [33, 300])
@torch.no_grad()
def test_bands_are_the_masked_bias_for_every_window(frames: int) -> None:
    bias = noisy(RelativePositionBias(2))
    dense = bias(frames)
    for window in range(1, 301):
        assert torch.equal(bias_of_bands(bias, frames, window), windowed_bias(dense, window)), window


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest result."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


@torch.no_grad()
def test_no_tensor_grows_with_the_square_of_the_frames() -> None:
    residual, bias = Residual(DIM, TemporalAttention(DIM, **HEADS)), RelativePositionBias(2)
    sizes = []
    for frames in (1500, 3000):
        with LargestTensor() as largest:
            FastTemporal(residual)(torch.randn(frames, 2, DIM), Bands(bias, frames, 40))
        sizes.append(largest.numel)
        assert largest.numel < frames**2 / 10
    assert sizes[1] <= 2 * sizes[0]


@pytest.mark.parametrize("window", [1, 40])
def test_bands_never_hold_the_square_matrix(window: int) -> None:
    blocks = Bands(RelativePositionBias(2), 1500, window).blocks
    assert [frame for queries, _, _ in blocks for frame in range(queries.start, queries.stop)] == list(range(1500))
    kept = {bias.data_ptr(): bias.numel() for _, _, bias in blocks}
    assert max(kept.values()) <= 2 * QUERY_BLOCK * (QUERY_BLOCK + 2 * window + KEY_MULTIPLE)
    assert len(kept) <= 6  # the inner blocks share one


@pytest.mark.parametrize("side", [2, 6], ids=["more channels", "more pixels"])
@torch.no_grad()
def test_linear_attention(side: int) -> None:
    residual = noisy(Residual(DIM, SpatialLinearAttention(DIM, **HEADS)))
    x = torch.randn(1, DIM, 3, side, side)
    got = working_layout(x)
    linear_attention_(got, residual, Scratch())
    torch.testing.assert_close(got, working_layout(residual(x)), rtol=0, atol=2e-5)


@torch.no_grad()
def test_under_autocast_no_memory_is_taken_that_would_not_be_used() -> None:
    scratch, x = Scratch(), torch.randn(3, 36, DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        linear_attention_(x, noisy(Residual(DIM, SpatialLinearAttention(DIM, **HEADS))), scratch)
        temporal = noisy(Residual(DIM, TemporalAttention(DIM, **HEADS)))
        FastTemporal(temporal, scratch)(x, Bands(RelativePositionBias(2), 3, 40))
    assert scratch.memory is None


@torch.no_grad()
def test_spatial_attention() -> None:
    residual = noisy(Residual(DIM, SpatialAttention(DIM, **HEADS)))
    x = torch.randn(1, DIM, 3, 4, 2)
    got = working_layout(x)
    spatial_attention_(got, residual)
    torch.testing.assert_close(got, working_layout(residual(x)), rtol=0, atol=2e-5)


@torch.no_grad()
def test_cross_attention_in_closed_form() -> None:
    config = A2VConfig.reference(dim=8, audio_dim=12, cross_heads=2, cross_head_dim=4, norm_groups=2)
    block = noisy(ConditionedBlock(DIM, 24, config))
    x = torch.randn(1, DIM, 5, 3, 2)
    conditions = (torch.randn(1, 5, 12), torch.randn(1, 5, 6), torch.randn(1, 5, 2))
    want = sum(attention(x, context) for attention, context in block.contexts(conditions))
    got = torch.zeros(3, 6, 24)
    frames = slice(1, 4)
    cross = FastCross(block)
    cross(got, working_layout(x)[frames], CrossKeys(cross, conditions), frames)
    torch.testing.assert_close(got, working_layout(want)[frames], rtol=0, atol=2e-5)


def test_relative_buckets_are_the_published_ones() -> None:
    starts = {0: 0, 7: 7, 8: 8, 9: 8, 10: 9, 12: 10, 14: 11, 16: 12, 20: 13, 23: 14, 26: 14, 27: 15, 900: 15}
    past = relative_buckets(torch.tensor(list(starts)))
    assert past.tolist() == list(starts.values())
    future = relative_buckets(-torch.tensor(list(starts)))
    assert future.tolist() == [0, *(bucket + 16 for bucket in list(starts.values())[1:])]


def test_rotary_products_depend_on_the_distance_alone() -> None:
    rotary, vector = RotaryEmbedding(8), torch.randn(2, 8)
    q, k = (rotary(row.expand(10, 8)) for row in vector)
    products = q @ k.T
    for distance in range(-9, 10):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert products.std() > 0.01
