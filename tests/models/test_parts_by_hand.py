"""Parts of the models and of training on small inputs without symmetry, against numbers worked out by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from micro_dit_head import micro_settings
from micro_mesh import micro_mesh_settings
from numbered_cache import numbered_clip, write_numbered, write_numbered_meshes
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.diffusion import Diffusion
from dawn_bench.models.dawn.networks import Scene
from dawn_bench.models.dawn.options import SamplingOptions
from dawn_bench.models.dawn.passes import stream
from dawn_bench.models.diffspeaker import presets as diffspeaker_presets
from dawn_bench.models.diffspeaker.audio import LogMelEncoder
from dawn_bench.models.diffspeaker.config import AudioConfig
from dawn_bench.models.diffspeaker.schedule import alphas_cumprod, ddim_step, timesteps
from dawn_bench.models.dit_head import presets as dit_head_presets
from dawn_bench.models.dit_head.dubbing import blend
from dawn_bench.training import board, talking


def test_the_bound_of_the_flow_is_in_half_image_widths_whatever_its_scale() -> None:
    config = A2VConfig.fixed(dim=8, dim_mults=(1,), flow_bound=0.5, flow_scale=4.0)
    x0 = torch.tensor([3.0, -1.5, -3.0]).view(1, 3, 1, 1, 1)
    assert Diffusion(config).threshold(x0).flatten().tolist() == [2.0, -1.5, -1.0]


@pytest.mark.parametrize("normalisation", ["mask", "frame"])
def test_a_batch_without_lips_has_no_lip_loss(normalisation: str) -> None:
    """And with them it is by hand: three channels summed over the area, or a mean over everything."""
    config = A2VConfig.fixed(dim=8, dim_mults=(1,), lip_weight=2.0, lip_normalisation=normalisation)
    diffusion = Diffusion(config)

    class Nothing(nn.Module):
        def forward(self, x: Tensor, t: Tensor, **_: Tensor) -> Tensor:
            return torch.zeros_like(x)

    diffusion.denoise_fn = Nothing()  # type: ignore[assignment]
    noise = torch.arange(3 * 2 * 2 * 2, dtype=torch.float32).view(1, 3, 2, 2, 2) / 10
    given = {"source_BCHW": noise, "mask_BMHW": noise, "cond_BFD": noise}
    mask = torch.zeros(1, 2, 2, 2)
    none = diffusion.losses(noise, torch.tensor([5]), noise, lip_mask_BFHW=mask, **given)
    assert none.lip == 0 and none.total == none.eps == noise.square().mean()
    mask[0, 0, 1, 0] = mask[0, 1, 0, 1] = 1
    seen = diffusion.losses(noise, torch.tensor([5]), noise, lip_mask_BFHW=mask, **given)
    inside = noise[0, :, 0, 1, 0].square().sum() + noise[0, :, 1, 0, 1].square().sum()
    assert seen.lip.item() == pytest.approx(inside.item() / (2 if normalisation == "mask" else 24))
    assert seen.total.item() == pytest.approx((seen.eps + 2 * seen.lip).item())


@pytest.mark.parametrize(("residual", "scale"), [(False, 1.0), (True, 4.0)])
def test_motion_is_packed_as_scaled_flow_and_signed_occlusion(residual: bool, scale: float) -> None:
    """x, then y, then the occlusion map from -1 where nothing is visible to 1."""
    config = A2VConfig.fixed(dim=8, dim_mults=(1,), residual_flow=residual, flow_scale=scale)
    flow = torch.tensor([[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]]).view(1, 1, 2, 2, 2)
    occlusion = torch.tensor([[0.0, 0.25], [0.5, 1.0]]).view(1, 1, 1, 2, 2)
    z = A2VFDM(config).pack_motion(flow, occlusion)[0, :, 0]
    grid = torch.tensor([[[-1.0, 1.0], [-1.0, 1.0]], [[-1.0, -1.0], [1.0, 1.0]]]) * residual
    torch.testing.assert_close(z[:2], (flow[0, 0].movedim(-1, 0) - grid) * scale)
    assert z[2].tolist() == [[-1.0, -0.5], [0.0, 1.0]]


def test_diffspeakers_last_step_ends_at_level_zero() -> None:
    alphas = alphas_cumprod()
    assert timesteps(50)[0] == 981 and timesteps(50)[-1] == 1 and timesteps(1000)[0] == 999
    x, x0 = torch.tensor([2.0]), torch.tensor([0.5])
    first, low = alphas[0], alphas[1]
    official = first.sqrt() * x0 + (1 - first).sqrt() * x0
    torch.testing.assert_close(ddim_step(x, x0, step=1, steps=50, sampler="official011"), official)
    noise = (x - low.sqrt() * x0) / (1 - low).sqrt()
    textbook = first.sqrt() * x0 + (1 - first).sqrt() * noise
    torch.testing.assert_close(ddim_step(x, x0, step=1, steps=50, sampler="textbook"), textbook)
    before = alphas[961]
    torch.testing.assert_close(
        ddim_step(x, x0, step=981, steps=50, sampler="official011"), before.sqrt() * x0 + (1 - before).sqrt() * x0
    )


@pytest.mark.parametrize("place", [0, 3, 9])
def test_a_click_is_loudest_in_the_window_of_its_own_moment(place: int) -> None:
    """In the middle of its 20 ms, and as loud in the window before as in the one after."""
    encoder = LogMelEncoder(AudioConfig(encoder="logmel", hidden=4))
    seen: list[Tensor] = []
    encoder.conv1.forward = lambda x: seen.append(x) or torch.zeros(1, 4, x.shape[2])  # type: ignore[func-returns-value]
    sound = torch.zeros(1, 10 * 320)
    sound[0, place * 320 + 160] = 30.0
    encoder(sound)
    loud = seen[0][0].exp().sum(0)
    assert len(loud) == 10 and int(loud.argmax()) == place
    if 0 < place < 9:
        assert loud[place - 1].item() == pytest.approx(loud[place + 1].item(), rel=0.02)


def test_blending_weighs_both_neighbours_alike_and_repeats_the_ends() -> None:
    z = torch.tensor([0.0, 4.0, 0.0, 0.0, 8.0]).view(5, 1, 1, 1)
    assert blend(z).flatten().tolist() == [1.0, 2.0, 1.0, 2.0, 6.0]


def test_the_transformer_is_as_wide_as_each_of_its_two_networks(tmp_path: Path) -> None:
    cache = Cache(write_numbered(tmp_path / "cache", lengths=(26,), splits=("train",)))
    settings = micro_settings("vqgan_face.model.latent_channels=5", "vqgan_masked.model.latent_channels=7")
    fitted = dit_head_presets.fit_to_cache(settings, cache).dit.model
    assert (fitted.latent_channels, fitted.masked_channels, fitted.audio_dim) == (5, 7, 80)


def test_own_subjects_take_rate_and_period_from_the_data(tmp_path: Path) -> None:
    meshes = Cache(write_numbered_meshes(tmp_path / "meshes", fps=50))
    fitted = diffspeaker_presets.fit_to_cache(micro_mesh_settings(), meshes).diffspeaker.model
    assert (fitted.vertices, fitted.fps, fitted.period, fitted.subjects) == (5, 50, 50, ("s0", "s2", "s4"))


def test_a_generated_mouth_is_compared_with_the_first_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip("c", "s", "val", 26, numbered_clip(1, size=32, frames=26))
    seen: list[np.ndarray] = []

    def landmarks(frames: np.ndarray, true: np.ndarray, backend: Any) -> np.ndarray:
        seen.append(true)
        return true

    monkeypatch.setattr(talking, "landmarks_where_true", landmarks)
    monkeypatch.setattr(talking, "pick_backend", lambda name: None)
    talking.mouth_agreement(clip, np.asarray(clip["frames"][:7]))
    np.testing.assert_array_equal(seen[0], clip["landmarks"][:7])


@pytest.mark.parametrize(("length", "passes"), [(60, 1), (61, 2), (110, 2), (111, 3), (160, 3)])
def test_passes_show_every_frame_once_and_go_on_from_the_same_motion(length: int, passes: int) -> None:
    """Passes of 60 frames that share 10: the motion of a frame is its number."""
    calls: list[Any] = []

    class Numbered:
        def sample(self, scene: Scene, options: Any, *, fixed: Any, progress: Any) -> Tensor:
            numbers = scene.cond_BFD[0, :, 0]
            calls.append((numbers, fixed))
            return numbers.view(1, 1, -1, 1, 1).expand(1, 3, -1, 1, 1)

        def show(self, scene: Scene, z: Tensor, *, precision: str) -> np.ndarray:
            return z[0, 0, :, 0, 0].numpy()

    scene = Scene(None, torch.zeros(1), torch.arange(float(length)).view(1, -1, 1), torch.Generator())  # type: ignore[arg-type]
    segments = list(stream(Numbered(), scene, SamplingOptions(), longest=60, overlap=10))  # type: ignore[arg-type]
    assert np.concatenate(segments).tolist() == list(range(length))
    assert len(calls) == passes and max(len(numbers) for numbers, _ in calls) <= 60
    for (before, _), (numbers, fixed) in pairwise(calls):
        assert fixed[0].tolist() == list(range(10))
        assert fixed[1][0, 0, :, 0, 0].tolist() == before[-10:].tolist() == numbers[:10].tolist()
    assert calls[0][1] is None


@pytest.mark.parametrize(("start", "hidden"), [(0, None), (1, 2), (40, 41)])
def test_a_resumed_run_hides_the_events_after_the_step_it_goes_on_from(
    start: int, hidden: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = pytest.importorskip("torch.utils.tensorboard")
    seen: list[int | None] = []
    monkeypatch.setattr(writers, "SummaryWriter", lambda folder, *, purge_step: seen.append(purge_step))
    monkeypatch.setattr(board, "_installed", lambda: True)
    board.Board(tmp_path, start=start)
    assert seen == [hidden]
