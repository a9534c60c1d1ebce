"""Which frames reach the losses of DiT-Head and DiffSpeaker, in which units, by content on numbered caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from micro_dit_head import micro_settings
from micro_mesh import micro_mesh_settings
from numbered_cache import LENGTHS, SPLITS, code, named, write_numbered, write_numbered_meshes
from torch import Tensor

from dawn_bench.cache import Cache
from dawn_bench.models.diffspeaker import presets as diffspeaker_presets
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.stages.diffspeaker import DiffSpeakerStage
from dawn_bench.models.dit_head import presets as dit_head_presets
from dawn_bench.models.dit_head.dit import DiT
from dawn_bench.models.dit_head.mask import mouth_mask
from dawn_bench.models.dit_head.stages import vqgan as vqgan_stage
from dawn_bench.models.spec import MODELS

TRAINED_ON = [c for c, split in enumerate(SPLITS) if split == "train"]
SIZE = 32


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(write_numbered(tmp_path_factory.mktemp("numbered") / "cache"))


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with both VQGANs at random weights, which are not the same."""
    out = tmp_path_factory.mktemp("numbered") / "run"
    for seed, name in enumerate(("vqgan-face", "vqgan-masked")):
        build(name, cache, out, seed=seed).save(out / name / "model.safetensors", {})
    return out


def build(stage: str, cache: Cache, run: Path, *overrides: str, seed: int = 3) -> Any:
    """A stage of DiT-Head's micro preset."""
    settings = dit_head_presets.fit_to_cache(micro_settings(*overrides), cache)
    return MODELS["dit-head"].stages[stage](cache, settings, run=run, seed=seed, device="cpu")


def frame(cache: Cache, clip: int, number: int) -> Tensor:
    """A frame as DiT-Head sees it: (3,S,S) in [-1, 1]."""
    values = np.moveaxis(np.array(cache[f"c{clip}"]["frames"][number]), -1, 0)
    return torch.from_numpy(values.astype(np.float32)) / 127.5 - 1


def number_of(picture_SS3: Tensor) -> tuple[int, int]:
    """Clip and frame of a picture as cached."""
    red, green = picture_SS3[0, 0, :2].tolist()
    return (green - 30) // 40, (red - 40) // 5


def hole_of(cache: Cache, clip: int, number: int) -> Tensor:
    """The mask of one frame, cut out of that of the whole clip."""
    mask = micro_settings().dit.model.mask
    return torch.from_numpy(mouth_mask(np.asarray(cache[f"c{clip}"]["landmarks"]), SIZE, mask)[number])


