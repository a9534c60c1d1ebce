"""Networks of faces in ONNX files on a CUDA device, detectors and windows in batches: the numbers of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from onnx_writer import write_onnx
from pretended.device import Record, pretended_cuda

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.metrics.features import identity
from dawn_bench.metrics.features.i3d import i3d_features
from dawn_bench.metrics.networks import s3fd, s3fd_wav2lip
from dawn_bench.metrics.networks.inference import for_inference
from dawn_bench.metrics.networks.onnx_graph import OnnxNetwork
from dawn_bench.weights import Resolved

DEVICE = "cuda:1"
RNG = np.random.default_rng(0)


@pytest.fixture
def record() -> Iterator[Record]:
    with pretended_cuda() as record:
        yield record


@pytest.fixture(scope="module")
def arcface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the operations of insightface's, in their order: a block with a strided shortcut, and the head."""

    def normal(*shape: int) -> np.ndarray:
        return RNG.normal(0, 0.2, shape).astype(np.float32)

    def norm(name: str, width: int) -> dict[str, np.ndarray]:
        around_one = [(f"{name}.w", 1 + normal(width)), (f"{name}.v", 1 + np.abs(normal(width)))]
        return dict([*around_one, (f"{name}.b", normal(width)), (f"{name}.m", normal(width))])

    tensors = {"c1": normal(4, 3, 3, 3), "c1b": normal(4), "p1": normal(4, 1, 1), "c2": normal(6, 4, 3, 3)}
    tensors |= {"c2b": normal(6), "s": normal(6, 4, 1, 1), "sb": normal(6), "fc": normal(8, 6 * 28 * 28) / 9}
    tensors |= {"fcb": normal(8), **norm("n1", 4), **norm("n2", 6)}
    same = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}

    def norm_node(name: str, x: str, y: str) -> tuple[str, list[str], str, dict[str, float]]:
        return "BatchNormalization", [x, *(f"{name}.{k}" for k in "wbmv")], y, {"epsilon": 2e-5}

    nodes: list[Any] = [
        ("Conv", ["x", "c1", "c1b"], "h1", {**same, "strides": (2, 2)}),
        ("PRelu", ["h1", "p1"], "h2", {}),
        norm_node("n1", "h2", "h3"),
        ("Conv", ["h3", "c2", "c2b"], "h4", {**same, "strides": (2, 2)}),
        ("Conv", ["h2", "s", "sb"], "h5", {"kernel_shape": (1, 1), "strides": (2, 2)}),
        ("Add", ["h4", "h5"], "h6", {}),
        norm_node("n2", "h6", "h7"),
        ("Flatten", ["h7"], "h8", {"axis": 1}),
        ("Gemm", ["h8", "fc", "fcb"], "y", {"transB": 1}),
    ]
    return write_onnx(tmp_path_factory.mktemp("onnx") / "net.onnx", nodes, tensors)


FRAMES = RNG.integers(0, 256, (5, 130, 130, 3), dtype=np.uint8)


def faces() -> np.ndarray:
    points = np.zeros((len(FRAMES), 68, 2), np.float32)
    for k in range(len(FRAMES)):
        for place, to in zip((slice(36, 42), slice(42, 48), 30, 48, 54), identity.align.ARCFACE.points, strict=True):
            points[k, place] = to + k
    return points


def resolved(name: str, path: Path) -> Resolved:
    return Resolved(weights.entry(identity.ENTRIES[name]), "user", path, str(path))


@pytest.mark.parametrize("name", ["arcface", "arcface-r100", "mobilefacenet"])
def test_embeddings_of_the_device_are_opencvs(name: str, arcface: Path, record: Record) -> None:
    expected = identity._EMBEDDERS[name](resolved(name, arcface))(FRAMES, faces())
    assert not record.operations
    embed = identity._ON_DEVICE[name](resolved(name, arcface), DEVICE)
    assert embed is not None
    ours = embed(FRAMES, faces())
    assert set(record.devices) == {1} and not record.rounded
    assert type(ours) is np.ndarray and ours.dtype == np.float32 and ours.shape == (5, 8)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_published_file_gives_opencvs_embeddings(shared: Path, record: Record) -> None:
    path = shared / "data/nets/mobilefacenet_foamliu.onnx"
    expected = identity.mobilefacenet(resolved("mobilefacenet", path))(FRAMES, faces())
    embed = identity._ON_DEVICE["mobilefacenet"](resolved("mobilefacenet", path), DEVICE)
    assert embed is not None
    np.testing.assert_allclose(embed(FRAMES, faces()), expected, atol=1e-4 * np.abs(expected).max())


