"""I3D logits against the reference networks, on the same weights, and the preprocessing before them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import golden_cases
from metric_goldens import assert_keys, fill, relative

from dawn_bench.metrics.features.i3d import i3d_features, prepare_window
from dawn_bench.metrics.networks.i3d import I3D
from dawn_bench.metrics.networks.i3d_keys import piergiajs_keys
from dawn_bench.metrics.networks.inference import for_inference

TOLERANCE = 1e-5


@lru_cache(maxsize=1)
def network(folder: Path, eps: str) -> torch.nn.Module:
    return for_inference(fill(I3D(eps=float(eps)), folder, gain=1.8), device="cpu")


def cases(*suffixes: str) -> list:
    out = []
    for path in golden_cases("metrics", "i3d.npz"):
        with np.load(path) as stored:
            names = [k.removesuffix("_video") for k in stored.files if k.endswith("_video")]
        out += [pytest.param(path, n, s, id=f"{path.parents[1].name}-{n}-{s}") for s in suffixes for n in names]
    return out


@pytest.mark.parametrize("path", golden_cases("metrics", "keys_i3d_videogpt_piergiaj.json"), ids=str)
def test_keys_are_piergiajs(path: Path) -> None:
    assert_keys(I3D(), path)


@pytest.mark.parametrize("style", ["hassony2", "tfhub_kinetics400"])
@pytest.mark.parametrize("path", golden_cases("metrics", "keys_i3d_videogpt_piergiaj.json"), ids=str)
def test_other_published_names_are_understood(path: Path, style: str) -> None:
    shapes = json.loads((path.parent / f"keys_i3d_{style}.json").read_text())
    renamed = piergiajs_keys({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert {key: list(tensor.shape) for key, tensor in renamed.items()} == json.loads(path.read_text())


@pytest.mark.parametrize(("path", "name", "_"), cases(""))
def test_pooled_features_and_logits_of_each_time_step_equal_the_reference(path: Path, name: str, _: str) -> None:
    net = network(path.parent, "1e-3")
    with np.load(path) as stored, torch.inference_mode():
        pooled = net.pooled(prepare_window(torch.from_numpy(stored[f"{name}_video"]))[None])
        steps = net.logits(pooled)[0, :, :, 0, 0].numpy()
        assert relative(pooled.mean(dim=2).flatten().numpy(), stored[f"{name}_feat1024_eps1e-3"]) < TOLERANCE
        assert relative(steps, stored[f"{name}_pertime_eps1e-3"]) < TOLERANCE


@pytest.mark.parametrize(("path", "name", "eps"), cases("1e-3", "1e-5"))
def test_logits_equal_the_reference(path: Path, name: str, eps: str) -> None:
    with np.load(path) as stored:
        logits = i3d_features(stored[f"{name}_video"][None], network(path.parent, eps))[0]
        assert relative(logits, stored[f"{name}_logits_eps{eps}"]) < TOLERANCE
        misuse = f"{name}_logits_eps{eps}_unscaled01"
        if misuse in stored.files:
            assert relative(logits, stored[misuse]) > 1e-3


@pytest.mark.parametrize(("path", "name", "_"), cases(""))
def test_preprocessing_equals_the_reference(path: Path, name: str, _: str) -> None:
    with np.load(path) as stored:
        x_CTHW = prepare_window(torch.from_numpy(stored[f"{name}_video"]))
        wanted = stored[f"{name}_pre_center"]
        assert np.abs(x_CTHW[:, ::5, 100:108, 100:108].numpy() - wanted).max() < 1e-6
