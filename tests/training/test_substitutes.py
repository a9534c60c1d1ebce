"""What takes the place of the paper's networks and features is said before training, in reports, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from micro import micro_settings, micro_train
from micro_dit_head import micro_settings as dit_head_settings
from micro_mesh import micro_mesh_settings
from safetensors.torch import load_file, save_file
from tiny_cache import write_tiny_cache
from typer.testing import CliRunner

from dawn_bench import weights
from dawn_bench.cache import SETTINGS_FILE, Cache
from dawn_bench.cli import app
from dawn_bench.config import replace
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint, read_metadata
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.presets import PRESETS, preset
from dawn_bench.models.dawn.stages.lfg import LFGStage
from dawn_bench.models.dit_head.presets import preset as dit_head_preset
from dawn_bench.models.loading import report_notes
from dawn_bench.models.perceptual import VGGLoss
from dawn_bench.models.spec import MODELS
from dawn_bench.weights import CONTENT_HASH, content_hash
from dawn_bench.workflow.train import train

HUBERT = "DAWN trains on logmel features (80 values a frame) instead of the paper's HuBERT."
VGG = "Stage lfg trains without VGG-19's weights, on a pyramid of pixel and slope differences"
RANDOM = "Stage lfg starts from random weights, not from VoxCeleb's"


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv(weights.ENVIRONMENT, str(folder))
    return folder


def refusal(name: str, cache: Path, out: Path, *words: str) -> str:
    done = CliRunner().invoke(
        app, ["train", "--cache", str(cache), "--out", str(out), "--preset", name, "--device", "cpu", *words]
    )
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


@pytest.mark.parametrize("name", [n for n in PRESETS if n.startswith("dawn-") and n != "dawn-128-vox"])
def test_presets_of_the_release_refuse_a_default_cache(name: str, tiny_cache: Path, tmp_path: Path) -> None:
    """One line with everything that is missing, how to get it, and the setting that allows it; nothing is written."""
    said = refusal(name, tiny_cache, tmp_path / "run")
    assert f"preset '{name}' refuses substitutes" in said and HUBERT in said and VGG in said
    assert said.endswith(
        "To train as the paper did: dawn-bench weights fetch vgg19 hubert-large-bin hubert-large-config; "
        "then prepare the cache with --extract hubert; to train with the substitutes: --set substitutes=allow"
    )
    assert not (tmp_path / "run").exists()


def test_only_what_a_stage_uses_is_refused(tmp_path: Path, tiny_cache: Path) -> None:
    said = refusal("dawn-128+no-pbnet", tiny_cache, tmp_path / "run", "--stage", "lfg")
    assert VGG in said and "HuBERT" not in said and "did: dawn-bench weights fetch vgg19; to train with" in said
    said = refusal("dawn-128", tiny_cache, tmp_path / "run", "--stage", "pbnet")
    assert HUBERT in said and "VGG" not in said
    spec, heard = MODELS["dawn"], Cache(write_tiny_cache(tmp_path / "heard", hubert=True))
    assert [s for s in spec.substitutes(preset("dawn-128"), heard, "a2v-1") if s.refused] == []
    chosen = replace(preset("dawn-128"), lfg=preset("dawn-128").lfg.model_copy(update={"perceptual": "seeded"}))
    assert [s.refused for s in spec.substitutes(chosen, heard, "lfg")] == [False, False]  # asked for by name


def test_what_is_allowed_is_said_before_training_and_in_the_report(
    tiny_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quick presets allow it; a preset of the release where the setting says so."""
    settings = micro_settings().model_copy(update={"substitutes": "allow", "preset": "dawn-128"})
    settings = settings.model_copy(update={"lfg": settings.lfg.model_copy(update={"perceptual": "auto"})})
    with pytest.raises(InputError, match="refuses substitutes"):
        refused = settings.model_copy(update={"substitutes": "refuse"})
        train(Cache(tiny_cache), refused, out=tmp_path / "no", stages=["all"], seed=0, device="cpu")
    assert not (tmp_path / "no").exists()
    run = tmp_path / "run"
    train(Cache(tiny_cache), settings, out=run, stages=["all"], seed=0, device="cpu")
    said = " ".join(capsys.readouterr().err.split())
    for sentence in (HUBERT, VGG, RANDOM):
        assert said.count(sentence) == 1 and said.index(sentence) < said.index("train lfg")
    notes = report_notes(run)
    assert notes.count("DAWN uses logmel features instead of the paper's HuBERT.") == 1
    assert any(note.startswith("Stage lfg was trained without VGG-19's weights, on a pyramid") for note in notes)
    assert notes.count("Stage lfg started from random weights, not from VoxCeleb's.") == 1