@pytest.mark.parametrize("name", ["vqgan-face", "vqgan-masked"])
@pytest.mark.parametrize("flip", [True, False])
def test_a_vqgan_is_trained_on_whole_or_masked_frames(
    name: str, flip: bool, cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = build(name, cache, run, f"{name.replace('-', '_')}.flip={str(flip).lower()}")
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(vqgan_stage, "vqgan_losses", lambda *given, **named: calls.append((given, named)) or {})
    mirrored = []
    for step in range(8):
        batch = stage.batch(step)
        stage.losses(batch, torch.Generator())
        (vqgan, discriminator, shown), given = calls[-1]
        assert vqgan is stage.module.vqgan and discriminator is stage.module.discriminator
        assert given == {"perceptual": stage.perceptual, "config": stage.config.loss, "step": step}
        for row, place in enumerate(batch["clip"].tolist()):
            clip, number = number_of(batch["picture"][row])
            assert clip == TRAINED_ON[place]
            expected = frame(cache, clip, number)
            if name == "vqgan-masked":
                expected = torch.where(hole_of(cache, clip, number), -1.0, expected)
            mirrored.append(not torch.allclose(shown[row], expected, atol=1e-6))
            torch.testing.assert_close(shown[row], expected.flip(-1) if mirrored[-1] else expected)
    assert set(mirrored) == ({True, False} if flip else {False})


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_the_transformer_is_trained_on_a_frame_its_sound_and_a_distant_reference(
    prediction: str, cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By content at the network's input; the loss against its target by hand, with the mouth counted again."""
    changes = ("model.mouth_weight=3", "model.window=3", "reference_gap=9", f"model.prediction={prediction}")
    stage = build("dit", cache, run, *(f"dit.{c}" for c in changes))
    model, levels = stage.module, stage.module.levels
    calls: list[tuple[tuple[Tensor, ...], dict[str, Tensor]]] = []

    def forward(self: DiT, *given: Tensor, **named: Tensor) -> Tensor:
        calls.append((given, named))
        return torch.full_like(given[0], 0.3)

    monkeypatch.setattr(DiT, "forward", forward)
    for step in range(4):
        batch = stage.batch(step)
        values = stage.losses(batch, torch.Generator())
        (noisy, t), given = calls[-1]
        assert torch.equal(t, batch["timestep"]) and torch.equal(given["kept_B"], batch["kept"])
        errors, holes = [], []
        for row, place in enumerate(batch["clip"].tolist()):
            clip, number = number_of(batch["picture"][row])
            other_clip, other = number_of(batch["reference"][row])
            assert clip == other_clip == TRAINED_ON[place] and abs(other - number) >= 9
            around = np.clip(number + np.arange(-3, 4), 0, LENGTHS[clip] - 1)
            np.testing.assert_allclose(given["audio_BWA"][row, :, 1], code(clip, around) + 0.25)
            hole = hole_of(cache, clip, number)
            seen, reference = frame(cache, clip, number), frame(cache, clip, other)
            with torch.no_grad():
                masked = stage.masked.encode(torch.where(hole, -1.0, seen)[None])
                z = (stage.face.encode(seen[None])[0] - model.face_mean[:, None, None]) / model.face_std[:, None, None]
                far = model.scale_face(stage.face.encode(reference[None]))[0]
            scaled = (masked[0] - model.masked_mean[:, None, None]) / model.masked_std[:, None, None]
            torch.testing.assert_close(given["masked_BZhh"][row], scaled, atol=1e-3, rtol=1e-4)
            torch.testing.assert_close(given["reference_BZhh"][row], far, atol=1e-3, rtol=1e-4)
            level, noise = levels[t[row]], batch["noise"][row]
            expected = level.sqrt() * z + (1 - level).sqrt() * noise
            torch.testing.assert_close(noisy[row], expected, atol=1e-3, rtol=1e-4)
            target = noise if prediction == "noise" else level.sqrt() * noise - (1 - level).sqrt() * z
            errors.append((0.3 - target).square())
            side = SIZE // z.shape[-1]
            holes.append(hole.view(z.shape[-1], side, z.shape[-1], side).any(3).any(1)[None].float())
        error, hole = torch.stack(errors), torch.stack(holes)
        assert 0 < hole.mean() < 1
        assert values["whole"].item() == pytest.approx(error.mean().item(), rel=1e-3)
        assert values["mouth"].item() == pytest.approx((error * hole).mean().item(), rel=1e-3)
        assert values["total"].item() == pytest.approx((error * (1 + 3 * hole)).mean().item(), rel=1e-3)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_sound_is_dropped_as_often_as_the_settings_say(probability: float, cache: Cache, run: Path) -> None:
    changes = (f"dit.model.null_probability={probability}", "dit.loop.batch_size=80")
    kept = build("dit", cache, run, *changes).batch(0)["kept"]
    assert kept.float().mean().item() == pytest.approx(1 - probability, abs=0.12)


def test_the_scales_of_the_latents_are_those_of_training_frames(cache: Cache, run: Path) -> None:
    """Over the frames that the stage draws for it: zero mean and unit variance in each channel of both latents."""
    stage = build("dit", cache, run, "dit.scale_frames=40")
    seen: list[Tensor] = []
    real = DiT.set_scales

    def noting(self: DiT, face: Tensor, masked: Tensor) -> None:
        seen.extend([face, masked])
        real(self, face, masked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiT, "set_scales", noting)
        again = build("dit", cache, run, "dit.scale_frames=40", seed=3)
    face, masked = seen
    assert len(face) == len(masked) == 40 and not torch.allclose(face, masked)
    for z, mean, std in ((face, "face_mean", "face_std"), (masked, "masked_mean", "masked_std")):
        torch.testing.assert_close(getattr(again.module, mean), z.mean(dim=(0, 2, 3)))
        torch.testing.assert_close(getattr(stage.module, std), z.std(dim=(0, 2, 3)).clamp(min=1e-3))


def test_every_frame_of_a_clip_is_drawn(tmp_path: Path, run: Path) -> None:
    """The last one included, as picture and as reference."""
    lengths = (7, 9)
    small = Cache(write_numbered(tmp_path / "cache", lengths=lengths, splits=("train",) * 2))
    every = {(c, k) for c, length in enumerate(lengths) for k in range(length)}
    face = build("vqgan-face", small, run)
    assert {number_of(p) for step in range(40) for p in face.batch(step)["picture"]} == every
    dit = build("dit", small, run, "dit.reference_gap=3")
    batches = [dit.batch(step) for step in range(40)]
    for name in ("picture", "reference"):
        assert {number_of(p) for batch in batches for p in batch[name]} == every
    assert {int(t) for batch in batches for t in batch["timestep"]} >= {0, 49}


def test_diffspeaker_is_trained_on_offsets_with_their_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole sequences of unlike lengths, padded; and windows whose sound begins and ends with them, at 30 fps."""
    meshes = Cache(write_numbered_meshes(tmp_path / "meshes"))
    calls: list[tuple[tuple[Tensor, ...], dict[str, Tensor]]] = []

    def losses(self: DiffSpeaker, *given: Tensor, **named: Tensor) -> dict[str, Tensor]:
        calls.append((given, named))
        return {}

    monkeypatch.setattr(DiffSpeaker, "losses", losses)
    for frames in ("null", "12"):
        settings = diffspeaker_presets.fit_to_cache(micro_mesh_settings(f"diffspeaker.frames={frames}"), meshes)
        stage = DiffSpeakerStage(meshes, settings, run=Path(), seed=1, device="cpu")
        assert stage.config.model.subjects == ("s0", "s2", "s4")
        assert (stage.config.model.fps, stage.config.model.period) == (30, 30)
        starts: set[tuple[int, int]] = set()
        for step in range(12):
            batch = stage.batch(step)
            stage.losses(batch, torch.Generator())
            (offsets, audio, style), given = calls[-1]
            assert torch.equal(given["step_B"], batch["timestep"]) and torch.equal(given["noise_BTV"], batch["noise"])
            lengths = [LENGTHS[TRAINED_ON[p]] if frames == "null" else 12 for p in batch["clip"].tolist()]
            assert offsets.shape[1] == max(lengths)
            for row, (place, length) in enumerate(zip(batch["clip"].tolist(), lengths, strict=True)):
                clip = TRAINED_ON[place]
                assert int(style[row]) == place
                values = offsets[row, :length, 0] * 64
                first = named(float(values[0]))
                assert first[0] == clip
                starts.add(first)
                numbers = code(clip, first[1] + np.arange(length))
                expected = np.tile(numbers[:, None, None] / 64 + np.arange(3) / 8, (1, 5, 1)).reshape(length, -1)
                np.testing.assert_allclose(offsets[row, :length], expected, atol=1e-4)
                whole = length == LENGTHS[clip]
                ends = [0, round(length * 16000 / 30)] if whole else [round(k * 16000 / 30) for k in (
                    first[1], first[1] + length)]  # fmt: skip
                sound = np.asarray(meshes[f"c{clip}"]["audio"][ends[0] : ends[1]], np.float32) / 32768
                np.testing.assert_array_equal(audio[row, : len(sound)], sound)
                assert given["valid_BT"][row].sum() == length and given["valid_BT"][row, :length].all()
                assert given["mask_BN"][row].sum() == len(sound) and given["mask_BN"][row, : len(sound)].all()
                assert not offsets[row, length:].any() and not audio[row, len(sound) :].any()
        firsts = {c: {k for clip, k in starts if clip == c} for c in TRAINED_ON}
        if frames == "null":
            assert set.union(*firsts.values()) == {0}
        else:
            assert all(min(f) < 6 and max(f) > LENGTHS[c] - 12 - 6 for c, f in firsts.items())


def test_padding_of_a_mesh_batch_changes_no_gradient(tmp_path: Path) -> None:
    """What stands in padded frames and in padded sound is nothing to the losses."""
    meshes = Cache(write_numbered_meshes(tmp_path / "meshes"))
    settings = diffspeaker_presets.fit_to_cache(micro_mesh_settings("diffspeaker.frames=null"), meshes)
    stage = DiffSpeakerStage(meshes, settings, run=Path(), seed=1, device="cpu")
    stage.module.eval()
    batch = next(b for b in map(stage.batch, range(9)) if len({*b["valid"].sum(1).tolist()}) > 1)
    plain = stage.losses(batch, torch.Generator())
    noisy = batch["offsets"] + (~batch["valid"])[..., None] * 9.0
    changed = stage.losses(batch | {"offsets": noisy}, torch.Generator())
    for name, value in plain.items():
        assert value.item() == pytest.approx(changed[name].item(), rel=1e-5)
