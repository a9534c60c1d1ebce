"""DiffSpeaker against theEricMa/DiffSpeaker with diffusers 0.11: every case of every folder of goldens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffspeaker_goldens import Case, Folder, draw, fill
from goldens import golden_cases

from dawn_bench.metrics.functional.meshes import lip_errors, liveliness
from dawn_bench.models.diffspeaker.audio import build_encoder, encode, frames_of, normalise, resample
from dawn_bench.models.diffspeaker.config import AudioConfig
from dawn_bench.models.diffspeaker.denoiser import Denoiser, near_bias, step_sinusoids
from dawn_bench.models.diffspeaker.model import mesh_losses, smoothed
from dawn_bench.models.diffspeaker.schedule import add_noise, alphas_cumprod, ddim_step, sample, timesteps

TOLERANCE = 1e-5
MANIFESTS = golden_cases("diffspeaker", "manifest.json")
CASES = [(m, case["name"]) for m in MANIFESTS for case in json.loads(m.read_text())["cases"]]
pytestmark = pytest.mark.skipif(not MANIFESTS, reason="the reference material next to the checkout is absent")
each_folder = pytest.mark.parametrize("manifest", MANIFESTS, ids=str)


def case_of(manifest: Path, name: str) -> Case:
    folder = Folder(manifest)
    return Case(folder, next(c for c in folder.manifest["cases"] if c["name"] == name))


def close(ours: torch.Tensor | np.ndarray, theirs: torch.Tensor | np.ndarray, tolerance: float = TOLERANCE) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("manifest", "name"), CASES, ids=[f"{m.parents[1].name}/{n}" for m, n in CASES])
def test_denoiser_and_samplers(manifest: Path, name: str) -> None:
    case = case_of(manifest, name)
    network, style, valid = case.network(), case.output("ids"), case.output("attention").bool()
    with torch.no_grad():
        memory = network.audio_feature_map(case.input("audio"))
        for step in case.facts["timesteps"]:
            step_B = torch.full((case.batch,), step)
            step_B[1:2] = max(1, step - 100)
            generated = network(case.input("verts"), memory, step_B, style, valid)
            theirs = case.output(f"t{step}/out")
            close(generated[..., :: case.every], theirs)
            assert float(generated.double().abs().sum()) == pytest.approx(
                float(case.output(f"t{step}/absum")), rel=1e-6
            )
        sampled = case.outputs("ddim")
        for parameter in network.motion_decoder.parameters():
            parameter *= 0.05  # by the rule: 50 steps explode without
        for output in sampled:
            parts = output.split("_")
            seen = None if "noatt" in parts else valid
            generated = sample(
                lambda x, step_B, seen=seen: network(x, memory, step_B, style, seen),
                case.input("noise"),
                steps=int(parts[0].removeprefix("ddim")),
                sampler="textbook" if "textbook" in parts else "official011",
            )
            close(generated, case.output(output))
    assert case.facts["timesteps"]


@each_folder
def test_keys_are_those_of_the_released_code(manifest: Path) -> None:
    stored = json.loads(Folder(manifest).file("state_dict.json").read_text())
    configs = {c["name"].split("_")[1]: case_of(manifest, c["name"]).config for c in Folder(manifest).manifest["cases"]}
    assert set(stored) & set(configs)
    for name in set(stored) & set(configs):
        with torch.device("meta"):
            ours = Denoiser(configs[name]).state_dict()
        assert {k: [list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in ours.items()} == {
            k: list(v) for k, v in stored[name].items()
        }


@each_folder
def test_schedule(manifest: Path) -> None:
    stored = Folder(manifest).denoiser
    assert timesteps(50) == stored["sched/timesteps"].tolist()
    close(alphas_cumprod(), stored["sched/alphas_cumprod"], 1e-7)
    assert alphas_cumprod()[0].item() == pytest.approx(float(stored["sched/final_alpha"][0]), abs=1e-7)
    x, x0 = (torch.from_numpy(stored[f"sched/{n}"]) for n in ("x", "x0"))
    steps = [k for k in stored if k.startswith("sched/step_t")]
    for key in steps:
        generated = ddim_step(x, x0, step=int(key.removeprefix("sched/step_t")), steps=50, sampler="official011")
        close(generated, stored[key], 1e-6)
    assert steps


@each_folder
def test_parts(manifest: Path) -> None:
    folder = Folder(manifest)
    stored = folder.denoiser
    tiny = next(c for c in folder.manifest["cases"] if "_tiny_" in c["name"])["config"]
    count = stored["masks/tiny_tgt"].shape[1]
    close(near_bias(count, tiny["num_heads"], tiny["period"]), stored["masks/tiny_tgt"][..., 2:])
    assert not stored["masks/tiny_tgt"][..., :2].any()
    assert (stored["masks/tiny_mem"][:, 2:] == ~np.eye(count, dtype=bool)).all()
    network = case_of(manifest, next(c["name"] for c in folder.manifest["cases"] if "_tiny_" in c["name"])).network()
    close(network.PPE.pe[0, : len(stored["ppe/tiny_pe_first20"])], stored["ppe/tiny_pe_first20"], 1e-6)
    key = next(k for k in stored if k.startswith("time_proj/"))
    steps = torch.tensor([int(t) for t in key.split("/t")[1].split("_")])
    close(step_sinusoids(steps, stored[key].shape[1]), stored[key])
    hidden = torch.from_numpy(stored["resize/h"])
    resized = {k.removeprefix("resize/"): v for k, v in stored.items() if k.startswith("resize/") and k != "resize/h"}
    for name, theirs in resized.items():
        number = int(re.sub(r"\D", "", name))
        close(resample(hidden, frames_of(hidden.shape[1], number) if name.startswith("auto") else number), theirs)
    assert resized
    close(smoothed(torch.from_numpy(stored["smooth/in"])), stored["smooth/out"], 1e-6)


@each_folder
def test_losses_noise_and_metrics(manifest: Path) -> None:
    stored = Folder(manifest).aux
    gt, pred, mask = (torch.from_numpy(stored[f"loss/{n}"]) for n in ("gt", "pred", "mask"))
    losses = mesh_losses(pred, gt, mask.bool())
    for name in ("rec", "vel"):
        assert float(losses[name]) == pytest.approx(float(stored[f"loss/{name}"]), rel=1e-5)
    noise, step = torch.from_numpy(stored["add_noise/noise"]), torch.from_numpy(stored["add_noise/t"])
    close(add_noise(gt, noise, step), stored["add_noise/out"])
    true, generated, rest = stored["metrics/gt"], stored["metrics/pred"], stored["metrics/template"][0]
    count = min(len(true), len(generated))
    errors = lip_errors(generated[:count], true[:count], stored["metrics/mouth"])
    close(errors, stored["metrics/LVE_per_frame"])
    assert float(errors.mean()) == pytest.approx(float(stored["metrics/LVE"]), rel=1e-5)
    upper = stored["metrics/upper"]
    difference = liveliness(true[:count], rest, upper) - liveliness(generated[:count], rest, upper)
    assert difference == pytest.approx(float(stored["metrics/FDD"]), abs=1e-5)


@each_folder
def test_speech_encoder(manifest: Path) -> None:
    folder = Folder(manifest)
    described = json.loads(folder.file("tiny_wav2vec2.json").read_text())
    c, stored = described["config"], folder.aux
    config = AudioConfig(
        hidden=c["hidden_size"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        ff=c["intermediate_size"],
        conv=c["conv_dim"][0],
        position_kernel=c["num_conv_pos_embeddings"],
        position_groups=c["num_conv_pos_embedding_groups"],
    )
    encoder = build_encoder(config).eval()
    shapes = {k: list(v.shape) for k, v in encoder.state_dict().items()}
    assert shapes == {k: v[0] for k, v in described["state_dict"].items()}
    fill(encoder)
    masked = stored["audio/last_hidden"]
    length, there = int(stored["audio/wav_len"]), torch.from_numpy(stored["audio/mask_len"])
    wave = torch.from_numpy(draw(f"{folder.letter}/wav", (len(masked), length)))
    mask = torch.arange(length)[None] < there[:, None]
    with torch.no_grad():
        features = encode(encoder, wave * mask, mask)
        close(features, masked, 1e-4)
        close(encode(encoder, wave[:1], None), stored["audio/last_hidden_nomask"], 1e-4)
        close(resample(features, stored["audio/resized30"].shape[1]), stored["audio/resized30"], 1e-4)


def test_sound_is_normalised_as_the_processor_does() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(n).astype(np.float32) * 0.1 + 0.3 for n in (900, 700)]
    theirs = Wav2Vec2FeatureExtractor(return_attention_mask=True)(
        waves, sampling_rate=16000, padding=True, return_tensors="np"
    )
    padded = torch.from_numpy(np.stack([np.pad(w, (0, 900 - len(w))) for w in waves]))
    ours = normalise(padded, torch.from_numpy(theirs["attention_mask"]).bool())
    close(ours, theirs["input_values"], 1e-5)
