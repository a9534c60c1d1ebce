"""Parity with DAWN's data preparation: eye ratios, poses, masks, speech-feature chunks."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import golden_cases

from dawn_bench.errors import ItemError
from dawn_bench.masks import released_box_mask, released_lip_mask
from dawn_bench.pipelines.extractors.blink import reference_eye_ratio
from dawn_bench.pipelines.extractors.hubert import chunked
from dawn_bench.pipelines.extractors.pose import decode_matrix, rotation_matrix
from dawn_bench.pipelines.extractors.tddfa import cut, square


def cases(pattern: str) -> pytest.MarkDecorator:
    """Every golden of one pattern; one skipped case where there is none."""
    paths = golden_cases("data", pattern)
    absent = pytest.param(None, marks=pytest.mark.skip(reason="no reference outputs next to the checkout"))
    return pytest.mark.parametrize(
        "path", paths or [absent], ids=lambda path: f"{path.parent.parent.name}-{path.stem}" if path else "none"
    )


@cases("data_geometry*.npz")
def test_eye_ratio(path: Path) -> None:
    golden = np.load(path)
    np.testing.assert_allclose(reference_eye_ratio(golden["lmk"].transpose(0, 2, 1)), golden["eye"], rtol=1e-6)


@cases("data_geometry*.npz")
def test_pose_decoding(path: Path) -> None:
    golden = np.load(path)
    pose = decode_matrix(golden["param62"][:, :12].reshape(-1, 3, 4).astype(np.float64))
    np.testing.assert_allclose(pose[:, :3], golden["pose7"][:, :3], atol=1e-3)
    np.testing.assert_allclose(pose[:, 3:], golden["pose7"][:, 3:], rtol=1e-6)
    np.testing.assert_allclose(rotation_matrix(golden["true_angles_deg"]), golden["R_from_angles"], atol=1e-12)


@cases("data_geometry*.npz")
def test_the_square_that_3ddfa_sees(path: Path) -> None:
    golden = np.load(path)
    np.testing.assert_allclose(square(golden["det_box"]), golden["roi_box"], atol=1e-6)
    for k, box in enumerate(golden["crop_boxes"]):
        assert np.array_equal(cut(golden["crop_img"], box, side=None), golden[f"crop_{k}"])


@cases("data_masks*.npz")
def test_masks(path: Path) -> None:
    golden = np.load(path)
    boxes, mouths = golden["bbox"][:, :, 0], golden["mouth_lmk"]
    sizes = {key.rsplit("_", 1)[1] for key in golden.files if key.startswith(("face_mask_", "mouth_mask_"))}
    assert sizes
    for size in sizes:
        if f"face_mask_{size}" in golden:
            expected = golden[f"face_mask_{size}"][:, 0].astype(bool)
            corners, (height, width) = torch.from_numpy(boxes[:, [0, 2, 1, 3]]), torch.from_numpy(boxes[:, 4:]).T
            mask = released_box_mask(corners, int(size), height=height, width=width, swap_axes=True)
            assert np.array_equal(mask.numpy().astype(bool), expected)
        if f"mouth_mask_{size}" in golden:
            for box, mouth, mask in zip(boxes, mouths, golden[f"mouth_mask_{size}"].astype(bool), strict=True):
                assert np.array_equal(released_lip_mask(mouth, box[4], box[5], int(size)), mask)


@cases("data_hubert_chunk*.json")
def test_speech_feature_chunks(path: Path) -> None:
    features = np.load(path.with_suffix(".npz"))
    for case in json.loads(path.read_text()):
        n = case["samples"]
        sound = np.random.default_rng(zlib.crc32(f"wav/{n}".encode())).standard_normal(n).astype(np.float32)
        calls: list[list[int]] = []

        def encode(samples: np.ndarray, calls: list[list[int]] = calls) -> np.ndarray:
            steps = (len(samples) - 80) // 320
            calls.append([len(samples), steps])
            windows = np.stack([samples[320 * i : 320 * i + 400] for i in range(steps)])
            loudest = np.abs(windows).max(axis=1)
            return np.stack([windows.mean(axis=1), windows[:, 0], windows[:, -1], loudest], axis=1)

        if "error" in case:
            with pytest.raises(ItemError, match="too_short"):
                chunked(sound, encode)
            continue
        rows = chunked(sound, encode)
        assert calls == case["calls"]
        assert len(rows) == case["frames"]
        if f"feat_{n}" in features:
            np.testing.assert_allclose(rows, features[f"feat_{n}"], atol=1e-5)
