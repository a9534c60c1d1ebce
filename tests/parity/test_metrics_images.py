"""PSNR and SSIM against scikit-image, LPIPS against the lpips package on the same weights."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import golden_cases
from metric_goldens import facts, recipes

from dawn_bench import weights
from dawn_bench.metrics.features.images import mse_per_frame, ssim_per_frame
from dawn_bench.metrics.features.lpips import load_lpips, lpips_per_frame, package_lins, package_network
from dawn_bench.metrics.networks.inference import for_inference
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.pixels import psnr
from dawn_bench.weights import read_state_dict

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
    with np.load(path.with_suffix(".npz")) as stored:
        one, two = stored[f"{name}_a"][None], stored[f"{name}_b"][None]
        grey = stored[f"{name}_gray_a"][None], stored[f"{name}_gray_b"][None]
    assert ssim_per_frame(one, two)[0] == pytest.approx(wanted["skimage_ssim_gaussian_rgb"], abs=1e-8)
    assert ssim_per_frame(*grey)[0] == pytest.approx(wanted["skimage_ssim_gaussian_gray"], abs=1e-8)
    for pair, kind in (((one, two), "rgb"), (grey, "gray")):
        uniform = ssim_per_frame(*pair, window="uniform")[0]
        assert uniform == pytest.approx(wanted[f"skimage_ssim_default_{kind}"], abs=1e-12)
    assert ssim_per_frame(one, two)[0] == pytest.approx(wanted["junyaohu_ssim"], abs=1e-8)
    assert abs(ssim_per_frame(one, two)[0] - wanted["torchmetrics_ssim"]) > 1e-4  # another number
    assert psnr(mse_per_frame(one, two), cap=100)[0] == pytest.approx(wanted["junyaohu_psnr"], rel=1e-7)
    assert psnr(mse_per_frame(one, two), cap=100)[0] == pytest.approx(wanted["skimage_psnr"], rel=1e-12)
    assert psnr(mse_per_frame(one, one), cap=100)[0] == wanted["junyaohu_psnr_identical"]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_video_psnr_is_the_mean_of_frames(path: Path) -> None:
    wanted = facts(path)["video"]
    with np.load(path.with_suffix(".npz")) as stored:
        by_frame = psnr(mse_per_frame(stored["vid_a"], stored["vid_b"]), cap=100)
    assert by_frame == pytest.approx(wanted["per_frame_psnr"], rel=1e-12)
    assert by_frame.mean() == pytest.approx(wanted["mean_of_frame_psnr"], rel=1e-12)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_pooled_psnr_is_the_db_of_all_errors(path: Path) -> None:
    wanted = facts(path)["video"]
    metric = METRICS["psnr"](protocol("paper-dawn", ("psnr_mean=pooled",)))
    with np.load(path.with_suffix(".npz")) as stored:
        errors = mse_per_frame(stored["vid_a"], stored["vid_b"])
    metric.update({"images.mse": errors[:1]}, {}, clip_id="a")
    metric.update({"images.mse": errors[1:]}, {}, clip_id="b")
    score = metric.compute()
    assert score.value == pytest.approx(wanted["psnr_of_pooled_mse"], rel=1e-12)
    assert score.value == pytest.approx(wanted["torchmetrics_global"], rel=1e-6)
    assert score.low < score.value < score.high and score.per_clip["a"] == pytest.approx(wanted["per_frame_psnr"][0])


@lru_cache(maxsize=2)
def lpips_network(folder: Path, net: str, spatial: bool = False) -> torch.nn.Module:
    network = package_network(net, spatial=spatial)
    det_array, salt = recipes(folder).det_array, facts(folder / "meta.json")["weights_salt"]
    backbone = network.get_submodule("net")
    keys = facts(folder / f"keys_lpips_{net}_backbone.json")
    assert {k: list(t.shape) for k, t in backbone.state_dict().items()} == keys
    backbone.load_state_dict(
        {k: torch.from_numpy(det_array(k, tuple(shape), salt, 2**0.5)) for k, shape in keys.items()}
    )
    return for_inference(network, device="cpu")


@pytest.mark.parametrize("path", golden_cases("metrics", "lpips.json"), ids=str)
@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_lpips_equals_the_package(path: Path, net: str) -> None:
    network, wanted = lpips_network(path.parent, net), facts(path)[net]
    with np.load(path.with_suffix(".npz")) as stored:
        assert lpips_per_frame(stored["a"], stored["b"], network) == pytest.approx(wanted["pairs"], rel=1e-5)
        assert lpips_per_frame(stored["a2"], stored["b2"], network)[0] == pytest.approx(wanted["pair2"], rel=1e-5)
        spatial = lpips_per_frame(stored["a"], stored["b"], lpips_network(path.parent, net, True))
        assert spatial == pytest.approx(wanted["junyaohu_spatial_mean"], rel=1e-5)
        assert spatial[0] < 20 * wanted["wrong_range_01"][0] and wanted["pairs"][0] > 3 * wanted["wrong_range_01"][0]


@pytest.mark.parametrize("path", golden_cases("metrics", "keys_lpips_alex_lin.json"), ids=str)
@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_linear_weights_are_the_published_ones(path: Path, net: str) -> None:
    file = read_state_dict(package_lins(net))
    shapes = facts(path.parent / f"keys_lpips_{net}_lin.json")
    own = {k: t for k, t in package_network(net).state_dict().items() if k.startswith("lin")}
    assert {k: list(t.shape) for k, t in own.items()} == shapes
    for i in range(len(file)):
        assert torch.equal(own[f"lin{i}.model.1.weight"], file[f"lin{i}.model.1.weight"])


def test_torchvisions_file_fills_the_packages_backbone(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    whole = squeezenet1_1(weights=None)
    torch.save(whole.state_dict(), tmp_path / "file.pth")
    entry = weights.Resolved(weights.entry("lpips-squeeze"), "user", tmp_path / "file.pth", "0")
    network = load_lpips("squeeze", entry, "cpu")
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(network.net.slice1(x), whole.features[:2](x), atol=1e-6)
