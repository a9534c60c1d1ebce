"""Inception features against pytorch-fid and clean-fid, on the same weights."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import golden_cases
from metric_goldens import assert_keys, fill, relative

from dawn_bench.metrics.features.inception import inception_features, resize_clean, resize_pytorch_fid
from dawn_bench.metrics.networks.inception import TAPS, FidInception
from dawn_bench.metrics.networks.inference import for_inference

FILES = golden_cases("metrics", "fid_inception.npz")
TOLERANCE = 1e-5


@lru_cache(maxsize=1)
def network(folder: Path, gain: float) -> torch.nn.Module:
    return for_inference(fill(FidInception(), folder, gain=gain), device="cpu")


def images(path: Path) -> list[str]:
    with np.load(path) as stored:
        return [name for name in stored.files if stored[name].dtype == np.uint8 and stored[name].ndim == 4]


def cases() -> list:
    return [
        pytest.param(path, tag, image, id=f"{path.parents[1].name}-{tag}-{image}")
        for path in FILES
        for tag in ("g18", "g10")
        for image in images(path)
    ]


@pytest.mark.parametrize("path", golden_cases("metrics", "keys_inception_fid.json"), ids=str)
def test_keys_are_those_of_the_published_file(path: Path) -> None:
    assert_keys(FidInception(), path)


@pytest.mark.parametrize(("path", "tag", "image"), cases())
def test_features_equal_pytorch_fid(path: Path, tag: str, image: str) -> None:
    net = network(path.parent, int(tag[1:]) / 10)
    with np.load(path) as stored:
        # two pictures and the last two stages would hide nothing: every tap of every picture is compared
        for tap in TAPS:
            wanted = stored[f"{tag}_{image}_{tap}"]
            assert relative(inception_features(stored[image], net, tap=tap), wanted) < TOLERANCE, tap
        clean = f"{tag}_cleanfid_{image}_2048"
        if clean in stored.files:
            features = inception_features(stored[image][: len(stored[clean])], net, resize="clean")
            assert relative(features, stored[clean]) < TOLERANCE


@pytest.mark.parametrize("path", golden_cases("metrics", "torchfidelity_inception_g18.npz"), ids=str)
def test_features_equal_torch_fidelity(path: Path) -> None:
    net = network(path.parent, 1.8)
    with np.load(path) as stored, np.load(path.parent / "fid_inception.npz") as pictures:
        for name in stored.files:
            image, tap = name.rsplit("_", 1)
            features = inception_features(pictures[image], net, resize="torch-fidelity", tap=int(tap))
            assert relative(features, stored[name]) < TOLERANCE, name
            assert relative(inception_features(pictures[image], net, tap=int(tap)), stored[name]) > 1e-4, name


def resize_cases() -> list:
    out = []
    for path in golden_cases("metrics", "cleanfid_resize.npz"):
        with np.load(path) as stored:
            out += [pytest.param(path, k.removesuffix("_in"), id=k) for k in stored.files if k.endswith("_in")]
    return out


@pytest.mark.parametrize(("path", "name"), resize_cases())
def test_clean_resize_equals_pil(path: Path, name: str) -> None:
    with np.load(path) as stored:
        resized = resize_clean(torch.from_numpy(stored[f"{name}_in"])[None])[0].permute(1, 2, 0).numpy()
        assert np.abs(resized[::5, ::5] - stored[f"{name}_clean_stride5"]).max() < 255 * 1e-6
        assert resized.astype(np.float64).sum() == pytest.approx(float(stored[f"{name}_clean_sum"]), rel=1e-7)
        # clean-fid's rounded variant differs by the roundings alone, its legacy mode is pytorch-fid's resize
        rounded = resized.round()[::5, ::5] - stored[f"{name}_pilquant_stride5"]
        assert np.abs(rounded).max() <= 1
        legacy = (resize_pytorch_fid(torch.from_numpy(stored[f"{name}_in"])[None])[0] + 1).permute(
            1, 2, 0
        ).numpy() * 127.5
        assert np.abs(legacy[::5, ::5] - stored[f"{name}_legacy_pytorch_stride5"]).max() < 255 * 1e-6
        assert legacy.astype(np.float64).sum() == pytest.approx(float(stored[f"{name}_legacy_pytorch_sum"]), rel=1e-6)
