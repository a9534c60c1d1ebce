"""The U-Net predicts the reference's noise, in its plain form and in the form for inference."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from dawn_goldens import assert_near, fill, load_case
from goldens import golden_cases

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.diffusion import Diffusion
from dawn_bench.models.dawn.fast.unet import FastUNet
from dawn_bench.models.dawn.unet import UNet3D

#: The goldens' README: predicted noise to 1e-4.
WITHIN = 1e-4
#: Longer clips run only in the inference form; the plain one is compared with it below this length.
PLAIN_FRAMES = 24


@cache
def filled_unet(folder: Path) -> UNet3D:
    diffusion = Diffusion(A2VConfig.reference()).eval()
    fill(diffusion, folder)
    return diffusion.denoise_fn


def frames_of(path: Path) -> int:
    with np.load(path) as file:
        return file["cond"].shape[1]


def predict_fast(
    case: dict[str, torch.Tensor], unet: UNet3D, *, cond: torch.Tensor, window: int | None
) -> torch.Tensor:
    fast = FastUNet(unet)
    clips = []
    for b, t in enumerate(case["t"]):
        clip = fast.prepare(source_CHW=case["fea"][b], mask_MHW=case["face"][b], cond_FD=cond[b], win_width=window)
        clips.append(clip(case["x"][b], t[None]))
    return torch.stack(clips)


@torch.no_grad()
def predict_plain(
    case: dict[str, torch.Tensor], unet: UNet3D, *, cond: torch.Tensor, window: int | None
) -> torch.Tensor:
    return unet(case["x"], case["t"], source_BCHW=case["fea"], mask_BMHW=case["face"], cond_BFD=cond, win_width=window)


CASES = [
    pytest.param(path, marks=pytest.mark.slow) if frames_of(path) > 60 else path
    for path in golden_cases("dawn", "unet*.npz")
]


@pytest.mark.skipif(not CASES, reason="no reference outputs")
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_predicted_noise(path: Path) -> None:
    case, unet = load_case(path), filled_unet(path.parent)
    cond, window = case["cond"], int(case["win_width"])
    forms = {"fast": predict_fast}
    if cond.shape[1] <= PLAIN_FRAMES:
        forms["plain"] = predict_plain
    for name, predict in forms.items():
        assert_near(predict(case, unet, cond=cond, window=window), case["eps"], within=WITHIN, what=f"{name} eps")
        if "eps_no_window" in case:
            got = predict(case, unet, cond=cond, window=None)
            assert_near(got, case["eps_no_window"], within=WITHIN, what=f"{name} without window")
        if "eps_null" in case:
            null = predict(case, unet, cond=torch.zeros_like(cond), window=window)
            assert_near(null, case["eps_null"], within=WITHIN, what=f"{name} without conditions")
            assert_near(
                torch.lerp(null, case["eps"], 2.0), case["eps_scale2"], within=2 * WITHIN, what=f"{name} guided"
            )


@pytest.mark.parametrize("path", golden_cases("dawn", "keys_DAWN.json"), ids=lambda path: path.parent.name)
def test_state_dict_has_the_published_keys(path: Path) -> None:
    published = {key: tuple(shape) for key, (shape, _) in json.loads(path.read_text())["diffusion"].items()}
    state = Diffusion(A2VConfig.reference()).state_dict()
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == published
