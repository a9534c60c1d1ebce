"""Samplers, thresholds and predictions of the diffusion against what is known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.diffusion import Diffusion, dynamic_threshold
from dawn_bench.models.dawn.schedule import cosine_schedule
from dawn_bench.models.diffusion.levels import sampling_steps
from dawn_bench.models.diffusion.solvers import ddim, dpm_solver_2m

TINY = {"dim": 8, "dim_mults": (1,), "audio_dim": 4, "source_dim": 4, "heads": 2, "head_dim": 4, "norm_groups": 2}
#: Clean samples of a Gaussian: the best prediction, and where every noise must flow, are known.
MEAN, STD = 0.3, 0.5


def gaussian_error(solve: Callable[..., Tensor], steps: int) -> float:
    """Largest distance between a solver's answer and the exact solution of the probability-flow equation."""
    bar = cosine_schedule(1000)["alphas_cumprod"].double()
    path = sampling_steps(bar, steps, off_by_one=False)

    def denoise(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        a = bar[t].item()
        x0 = MEAN + math.sqrt(a) * STD**2 * (x - math.sqrt(a) * MEAN) / (a * STD**2 + 1 - a)
        return x0, (x - math.sqrt(a) * x0) / math.sqrt(1 - a)

    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    a = path[0].now
    exact = MEAN + STD * (start - math.sqrt(a) * MEAN) / math.sqrt(a * STD**2 + 1 - a)
    return (solve(denoise, start, path) - exact).abs().max().item()


def quiet_ddim(denoise: Callable[..., tuple[Tensor, Tensor]], x: Tensor, path: list) -> Tensor:
    def no_noise(i: int) -> Tensor:
        raise AssertionError("a deterministic sampler drew noise")

    return ddim(denoise, x, path, eta=0.0, noise=no_noise)


def test_solvers_approach_the_exact_solution() -> None:
    few, many = gaussian_error(quiet_ddim, 10), gaussian_error(quiet_ddim, 200)
    assert many < few / 8
    assert gaussian_error(dpm_solver_2m, 10) < few / 2


def test_ddim_ends_at_the_clean_prediction_and_draws_noise_for_every_step_but_the_last() -> None:
    drawn = []

    def noise(i: int) -> Tensor:
        drawn.append(i)
        return torch.ones(3)

    path = sampling_steps(cosine_schedule(1000)["alphas_cumprod"], 4, off_by_one=True)
    out = ddim(lambda x, t: (torch.full((3,), 0.25), x), torch.zeros(3), path, eta=1.0, noise=noise)
    assert drawn == [1, 2, 3]
    torch.testing.assert_close(out, torch.full((3,), 0.25))


@pytest.mark.parametrize("size", [10, 11, 3 * 7 * 16])
def test_dynamic_threshold_is_the_interpolated_quantile(size: int) -> None:
    x = 3 * torch.randn(2, 1, size, generator=torch.Generator().manual_seed(size))
    bound = torch.quantile(x.abs().flatten(1), 0.9, dim=1).view(2, 1, 1)
    torch.testing.assert_close(dynamic_threshold(x), x.clamp(-bound, bound) / bound)
    small = torch.full((1, 1, size), 0.5)
    assert torch.equal(dynamic_threshold(small), small)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_a_perfect_prediction_gives_the_motion_and_the_noise_back(prediction: str) -> None:
    diffusion = Diffusion(A2VConfig.fixed(prediction=prediction, **TINY))
    torch.manual_seed(0)
    z, noise, t = torch.rand(2, 3, 2, 4, 4) - 0.5, torch.randn(2, 3, 2, 4, 4), torch.tensor([10, 600])
    x = diffusion.add_noise(z, t, noise)
    perfect = noise
    if prediction == "velocity":
        a = diffusion.alphas_cumprod[t].view(-1, 1, 1, 1, 1)
        perfect = a.sqrt() * noise - (1 - a).sqrt() * z
    x0, eps = diffusion.clean_and_noise(x, t, perfect)
    torch.testing.assert_close(x0, z, rtol=0, atol=1e-4)
    torch.testing.assert_close(eps, noise, rtol=0, atol=1e-4)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_where_the_threshold_bites_motion_and_noise_still_make_up_the_sample(prediction: str) -> None:
    torch.manual_seed(0)
    x, predicted, t = 3 * torch.randn(2, 3, 2, 4, 4), 3 * torch.randn(2, 3, 2, 4, 4), torch.tensor([300, 900])
    mended, released = (
        Diffusion(A2VConfig.fixed(prediction=prediction, stale_noise=stale, **TINY)) for stale in (False, True)
    )
    x0, eps = mended.clean_and_noise(x, t, predicted)
    assert float(x0[:, 2].abs().max()) == 1  # it bites
    torch.testing.assert_close(mended.add_noise(x0, t, eps), x, rtol=0, atol=1e-4)
    same, stale = released.clean_and_noise(x, t, predicted)
    assert torch.equal(same, x0)
    assert float((released.add_noise(same, t, stale) - x).abs().max()) > 1


def test_clamping_bounds_each_channel_and_leaves_the_rest() -> None:
    config = A2VConfig.fixed(flow_bound=1.5, flow_scale=2.0, **TINY)
    x0 = torch.tensor([-9.0, 2.5, 9.0]).view(1, 1, 3, 1, 1).expand(1, 3, 3, 1, 1)
    flow, occlusion = Diffusion(config).threshold(x0).split([2, 1], dim=1)
    assert flow.flatten().tolist() == [-3.0, 2.5, 3.0] * 2
    assert occlusion.flatten().tolist() == [-1.0, 1.0, 1.0]
