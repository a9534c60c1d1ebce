"""What the fingerprints of extractors and face back ends cover: weights by content, packages, settings of the code."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from walking import check_classified

from dawn_bench import weights
from dawn_bench.clip import field_fault
from dawn_bench.extractor_record import field_of
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.extractors.head import FACE_WIDTH, HEAD
from dawn_bench.pipelines.faces import mmod
from dawn_bench.pipelines.faces.backends import dlib, face_alignment, insightface, mediapipe
from dawn_bench.pipelines.faces.base import FACE_BACKENDS
from dawn_bench.weights_needs import first_present

HERE = Path(__file__).name

#: The fingerprints of extractors without weights. A number in them changes only together with the arrays.
WITHOUT_WEIGHTS = {
    "pose": "pose-3-tddfa-crop-68",
    "blink": "blink-1",
    "blink-one-pair": "blink-one-pair-1",
    "logmel": "logmel-1-80-160-400-512",
    "masks": "masks-1",
}
#: Those with weights, and what stands before the weights' identities.
WITH_WEIGHTS = {"hubert": "hubert-1-", "wav2vec2": "wav2vec2-1-", "pose-3ddfa": "pose-3ddfa-1-"}

#: The module of each back end, what its fingerprint begins with, its package, and the settings in its code by whether
#: the fingerprint states them. Those that it does not state are names of files and of what runs them, and the order of
#: the scales and the exactness on a GPU, which stand and fall with the version in the text: another value needs a new
#: version.
BACKENDS: dict[str, tuple[ModuleType, str, str, set[str], set[str]]] = {
    "dlib": (
        dlib,
        "dlib-2-",
        "dlib-bin",
        {"_SIDES", "_PADDING", "_NEAR", "_AROUND", "_BOX", "_REACH", "_NEAR_THRESHOLD", "SETTINGS"},
        {"_POINTS", "_MMOD_FILE", "_SMALLEST", "FETCH_AGAIN"},
    ),
    "face-alignment": (face_alignment, "face-alignment-2-", "face-alignment", {"_LONGEST"}, {"_DETECTOR", "_POINTS"}),
    "insightface": (
        insightface,
        "insightface-2-",
        "insightface",
        {"_INPUT"},
        {"_DETECTOR", "_POINTS", "_CUDA", "_CPU", "_EXACT"},
    ),
    "mediapipe": (mediapipe, "mediapipe-2-", "mediapipe", set(), {"_WEIGHTS"}),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder, and no files of the user's."""
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    return tmp_path / "weights"


def put(folder: Path, name: str, data: bytes = b"{}") -> Path:
    path = folder / weights.entry(name).file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def ours(registry: Any) -> list[str]:
    return [name for name in registry if registry[name].__module__.startswith("dawn_bench.")]


# --- extractors ------------------------------------------------------------------------------------------------------


