"""PBNet against the reference implementation's outputs, under weights filled by rule."""

from __future__ import annotations

import re
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from dawn_goldens import assert_near, assert_ratio
from goldens import golden_cases
from pbnet_goldens import config_of, fill, key_table, load_case, valid_frames

from dawn_bench.models.dawn.discriminator import SequenceDiscriminator
from dawn_bench.models.dawn.pbnet import PBNet
from dawn_bench.models.dawn.pbnet_attention import relative_bucket
from dawn_bench.models.dawn.pbnet_loss import adversarial, pbnet_losses, score

SEQUENCES = [p for p in golden_cases("pbnet", "pbnet_*.npz") if re.fullmatch(r"pbnet_(both|pose|blink).*_\d+", p.stem)]
STEPS = golden_cases("pbnet", "pbnet_trainstep_*.npz")
GENERATED = golden_cases("pbnet", "pbnet_generate_*.npz")
BUCKETS = golden_cases("pbnet", "pbnet_buckets*.npz")
TABLES = golden_cases("pbnet", "pbnet_state_keys.json")


@cache
def network(folder: Path, variant: str) -> PBNet:
    model = PBNet(config_of(folder, variant)).eval()
    fill(model, folder, variant)
    return model


def discriminator(folder: Path, variant: str) -> SequenceDiscriminator:
    model = SequenceDiscriminator(network(folder, variant).config.state_dim).eval()
    fill(model, folder, f"disc_{variant}")
    return model


