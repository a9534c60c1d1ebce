"""DiT-Head's dubbing by content: which frame, hole, sound, reference and noise reach the networks, in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from micro_dit_head import micro_settings
from numbered_cache import numbered_clip
from torch import Tensor

from dawn_bench.models.dit_head.audio import windows
from dawn_bench.models.dit_head.config import MaskConfig
from dawn_bench.models.dit_head.dit import DiT, places
from dawn_bench.models.dit_head.dubbing import BATCH, DitHeadNetworks, DubOptions
from dawn_bench.models.dit_head.mask import frame_mask, mouth_mask
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.models.dit_head.vqgan_loss import PatchDiscriminator, hinge, vqgan_losses
from dawn_bench.models.perceptual import PixelLoss
from dawn_bench.pixels import from_frames

SIZE, REACH = 32, 3


@pytest.fixture(scope="module")
def networks() -> DitHeadNetworks:
    settings = micro_settings(f"dit.model.window={REACH}", "dit.model.audio_dim=1")
    torch.manual_seed(0)
    face, masked = VQGAN(settings.vqgan_face.model), VQGAN(settings.vqgan_face.model)
    dit = DiT(settings.dit.model)
    with torch.no_grad():
        dit.set_scales(torch.randn(4, 3, 8, 8) * 3 + 1, torch.randn(4, 3, 8, 8) * 0.5 - 2)
    return DitHeadNetworks(face, masked, dit)


@pytest.mark.parametrize("given", [True, False])
def test_each_frame_is_dubbed_with_its_own_hole_and_sound(
    given: bool, networks: DitHeadNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video of five frames and speech of eleven: forwards, backwards without repeats, forwards again."""
    clip = numbered_clip(1, size=SIZE, frames=5)
    sound = np.arange(11.0)[:, None]
    reference = numbered_clip(0, size=SIZE, frames=1)["frames"][0] if given else None
    monkeypatch.setattr("dawn_bench.models.dit_head.dubbing.BATCH", 4)
    calls: list[dict[str, Tensor]] = []
    starts: list[Tensor] = []

    def forward(self: DiT, x: Tensor, t: Tensor, **named: Tensor) -> Tensor:
        calls.append(named)
        starts.append(x)
        return torch.zeros_like(x)

    monkeypatch.setattr(DiT, "forward", forward)
    networks.dub(clip["frames"], clip["landmarks"], sound, seed=5, options=DubOptions(steps=1), reference=reference)
    order = [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2]
    holes = torch.from_numpy(mouth_mask(clip["landmarks"], SIZE, networks.dit.config.mask))[order]
    pictures = from_frames(torch.from_numpy(clip["frames"]), signed=True)[order]
    dit = networks.dit
    with torch.no_grad():
        hidden = networks.masked.encode(torch.where(holes[:, None], -1.0, pictures))
        first = pictures[:1] if reference is None else from_frames(torch.from_numpy(reference)[None], signed=True)
        shown = networks.face.encode(first)
    hidden = (hidden - dit.masked_mean[:, None, None]) / dit.masked_std[:, None, None]
    shown = (shown - dit.face_mean[:, None, None]) / dit.face_std[:, None, None]
    assert [len(c["audio_BWA"]) for c in calls] == [4, 4, 3]
    torch.testing.assert_close(torch.cat([c["masked_BZhh"] for c in calls]), hidden, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        torch.cat([c["reference_BZhh"] for c in calls]), shown.expand(11, -1, -1, -1), atol=1e-4, rtol=1e-4
    )
    expected = [[min(max(k + d, 0), 10) for d in range(-REACH, REACH + 1)] for k in range(11)]
    assert torch.cat([c["audio_BWA"] for c in calls])[..., 0].tolist() == expected
    assert all(c["kept_B"].all() for c in calls)
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(torch.cat(starts), noise.expand(11, -1, -1, -1))
    assert BATCH == 64


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.5])
def test_guidance_goes_from_silence_through_the_sound(
    scale: float, networks: DitHeadNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below 1 nearer to silence, at 0 silence alone, above 1 beyond the sound."""
    seen: list[float] = []

    def noting(predict: Any, x: Tensor, *given: Any, **named: Any) -> Tensor:
        seen.append(float(predict(x, torch.zeros(len(x), dtype=torch.long)).mean()))
        return x

    monkeypatch.setattr(
        DiT, "forward", lambda self, x, t, **named: named["kept_B"].float().view(-1, 1, 1, 1).expand_as(x)
    )
    monkeypatch.setattr("dawn_bench.models.dit_head.dubbing.sample", noting)
    clip = numbered_clip(1, size=SIZE, frames=2)
    networks.dub(clip["frames"], clip["landmarks"], np.zeros((2, 1)), seed=0, options=DubOptions(guidance=scale))
    assert seen == pytest.approx([scale])


def _head(frames: int, *, left: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Landmarks of a face in a picture of 64 pixels whose jaw reaches `left`, `right` and `down` from the nose."""
    points = np.zeros((frames, 68, 2))
    points[:, 31:36] = np.stack([np.linspace(30, 34, 5), np.full(5, 30.0)], -1)
    points[:, 30] = (32, 28)
    turn = np.linspace(0, np.pi, 17)
    across = np.where(np.arange(17) < 8, -left[:, None], right[:, None]) * np.abs(np.cos(turn))
    points[:, :17, 0] = 32 + across
    points[:, :17, 1] = 30 + down[:, None] * np.sin(turn)
    return points


@pytest.mark.parametrize("spread", [0, 2])
def test_the_mask_reaches_as_far_as_the_jaw_does_nearby_on_each_side(spread: int) -> None:
    """A head that turns: its left side is widest in frame 1, its right in frame 6, the jaw deepest in frame 4."""
    left, right, down = np.full(8, 10.0), np.full(8, 12.0), np.full(8, 14.0)
    left[1], right[6], down[4] = 18.0, 22.0, 24.0
    config = MaskConfig(jaw=(0, 16), pull=0.0, spread=spread, chin=0.0)
    masks = mouth_mask(_head(8, left=left, right=right, down=down), 64, config)

    def widest(values: np.ndarray, k: int) -> float:
        return float(values[max(0, k - spread) : k + spread + 1].max())

    for k, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert columns[0] == 32 - widest(left, k) and columns[-1] == 32 + widest(right, k)
        assert rows[0] == 30 and rows[-1] == 30 + widest(down, k)
        one = _mask_of(k, left, right, down, config)
        np.testing.assert_array_equal(one, mask)


def _mask_of(k: int, left: np.ndarray, right: np.ndarray, down: np.ndarray, config: MaskConfig) -> np.ndarray:
    from dawn_bench.clip import Clip

    clip = Clip("c", "s", "train", 8, {"landmarks": _head(8, left=left, right=right, down=down)})
    return frame_mask(clip, k, config, size=64)


def test_pull_moves_the_jaw_towards_the_nose_and_chin_lowers_its_middle() -> None:
    plain = {"left": np.full(1, 20.0), "right": np.full(1, 20.0), "down": np.full(1, 20.0)}

    def edges(**changes: Any) -> tuple[int, int, int]:
        mask = mouth_mask(_head(1, **plain), 64, MaskConfig(**{"jaw": (0, 16), "pull": 0, "chin": 0, **changes}))[0]
        columns = np.flatnonzero(mask.any(0))
        return int(columns[0]), int(columns[-1]), int(np.flatnonzero(mask.any(1))[-1])

    assert edges() == (12, 52, 50)
    assert edges(pull=0.25) == (17, 47, 45)
    assert edges(pull=-0.25) == (7, 57, 55)
    assert edges(chin=0.1) == (12, 52, 54)  # a tenth of the face's width of 40
    cut = mouth_mask(_head(1, **plain), 64, MaskConfig(jaw=(4, 13), pull=0, chin=0))[0]
    columns = np.flatnonzero(cut.any(0))
    turn = np.pi / 16
    assert (columns[0], columns[-1]) == (round(32 - 20 * np.cos(4 * turn)), round(32 + 20 * np.cos(3 * turn)))


def test_windows_of_sound_are_centred_on_their_frames() -> None:
    rows = windows(np.arange(6.0)[:, None], 2, np.array([0, 3, 5]))[..., 0]
    assert rows.tolist() == [[0, 0, 0, 1, 2], [1, 2, 3, 4, 5], [3, 4, 5, 5, 5]]


def test_positions_tell_columns_from_rows() -> None:
    """The first half of the channels is that of the column, the second that of the row."""
    codes = places(3, 8).view(3, 3, 8)
    for k in range(3):
        assert torch.equal(codes[0, k, :4], codes[2, k, :4]) and torch.equal(codes[k, 0, 4:], codes[k, 2, 4:])
    assert not torch.equal(codes[0, 1, :4], codes[0, 2, :4]) and not torch.equal(codes[1, 0, 4:], codes[2, 0, 4:])
    np.testing.assert_allclose(codes[0, 1, :4], [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)], rtol=1e-6)


