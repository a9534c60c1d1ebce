"""DiT-Head's networks: shapes and sizes, what trains what, an exact sampler, what is the paper's and what ours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dawn_bench.models.diffusion.levels import add_noise, scaled_linear_levels
from dawn_bench.models.dit_head.config import DiTConfig, MaskConfig, VQGANConfig, VQGANLossConfig, origins, ours
from dawn_bench.models.dit_head.diffusion import clean_and_noise, sample, target
from dawn_bench.models.dit_head.dit import DiT, places, time_features
from dawn_bench.models.dit_head.vqgan import VQGAN, Quantiser
from dawn_bench.models.dit_head.vqgan_loss import PatchDiscriminator, adaptive_weight, hinge, vqgan_losses
from dawn_bench.models.perceptual import PixelLoss

SMALL = DiTConfig(depth=2, dim=16, heads=2, audio_dim=6, timesteps=100)
TINY_VQGAN = VQGANConfig(channels=8, multipliers=(1, 2, 2), blocks=1, codes=16, groups=2)


def inputs(config: DiTConfig, *, batch: int = 2, side: int = 4, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "reference_BZhh": torch.randn(batch, config.latent_channels, side, side, generator=g),
        "masked_BZhh": torch.randn(batch, config.masked_channels, side, side, generator=g),
        "audio_BWA": torch.randn(batch, config.n_audio, config.audio_dim, generator=g),
    }


def awake(config: DiTConfig) -> DiT:
    """A DiT whose last layer does not start at zero."""
    torch.manual_seed(0)
    model = DiT(config)
    torch.nn.init.normal_(model.out.weight)
    return model.eval()


@pytest.mark.parametrize(
    ("change", "millions"),
    [
        ({}, 29.1),
        ({"patch": 4}, 29.2),
        ({"dim": 768, "heads": 12, "patch": 4}, 115.5),
        ({"depth": 4, "dim": 128, "heads": 4}, 1.2),
    ],
)
def test_sizes_of_the_variants(change: dict, millions: float) -> None:
    with torch.device("meta"):
        model = DiT(DiTConfig(**change))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_vqgan_shapes() -> None:
    torch.manual_seed(0)
    vqgan = VQGAN(TINY_VQGAN)
    picture = torch.rand(2, 3, 32, 32) * 2 - 1
    rebuilt, codes = vqgan(picture)
    assert TINY_VQGAN.factor == 4 and vqgan.encode(picture).shape == (2, 3, 8, 8)
    assert rebuilt.shape == picture.shape and codes.index_Bhh.shape == (2, 8, 8)
    torch.testing.assert_close(vqgan.decode(vqgan.encode(picture)), rebuilt)


def test_the_quantiser_takes_the_nearest_code_and_lets_gradients_through() -> None:
    quantiser = Quantiser(3, 2)
    quantiser.codebook.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    z = torch.tensor([[0.9, 0.2], [0.1, 1.5]]).T[None, :, None].contiguous().requires_grad_()
    quantised = quantiser(z)
    assert quantised.index_Bhh.tolist() == [[[1, 2]]]
    torch.testing.assert_close(quantised.codes_BZhh, torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]]))
    (quantised.codes_BZhh * torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])).sum().backward()
    assert z.grad is not None and z.grad.flatten().tolist() == [1.0, 2.0, 3.0, 4.0]
    for pull in (quantised.codebook, quantised.commitment):
        assert float(pull.detach()) == pytest.approx((0.01 + 0.04 + 0.01 + 0.25) / 4)


def test_each_network_of_the_vqgan_is_trained_by_its_own_loss() -> None:
    torch.manual_seed(0)
    vqgan, judge = VQGAN(TINY_VQGAN), PatchDiscriminator(channels=4, layers=1)
    config = VQGANLossConfig(adversarial_from=5, discriminator_channels=4, discriminator_layers=1)
    picture = torch.rand(2, 3, 32, 32) * 2 - 1

    def gradients(step: int, *names: str) -> tuple[dict[str, Tensor], list[Tensor | None], list[Tensor | None]]:
        losses = vqgan_losses(vqgan, judge, picture, perceptual=PixelLoss(), config=config, step=step)
        both = (list(vqgan.parameters()), list(judge.parameters()))
        total = torch.stack([losses[n] for n in names]).sum()
        grads = [torch.autograd.grad(total, p, retain_graph=True, allow_unused=True) for p in both]
        return losses, list(grads[0]), list(grads[1])

    losses, _, of_judge = gradients(4, "total")
    assert losses["adversarial"] == losses["discriminator"] == 0 and of_judge == [None] * len(of_judge)
    losses, of_vqgan, of_judge = gradients(5, "total")
    assert losses["adaptive_weight"] > 0 and all(g is not None for g in (*of_vqgan, *of_judge))
    _, nothing, alone = gradients(5, "discriminator")
    assert nothing == [None] * len(nothing)
    torch.testing.assert_close(of_judge, alone)
    expected = hinge(judge(picture), judge(vqgan(picture)[0]))
    torch.testing.assert_close(losses["discriminator"], expected)


def test_the_adaptive_weight_balances_both_pulls() -> None:
    last = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    weight = adaptive_weight((3 * last).sum(), (-0.5 * last).sum(), last)
    assert weight == pytest.approx(6, rel=1e-3)


def test_signal_levels_are_those_of_latent_diffusion() -> None:
    levels = scaled_linear_levels(1000, (0.0015, 0.0195))
    assert levels[0] == pytest.approx(1 - 0.0015) and levels[1] == pytest.approx(
        (1 - 0.0015) * (1 - (0.0015**0.5 + (0.0195**0.5 - 0.0015**0.5) / 999) ** 2)
    )
    assert (levels.diff() < 0).all() and 0 < levels[-1] < 0.01


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_ddim_with_an_oracle_gives_the_clean_latent_back(prediction: str, steps: int) -> None:
    config = SMALL.model_copy(update={"prediction": prediction})
    levels, g = scaled_linear_levels(config.timesteps, config.betas), torch.Generator().manual_seed(0)
    z, noise = torch.randn(2, 3, 4, 4, generator=g), torch.randn(2, 3, 4, 4, generator=g)

    def oracle(x: Tensor, t_B: Tensor) -> Tensor:
        level = levels[t_B]
        eps = (x - level.sqrt().view(-1, 1, 1, 1) * z) / (1 - level).sqrt().view(-1, 1, 1, 1)
        return target(z, eps, level, prediction)

    generated = sample(oracle, noise, levels, config, steps=steps, eta=0.0, seed=0)
    torch.testing.assert_close(generated, z, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_predictions_stand_for_latent_and_noise(prediction: str) -> None:
    z, noise, level = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.tensor([0.3, 0.3])
    answer = target(z, noise, level, prediction)
    clean, eps = clean_and_noise(add_noise(z, noise, level), answer, 0.3, prediction)
    torch.testing.assert_close((clean, eps), (z, noise), atol=1e-5, rtol=1e-5)


def test_with_randomness_all_frames_share_the_noise_and_the_seed_decides() -> None:
    levels = scaled_linear_levels(100, SMALL.betas)
    start = torch.ones(3, 3, 4, 4)
    generated = [
        sample(lambda x, t: 0.1 * x, start, levels, SMALL, steps=5, eta=1.0, seed=seed) for seed in (1, 1, 2)
    ]  # fmt: skip
    assert torch.equal(generated[0], generated[1]) and not torch.equal(generated[0], generated[2])
    assert torch.equal(generated[0][0], generated[0][2])


@pytest.mark.parametrize(("tokens", "count"), [("each", 12), ("one", 2)])
def test_the_condition_is_the_window_of_sound_and_time(tokens: str, count: int) -> None:
    config = SMALL.model_copy(update={"audio_tokens": tokens})
    model, conditions = awake(config), inputs(config)
    t, kept = torch.tensor([3, 3]), torch.tensor([True, False])
    condition = model.condition(conditions["audio_BWA"], kept, t)
    assert condition.shape == (2, count, 16)
    torch.testing.assert_close(condition[1, :-1], model.silence)
    torch.testing.assert_close(condition[0, -1], condition[1, -1])


def test_an_untrained_denoiser_outputs_zero_and_a_trained_one_depends_on_its_conditions() -> None:
    conditions, x, t = inputs(SMALL), torch.randn(2, 3, 4, 4), torch.tensor([1, 60])
    kept = torch.ones(2, dtype=torch.bool)
    assert not DiT(SMALL)(x, t, **conditions, kept_B=kept).any()
    model = awake(SMALL)
    base = model(x, t, **conditions, kept_B=kept)
    assert base.shape == x.shape
    other = inputs(SMALL, seed=1)
    for name in conditions:
        assert not torch.allclose(base, model(x, t, **(conditions | {name: other[name]}), kept_B=kept), atol=1e-5)
    assert not torch.allclose(base, model(x, t + 30, **conditions, kept_B=kept), atol=1e-5)
    assert not torch.allclose(base, model(x, t, **conditions, kept_B=~kept), atol=1e-5)
    one = {k: v[1:] for k, v in conditions.items()}
    torch.testing.assert_close(base[1:], model(x[1:], t[1:], **one, kept_B=kept[1:]), atol=1e-5, rtol=1e-4)


def test_patches_go_back_to_where_they_came_from() -> None:
    """Without blocks the answer at a place depends on the latent of its own patch alone."""
    model, conditions, kept = awake(SMALL), inputs(SMALL), torch.ones(2, dtype=torch.bool)
    model.blocks = torch.nn.ModuleList()
    x, t = torch.randn(2, 3, 4, 4), torch.tensor([1, 2])
    changed = x.clone()
    changed[:, :, 2:, :2] += 1
    off = (model(changed, t, **conditions, kept_B=kept) - model(x, t, **conditions, kept_B=kept)).abs().amax(
        dim=(0, 1)
    ) > 1e-6
    assert off[2:, :2].all() and not off[:2].any() and not off[:, 2:].any()


def test_attention_maps_give_each_positions_attention_to_the_audio() -> None:
    model, conditions = awake(SMALL), inputs(SMALL)
    maps = model.attention_maps(torch.randn(2, 3, 4, 4), torch.tensor([1, 60]), **conditions)
    assert maps.shape == (2, 2, 2, 2) and (maps > 0).all() and (maps < 1).all()


def test_scales_bring_latents_to_unit_size_and_back() -> None:
    model, g = DiT(SMALL), torch.Generator().manual_seed(0)
    face = torch.randn(8, 3, 4, 4, generator=g) * torch.tensor([1.0, 5, 9]).view(3, 1, 1) + 4
    model.set_scales(face, 2 * face)
    scaled = model.scale_face(face)
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(3))
    torch.testing.assert_close(model.unscale_face(scaled), face)
    torch.testing.assert_close(model.scale_masked(2 * face), scaled)
    assert {"face_mean", "masked_std", "levels"} <= model.state_dict().keys()


def test_positions_and_timesteps_are_distinguished() -> None:
    codes = places(8, 32)
    assert codes.shape == (64, 32) and len(torch.unique(codes, dim=0)) == 64
    torch.testing.assert_close(codes[5, :16], codes[13, :16])  # the same column in the next row
    features = time_features(torch.arange(1000))
    assert features.shape == (1000, 256) and len(torch.unique(features, dim=0)) == 1000


def test_every_field_states_its_source_and_changes_are_ours() -> None:
    for kind in (DiTConfig, VQGANConfig, VQGANLossConfig, MaskConfig):
        assert set(kind.model_fields) - {"mask"} <= set(origins(kind))
    stated = {name for name, source in origins(DiTConfig).items() if source == "paper"}
    assert stated == {"audio_dim", "window", "mask.shape"}
    assert "window" not in ours(DiTConfig()) and ours(DiTConfig(window=2))["window"] == 2
    assert ours(DiTConfig(mask=MaskConfig(shape="lower-half")))["mask.shape"] == "lower-half"
    assert ours(DiTConfig())["depth"] == 12
