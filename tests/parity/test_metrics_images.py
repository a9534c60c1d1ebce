"""PSNR and SSIM against scikit-image, LPIPS against the lpips package on the same weights."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import golden_cases
from metric_goldens import facts, recipes

from dawn_bench.metrics.features.images import mse_per_frame, psnr_of_mse, ssim_per_frame
from dawn_bench.metrics.features.lpips import lpips_per_frame
from dawn_bench.metrics.networks.inference import for_inference
from dawn_bench.metrics.networks.lpips import Lpips, package_lins

FILES = golden_cases("metrics", "psnr_ssim.json")


def pairs() -> list:
    return [
        pytest.param(path, name, id=f"{path.parents[1].name}-{name}")
        for path in FILES
        for name, values in facts(path).items()
        if isinstance(values, dict) and "skimage_ssim_gaussian_rgb" in values
    ]


@pytest.mark.parametrize(("path", "name"), pairs())
def test_ssim_and_psnr_equal_scikit_image(path: Path, name: str) -> None:
    wanted = facts(path)[name]
    with np.load(path.with_suffix(".npz")) as held:
        one, two = held[f"{name}_a"][None], held[f"{name}_b"][None]
        grey = held[f"{name}_gray_a"][None], held[f"{name}_gray_b"][None]
    assert ssim_per_frame(one, two)[0] == pytest.approx(wanted["skimage_ssim_gaussian_rgb"], abs=1e-8)
    assert ssim_per_frame(*grey)[0] == pytest.approx(wanted["skimage_ssim_gaussian_gray"], abs=1e-8)
    assert psnr_of_mse(mse_per_frame(one, two), cap=100)[0] == pytest.approx(wanted["skimage_psnr"], rel=1e-12)
    assert psnr_of_mse(mse_per_frame(one, one), cap=100)[0] == wanted["junyaohu_psnr_identical"]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_video_psnr_is_the_mean_of_frames(path: Path) -> None:
    wanted = facts(path)["video"]
    with np.load(path.with_suffix(".npz")) as held:
        found = psnr_of_mse(mse_per_frame(held["vid_a"], held["vid_b"]), cap=100)
    assert found == pytest.approx(wanted["per_frame_psnr"], rel=1e-12)
    assert found.mean() == pytest.approx(wanted["mean_of_frame_psnr"], rel=1e-12)


@lru_cache(maxsize=1)
def lpips_network(folder: Path, net: str) -> torch.nn.Module:
    network = Lpips(net)  # type: ignore[arg-type]
    det_array, salt = recipes(folder).det_array, facts(folder / "meta.json")["weights_salt"]
    state = network.features.state_dict()
    # the package numbers its slices; the index of the layer is the last part but one in both
    for key in facts(folder / f"keys_lpips_{net}_backbone.json"):
        own = key.split(".", 1)[1]
        state[own] = torch.from_numpy(det_array(key, state[own].shape, salt, 2**0.5))
    network.features.load_state_dict(state)
    network.load_lins(package_lins(net))  # type: ignore[arg-type]
    return for_inference(network, device="cpu")


@pytest.mark.parametrize("path", golden_cases("metrics", "lpips.json"), ids=str)
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_equals_the_package(path: Path, net: str) -> None:
    network, wanted = lpips_network(path.parent, net), facts(path)[net]
    with np.load(path.with_suffix(".npz")) as held:
        assert lpips_per_frame(held["a"], held["b"], network) == pytest.approx(wanted["pairs"], rel=1e-5)
        assert lpips_per_frame(held["a2"], held["b2"], network)[0] == pytest.approx(wanted["pair2"], rel=1e-5)
