"""DiffSpeaker's generator by content: sound, style, options and rest face; and its parts on inputs without symmetry."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dawn_bench.models.diffspeaker import model as model_module
from dawn_bench.models.diffspeaker.audio import frames_of, normalise
from dawn_bench.models.diffspeaker.config import AudioConfig, DiffSpeakerConfig
from dawn_bench.models.diffspeaker.generator import DiffSpeakerGenerator, SpeakingOptions
from dawn_bench.models.diffspeaker.model import DiffSpeaker, mesh_losses, smoothed
from dawn_bench.models.diffspeaker.rest import read_rest
from dawn_bench.models.generator import TalkingClip, TalkingStream

CONFIG = DiffSpeakerConfig(
    vertices=5, latent=8, ff=8, heads=2, fps=30, period=30, subjects=("a", "b", "c"), steps=4, sampler="textbook",
    audio=AudioConfig(encoder="logmel", hidden=8),
)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "style", "steps", "sampler"),
    [({}, 0, 4, "textbook"), ({"style": "c", "steps": 7}, 2, 7, "textbook"),
     ({"style": "b", "sampler": "official011"}, 1, 4, "official011")],
)  # fmt: skip
def test_style_steps_and_sampler_reach_the_network(
    options: dict[str, Any], style: int, steps: int, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    speaker = DiffSpeakerGenerator(DiffSpeaker(CONFIG))
    seen: list[Any] = []
    denoise = speaker.model.denoiser.forward

    def forward(x: Tensor, memory: Tensor, step: Tensor, style: Tensor, valid: Tensor | None = None) -> Tensor:
        seen.append((style.tolist(), memory.shape[1]))
        return denoise(x, memory, step, style, valid)

    monkeypatch.setattr(speaker.model.denoiser, "forward", forward)
    real = model_module.sample

    def sample(predict: Any, noise: Tensor, **named: Any) -> Tensor:
        seen.append(named)
        assert torch.equal(noise, torch.randn(noise.shape, generator=torch.Generator().manual_seed(3)))
        return real(predict, noise, **named)

    monkeypatch.setattr(model_module, "sample", sample)
    rest, sound = np.arange(15, dtype=np.float32).reshape(5, 3), np.arange(16_000, dtype=np.int16) % 900
    vertices = speaker.speak(rest, sound, seed=3, options=SpeakingOptions(**options))
    assert vertices.shape == (30, 5, 3)
    assert seen[0] == {"steps": steps, "sampler": sampler}
    assert seen[1:] == [([style], 30)] * steps
    moved = speaker.speak(rest + 7, sound, seed=3, options=SpeakingOptions(**options))
    np.testing.assert_allclose(moved, vertices + 7, rtol=1e-5)


def test_a_collected_clip_has_all_that_its_stream_has() -> None:
    """Every field of a clip that a stream has too, and the frames of all segments in order."""
    values: dict[str, Any] = {
        "audio": np.arange(9, dtype=np.int16), "fps": 30, "vertices": np.ones((3, 2, 3), np.float32),
        "notes": ("the picture was turned", "the sound was converted"),
    }  # fmt: skip
    segments = [np.full((n, 2, 2, 3), n, np.uint8) for n in (2, 1)]
    clip = TalkingStream(iter(segments), 3, **values).collect()
    assert {f.name for f in fields(TalkingClip)} == {"frames", *values}, "say here what the new field is"
    assert all(getattr(clip, name) is value for name, value in values.items())
    assert clip.frames[:, 0, 0, 0].tolist() == [2, 2, 1]


@pytest.mark.parametrize(("samples", "frames"), [(16_000, 30), (16_533, 30), (16_534, 31), (15_999, 29)])
def test_a_mesh_has_the_whole_frames_of_its_sound(samples: int, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = DiffSpeakerGenerator(DiffSpeaker(CONFIG))

    def generate(waveform: Tensor, style: Tensor, *, frames: int, **named: Any) -> Tensor:
        np.testing.assert_allclose(waveform[0].numpy(), 0.25)
        return torch.zeros(1, frames, 15)

    monkeypatch.setattr(speaker.model, "generate", generate)
    sound = np.full(samples, 8192, np.int16)
    assert len(speaker.speak(np.zeros((5, 3), np.float32), sound, seed=0, options=SpeakingOptions())) == frames


@pytest.mark.parametrize(("steps", "fps", "frames"), [(50, 30, 30), (49, 30, 29), (50, 25, 25), (1, 25, 0)])
def test_frames_of_the_encoder_are_whole(steps: int, fps: int, frames: int) -> None:
    assert frames_of(steps, fps) == frames


def test_padding_of_sound_is_left_out_of_its_mean_and_stays_silent() -> None:
    sound = torch.tensor([[1.0, 3.0, 5.0, 9.0], [2.0, 4.0, 50.0, -50.0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    normal = normalise(sound, mask)
    torch.testing.assert_close(normal[1], torch.tensor([-1.0, 1.0, 0.0, 0.0]), atol=1e-4, rtol=1e-4)
    assert normal[0].mean().abs() < 1e-6 and normal[0].var(unbiased=False).item() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(normalise(sound)[0], normal[0])


def test_mesh_losses_by_hand() -> None:
    """Padded frames are zero on both sides and count in the means; changes are between neighbouring frames."""
    true = torch.tensor([[[1.0], [2.0], [4.0], [100.0]]])
    ours = torch.tensor([[[1.5], [2.0], [3.0], [-100.0]]])
    losses = mesh_losses(ours, true, torch.tensor([[True, True, True, False]]))
    assert losses["rec"].item() == pytest.approx((0.25 + 0 + 1 + 0) / 4)
    assert losses["vel"].item() == pytest.approx(((0.5 - 1) ** 2 + (1 - 2) ** 2 + (-3 + 4) ** 2) / 3)
    assert losses["total"] == losses["rec"] + losses["vel"]


def test_smoothing_is_a_mean_of_three_with_the_ends_kept() -> None:
    x = torch.tensor([1.0, 4.0, 10.0, 1.0]).view(1, 4, 1)
    assert smoothed(x).flatten().tolist() == [1.0, 5.0, 5.0, 1.0]


@pytest.mark.parametrize("coding", ["ascii", "binary_little_endian"])
def test_coordinates_of_a_mesh_file_are_read_by_their_names(
    coding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a vertex with colours between its coordinates, which come as z, x, y."""
    rows = np.array([[3.5, 1.5, 9, 2.5], [6.5, 4.5, 9, 5.5]])
    header = (
        f"ply\nformat {coding} 1.0\nelement vertex 2\nproperty float z\nproperty double x\nproperty uchar red\n"
        "property float y\nend_header\n"
    )
    kind = np.dtype([("z", "<f4"), ("x", "<f8"), ("red", "<u1"), ("y", "<f4")])
    packed = np.array([tuple(row) for row in rows], kind).tobytes()
    body = b"".join(b"%g %g %d %g\n" % tuple(row) for row in rows) if coding == "ascii" else packed
    path = tmp_path / "rest.ply"
    path.write_bytes(header.encode() + body)
    monkeypatch.setattr("dawn_bench.models.diffspeaker.rest.read_triangles", lambda path, *, vertices: None)
    rest, _ = read_rest(path, vertices=2)
    np.testing.assert_array_equal(rest, [[1.5, 2.5, 3.5], [4.5, 5.5, 6.5]])
