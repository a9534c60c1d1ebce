"""I3D logits against the reference networks, on the same weights, and the preprocessing before them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import golden_cases
from metric_goldens import assert_keys, fill, relative

from dawn_bench.metrics.features.i3d import i3d_features, prepare_window
from dawn_bench.metrics.networks.i3d import I3D
from dawn_bench.metrics.networks.inference import for_inference

TOLERANCE = 1e-5


@lru_cache(maxsize=1)
def network(folder: Path, eps: str) -> torch.nn.Module:
    return for_inference(fill(I3D(eps=float(eps)), folder, gain=1.8), device="cpu")


def cases(*suffixes: str) -> list:
    out = []
    for path in golden_cases("metrics", "i3d.npz"):
        with np.load(path) as held:
            names = [k.removesuffix("_video") for k in held.files if k.endswith("_video")]
        out += [pytest.param(path, n, s, id=f"{path.parents[1].name}-{n}-{s}") for s in suffixes for n in names]
    return out


@pytest.mark.parametrize("path", golden_cases("metrics", "keys_i3d_videogpt_piergiaj.json"), ids=str)
def test_keys_are_piergiajs(path: Path) -> None:
    assert_keys(I3D(), path)


@pytest.mark.parametrize(("path", "name", "eps"), cases("1e-3", "1e-5"))
def test_logits_equal_the_reference(path: Path, name: str, eps: str) -> None:
    with np.load(path) as held:
        found = i3d_features(held[f"{name}_video"][None], network(path.parent, eps))[0]
        assert relative(found, held[f"{name}_logits_eps{eps}"]) < TOLERANCE
        misuse = f"{name}_logits_eps{eps}_unscaled01"
        if misuse in held.files:
            assert relative(found, held[misuse]) > 1e-3


@pytest.mark.parametrize(("path", "name", "_"), cases(""))
def test_preprocessing_equals_the_reference(path: Path, name: str, _: str) -> None:
    with np.load(path) as held:
        x_CTHW = prepare_window(torch.from_numpy(held[f"{name}_video"]))
        wanted = held[f"{name}_pre_center"]
        assert np.abs(x_CTHW[:, ::5, 100:108, 100:108].numpy() - wanted).max() < 1e-6