def test_a_run_that_goes_on_is_not_refused(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    """It was begun with substitutes, perhaps by a version that did not ask: neither a stage of it nor the next one."""
    settings = micro_settings().model_copy(update={"substitutes": "refuse"})
    for name in ("lfg", "a2v-1"):
        shutil.copytree(micro_run / name, tmp_path / name)
    before = (tmp_path / "a2v-1" / "model.safetensors").read_bytes()
    for stage in ("a2v-1", "pbnet"):
        with pytest.raises(InputError, match="refuses substitutes" if stage == "pbnet" else "already holds"):
            train(Cache(tiny_cache), settings, out=tmp_path, stages=[stage], seed=0, device="cpu")
        train(Cache(tiny_cache), settings, out=tmp_path, stages=[stage], seed=0, device="cpu", resume=True)
    assert (tmp_path / "a2v-1" / "model.safetensors").read_bytes() == before


def test_a_loss_does_not_change_in_the_middle_of_a_run(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VGG-19 was there when the run began and is gone, or the other way round."""
    loop = ("lfg.loop.steps=2", "lfg.loop.final_learning_rate=0.001")
    micro_train(tiny_cache, tmp_path / "run", *loop, stage="lfg")
    monkeypatch.setattr("dawn_bench.models.perceptual.PixelLoss.identity", "vgg19:canonical:dcbb9e9dad569fff")
    with pytest.raises(InputError, match=r"was started with perceptual_loss pyramid .*, not vgg19:canonical"):
        micro_train(tiny_cache, tmp_path / "run", *loop, "lfg.loop.steps=4", stage="lfg", resume=True)


@pytest.mark.parametrize(
    ("extractors", "said"),
    [
        (("pose", "blink"), ["head poses are those of extractor pose,", "blinks are those of extractor blink,"]),
        (("pose-3ddfa", "blink"), ["blinks are those of extractor blink,"]),
        (("pose-3ddfa", "blink-one-pair", "hubert"), []),
        ((), []),  # a cache that does not say
    ],
)
def test_head_poses_and_blinks_of_other_extractors_are_said(
    extractors: tuple[str, ...], said: list[str], tmp_path: Path
) -> None:
    root = write_tiny_cache(tmp_path / "cache", hubert=True)
    facts = json.loads((root / SETTINGS_FILE).read_text())
    recorded = {f"extractor {name}": f"{name}-1" for name in extractors} | {"face": "dlib"}
    (root / SETTINGS_FILE).write_text(json.dumps(facts | {"fingerprints": recorded}))
    found = MODELS["dawn"].substitutes(preset("dawn-128"), Cache(root), "pbnet")
    assert len(found) == len(said) and not any(s.refused for s in found)
    assert all(words in s.announcement for words, s in zip(said, found, strict=True))


def test_the_other_models_say_theirs(tiny_cache: Path, tmp_path: Path) -> None:
    spec, cache = MODELS["dit-head"], Cache(tiny_cache)
    paper = dit_head_preset("paper")
    found = {s: spec.substitutes(paper, cache, s) for s in spec.stages}
    assert all(s.refused for stage in found.values() for s in stage) and paper.substitutes == "refuse"
    assert [s.announcement for s in found["dit"]] == [
        "DiT-Head trains on logmel features (80 values a frame) instead of the paper's Wav2Vec2."
    ]
    assert found["vqgan-masked"][0].announcement.startswith("Stage vqgan-masked trains without VGG-19's weights")
    assert dit_head_settings().substitutes == dit_head_preset("tiny").substitutes == "allow"
    meshes = MODELS["diffspeaker"]
    said = [s.report_note for s in meshes.substitutes(micro_mesh_settings(), cache, "diffspeaker")]
    assert len(said) == 2 and "log mel energies" in said[0] and "random weights" in said[1]
    biwi = meshes.preset("biwi-hubert")
    assert meshes.substitutes(biwi, cache, "diffspeaker") == []  # needs the file, and is refused without
    plain = biwi.model_copy(update={"diffspeaker": biwi.diffspeaker.model_copy(update={"pretrained": False})})
    assert "random weights" in meshes.substitutes(plain, cache, "diffspeaker")[0].announcement


def test_a_vgg_that_is_not_the_published_file_is_said(no_weights: Path) -> None:
    torch.save(VGGLoss(identity="").state_dict(), no_weights / "vgg19-dcbb9e9d.pth")
    (found, _) = MODELS["dawn"].substitutes(preset("dawn-128"), None, "lfg")  # type: ignore[arg-type]
    assert found.announcement == "Stage lfg: its VGG-19 is not the published file." and not found.refused


def test_the_lfg_starts_from_voxcelebs_weights(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, no_weights: Path
) -> None:
    """Missing: one line on where to get them. There: its tensors, named in the checkpoint. Of other widths: refused."""
    small = ("--stage", "lfg", "--set", "substitutes=allow", "--set", "lfg.model.temperature=0.2")  # at any size
    said = refusal("dawn-128-vox", tiny_cache, tmp_path / "run", *small)
    assert "vox256.pth: VoxCeleb's weights of the LFG, from which these settings start, are missing" in said
    assert "--set lfg.init=FILE" in said and "--set lfg.start=random" in said
    assert "drive.google.com" in said and "then: dawn-bench weights add F" in said
    assert not (tmp_path / "run").exists()

    tensors = load_checkpoint(micro_run / "lfg" / "model.safetensors", "lfg")[0].state_dict()
    parts = ("generator", "bg_predictor", "region_predictor")
    layout = {p: {k.removeprefix(f"{p}."): v for k, v in tensors.items() if k.startswith(f"{p}.")} for p in parts}
    torch.save({"epoch": 99, **layout}, no_weights / "vox256.pth")
    settings = micro_settings("lfg.start=voxceleb", "lfg.loop.steps=1")
    stage = LFGStage(Cache(tiny_cache), settings, run=tmp_path, seed=0, device="cpu")
    assert isinstance(stage.module, LFG)
    assert all(torch.equal(v, tensors[k]) for k, v in stage.module.state_dict().items())
    micro_train(tiny_cache, tmp_path / "run", "lfg.start=voxceleb", "lfg.loop.steps=1", stage="lfg")
    facts = load_checkpoint(tmp_path / "run" / "lfg" / "model.safetensors", "lfg")[1]
    assert facts["init"] == "vox256.pth" and len(facts["init_sha256"]) == 64
    notes = report_notes(tmp_path / "run")
    assert not any("random weights" in note for note in notes)
    assert any("VoxCeleb's weights that it starts from is not the published one" in note for note in notes)
    with pytest.raises(InputError, match=r"vox256\.pth: does not fit the LFG"):
        LFGStage(Cache(tiny_cache), preset("dawn-128-vox"), run=tmp_path, seed=0, device="cpu")


def test_a_finished_stage_of_an_earlier_version_keeps_its_file(
    tiny_cache: Path, micro_run: Path, tmp_path: Path
) -> None:
    """Its configuration lacks the settings that came later; the bytes stay, and with them every key of its outputs."""
    for name in ("lfg", "a2v-1"):
        shutil.copytree(micro_run / name, tmp_path / name)
    path = tmp_path / "a2v-1" / "model.safetensors"
    metadata, state = read_metadata(path), load_file(path)
    config = json.loads(metadata["config"])
    del config["lip_normalisation"]
    metadata["config"] = json.dumps(config)
    metadata[CONTENT_HASH] = content_hash(state, metadata)
    save_file(state, path, metadata=metadata)
    settings = tmp_path / "a2v-1" / "config.yaml"
    settings.write_text("".join(x for x in settings.read_text().splitlines(True) if "lip_normalisation" not in x))
    before = path.read_bytes()
    micro_train(tiny_cache, tmp_path, stage="a2v-1", resume=True)
    assert path.read_bytes() == before
    assert load_checkpoint(path, "a2v")[0].config.lip_normalisation == "mask"
