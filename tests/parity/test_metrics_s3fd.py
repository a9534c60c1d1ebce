"""S3FD's raw outputs and final boxes against syncnet_python's."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import torch
from goldens import golden_cases
from metric_goldens import arrays, assert_keys, fill, relative

from dawn_bench.metrics.networks import s3fd_wav2lip
from dawn_bench.metrics.networks.s3fd import MEAN, S3FD, detect, suppress
from dawn_bench.metrics.networks.s3fd_wav2lip import S3FDWav2Lip

BOXES = re.compile(r"(s3fd\w*)_boxes_conf(\d+)p(\d+)_scale(\d+)p(\d+)")
CASES = [
    (path, match)
    for path in golden_cases("metrics", "syncnet_pipeline.npz")
    for match in map(BOXES.fullmatch, arrays(path).files)
    if match
]


@pytest.mark.parametrize("path", golden_cases("metrics", "keys_s3fd_syncnet_python_sfd_face.json"), ids=str)
def test_published_keys(path):
    with torch.device("meta"):
        assert_keys(S3FD(), path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].parent}:{case[1].group()}")
def test_outputs_and_boxes(case):
    path, match = case
    stored, name = arrays(path), match[1]
    confidence, scale = float(f"{match[2]}.{match[3]}"), float(f"{match[4]}.{match[5]}")
    network = fill(S3FD(), path.parent)
    small = cv2.resize(stored[f"{name}_img"], None, fx=scale, fy=scale)
    with torch.inference_mode():
        picture = torch.from_numpy(small).float().sub(torch.tensor(MEAN)).permute(2, 0, 1)[None]
        outputs = [t.numpy() for t in network(picture)]
    for ours, theirs in zip(outputs, ("loc", "conf", "priors"), strict=True):
        assert relative(ours, stored[f"{name}_{theirs}"]) < 1e-5
    boxes = detect(network, stored[f"{name}_img"], scale=scale, confidence=confidence)
    assert relative(boxes, stored[match.group()]) < 1e-5
    assert np.all(np.diff(boxes[:, 4]) <= 0)


@pytest.mark.parametrize("path", golden_cases("metrics", "keys_s3fd_wav2lip_s3fd-619a316812.json"), ids=str)
def test_published_keys_of_wav2lips_copy(path):
    with torch.device("meta"):
        assert_keys(S3FDWav2Lip(), path)


@pytest.mark.parametrize("path", golden_cases("metrics", "syncnet_pipeline.npz"), ids=str)
def test_maps_of_wav2lips_copy(path):
    stored = arrays(path)
    network = fill(S3FDWav2Lip(), path.parent)
    picture = torch.from_numpy(stored["s3fd_img"]).float().sub(torch.tensor(s3fd_wav2lip.MEAN)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        outputs = network(picture)
    assert len(outputs) == 12
    for i, ours in enumerate(outputs):
        assert relative(ours.numpy(), stored[f"s3fd_w2l_out{i}"]) < 1e-5, i
    boxes = s3fd_wav2lip.detect(network, stored["s3fd_img"], confidence=0.0)
    assert len(boxes) and np.all(np.diff(boxes[:, 4]) <= 0)
    # one that stays overlaps no better one by more than 0.3
    assert len(suppress(boxes, 0.3, pixel=1.0)) == len(boxes)
