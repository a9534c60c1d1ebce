"""PBNet by itself: any length in bounded memory, independent batch items, units, seeds, the fixed preset."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from dawn_bench.models.dawn import pbnet_attention
from dawn_bench.models.dawn.discriminator import SHORTEST, SequenceDiscriminator
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig, normalise, restore
from dawn_bench.models.dawn.pbnet_loss import kl_weight, pbnet_losses
from dawn_bench.weights import seeded_fill

WIDTHS = {"audio_dim": 5, "audio_latent_dim": 16, "pose_latent_dim": 16, "latent_dim": 8, "ff_size": 16, "head_dim": 8}


def network(**changes: object) -> PBNet:
    model = PBNet(PBNetConfig.fixed(**{**WIDTHS, **changes})).eval()
    seeded_fill(model, salt="test/")
    return model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
@pytest.mark.parametrize("window", [7, None])
def test_blocks_of_queries_change_nothing(monkeypatch, window):
    model = network(window=window)
    first, z, audio = torch.randn(2, 8), torch.randn(50, 2, 8), torch.randn(2, 50, 5)
    whole = model.decode(first, z, audio)
    monkeypatch.setattr(pbnet_attention, "BLOCK", 16)
    torch.testing.assert_close(model.decode(first, z, audio), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_frame_sees_no_further_than_its_windows():
    model = network(window=3, num_layers=1)
    first, z, audio = torch.randn(1, 8), torch.randn(60, 1, 8), torch.randn(1, 60, 5)
    before = model.decode(first, z, audio)
    audio[:, 50:] += 1
    after = model.decode(first, z, audio)
    # The queries are all alike, so that one layer attends to the sound through one window only.
    assert torch.equal(before[:, :46], after[:, :46])
    assert not torch.allclose(before[:, 47:50], after[:, 47:50])


@torch.no_grad()
def test_a_minute_fits_without_the_square_of_its_length(monkeypatch):
    model = network(window=20)
    shapes = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def watched(q, k, v, **rest):
        shapes.append(rest["attn_mask"].numel())
        return attention(q, k, v, **rest)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    out = model.generate(torch.zeros(1, 8), torch.randn(1, 3000, 5), generator=seeded())
    assert out.shape == (1, 3000, 8)
    assert torch.isfinite(out).all()
    assert max(shapes) <= 4 * 512 * (512 + 40)


@torch.no_grad()
def test_masked_padding_has_no_effect():
    model = network()
    x, audio, z = torch.randn(2, 30, 8), torch.randn(2, 30, 5), torch.randn(30, 2, 8)
    valid = torch.arange(30)[None] < torch.tensor([[30], [20]])
    together = model.decode(x[:, 0], z, audio, valid)
    alone = model.decode(x[1:, 0], z[:20, 1:], audio[1:, :20])
    torch.testing.assert_close(together[1:, :20], alone, rtol=0, atol=1e-5)
    assert (together[1, 20:] == 0).all()
    mu, _ = model.encode(x, audio, valid)
    torch.testing.assert_close(mu[:20, 1:], model.encode(x[1:, :20], audio[1:, :20])[0], rtol=0, atol=1e-5)


def test_the_same_seed_draws_the_same_track_and_another_seed_another():
    model = network()
    state, audio = torch.tensor([[5.0, -3, 1, 0.5, 100, 90, 0.3, 0.3]]), torch.randn(1, 40, 5)
    one, two, other = (model.generate(state, audio, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(("pos", "eye"), [(6, 2), (6, 0), (0, 2)])
def test_units_come_back_and_only_pose_is_scaled(pos, eye):
    config = PBNetConfig.fixed(pos_dim=pos, eye_dim=eye, pose_max=(90, 90, 90, 128, 128, 128))
    state = torch.tensor([[-90.0, 0, 90, 0, 64, 128, 0.3, 0.25]])[:, 6 - pos : 6 + eye]
    inside = normalise(state, config)
    torch.testing.assert_close(restore(inside, config), state)
    expected = torch.tensor([[0.0, 0.5, 1, 0, 0.5, 1, 0.3, 0.25]])[:, 6 - pos : 6 + eye]
    torch.testing.assert_close(inside, expected)


def test_the_kl_schedules():
    slip, mended = PBNetConfig.reference(), PBNetConfig.fixed(kl_start=10, kl_ramp=100)
    assert [kl_weight(e, slip) for e in (0, 1, 9_999, 10_000)] == [0.004, 0, 0, 0.004]
    assert kl_weight(100_000, slip) > 0.005
    assert [kl_weight(e, mended) for e in (0, 10, 60, 110, 9_999)] == [0, 0, 0.005, 0.01, 0.01]


def test_nothing_to_predict_is_refused():
    with pytest.raises(ValidationError, match="nothing to predict"):
        PBNetConfig(pos_dim=0, eye_dim=0)


def test_a_few_steps_lower_the_reconstruction():
    torch.manual_seed(0)
    model = PBNet(PBNetConfig.fixed(**WIDTHS, dropout=0.0)).train()
    audio = torch.randn(4, SHORTEST + 8, 5)
    x = audio.cumsum(dim=1)[..., :1].tanh().expand(-1, -1, 8) * 0.3
    valid = torch.ones(4, SHORTEST + 8, dtype=torch.bool)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    seen = []
    for step in range(40):
        noise = torch.randn(SHORTEST + 8, 4, 8)
        losses, _ = pbnet_losses(model, x, audio, valid, epoch=step, noise_NBZ=noise)
        assert losses.gan_g == losses.gan_d == 0
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        seen.append(losses.rc.item())
    assert sum(seen[-5:]) < 0.5 * sum(seen[:5])


def test_the_discriminator_learns_to_tell():
    torch.manual_seed(0)
    model, judge = PBNet(PBNetConfig.fixed(**WIDTHS)).train(), SequenceDiscriminator(8, width=8)
    audio = torch.randn(4, SHORTEST + 8, 5)
    x = torch.randn(4, SHORTEST + 8, 8)
    valid = torch.ones(4, SHORTEST + 8, dtype=torch.bool)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=3e-3)
    seen = []
    for _ in range(20):
        noise = torch.randn(SHORTEST + 8, 4, 8)
        losses, _ = pbnet_losses(model, x, audio, valid, epoch=0, noise_NBZ=noise, discriminator=judge)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        seen.append(losses.gan_d.item())
    assert seen[-1] < 0.5 * seen[0]


def test_the_shortest_sequence_leaves_a_patch():
    judge = SequenceDiscriminator(2).eval()
    assert judge(torch.zeros(1, 2, SHORTEST)).shape[2] == 1
    with pytest.raises(RuntimeError):
        judge(torch.zeros(1, 2, SHORTEST - 1))


def test_eyes_have_a_range_as_the_pose_has():
    config = PBNetConfig(eye_range=(0.25, 0.30))
    state = torch.tensor([[0.0, 0.0, 0.0, 0.5, 360.0, 540.0, 0.30, 0.10]])
    units = normalise(state, config)
    torch.testing.assert_close(units, torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0, -3.0]]))
    torch.testing.assert_close(restore(units, config), state)
    assert torch.equal(normalise(state, PBNetConfig())[:, 6:], state[:, 6:])


@torch.no_grad()
def test_with_a_slope_attention_starts_at_the_frame_itself():
    """The bias falls with the distance, half as steeply in the next head; without a slope it starts at random."""
    torch.manual_seed(0)
    frames = torch.arange(9)
    decoder = PBNet(PBNetConfig.fixed(**WIDTHS, num_heads=2, bias_slope=2.0)).decoder
    distance = (frames[:, None] - frames[None]).abs().float()
    for bias in (decoder.time_rel_pos_bias_tgt, decoder.time_rel_pos_bias_mem):
        torch.testing.assert_close(bias(frames, frames, window=None), torch.stack([-2 * distance, -distance]))
    free = PBNet(PBNetConfig.fixed(**WIDTHS, num_heads=2)).decoder.time_rel_pos_bias_mem
    assert free(frames, frames, window=None).diagonal(dim1=1, dim2=2).abs().max() > 0.1


@torch.no_grad()
def test_a_slope_reaches_every_bucket():
    bias = pbnet_attention.RelativeBias(1, num_buckets=32, max_distance=64, slope=0.5)
    frames = torch.arange(64)
    assert bias(frames, frames, window=None)[0, 0].diff().max() <= 0
    assert bias(frames, frames, window=None)[0, 0, -1] < -20
