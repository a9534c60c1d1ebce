"""Winograd's convolution is the convolution, and is used only where it is faster."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dawn_bench.models.dawn.fast.blocks import Convolutions
from dawn_bench.models.dawn.fast.scratch import Scratch
from dawn_bench.models.dawn.fast.winograd import Winograd, supports


def case(n: int, inside: int, outside: int, hw: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(n + inside)
    return torch.randn(n, *hw, inside), torch.randn(outside, inside, 3, 3), torch.randn(outside)


@pytest.mark.parametrize("roomy", [False, True])
@pytest.mark.parametrize(
    ("n", "inside", "outside", "hw"), [(1, 1, 1, (4, 4)), (3, 5, 7, (8, 12)), (2, 64, 96, (16, 4)), (5, 128, 3, (4, 8))]
)
def test_it_is_the_convolution(n: int, inside: int, outside: int, hw: tuple[int, int], roomy: bool) -> None:
    x, weight, bias = case(n, inside, outside, hw)
    exact = F.conv2d(x.double().permute(0, 3, 1, 2), weight.double(), bias.double(), padding=1).permute(0, 2, 3, 1)
    used = {"memory": Scratch(), "scratch": Scratch()} if roomy else {}
    for memory in used.values():
        memory.carve(weight, 100_000 + n)[0].fill_(torch.nan)
    output = Winograd(weight.to(memory_format=torch.channels_last), bias, **used)(x)
    assert output.shape == exact.shape and output.dtype == torch.float32
    assert (output - exact).abs().max() <= 5e-5 * exact.std()
    into = torch.full_like(output, torch.nan)
    assert Winograd(weight, bias, **used)(x, into) is into
    torch.testing.assert_close(into, output, rtol=1e-4, atol=1e-4)
    bare = Winograd(weight, None)(x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1))
    torch.testing.assert_close(bare + bias, output, rtol=1e-4, atol=1e-4)


def test_in_double_precision_only_the_arithmetic_differs() -> None:
    x, weight, bias = case(2, 16, 8, (8, 8))
    exact = F.conv2d(x.double().permute(0, 3, 1, 2), weight.double(), bias.double(), padding=1).permute(0, 2, 3, 1)
    output = Winograd(weight.double(), bias.double())(x.double())
    assert (output - exact).abs().max() <= 1e-13 * exact.std()


def test_the_rule() -> None:
    weight = torch.zeros(64, 64, 3, 3)
    with torch.no_grad():
        assert supports(weight, 1, (32, 32))
        assert not supports(weight, 63, (4, 4)) and supports(weight, 64, (4, 4))
        assert not supports(weight, 9, (30, 32)) and not supports(weight, 9, (32, 34)), "tiles must divide the picture"
        assert not supports(torch.zeros(64, 32, 3, 3), 1, (32, 32)) and not supports(
            torch.zeros(64, 64, 1, 1), 1, (32, 32)
        )
        assert not supports(weight.double(), 1, (32, 32)) and not supports(weight.to("meta"), 1, (32, 32))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not supports(weight, 1, (32, 32))
    assert not supports(weight, 1, (32, 32)), "training needs gradients"


@pytest.mark.parametrize("groups", [1, 2])
@torch.no_grad()
def test_a_clips_convolution_with_groups_and_compiled(groups: int) -> None:
    torch.manual_seed(0)
    width, hw = 64 * groups, (8, 8)
    conv = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1), groups=groups)
    x = torch.randn(16, 64, width)
    exact = F.conv2d(x.unflatten(1, hw).permute(0, 3, 1, 2), conv.weight.squeeze(2), None, padding=1, groups=groups)
    convolutions = Convolutions(Scratch())

    def run(x: torch.Tensor) -> torch.Tensor:
        out = torch.full_like(x, torch.nan)
        convolutions.over(len(x), conv, hw)(x, out)
        return out

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    for output in (run(x), compiled(x)):
        torch.testing.assert_close(output, exact.permute(0, 2, 3, 1).flatten(1, 2), rtol=0, atol=2e-5)
