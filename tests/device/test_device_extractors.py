"""Speech networks, 3DDFA and the packages of face back ends on the CUDA device of the command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pretended.budget import EXTRACTOR_WAITS
from pretended.device import pretended_cuda
from pretended.networks import publish_hubert, publish_tddfa, publish_wav2vec2

from dawn_bench import weights
from dawn_bench.devices import computing_on
from dawn_bench.pipelines.extractors import hubert as speech
from dawn_bench.pipelines.extractors import tddfa
from dawn_bench.pipelines.extractors.base import EXTRACTORS, Extractor
from dawn_bench.pipelines.extractors.snapshot import Snapshot
from dawn_bench.pipelines.faces import base as faces
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.weights_needs import first_present
from dawn_bench.workflow.jobs import Preparation

ARRAYS = {
    "audio": np.random.default_rng(0).integers(-3000, 3000, 16_000).astype(np.int16),
    "frames": np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8),
    "landmarks": np.random.default_rng(2).uniform(15, 45, (3, 68, 2)).astype(np.float32),
}
#: Extractors without a network in PyTorch.
WITHOUT = {"blink", "blink-one-pair", "logmel", "masks", "pose"}
#: Those with one, and what writes a small one in its published layout.
PUBLISHED: dict[str, Callable[[Path], None]] = {
    "hubert": publish_hubert,
    "wav2vec2": publish_wav2vec2,
    "pose-3ddfa": publish_tddfa,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    return tmp_path


def test_every_extractor_is_classified() -> None:
    built_in = {name for name in EXTRACTORS if EXTRACTORS[name].__module__.startswith("dawn_bench.")}
    assert built_in - WITHOUT <= set(PUBLISHED), "say in PUBLISHED or WITHOUT whether it runs a network"
    assert not [name for name in WITHOUT if hasattr(sys.modules[EXTRACTORS[name].__module__], "pick_device")]


def run(name: str) -> np.ndarray:
    extractor: Extractor = EXTRACTORS[name]()
    return next(iter(extractor.run(ARRAYS, size=64, n_frames=25 if "audio" in extractor.needs else 3).values()))


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_extractor_of_the_device_is_that_of_the_cpu(name: str, folder: Path) -> None:
    PUBLISHED[name](folder)
    expected = run(name)
    with pretended_cuda() as record:
        run(name)
        record.clear()
        ours = run(name)  # the network is loaded
    assert record.blocking() == EXTRACTOR_WAITS.get(name), "the host waits elsewhere: decide in pretended/budget.py"
    assert type(ours) is np.ndarray and ours.dtype == expected.dtype and np.ptp(expected.astype(float)) > 0
    np.testing.assert_allclose(ours.astype(float), expected.astype(float), rtol=2e-3, atol=2e-3)
    assert record.launches > 20 and set(record.devices) == {0}
    assert not record.rounded, "features that a cache keeps are computed in full float32"


@pytest.mark.parametrize(("name", "snapshot"), [("hubert", speech._SNAPSHOT)])
def test_a_speech_network_is_kept_for_each_device(name: str, snapshot: Snapshot, folder: Path) -> None:
    PUBLISHED[name](folder)
    sound = speech.normalise(ARRAYS["audio"])
    with pretended_cuda() as record:
        rows = {}
        for device in ("cpu", "cuda:1", "cuda:0", "cpu"):
            record.clear()
            rows[device] = speech.hidden_states(snapshot.load(device), sound, device=device)
            assert set(record.devices) == ({int(device[-1])} if device != "cpu" else set())
    np.testing.assert_allclose(rows["cuda:1"], rows["cpu"], rtol=1e-4, atol=1e-5)


def test_the_pose_network_is_kept_for_each_device(folder: Path) -> None:
    publish_tddfa(folder)
    resolved = weights.resolve(first_present(tddfa._NETWORKS), "files")
    with pretended_cuda():
        for device in ("cpu", "cuda:1", "cuda:0", "cpu"):
            network = tddfa._network(resolved, device)
            assert {t.device for t in network.state_dict().values()} == {torch.device(device)}


def _face_alignment(seen: list[Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    package = SimpleNamespace(
        LandmarksType=SimpleNamespace(TWO_D=1), FaceAlignment=lambda *_, **options: seen.append(options["device"])
    )
    monkeypatch.setitem(sys.modules, "face_alignment", package)
    pick("face-alignment")


def _insightface(seen: list[Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    class Network:
        def prepare(self, context: int, **_: Any) -> None:
            seen.append(context)

    def get_model(path: str, *, providers: list[str], provider_options: Sequence[dict[str, Any]] = ()) -> Network:
        seen.append(providers)
        for options in provider_options[:1]:  # of CUDA
            assert options["use_tf32"] == "0" and options["cudnn_conv_algo_search"] == "HEURISTIC"
            seen.append(options["device_id"])
        return Network()

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setitem(sys.modules, "insightface.model_zoo", SimpleNamespace(get_model=get_model))
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(get_available_providers=lambda: both))
    pick("insightface")


BACKENDS = {
    "face_alignment": (_face_alignment, {"cpu": ["cpu"], "cuda": ["cuda"], "cuda:1": ["cuda:1"]}),
    "insightface": (
        _insightface,
        {
            "cpu": [["CPUExecutionProvider"], ["CPUExecutionProvider"], -1, -1],
            "cuda": [["CUDAExecutionProvider", "CPUExecutionProvider"], 0] * 2 + [0, 0],
            "cuda:1": [["CUDAExecutionProvider", "CPUExecutionProvider"], 1] * 2 + [1, 1],
        },
    ),
}


def pick(name: str) -> FaceBackend:
    """A back end as commands get it, newly loaded."""
    faces._loaded.cache_clear()
    return faces.pick_backend(name)


@pytest.mark.parametrize("there", ["no GPU", "auto", "cuda", "cuda:1", "cpu"])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_face_package_is_given_the_device_of_the_command(
    name: str, there: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"dawn_bench.pipelines.faces.backends.{name}"
    file = folder / "checkpoints" / "any.pth"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    monkeypatch.setattr(f"{module}._file", lambda _: file)
    monkeypatch.setattr(faces.FACE_BACKENDS[name.replace("_", "-")], "missing", lambda: None)
    start, expected = BACKENDS[name]
    seen: list[Any] = []
    if there == "no GPU":
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # also where there is one
        start(seen, monkeypatch, folder)
    else:
        with pretended_cuda(), computing_on(there):
            start(seen, monkeypatch, folder)
    assert seen == expected[{"no GPU": "cpu", "auto": "cuda"}.get(there, there)]


def test_a_face_back_end_is_kept_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnDevice:
        name, missing = "on-device", staticmethod(lambda: None)

        def __init__(self, *, device: str = "auto") -> None:
            self.device = device

    class Elsewhere:
        name, missing = "elsewhere", staticmethod(lambda: None)

    registry = {"on-device": OnDevice, "elsewhere": Elsewhere}
    monkeypatch.setattr(faces, "FACE_BACKENDS", registry)
    with pretended_cuda():
        for device in ("cpu", "cuda:1", "cuda:0", "cpu"):
            with computing_on(device):
                assert pick_backend_device() == device
        assert faces.pick_backend("on-device", device="cuda:1").device == "cuda:1"  # type: ignore[attr-defined]
        with computing_on("cuda:1"):
            assert faces.pick_backend("elsewhere") is faces.pick_backend("elsewhere", device="cpu")


def pick_backend_device() -> str:
    backend: Any = faces.pick_backend("on-device")
    assert backend is faces.pick_backend("on-device"), "loaded once"
    return str(backend.device)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_extractor_runs_on_the_device_of_the_command(name: str, folder: Path) -> None:
    """Given to it, or that of the command; what it is given wins."""
    PUBLISHED[name](folder)
    with pretended_cuda() as record:
        for command, given, index in (("auto", "cpu", None), ("cpu", "auto", None), ("cuda:1", "auto", 1),
                                      ("cpu", "cuda:1", 1), ("auto", "auto", 0)):  # fmt: skip
            record.clear()
            with computing_on(command):
                EXTRACTORS[name](device=given).run(ARRAYS, size=64, n_frames=25 if name != "pose-3ddfa" else 3)
                EXTRACTORS[name].check()
            assert set(record.devices) == (set() if index is None else {index}), (command, given)


def test_an_extractor_of_another_distribution_needs_no_constructor_of_ours() -> None:
    class Own(Extractor):
        name, needs = "own", ()

        def __init__(self) -> None:
            pass

        def fingerprint(self) -> str:
            return "own-1"

        def run(self, arrays: Any, *, size: int, n_frames: int) -> dict[str, np.ndarray]:
            return {"own": np.array([self.device])}

    assert Own().run({}, size=1, n_frames=1)["own"] == "auto"


def test_where_a_cache_is_computed_is_no_setting_of_it() -> None:
    assert not {"device", "devices"} & PrepareSettings.model_fields.keys()
    assert {"device", "devices"} <= Preparation.model_fields.keys()