def test_every_extractor_is_walked_here() -> None:
    check_classified(ours(EXTRACTORS), f"{HERE}, WITHOUT_WEIGHTS", WITHOUT_WEIGHTS, WITH_WEIGHTS)
    assert {n for n in ours(EXTRACTORS) if EXTRACTORS[n].weights} == WITH_WEIGHTS.keys()


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_fingerprints_without_weights_are_those_of_the_arrays_on_users_disks(name: str) -> None:
    assert EXTRACTORS[name]().fingerprint() == WITHOUT_WEIGHTS[name]


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_an_extractor_reads_what_it_needs_and_writes_the_field_that_is_recorded_for_it(name: str) -> None:
    extractor, rng, n, size = EXTRACTORS[name](), np.random.default_rng(0), 3, 64
    points = (HEAD[None, :, :2] / FACE_WIDTH * (30, -30) + 32 + rng.normal(size=(n, 68, 2))).astype(np.float32)
    arrays = {"landmarks": points, "bbox": np.concatenate([points.min(1), points.max(1)], 1)}
    arrays |= {"audio": rng.integers(-99, 99, n * 640).astype(np.int16)}
    written = extractor.run({field: arrays[field] for field in extractor.needs}, size=size, n_frames=n)
    assert written.keys() == ({"face_mask", "lip_mask"} if name == "masks" else {field_of(name)})
    for field, array in written.items():
        assert array.shape[0] == n and field_fault(field, np.asarray(array), n_frames=n, size=size) is None
        assert np.isfinite(np.asarray(array, np.float32)).all()


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_each_weight_file_is_in_the_fingerprint_by_content_and_by_which_network_it_is(name: str, folder: Path) -> None:
    extractor = EXTRACTORS[name]
    absent = extractor().fingerprint()
    assert absent.startswith(WITH_WEIGHTS[name])
    for need in extractor.weights:
        for other in extractor.weights:
            put(folder, other[0])
        seen = {absent}
        for alternative in need:
            (folder / weights.entry(need[0]).file).unlink(missing_ok=True)
            for data in (b"1", b"2"):
                path = put(folder, alternative, b'{"hidden_size": %s}' % data)
                fingerprint = extractor().fingerprint()
                assert fingerprint not in seen, f"{name}: {alternative} is not in its fingerprint"
                assert fingerprint == extractor().fingerprint()
                seen.add(fingerprint)
            path.unlink()
    for need in extractor.weights:
        put(folder, need[0])
    before = extractor().fingerprint()
    for other in {w.name for w in weights.WEIGHTS} - {n for need in extractor.weights for n in need}:
        if not weights.entry(other).file.endswith(".json"):
            put(folder, other, b"of no matter")
    assert extractor().fingerprint() == before


def test_a_configuration_with_the_published_values_leaves_the_fingerprint_as_it_was(folder: Path) -> None:
    """Its file has no published hash: written anew by transformers it has other bytes and says the same."""
    network, config = (need[0] for need in EXTRACTORS["hubert"].weights)
    put(folder, network)
    before = EXTRACTORS["hubert"]().fingerprint()
    values = dict(weights.entry(config).values or {})
    assert values
    for indent in (None, 1):
        put(folder, config, json.dumps(values, indent=indent).encode())
        assert EXTRACTORS["hubert"]().fingerprint() == before
    for key, value in values.items():
        put(folder, config, json.dumps({**values, key: f"not {value}"}).encode())
        assert EXTRACTORS["hubert"]().fingerprint() != before, key


def test_the_identity_of_weights_has_entry_state_and_hash(folder: Path) -> None:
    seeded = weights.resolve("vgg19")
    assert seeded.identity == "vgg19:seeded:dawn-bench/vgg19" and seeded.path is None
    path = put(folder, "vgg19")
    first = weights.resolve("vgg19")
    assert first.identity == f"vgg19:user:{first.sha256[:16]}" and first.path == path
    put(folder, "vgg19", b"other")
    assert weights.resolve("vgg19").identity != first.identity
    assert weights.resolve("vgg19", "seeded").identity == seeded.identity
    need = ("tddfa-v2", "tddfa-v2-small")
    put(folder, need[1])
    assert first_present(need) == need[1]


# --- face back ends --------------------------------------------------------------------------------------------------