def test_the_feature_chooses_by_its_device(arcface: Path, monkeypatch: pytest.MonkeyPatch, record: Record) -> None:
    monkeypatch.setattr(identity.Identity, "use_weights", lambda self, name: resolved("arcface", arcface))
    monkeypatch.setattr(identity, "pick_backend", lambda: None)
    given = {"landmarks.any": faces(), "landmarks.found": np.array([True, True, False, True, True])}
    clip: Any = {"frames": FRAMES}
    rows = {}
    for device in ("cpu", DEVICE):
        rows[device] = identity.Identity(device=device).run(clip, given)["identity.arcface"]
        assert set(record.devices) == (set() if device == "cpu" else {1})
    np.testing.assert_allclose(rows[DEVICE], rows["cpu"], atol=1e-4 * np.abs(rows["cpu"]).max())
    assert (rows["cpu"][2] == 0).all() and (rows["cpu"][1] != 0).all()


def test_files_that_only_opencv_knows_and_damaged_ones(arcface: Path, tmp_path: Path, record: Record) -> None:
    other = write_onnx(tmp_path / "other.onnx", [("Sigmoid", ["x"], "y", {})], {})
    with pytest.raises(NotImplementedError, match="Sigmoid"):
        OnnxNetwork(other)
    assert identity._ON_DEVICE["arcface"](resolved("arcface", other), DEVICE) is None
    data = arcface.read_bytes()
    for name, content in (("cut", data[: len(data) // 2]), ("text", b"not a network"), ("empty", b"")):
        (tmp_path / f"{name}.onnx").write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}\.onnx"):
            identity._ON_DEVICE["arcface"](resolved("arcface", tmp_path / f"{name}.onnx"), DEVICE)


KERNEL = {"kernel_shape": (3, 3)}


@pytest.mark.parametrize(
    ("op", "more", "understood"),
    [
        ("Gemm", {"alpha": 1.0, "beta": 1.0, "transA": 0}, True),
        ("Gemm", {"alpha": 0.5}, False),
        ("Gemm", {"transA": 1}, False),
        ("Conv", {**KERNEL, "auto_pad": "NOTSET"}, True),
        ("Conv", {**KERNEL, "auto_pad": "SAME_UPPER"}, False),
        ("Reshape", {"allowzero": 1}, False),
        ("Add", {"axis": 1}, False),
    ],
)
def test_an_attribute_that_would_change_the_numbers_leaves_the_file_to_opencv(
    op: str, more: dict[str, Any], understood: bool, tmp_path: Path, record: Record
) -> None:
    """When it is read: an error in the first batch would come too late for another reader."""
    path = write_onnx(tmp_path / "net.onnx", [(op, ["x", "w"], "y", more)], {"w": np.ones((8, 3), np.float32)})
    assert (identity._ON_DEVICE["arcface"](resolved("arcface", path), DEVICE) is not None) == understood


def test_opencv_reads_what_the_writer_writes(arcface: Path) -> None:
    x = RNG.normal(size=(2, 3, 112, 112)).astype(np.float32)
    network = cv2.dnn.readNetFromONNX(str(arcface))
    network.setInput(x)
    with torch.inference_mode():
        ours = OnnxNetwork(arcface)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, network.forward(), atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize("module", [s3fd, s3fd_wav2lip])
def test_a_batch_of_frames_has_the_faces_of_each(module: Any, record: Record) -> None:
    torch.manual_seed(0)
    network = module.S3FD() if module is s3fd else module.S3FDWav2Lip()
    for_inference(network, device="cpu")
    options: dict[str, Any] = {"confidence": 0.1} | ({"scale": 1.0} if module is s3fd else {})
    frames = RNG.integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
    each = [module.detect(network, frame, **options) for frame in frames]
    together = module.detect_batch(network, frames, **options)
    assert len(together) == 3 and all(len(boxes) for boxes in each)
    for ours, alone in zip(together, each, strict=True):
        np.testing.assert_allclose(ours, alone, rtol=1e-4, atol=1e-3)
    record.clear()
    module.detect_batch(for_inference(network, device=DEVICE), frames, **options)
    assert sum(record.waits.values()) == 1, "one copy to the host for the whole batch"


def test_windows_run_in_batches(record: Record) -> None:
    sizes = []

    def network(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return x.mean(dim=(2, 3, 4)).repeat(1, 134)[:, :400]

    windows = RNG.integers(0, 256, (7, 16, 8, 8, 3), dtype=np.uint8)
    windows[5] = windows[1]
    together = i3d_features(iter(windows), network, device=DEVICE, batch=4, count=7)
    assert sizes == [4, 2]
    np.testing.assert_allclose(together, i3d_features(windows, network), atol=1e-5)
