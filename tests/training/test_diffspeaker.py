"""DiffSpeaker's training: batches, presets, what does not fit, and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_mesh import micro_mesh_settings, micro_mesh_train, write_mesh_cache

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.metrics.functional.meshes import lip_errors
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.presets import PRESETS, fit_to_cache, preset
from dawn_bench.models.diffspeaker.stages.diffspeaker import DiffSpeakerStage, pcm, subject_style


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mesh_cache(tmp_path_factory.mktemp("meshes"))


def stage_of(cache: Path, *overrides: str, seed: int = 0) -> DiffSpeakerStage:
    opened = Cache(cache)
    settings = fit_to_cache(micro_mesh_settings(*overrides), opened)
    return DiffSpeakerStage(opened, settings, run=Path(), seed=seed, device="cpu")


def test_a_batch_is_a_function_of_seed_and_step(meshes: Path) -> None:
    one, two = stage_of(meshes), stage_of(meshes)
    two.batch(3)
    again, other = one.batch(5), stage_of(meshes, seed=1).batch(5)
    for name, value in two.batch(5).items():
        assert torch.equal(value, again[name])
    assert not torch.equal(again["noise"], other["noise"])


def test_sound_and_motion_of_a_batch_belong_together(meshes: Path) -> None:
    stage = stage_of(meshes)
    batch = stage.batch(0)
    assert batch["offsets"].shape == (4, 20, 572 * 3) and batch["audio"].shape == (4, 20 * 640)
    for row, place in enumerate(batch["clip"].tolist()):
        clip = stage.cache[stage.ids[place]]
        assert stage.config.model.subjects[int(batch["style"][row])] == clip.speaker
        offsets = (clip["vertices"] - clip["template"]).reshape(clip.n_frames, -1)
        ours = batch["offsets"][row].numpy()
        start = next(k for k in range(clip.n_frames - 19) if np.array_equal(offsets[k : k + 20], ours))
        sound = np.asarray(clip["audio"][start * 640 : (start + 20) * 640], np.float32) / 32768
        assert np.array_equal(batch["audio"][row].numpy(), sound)


def test_whole_sequences_are_padded_and_marked(meshes: Path) -> None:
    batch = stage_of(meshes, "diffspeaker.frames=null").batch(0)
    assert batch["offsets"].shape[1] == 38 and batch["valid"].all() and batch["audio_valid"].all()
    assert batch["audio"].shape == (4, 24000)


def test_a_killed_run_resumes_bit_for_bit(meshes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = micro_mesh_train(meshes, tmp_path / "whole")
    batch = DiffSpeakerStage.batch

    def killed(stage: DiffSpeakerStage, step: int) -> dict[str, torch.Tensor]:
        if step == 3:
            raise KeyboardInterrupt
        return batch(stage, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DiffSpeakerStage, "batch", killed)
        micro_mesh_train(meshes, tmp_path / "cut")
    assert torch.load(tmp_path / "cut" / "diffspeaker" / "state.pt", weights_only=True)["step"] == 2
    cut = micro_mesh_train(meshes, tmp_path / "cut", resume=True)
    ours, theirs = (load_checkpoint(p, "diffspeaker")[0].state_dict() for p in (whole, cut))
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())
    provenance = load_checkpoint(whole, "diffspeaker")[1]
    assert provenance["model"] == "diffspeaker" and provenance["vertices"] == 572
    assert provenance["speech_encoder"] == "random weights"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_whole(name: str) -> None:
    settings = preset(name)
    assert settings.preset == name and settings.note
    if name != "tiny":
        assert settings.diffspeaker.pretrained and settings.diffspeaker.model.audio.encoder == name.split("-")[1]
        assert settings.diffspeaker.loop.final_learning_rate == settings.diffspeaker.loop.learning_rate == 1e-4


def test_what_does_not_fit_is_refused(meshes: Path, tiny_cache: Path) -> None:
    with pytest.raises(InputError, match=r"has 572 vertices at 25 fps .*is for 23370 vertices"):
        fit_to_cache(preset("biwi-hubert"), Cache(meshes))
    with pytest.raises(InputError, match="holds videos; DiffSpeaker learns from meshes"):
        fit_to_cache(preset("tiny"), Cache(tiny_cache))
    with pytest.raises(InputError, match=r"no preset called 'huge'.*biwi-hubert"):
        preset("huge")


def test_pretrained_weights_are_requested_by_name(
    meshes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    small = ["layers=1", "heads=2", "ff=16", "conv=8", "position_kernel=4", "position_groups=2", "encoder=hubert"]
    with pytest.raises(InputError, match=r"hubert-base-ls960/pytorch_model.bin: the weights of .* are missing"):
        stage_of(meshes, "diffspeaker.pretrained=true", *(f"diffspeaker.model.audio.{s}" for s in small))


@pytest.mark.slow
def test_the_tiny_model_beats_the_neutral_face_on_held_out_speech(meshes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = [
        "model.latent=32",
        "model.audio.hidden=32",
        "loop.steps=150",
        "loop.validate_every=150",
        "loop.batch_size=8",
    ]
    path = micro_mesh_train(meshes, run, *(f"diffspeaker.{c}" for c in changes))
    seen = json.loads((run / "diffspeaker" / "validation.jsonl").read_text().splitlines()[-1])
    assert seen["split"] == "val" and seen["mve"] < 0.8 * seen["still"]
    model = load_checkpoint(path, "diffspeaker")[0]
    assert isinstance(model, DiffSpeaker)
    for clip in Cache(meshes).clips("test"):
        style, audio = torch.tensor([subject_style(model, clip.speaker)]), torch.from_numpy(pcm(clip["audio"]))[None]
        generator = torch.Generator().manual_seed(0)
        offsets = model.generate(audio, style, generator=generator, frames=clip.n_frames)
        true, lips = clip["vertices"], clip["lips"][0]
        generated = clip["template"] + offsets[0].numpy().reshape(true.shape)
        still = np.broadcast_to(clip["template"], true.shape)
        assert lip_errors(generated, true, lips).mean() < 0.6 * lip_errors(still, true, lips).mean()