class Package(ModuleType):
    """A package that has whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stand-ins for the packages of the back ends, and the versions that they state, to be changed."""
    names = (
        "face_alignment", "insightface", "insightface.model_zoo", "onnxruntime",
        "mediapipe", "mediapipe.tasks", "mediapipe.tasks.python",
    )  # fmt: skip
    for name in names:
        module = Package(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    installed = {package: "1.5.0" for _, _, package, _, _ in BACKENDS.values()}
    for module, _, package, _, _ in BACKENDS.values():
        monkeypatch.setattr(module, "version", lambda _, package=package: installed[package], raising=False)
    monkeypatch.setattr(dlib, "versions", lambda: dict(installed))
    return installed


def built(name: str) -> Any:
    return FACE_BACKENDS[name]()


def provide(name: str, folder: Path) -> None:
    """The files that a back end declares; dlib's come with a package."""
    for need in FACE_BACKENDS[name].weights if name != "dlib" else ():  # type: ignore[attr-defined]
        put(folder, need[0])


def test_every_back_end_is_walked_here() -> None:
    check_classified(ours(FACE_BACKENDS), f"{HERE}, BACKENDS", BACKENDS)


@pytest.mark.parametrize("name", BACKENDS)
def test_each_setting_of_a_back_ends_code_and_its_packages_version_are_in_its_fingerprint(
    name: str, folder: Path, packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, prefix, package, inside, outside = BACKENDS[name]
    provide(name, folder)
    kinds = int | float | tuple | list | str | Mapping
    settings = {k: v for k, v in vars(module).items() if k.strip("_").isupper() and isinstance(v, kinds)}
    check_classified(settings, f"{HERE}, BACKENDS[{name!r}]", inside, outside)
    backend = built(name)
    before = backend.fingerprint()
    assert before.startswith(prefix) and built(name).fingerprint() == before
    seen = {before}
    for setting in sorted(inside):
        with monkeypatch.context() as patch:
            patch.setattr(module, setting, (settings[setting], "another"))
            fingerprint = backend.fingerprint()
        assert fingerprint not in seen, f"{name}: {setting} is not in its fingerprint"
        seen.add(fingerprint)
    packages[package] = "1.6.0"
    assert backend.fingerprint() not in seen


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "dlib"])
def test_each_file_of_a_back_end_is_in_its_fingerprint_by_content(
    name: str, folder: Path, packages: dict[str, str]
) -> None:
    provide(name, folder)
    loaded = built(name)
    seen = [loaded.fingerprint()]
    for need in FACE_BACKENDS[name].weights:  # type: ignore[attr-defined]
        put(folder, need[0], need[0].encode())
        seen.append(built(name).fingerprint())
    assert len(set(seen)) == len(seen) and loaded.fingerprint() == seen[0]  # of what it has loaded


def test_the_files_of_dlib_and_which_detector_it_has_are_in_its_fingerprint(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """The points, the convolutional detector of the package, and YuNet where it is present."""
    backend = built("dlib")
    fingerprints = {"as installed": backend.fingerprint()}

    def changed(name: str, **attributes: Any) -> None:
        with monkeypatch.context() as patch:
            for attribute, value in attributes.items():
                patch.setattr(backend, attribute, value)
            fingerprints[name] = backend.fingerprint()

    yunet = weights.Resolved(weights.entry("yunet"), "canonical", folder / "yunet.onnx", "1" * 64)
    other = weights.Resolved(weights.entry("yunet"), "user", folder / "yunet.onnx", "2" * 64)
    points = weights.Resolved(weights.entry("dlib-68"), "user", folder / "points.dat", "3" * 64)
    changed("other points", _points_file=points)
    changed("yunet", _yunet=object(), _yunet_file=yunet)
    changed("another yunet", _yunet=object(), _yunet_file=other)
    changed("yunet, other points", _yunet=object(), _yunet_file=yunet, _points_file=points)
    changed("no convolutional detector", _mmod=None)
    monkeypatch.setattr(dlib, "_sha256", lambda name: "another")
    fingerprints["another convolutional detector"] = backend.fingerprint()
    assert len(set(fingerprints.values())) == len(fingerprints)
    kinds = {name: text.partition("+")[2].split("-")[0] for name, text in fingerprints.items()}
    assert kinds["as installed"] == "mmod" and kinds["no convolutional detector"] == "hog" and kinds["yunet"] == ""


def test_the_numbers_in_the_code_of_dlibs_convolutional_detector_are_among_its_settings() -> None:
    """Those of the network's file, its layers, are not: the file's hash is in the fingerprint."""
    outside = {"_STRIDE", "_LEAST", "_MEAN", "_EPSILON"}
    kinds = int | float | tuple | np.ndarray
    numbers = {k: v for k, v in vars(mmod).items() if k.strip("_").isupper() and isinstance(v, kinds)}
    inside = numbers.keys() - outside
    assert outside < numbers.keys() and len(inside) > 7
    for name in inside:
        parts = np.ravel(numbers[name]).tolist()
        assert set(parts) <= set(mmod.SETTINGS), f"{name} is neither in SETTINGS of mmod.py nor outside in {HERE}"
