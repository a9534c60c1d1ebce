"""The LFG against the reference implementation's outputs, under weights filled by rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from dawn_goldens import assert_near, fill, load_case
from goldens import golden_cases

from dawn_bench.models.dawn.lfg import LFG, LFGConfig
from dawn_bench.models.dawn.region import Regions

FORWARD = golden_cases("dawn", "lfg[0-9]*.npz")
FLOW = golden_cases("dawn", "lfgflow*.npz")
KEYS = golden_cases("dawn", "keys_LFG.json")
PARTS = ("generator", "region_predictor", "bg_predictor")


@pytest.fixture(scope="module")
def lfg():
    """One released-size LFG, refilled only when the folder of the cases changes."""
    model = LFG(LFGConfig.reference()).eval()
    filled: list[Path] = []

    def get(folder: Path) -> LFG:
        if filled != [folder]:
            for part in PARTS:
                fill(getattr(model, part), folder)
            filled[:] = [folder]
        return model

    return get


@pytest.mark.parametrize("path", KEYS, ids=str)
def test_published_keys_and_shapes(lfg, path):
    published = json.loads(path.read_text())
    for part in PARTS:
        ours = {
            key: [list(t.shape), str(t.dtype).removeprefix("torch.")]
            for key, t in getattr(lfg(path.parent), part).state_dict().items()
        }
        assert ours == published[part]


@pytest.mark.parametrize("path", FORWARD, ids=str)
@torch.no_grad()
def test_forward(lfg, path):
    case = load_case(path)
    out = lfg(path.parent)(case["source"], case["driving"])
    for name, regions in (("src", out.motion.source), ("drv", out.motion.driving)):
        _check_regions(regions, case, name)
    assert_near(out.motion.driving.heat_BKHW, case["drv_heatmap"], within=1e-5, what="heat")
    assert_near(out.motion.background_B23, case["bg_params"][:, :2], within=1e-5, what="background")
    assert_near(out.motion.flow_Bhh2, case["optical_flow"], within=1e-5, what="flow")
    assert_near(out.motion.occlusion_B1hh, case["occlusion_map"], within=1e-4, what="occlusion")
    assert_near(out.prediction_BCSS, case["prediction"], within=2e-4, what="prediction")
    assert_near(out.deformed_BCSS[:1], case["deformed"], within=2e-4, what="deformed")
    features = out.encoded.features_BChh[:1]
    step = features.shape[1] // case["bottle_neck_feat"].shape[1]
    assert_near(features[:, ::step], case["bottle_neck_feat"], within=1e-4, what="features")


def _check_regions(regions: Regions, case: dict[str, torch.Tensor], name: str) -> None:
    assert_near(regions.shift_BK2, case[f"{name}_shift"], within=1e-5, what=f"{name} shift")
    assert_near(regions.covar_BK22, case[f"{name}_covar"], within=1e-5, what=f"{name} covar")
    spread = case[f"{name}_d"].diagonal(dim1=-2, dim2=-1).view_as(regions.spread_BK2)
    assert_near(regions.spread_BK2.sqrt(), spread, within=1e-5, what=f"{name} root spread")
    # The signs of the axes are LAPACK's choice in the reference: compare up to the sign of each column.
    ours, theirs = regions.affine_BK22, case[f"{name}_affine"]
    theirs = theirs * torch.sign((ours * theirs).sum(dim=-2, keepdim=True))
    assert_near(ours, theirs, within=1e-4, what=f"{name} affine")


@pytest.mark.parametrize("path", FLOW, ids=str)
@torch.no_grad()
def test_pictures_from_given_motion(lfg, path):
    case = load_case(path)
    model = lfg(path.parent)
    encoded = model.encode(case["source"])
    prediction, deformed = model.generator.decode(encoded, case["optical_flow"], case["occlusion_map"])
    assert_near(prediction, case["prediction"], within=2e-4, what="prediction")
    assert_near(deformed, case["deformed"], within=2e-4, what="deformed")
    features = encoded.features_BChh
    step = features.shape[1] // case["feature_sample"].shape[1]
    assert_near(features[:, ::step], case["feature_sample"], within=1e-4, what="features")
