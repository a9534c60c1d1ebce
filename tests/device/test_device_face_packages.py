"""The face-alignment package on a CUDA device: its networks run there in full float32, by algorithms that stay.

A package that is not installed is pretended: networks of one layer, called as it calls its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pretended.budget import FACE_WAITS
from pretended.device import pretended_cuda
from torch import nn

from dawn_bench.devices import computing_on
from dawn_bench.pipelines.faces import base as faces
from dawn_bench.pipelines.faces.backends import face_alignment as ours

FRAME = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
BOX = np.array([20, 10, 60, 50], np.float32)
#: Whether cuDNN may choose algorithms by their time, at each pass of a network.
chooses: list[bool] = []


class Layer(nn.Module):
    """A network that notes the settings of its passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(channels)
        self.convolution = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chooses.append(torch.backends.cudnn.benchmark)
        return self.convolution(x)


class Package:
    """`face_alignment.FaceAlignment` of version 1.5: it lets cuDNN choose at construction and at each detection."""

    def __init__(self, _: int, *, device: str, **options: Any) -> None:
        if "cuda" in device:
            torch.backends.cudnn.benchmark = True
        self.device, self.network = device, Layer(68).to(device)
        self.face_detector = SimpleNamespace(network=Layer(2).to(device), detect_from_image=self._detect)

    def _detect(self, frame: np.ndarray) -> list[np.ndarray]:
        if "cuda" in self.device:
            torch.backends.cudnn.benchmark = True
        scores = self._pass(self.face_detector.network, frame)
        return [np.array([20, 10, 60, 50 + abs(float(scores.mean())), 0.9])]

    @torch.no_grad()
    def get_landmarks_from_image(self, frame: np.ndarray, detected_faces: list[Any]) -> list[np.ndarray]:
        return [self._pass(self.network, frame)[0].mean(axis=(1, 2))[:, None] * [1.0, 2.0]]

    def _pass(self, network: nn.Module, frame: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()).to(self.device, dtype=torch.float32)
        return network(x / 255).detach().to("cpu").numpy()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = SimpleNamespace(LandmarksType=SimpleNamespace(TWO_D=1), FaceAlignment=Package)
    monkeypatch.setitem(sys.modules, "face_alignment", names)
    monkeypatch.setattr(ours.FaceAlignmentBackend, "missing", lambda: None)
    (file := tmp_path / "checkpoints" / "any.pth").parent.mkdir()
    file.write_bytes(b"weights")
    monkeypatch.setattr(ours, "_file", lambda _: file)
    faces._loaded.cache_clear()
    chooses.clear()
    yield
    faces._loaded.cache_clear()


def seen() -> tuple[np.ndarray, np.ndarray]:
    backend = faces.pick_backend("face-alignment")
    return backend.detect(FRAME), backend.landmarks(FRAME, BOX)


def test_its_networks_run_on_the_device_of_the_command_as_on_the_cpu(package: None) -> None:
    with pretended_cuda() as record:
        with computing_on("cpu"):
            expected = seen()
        assert not record.operations and not torch.backends.cudnn.benchmark
        with computing_on("cuda:1"):
            faces.pick_backend("face-alignment")
            assert not torch.backends.cudnn.benchmark, "the setting of the process is put back"
            record.clear()
            boxes, points = seen()
        assert set(record.devices) == {1} and record.operations["convolution"] == 2
        assert not record.rounded, "landmarks that a cache keeps are computed in full float32"
        assert record.blocking() == FACE_WAITS["face-alignment"], "decide in pretended/budget.py"
        assert not torch.backends.cudnn.benchmark and not torch.nn.modules.module._global_forward_pre_hooks
    assert chooses == [False] * 4, "an algorithm that is chosen by its time may be another one in the next run"
    for array, reference in zip((boxes, points), expected, strict=True):
        assert type(array) is np.ndarray and array.dtype == np.float32
        np.testing.assert_allclose(array, reference, rtol=1e-5)


def test_the_package_would_choose_by_time(package: None) -> None:
    """Without what our back end does around it: the test above would notice."""
    with pretended_cuda() as record:
        before = torch.backends.cudnn.benchmark
        try:
            Package(1, device="cuda:1").face_detector.detect_from_image(FRAME)
            assert chooses == [True] and record.rounded
        finally:
            torch.backends.cudnn.benchmark = before