@pytest.mark.parametrize("path", TABLES, ids=str)
@pytest.mark.parametrize("variant", ["both", "pose", "blink", "pose_v6", "disc_both", "disc_pose", "disc_blink"])
def test_published_keys_and_shapes(path, variant):
    entry = key_table(path.parent)[variant]
    if variant.startswith("disc_"):
        config = entry["config"]
        model, prefix = SequenceDiscriminator(config["pos_dim"] + config["eye_dim"]), "disc."
    else:
        model, prefix = PBNet(config_of(path.parent, variant)), ""
    ours = {prefix + key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    # The two tables of sinusoids are constants, not weights: computed here, ignored when a checkpoint is loaded.
    assert ours == {key: fact["shape"] for key, fact in entry["state"].items() if not key.endswith(".pe")}
    assert sum(p.numel() for p in model.parameters()) == entry["n_params"]


@pytest.mark.parametrize("path", SEQUENCES, ids=str)
@torch.no_grad()
def test_sequences(path):
    case = load_case(path)
    variant = re.fullmatch(r"pbnet_(.+)_\d+", path.stem).group(1)
    model = network(path.parent, variant)
    x, y = case["x"], case["y"]
    valid = valid_frames(case["lengths"], x.shape[1])
    out = model.decode(x[:, 0], case["z"], y, valid)
    assert_near(out, case["output"], within=1e-4, what="output")
    if "output_nowindow" in case:
        model.decoder.window = None
        assert_near(model.decode(x[:, 0], case["z"], y, valid), case["output_nowindow"], within=1e-4, what="no window")
        model.decoder.window = model.config.window
    if "mu" not in case:
        return
    mu, logvar = model.encode(x, y, valid)
    assert_near(mu, case["mu"], within=1e-4, what="mu")
    assert_near(logvar, case["logvar"], within=1e-4, what="logvar")
    judge = discriminator(path.parent, variant)
    assert_near(judge(x.transpose(1, 2)), case["disc_real"], within=1e-4, what="discriminator")
    for epoch, mixed in zip(case["loss_epochs"].tolist(), case["loss_mixed"].tolist(), strict=True):
        losses = score(model.config, x, out, mu, logvar, valid, epoch=epoch, discriminator=judge)
        assert_ratio(losses.mixed.item(), mixed, within=1e-4, what=f"mixed at epoch {epoch}")
    for ours, theirs in (("rc", "loss_rc"), ("kl", "loss_kl"), ("reg", "loss_reg"), ("gan_g",) * 2, ("gan_d",) * 2):
        assert_ratio(getattr(losses, ours).item(), case[theirs].item(), within=1e-4, what=ours)


@pytest.mark.parametrize("path", STEPS, ids=str)
def test_gradients_of_a_training_step(path):
    case = load_case(path)
    variant = path.stem.removeprefix("pbnet_trainstep_")
    model = PBNet(config_of(path.parent, variant).model_copy(update={"dropout": 0.0})).train()
    fill(model, path.parent, variant)
    judge = discriminator(path.parent, variant).train()
    losses, out = pbnet_losses(
        model,
        case["x"],
        case["y"],
        valid_frames(case["lengths"], case["x"].shape[1]),
        epoch=int(case["epoch"]),
        noise_NBZ=case["eps"],
        discriminator=judge,
    )
    assert_near(out, case["output"], within=1e-4, what="output")
    for name in ("mixed", "rc", "kl", "reg", "gan_d", "gan_g"):
        assert_ratio(getattr(losses, name).item(), case[name].item(), within=1e-4, what=name)
    losses.total.backward()
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    total = torch.stack([g.norm() for g in gradients.values()]).norm().item()
    assert_ratio(total, case["grad_norm_g"].item(), within=1e-3, what="gradient norm")
    gradients |= {f"disc.{k}": p.grad for k, p in judge.named_parameters() if p.grad is not None}
    with np.load(path) as file:
        keys = [str(key) for key in file["fp_keys"]]
        without = {str(key) for key in file["no_grad"]}
    assert set(keys) - without == set(gradients)
    worst = 0.0
    for key, (norm, dot) in zip(keys, case["fp"].tolist(), strict=True):
        gradient = gradients[key].double().numpy()
        direction = np.random.default_rng(zlib.crc32(f"fp/{key}".encode())).standard_normal(gradient.shape)
        # A convolution's bias before a batch norm has no gradient but rounding: hence the small absolute floor.
        floor = 1e-5
        assert abs(np.linalg.norm(gradient) - norm) <= max(1e-3 * norm, floor), key
        assert abs((gradient * direction).sum() - dot) <= max(1e-3 * norm * np.sqrt(gradient.size), floor), key
        worst = max(worst, abs(np.linalg.norm(gradient) - norm) / max(norm, floor))
    print(f"gradient norms: worst {worst:.1e} relative")  # noqa: T201


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_generate(path):
    case = load_case(path)
    generator = torch.Generator().manual_seed(int(case["seed"]))
    pose = network(path.parent, "pose").generate(case["init_pose"][:, :6].float(), case["y"], generator=generator)
    blink = network(path.parent, "blink").generate(case["init_eye_bbox"][:, :2].float(), case["y"], generator=generator)
    spread = case["dri_pose"].std(dim=0)
    assert_near(pose[0] / spread, case["dri_pose"] / spread, within=1e-4, what="pose over its spread")
    assert_near(blink[0], case["dri_blink"], within=1e-4, what="blink")


@pytest.mark.parametrize("path", BUCKETS, ids=str)
def test_buckets_and_frequencies(path):
    case = load_case(path)
    for name in (n for n in case if n.startswith("b")):
        buckets, distance = (int(part) for part in re.fullmatch(r"b(\d+)_d(\d+)", name).groups())
        ours = relative_bucket(case["rel"], num_buckets=buckets, max_distance=distance)
        assert torch.equal(ours, case[name]), name
    model = network(path.parent, "both")
    assert_near(model.decoder.init_temporal_attn.fn.fn.rotary_emb.freqs, case["rope_freqs"], within=1e-8, what="freqs")


@pytest.mark.parametrize("path", STEPS, ids=str)
def test_detached_losses_reach_one_network_each(path):
    case = load_case(path)
    judge = discriminator(path.parent, path.stem.removeprefix("pbnet_trainstep_"))
    real = case["x"]
    fake = (real + 0.1).requires_grad_()
    weights = list(judge.parameters())
    for detached in (True, False):
        loss_g, loss_d = adversarial(judge, real, fake, detached=detached)
        to_judge = torch.autograd.grad(loss_g, weights, allow_unused=True, retain_graph=True)
        (to_fake,) = torch.autograd.grad(loss_d, [fake], allow_unused=True, retain_graph=True)
        assert all(g is None for g in (*to_judge, to_fake)) == detached
        assert torch.autograd.grad(loss_g, [fake], retain_graph=True)[0].abs().sum() > 0
        assert torch.autograd.grad(loss_d, weights)[0].abs().sum() > 0
