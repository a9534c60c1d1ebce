"""Schedule, samplers, losses and gradients of the diffusion against the reference."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from dawn_goldens import assert_near, assert_ratio, fill, load_case
from goldens import golden_cases

from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.schedule import cosine_schedule
from dawn_bench.models.diffusion.levels import sampling_steps


@cache
def filled_model(folder: Path) -> A2VFDM:
    model = A2VFDM(A2VConfig.reference()).eval()
    fill(model.diffusion, folder)
    return model


@pytest.mark.parametrize("path", golden_cases("dawn", "schedule*.npz"), ids=lambda path: path.stem)
def test_schedule(path: Path) -> None:
    with np.load(path) as file:
        buffers = cosine_schedule(1000)
        for name, got in buffers.items():
            np.testing.assert_array_equal(got.numpy(), file[name], err_msg=name)
        for name in (name for name in file.files if name.startswith("times_")):
            steps = sampling_steps(buffers["alphas_cumprod"], int(name.removeprefix("times_")), off_by_one=True)
            assert [step.t for step in steps] == file[name].tolist()[:-1], name


@pytest.mark.parametrize("path", golden_cases("dawn", "face_loc_emb_seed1234.npz"), ids=lambda path: path.stem)
def test_face_mask_encoder_is_the_training_scripts_draw(path: Path) -> None:
    state = A2VFDM(A2VConfig.reference(dim=8, dim_mults=(1,))).face_loc_emb.state_dict()
    with np.load(path) as file:
        for name in file.files:
            np.testing.assert_array_equal(state[name].numpy(), file[name], err_msg=name)


@pytest.mark.parametrize("path", golden_cases("dawn", "ddim_*.npz"), ids=lambda path: path.stem)
def test_ddim(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, model = load_case(path), filled_model(path.parent)
    monkeypatch.setattr(model.face_loc_emb, "forward", lambda mask: case["face"])
    out = model.sample(
        case["fea"],
        torch.zeros(1),
        case["cond"],
        steps=int(case["steps"]),
        eta=float(case["eta"]),
        cond_scale=float(case["cond_scale"]),
        win_width=int(case["win_width"]),
        noise=case["noise"],
    )
    assert_near(out, case["out"], within=1e-4, what="motion")


@pytest.mark.parametrize("path", golden_cases("dawn", "psample_*.npz"), ids=lambda path: path.stem)
@torch.no_grad()
def test_ancestral_step(path: Path) -> None:
    case, diffusion = load_case(path), filled_model(path.parent).diffusion
    eps = diffusion.denoise_fn(
        case["x"], case["t"], source_BCHW=case["fea"], mask_BMHW=case["face"], cond_BFD=case["cond"]
    )
    x0, _ = diffusion.clean_and_noise(case["x"], case["t"], eps)
    buffers = ("posterior_mean_coef1", "posterior_mean_coef2", "posterior_log_variance_clipped")
    first, second, variance = (diffusion.get_buffer(name)[case["t"]].view(-1, 1, 1, 1, 1) for name in buffers)
    fresh = case["noise"] * (case["t"] > 0).view(-1, 1, 1, 1, 1)
    out = first * x0 + second * case["x"] + (0.5 * variance).exp() * fresh  # Ho et al. 2020, Eq. 6 and 7
    assert_near(out, case["out"], within=1e-4, what="one step")


@pytest.mark.parametrize("path", golden_cases("dawn", "ploss_*.npz"), ids=lambda path: path.stem)
def test_loss_and_gradients(path: Path) -> None:
    case, diffusion = load_case(path), filled_model(path.parent).diffusion
    x = diffusion.add_noise(case["x_start"], case["t"], case["noise"])
    eps = diffusion.denoise_fn(x, case["t"], source_BCHW=case["fea"], mask_BMHW=case["face"], cond_BFD=case["cond"])
    x0, _ = diffusion.clean_and_noise(x, case["t"], eps)
    assert_near(x0, case["pred_x0"], within=1e-4, what="predicted motion")
    loss = (case["noise"] - eps).square()
    assert_near(loss, case["loss"], within=1e-4 * case["loss"].max().item(), what="loss map")
    assert_ratio(loss.mean().item(), float(case["loss_mean"]), within=1e-4, what="loss")
    diffusion.zero_grad()
    loss.mean().backward()
    norms = json.loads((path.parent / f"{path.stem}_gradnorms.json").read_text())
    parameters = dict(diffusion.named_parameters())
    for name, norm in norms.items():
        if name == "_note" or (norm is None and name not in parameters):
            continue
        gradient = parameters[name].grad
        if norm is None:
            assert gradient is None, name
        else:
            assert gradient is not None, name
            assert gradient.norm().item() == pytest.approx(norm, rel=1e-3), name
    diffusion.zero_grad()
