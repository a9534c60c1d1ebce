"""Networks of the metrics on a CUDA device: the CPU's numbers as arrays, in exact float32, on the device asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended.device import Record, pretended_cuda
from torch import nn

from dawn_bench import weights
from dawn_bench.clip import Clip
from dawn_bench.exact import exact_inference
from dawn_bench.files import sha256_file
from dawn_bench.metrics.features.i3d import i3d_features, load_i3d
from dawn_bench.metrics.features.inception import inception_features
from dawn_bench.metrics.networks import s3fd, s3fd_wav2lip
from dawn_bench.metrics.networks.inference import for_inference
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import FEATURES, PairFeature

DEVICE = "cuda:1"


@dataclass(frozen=True)
class Case:
    """A feature with a network: changes of the protocol, and the frames of the clip."""

    changes: tuple[tuple[str, ...], ...] = ((),)
    frames: int = 3
    side: int = 48


#: Features that run a network in PyTorch; those with the code and network of another; those without such a network.
NETWORKS = {
    "inception": Case(frames=2),
    "lite0": Case(frames=2),
    "i3d.16": Case(frames=16),
    "lpips": Case(((), ("lpips_net=squeeze", "lpips_spatial=true"))),
    "syncnet": Case(frames=8),
}
SAME = {"i3d.32": "i3d.16"}
#: Those whose network is in a file that this suite does not have; see `test_device_faces.py`.
OF_FILES = {"identity"}
WITHOUT = {
    "blink", "cpbd", "envelope", "headpose", "id-dlib", "images", "landmarks", "levels", "mesh", "meshlips", "meshrest",
    "meshupper", "onset", "pictures", "piqe", "repeated",
}  # fmt: skip


def clip_of(case: Case, seed: int) -> Clip:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (case.frames, case.side, case.side + 8, 3), dtype=np.uint8)
    sound = rng.integers(-9000, 9000, case.frames * 640).astype(np.int16)
    return Clip("a", "s", "test", case.frames, {"frames": frames, "audio": sound})


@pytest.fixture
def record() -> Iterator[Record]:
    with pretended_cuda() as record:
        yield record


def test_every_feature_is_classified() -> None:
    unknown = set(FEATURES) - set(NETWORKS) - set(SAME) - OF_FILES - WITHOUT
    assert not unknown, f"say in NETWORKS or WITHOUT whether {unknown} runs a network in PyTorch"
    assert all(FEATURES[name].run is FEATURES[other].run for name, other in SAME.items())
    for name in WITHOUT & set(FEATURES):
        assert not hasattr(sys.modules[FEATURES[name].__module__], "torch"), f"{name} now belongs to NETWORKS"
    assert {name for name in FEATURES if FEATURES[name].device_bound} == {*NETWORKS, *SAME, *OF_FILES}


@pytest.mark.parametrize(
    ("name", "changes"), [(name, changes) for name, case in NETWORKS.items() for changes in case.changes], ids=str
)
def test_a_feature_of_the_device_is_that_of_the_cpu(name: str, changes: tuple[str, ...], record: Record) -> None:
    """Also after another device had the network: what is kept between clips is kept by device."""
    case, rules = NETWORKS[name], protocol("paper-dawn", changes)
    clips = [clip_of(case, seed) for seed in (1, 2)]

    def arrays(device: str) -> dict[str, np.ndarray]:
        feature: Any = FEATURES[name](rules, weights="seeded", device=device)  # type: ignore[call-arg]
        return feature.run(*clips) if isinstance(feature, PairFeature) else feature.run(clips[0], {})

    expected = arrays("cpu")
    assert not record.operations, "chosen for the CPU, run on CUDA"
    ours = arrays(DEVICE)
    assert set(record.devices) == {1}
    assert ours.keys() == expected.keys()
    for key, value in ours.items():
        assert type(value) is np.ndarray and value.dtype == expected[key].dtype
        np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-4 * max(1e-6, np.abs(expected[key]).max()))
    assert not record.rounded, "scores are computed in full float32"
    if name == "lpips":  # the lightest
        record.clear()
        arrays("cuda:0")
        assert set(record.devices) == {0}


@pytest.mark.parametrize("resize", ["pytorch-fid", "clean", "torch-fidelity"])
def test_every_resize_of_frames_stays_on_the_device(resize: str, record: Record) -> None:
    class Means(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor, *, tap: int) -> torch.Tensor:
            return (x.mean(dim=(2, 3)) * self.scale)[:, :tap]

    frames = clip_of(Case(), 1)["frames"]
    rows = {d: inception_features(frames, Means().to(d), resize=resize, tap=3) for d in ("cpu", DEVICE)}
    assert type(rows[DEVICE]) is np.ndarray
    np.testing.assert_allclose(rows[DEVICE], rows["cpu"], rtol=1e-5)


@pytest.mark.parametrize("module", [s3fd, s3fd_wav2lip])
def test_a_face_detector_of_the_device_is_that_of_the_cpu(module: Any, record: Record) -> None:
    kind = s3fd.S3FD if module is s3fd else s3fd_wav2lip.S3FDWav2Lip
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    torch.manual_seed(0)
    network = kind()
    state = network.state_dict()
    boxes = {}
    for device in ("cpu", DEVICE):
        network = kind()
        network.load_state_dict(state)
        for_inference(network, device=device)
        options = {"scale": 1.0} if module is s3fd else {}
        boxes[device] = module.detect(network, frame, confidence=0.1, **options)
        assert set(record.devices) == (set() if device == "cpu" else {1})
    assert type(boxes[DEVICE]) is np.ndarray and boxes[DEVICE].dtype == np.float64 and len(boxes["cpu"])
    np.testing.assert_allclose(boxes[DEVICE], boxes["cpu"], rtol=1e-3, atol=1e-3)
    assert not record.rounded


def test_torchscript_is_loaded_onto_the_device(tmp_path: Path, record: Record) -> None:
    class Means(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(400))

        def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
            return x.mean(dim=(1, 2, 3, 4))[:, None] * self.scale

    path = tmp_path / "i3d.pt"
    torch.jit.save(torch.jit.script(Means()), str(path))
    digest = sha256_file(path)
    published = replace(weights.entry("i3d"), sha256=digest)
    resolved = weights.Resolved(published, "canonical", path, digest)
    windows = np.random.default_rng(0).integers(0, 256, (1, 16, 8, 8, 3), dtype=np.uint8)
    rows = {d: i3d_features(windows, load_i3d(resolved, d), device=d) for d in ("cpu", DEVICE)}
    np.testing.assert_allclose(rows[DEVICE], rows["cpu"], rtol=1e-5)


def products(device: str = "cuda:1") -> None:
    nn.functional.conv2d(torch.ones(1, 1, 4, 4, device=device), torch.ones(1, 1, 2, 2, device=device))
    torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)


@pytest.fixture
def settings() -> Iterator[None]:
    """The settings of TF32, put back afterwards."""
    operations = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    before = [each.fp32_precision for each in operations]
    yield
    for each, precision in zip(operations, before, strict=True):
        each.fp32_precision = precision


@pytest.mark.parametrize("allowed", ["default", "by operation", "ieee"])
def test_exact_inference_rounds_nothing_and_puts_the_settings_back(
    allowed: str, settings: None, record: Record
) -> None:
    """Also in a process that has set TF32 by PyTorch's newer interface, after which the older one raises an error."""
    if allowed == "by operation":
        torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "tf32"
    if allowed == "ieee":
        torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.benchmark = True
    try:
        products()
        counts = {"default": 1, "by operation": 2, "ieee": 0}
        assert sum(record.rounded.values()) == counts[allowed]
        record.clear()
        for error in (None, ValueError):
            with pytest.raises(ValueError) if error else exact_inference(), exact_inference():
                assert not torch.backends.cudnn.benchmark and not torch.is_grad_enabled()
                products()
                if error:
                    raise error
            assert not record.rounded and torch.backends.cudnn.benchmark and torch.is_grad_enabled()
        products()
        assert sum(record.rounded.values()) == counts[allowed]
    finally:
        torch.backends.cudnn.benchmark = False
    if allowed == "default":
        assert torch.backends.cudnn.allow_tf32, "the older interface still works for whoever uses it"
