"""ArcFace alignment and backbones against insightface's outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from goldens import golden_cases
from metric_goldens import arrays, assert_keys, facts, fill, relative

from dawn_bench.metrics.csim import cosines
from dawn_bench.metrics.functional.align import ARCFACE, aligned, similarity
from dawn_bench.metrics.networks.iresnet import IResNet

KEYS = [(path, depth) for depth in (50, 100) for path in golden_cases("metrics", f"keys_iresnet{depth}.json")]


@pytest.mark.parametrize("case", KEYS, ids=str)
def test_published_keys(case):
    path, depth = case
    with torch.device("meta"):
        assert_keys(IResNet(depth), path)


@pytest.mark.parametrize("path", golden_cases("metrics", "arcface.json"), ids=str)
def test_alignment(path):
    case = arrays(path)
    for i, picture in enumerate(case["img"]):
        assert relative(similarity(case[f"lmk{i}"], ARCFACE.points), case[f"M{i}"]) < 1e-6
        off = np.abs(aligned(picture, case[f"lmk{i}"]).astype(int) - case["crops"][i])
        # The last bit of the matrix depends on the linear algebra library: a pixel in a thousand may round otherwise.
        assert off.max() <= 1 and (off > 0).mean() < 1e-3


@pytest.mark.parametrize("path", golden_cases("metrics", "arcface.json"), ids=str)
def test_embeddings_and_cosines(path):
    case = arrays(path)
    network = fill(IResNet(50), path.parent)
    rgb = torch.from_numpy(case["crops"][..., ::-1].copy()).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        embeddings = network((rgb - 127.5) / 127.5).numpy()
    assert relative(embeddings, case["emb"]) < 5e-5
    n = len(embeddings)
    table = cosines(np.repeat(embeddings, n, axis=0), np.tile(embeddings, (n, 1))).reshape(n, n)
    assert np.abs(table - facts(path)["sims"]).max() < 5e-5