def test_the_losses_of_the_vqgan_are_those_of_the_paper() -> None:
    """By hand: L1, the perceptual loss of pictures in 0 to 1, codebook, commitment, and both adversarial terms."""
    torch.manual_seed(0)
    settings = micro_settings()
    vqgan, judge = VQGAN(settings.vqgan_face.model), PatchDiscriminator(channels=4, layers=1)
    config = settings.vqgan_face.loss.model_copy(
        update={"perceptual_weight": 0.7, "commitment": 0.3, "adversarial_weight": 0.6, "adversarial_from": 2}
    )
    picture = torch.rand(2, 3, SIZE, SIZE) * 2 - 1

    class Bounded(PixelLoss):
        def forward(self, ours: Tensor, theirs: Tensor) -> Tensor:
            assert theirs.min() >= 0 and theirs.max() <= 1
            torch.testing.assert_close(theirs, (picture + 1) / 2)
            return (ours - theirs).square().sum()

    def losses(step: int) -> dict[str, Tensor]:
        return vqgan_losses(vqgan, judge, picture, perceptual=Bounded(), config=config, step=step)

    rebuilt, codes = vqgan(picture)
    z = vqgan.encode(picture)
    chosen = vqgan.quantiser.codebook[codes.index_Bhh].movedim(-1, 1)
    distance = (z - chosen).square().mean()
    colour, seen = (rebuilt - picture).abs().mean(), ((rebuilt - picture) / 2).square().sum()
    early = losses(1)
    expected = {"colour": colour, "perceptual": seen, "quantise": 1.3 * distance}
    expected["total"] = colour + 0.7 * seen + 1.3 * distance
    for name, value in expected.items():
        torch.testing.assert_close(early[name], value, rtol=1e-4, atol=1e-5)
    assert early["codes_used"] == len(codes.index_Bhh.unique())
    # The codebook is pulled with weight 1, the encoder with that of the commitment.
    (to_codes,) = torch.autograd.grad(early["quantise"], vqgan.quantiser.codebook, retain_graph=True)
    (by_hand,) = torch.autograd.grad((z.detach() - chosen).square().mean(), vqgan.quantiser.codebook)
    torch.testing.assert_close(to_codes, by_hand)
    late = losses(2)
    real, fake = judge(picture), judge(rebuilt)
    torch.testing.assert_close(late["adversarial"], -fake.mean(), rtol=1e-4, atol=1e-5)
    judged = 0.5 * ((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    torch.testing.assert_close(late["discriminator"], judged, rtol=1e-4, atol=1e-5)
    total = expected["total"] + 0.6 * late["adaptive_weight"] * late["adversarial"] + judged
    torch.testing.assert_close(late["total"], total, rtol=1e-4, atol=1e-4)
    assert hinge(torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])).item() == pytest.approx(0.5 * (0.25 + 0.5))
