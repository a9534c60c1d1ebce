"""The LFG by itself: shapes at any width, batches that do not mix, exact identities, gradients that stay finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dawn_bench.errors import InputError
from dawn_bench.models.dawn.flow import warp
from dawn_bench.models.dawn.lfg import LFG, HourglassConfig, LFGConfig
from dawn_bench.models.dawn.lfg_blocks import FewOut, MergedUp, Up
from dawn_bench.models.dawn.lfg_generator import LFGGenerator
from dawn_bench.models.dawn.lfg_loss import Deformation, LFGLoss, LFGLossConfig
from dawn_bench.models.dawn.region import coordinate_grid, inverse_2x2, principal_axes
from dawn_bench.models.perceptual import PixelLoss, VGGLoss, picture_loss
from dawn_bench.weights import seeded_fill

SMALL = HourglassConfig(block_expansion=8, max_features=16, num_blocks=2)
WIDTHS = {"num_regions": 4, "block_expansion": 8, "num_bottleneck_blocks": 1}
TINY = LFGConfig.fixed(**WIDTHS, region=SMALL, flow=SMALL, background=SMALL)


@pytest.fixture(scope="module")
def lfg() -> LFG:
    model = LFG(TINY).eval()
    seeded_fill(model, salt="test/")
    return model


def pictures(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=(size, size), mode="bilinear").clamp(0, 1)


@torch.no_grad()
def test_one_source_serves_many_frames_and_batches_do_not_mix(lfg):
    source, driving = pictures(1), pictures(5, seed=1)
    flow, occlusion = lfg.motion(source, driving)
    encoded = lfg.encode(source)
    together = lfg.decode(encoded, flow, occlusion)
    assert together.shape == (5, 3, 32, 32)
    for i in range(5):
        out = lfg(source, driving[i : i + 1])
        torch.testing.assert_close(out.motion.flow_Bhh2[0], flow[i], rtol=0, atol=1e-5)
        torch.testing.assert_close(out.prediction_BCSS[0], together[i], rtol=0, atol=1e-5)
    for batch in (1, 3, None):
        clip = lfg.decode_clip(encoded, flow, occlusion, batch=batch)
        torch.testing.assert_close(clip, together, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_every_width_and_size_fits(halvings):
    small = HourglassConfig(block_expansion=4, max_features=8, num_blocks=1)
    config = LFGConfig.fixed(**WIDTHS, num_down_blocks=halvings, region=small, flow=small, background=small)
    model = LFG(config).eval()
    out = model(pictures(2, 48), pictures(2, 48, seed=1))
    latent = 48 // 2**halvings
    assert out.prediction_BCSS.shape == (2, 3, 48, 48)
    assert out.motion.flow_Bhh2.shape == (2, latent, latent, 2)
    assert out.encoded.features_BChh.shape == (2, config.latent_channels, latent, latent)


def test_a_picture_of_a_wrong_size_is_refused(lfg):
    with pytest.raises(InputError, match=r"30x30 do not fit this LFG\. Use a size that is a multiple of 16"):
        lfg(pictures(1, 30), pictures(1, 30))


@torch.no_grad()
@pytest.mark.parametrize(("config", "exact"), [(LFGConfig.fixed(), True), (LFGConfig.reference(), False)])
def test_the_identity_flow_is_the_identity_only_when_fixed(config, exact):
    picture = torch.rand(1, 3, 16, 16)
    flow = coordinate_grid(16, 16, picture)[None]
    moved = warp(picture, flow, align_corners=config.align_corners)
    assert torch.allclose(moved, picture, atol=1e-5) == exact


@torch.no_grad()
@pytest.mark.parametrize(("config", "beyond"), [(LFGConfig.fixed(), 0.5), (LFGConfig.reference(), 0.0)])
def test_black_comes_in_from_beyond_the_picture_unless_fixed(config, beyond):
    """A grey picture that moves half its width to the left: what comes in at the right is black, or grey when fixed."""
    small = config.model_copy(update={"num_regions": 2, "block_expansion": 4, "num_bottleneck_blocks": 0})
    generator = LFGGenerator(small).eval()
    source = torch.full((1, 3, 16, 16), 0.5)
    flow = coordinate_grid(4, 4, source)[None] + torch.tensor([1.0, 0.0])
    _, deformed = generator.decode(generator.encode(source), flow, torch.ones(1, 1, 4, 4))
    torch.testing.assert_close(deformed[..., -3:], torch.full((1, 3, 16, 3), beyond))
    assert generator.pixelwise_flow_predictor.padding == config.padding == small.padding


@torch.no_grad()
def test_full_occlusion_share_gives_the_warped_source(lfg):
    source = pictures(1)
    flow = coordinate_grid(8, 8, source)[None] * 0.9
    prediction, deformed = lfg.generator.decode(lfg.encode(source), flow, torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(prediction, deformed, rtol=0, atol=1e-6)


def test_principal_axes_rebuild_the_matrix():
    root = torch.randn(1000, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    covar = root @ root.transpose(1, 2)
    axes, spread = principal_axes(covar)
    torch.testing.assert_close(axes @ torch.diag_embed(spread) @ axes.transpose(1, 2), covar)
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(1000, dtype=torch.float64))
    torch.testing.assert_close(spread, torch.linalg.svdvals(covar))
    torch.testing.assert_close(inverse_2x2(root), torch.linalg.inv(root))


def test_a_round_region_has_finite_slopes():
    covar = (0.1 * torch.eye(2)).requires_grad_()
    axes, spread = principal_axes(covar)
    (axes.sum() + spread.sum()).backward()
    assert torch.isfinite(covar.grad).all()


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 5, 8])
def test_fast_blocks_are_the_plain_ones(size):
    up = MergedUp(6, 5).eval()
    x = torch.randn(2, 6, size, size)
    torch.testing.assert_close(up(x), Up.forward(up, x), rtol=1e-5, atol=1e-5)
    final = FewOut(6, 3, 7, padding=3)
    torch.testing.assert_close(final(x), nn.Conv2d.forward(final, x), rtol=1e-5, atol=1e-5)


def test_the_slope_of_a_deformation_is_its_derivative():
    config = LFGLossConfig(sigma_bend=0.1)
    like = torch.zeros(0, dtype=torch.float64)
    deformation = Deformation.draw(2, config, generator=torch.Generator().manual_seed(0), like=like)
    at = torch.rand(2, 7, 2, dtype=torch.float64) * 1.5 - 0.75
    jacobian = torch.autograd.functional.jacobian(lambda x: deformation.move(x).sum(dim=(0, 1)), at)
    torch.testing.assert_close(deformation.slope(at), jacobian.permute(1, 2, 0, 3))


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    model, loss = LFG(TINY).train(), LFGLoss(PixelLoss(), LFGLossConfig(scales=(1, 2)))
    generator = torch.Generator().manual_seed(1)
    source = pictures(4)
    driving = source.roll(2, dims=3)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
    totals = []
    for _ in range(25):
        deformation = Deformation.draw(4, loss.config, generator=generator, like=source)
        losses, _ = loss(model, source, driving, deformation=deformation)
        optimiser.zero_grad()
        losses["total"].backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        optimiser.step()
        totals.append(losses["picture"].item())
    assert sum(totals[-5:]) < 0.7 * sum(totals[:5])


def test_the_substitute_is_marked_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    assert "substitute" in picture_loss("auto").identity
    with pytest.raises(InputError, match="VGG-19"):
        picture_loss("files")
    vgg = VGGLoss(identity="")
    classifier = {"classifier.0.weight": torch.zeros(1)}
    torch.save({**vgg.state_dict(), **classifier}, tmp_path / "vgg19-dcbb9e9d.pth")
    loss = picture_loss("auto")
    assert loss.identity.startswith("vgg19:user:")
    assert all(torch.equal(a, b) for a, b in zip(loss.state_dict().values(), vgg.state_dict().values(), strict=True))
    picture = torch.rand(1, 3, 8, 8)
    assert len(loss.levels(picture)) == 4  # the fifth has no pixel left
    assert loss(picture, picture) == 0 < loss(picture, 1 - picture)
