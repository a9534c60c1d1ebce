"""The fast U-Net's forms for a GPU: statistics in few launches, activations in bfloat16."""

from __future__ import annotations

import pytest
import torch
from fake_gpu import fake_gpu
from gpu_counts import sampling_step
from small_configs import A2V_CONFIG
from torch import nn

from dawn_bench.models.dawn.fast.blocks import GroupStatistics
from dawn_bench.models.dawn.fast.unet import FastUNet
from dawn_bench.models.dawn.unet import UNet3D


class OnGPU(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    is_cuda = property(lambda self: True)  # type: ignore[assignment]


@pytest.mark.parametrize("cut", [[7], [4, 3], [1, 1, 5]])
def test_group_statistics_are_those_of_the_cpu(cut: list[int]) -> None:
    torch.manual_seed(0)
    norm, bias = nn.GroupNorm(4, 16), torch.randn(16)
    nn.init.normal_(norm.weight)
    y_nPC, scale_shift = 50 + torch.randn(7, 6, 16), torch.randn(32)
    results = []
    for kind in (torch.Tensor, OnGPU):
        statistics = GroupStatistics(norm, bias)
        for part in y_nPC.split(cut):
            statistics.add(part.as_subclass(kind))
        results.append([value.as_subclass(torch.Tensor) for value in statistics.affine(scale_shift)])
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)


def test_bfloat16_activations_are_nearly_as_exact_as_bfloat16_products() -> None:
    torch.manual_seed(0)
    unet = UNet3D(A2V_CONFIG).eval()
    clip = {
        "source_CHW": torch.randn(A2V_CONFIG.source_dim, 8, 8),
        "mask_MHW": torch.randn(A2V_CONFIG.mask_dims[1], 8, 8),
        "cond_FD": torch.randn(5, A2V_CONFIG.condition_dim),
    }
    noisy, time = torch.randn(3, 5, 8, 8), torch.tensor([500])
    exact = FastUNet(unet).prepare(**clip, win_width=40)(noisy, time)
    errors = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            step = FastUNet(unet).prepare(**clip, win_width=40)
            step.static_1PC = step.static_1PC.to(dtype)  # all activations follow it
            rounded = step(noisy, time)
        assert rounded.dtype == torch.float32
        errors.append(float((rounded - exact).abs().mean()))
    products, all_activations = errors
    assert products < all_activations < 2 * products


def test_a_step_in_bfloat16_moves_a_third_less_and_starts_few_kernels() -> None:
    """Counted at the released widths: the parent of this form started 2,161 kernels for 40 frames in float32."""
    with fake_gpu():
        exact, rounded = (sampling_step(40, size=128, precision=precision) for precision in ("fp32", "bf16"))
    assert rounded.bytes < 0.72 * exact.bytes
    assert exact.launches < 1_850
