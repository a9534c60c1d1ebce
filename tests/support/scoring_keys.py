"""What tests of the scores' keys share: variants of protocol fields, a protocol that says what is read, light networks.

A light network answers with means of its input, its settings and a mark of the file that was loaded into it: arrays
then depend on everything that those of the real network depend on, at no cost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dawn_bench import weights
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features import identity
from dawn_bench.metrics.networks import s3fd, s3fd_wav2lip
from dawn_bench.metrics.networks.efficientnet_lite import EfficientNetLite0
from dawn_bench.metrics.networks.i3d import I3D
from dawn_bench.metrics.networks.inception import FidInception
from dawn_bench.metrics.networks.syncnet import LIP_WINDOW, SyncNet
from dawn_bench.metrics.protocols.base import ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, Feature, FeatureExtractor, Metric, PairFeature
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, pick_backend
from dawn_bench.weights import Resolved
from dawn_bench.weights_table import WEIGHTS

#: The protocol's fields that are settings; its id follows from them.
FIELDS = [name for name in ScoringProtocol.model_fields if name != "id"]
#: The arrays of a feature, or the reason why there are none.
Result = dict[str, np.ndarray] | str
#: Two files of vertex indices, for fields that are text.
INDICES = ("0 2 4", "1 3")


def variants(field: str, folder: Path, base: ScoringProtocol) -> list[Any]:
    """Other values of a protocol field, each unlike that of `base`: all words of a list, two numbers, or two files."""
    kinds = _kinds(ScoringProtocol.model_fields[field].annotation)
    own, values = getattr(base, field), []
    for kind in kinds:
        if kind is bool:
            values += [not own]
        elif kind in (int, float):
            values += [3, 1003] if own is None else [own + 1, own + 1000]
        elif kind is str:
            values += [str(_file(folder, text)) for text in INDICES]
        elif kind is not type(None):
            values.append(kind)
    assert values, f"{field}: say in `variants` of tests/support/scoring_keys.py which other values this type has"
    return [value for value in values if value != own]


def _kinds(annotation: Any) -> list[Any]:
    """The types of an annotation, and the words of a Literal."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [annotation]


def _file(folder: Path, text: str) -> Path:
    path = folder / f"{text.replace(' ', '-')}.txt"
    path.write_text(text)
    return path


def changed(base: ScoringProtocol, field: str, value: Any) -> ScoringProtocol:
    """The protocol with one field changed, its value checked."""
    return ScoringProtocol(**(base.model_dump() | {field: value}))


_read: set[str] = set()


class _Recorded(ScoringProtocol):
    def __getattribute__(self, name: str) -> Any:
        if name in ScoringProtocol.model_fields:
            _read.add(name)
        return super().__getattribute__(name)


def recorded(protocol: ScoringProtocol) -> ScoringProtocol:
    """The same protocol; `reads` has the fields that are read of it."""
    return _Recorded(**protocol.model_dump())


@contextmanager
def reads() -> Iterator[set[str]]:
    """The fields that are read of recorded protocols inside the block."""
    _read.clear()
    fields: set[str] = set()
    yield fields
    fields |= _read


def clip(name: str = "a", *, seed: int = 0, n_frames: int = 36, speaker: str = "s") -> Clip:
    """A moving picture that is not square, bursts of sound, and a mesh: every field that a feature reads."""
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)
    frames = np.stack([np.roll(still, (t // 3, t), axis=(0, 1)) for t in range(n_frames)])
    loud = rng.random(n_frames) > 0.7
    sound = rng.normal(0, 6000, n_frames * 640) * np.repeat(loud, 640)
    template = rng.normal(size=(1, 6, 3)).astype(np.float32)
    arrays = {
        "frames": frames,
        "audio": sound.clip(-32768, 32767).astype(np.int16),
        "vertices": template + rng.normal(0, 0.1, (n_frames, 6, 3)).astype(np.float32),
        "template": template,
        "lips": np.array([[0, 1, seed % 3 + 2]], np.int32),
        "upper": np.array([[3, 5 - seed % 2]], np.int32),
    }
    return Clip(name, speaker, "test", n_frames, arrays)


class Loads:
    """The networks that were given weights, in order: what each is called, and the weights.

    `faces` is the back end that every feature is given.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Resolved]] = []
        self.faces: FakeFaces | None = None
        self.remembered: list[Any] = []

    def forget(self) -> None:
        """Forget the calls so far, and the networks that are kept for the next instance."""
        self.calls.clear()
        self.faces = None
        for function in self.remembered:
            function.cache_clear()

    def __call__(self, module: torch.nn.Module, resolved: Resolved, **options: Any) -> None:
        self.calls.append((type(module).__name__, resolved))
        eps = sum(m.eps for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm))
        module.mark = _mark(resolved) + eps  # type: ignore[assignment]


class FakeFaces:
    """A face back end without networks: one face, whose place follows the first pixel of the frame."""

    name, takes_gray = "fake", False

    def __init__(self, loads: Loads | None = None) -> None:
        self.loads, self.version = loads or Loads(), "1"
        self.networks = (weights.resolve("dlib-68", "files"),)

    def fingerprint(self) -> str:
        return f"fake-{self.version}-{self.networks[0].sha256}"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        self.loads.calls.append((self.name, self.networks[0]))
        x = 8 + int(frame[0, 0, 0]) % 3
        return np.array([[x, 6, x + 24, 30]], np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        spread = (box[2] - box[0]) / 2.79
        centre = (box[:2] + box[2:]) / 2 + np.array([0, 0.136 * spread])
        return (centre + spread * _face() + _mark(self.networks[0])).astype(np.float32)


@cache
def _face() -> np.ndarray:
    points = np.random.default_rng(5).normal(size=(68, 2))
    points -= points.mean(axis=0)
    return points / np.sqrt((points**2).sum() / 68)


def _mark(resolved: Resolved) -> float:
    """A number that tells one file from another."""
    return sum(resolved.sha256.encode()) % 97 / 97


def _padded(x: torch.Tensor, size: int, mark: Any) -> torch.Tensor:
    flat = x.float().flatten(1)[:, :size]
    return F.pad(flat, (0, size - flat.shape[1])) + mark


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Loads]:
    """A file for every entry of the weights registry, light networks in place of the real ones, and a fake face."""
    folder = tmp_path / "weights"
    for weight in WEIGHTS:
        path = folder / weight.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(weight.name)
    monkeypatch.setenv(weights.ENVIRONMENT, str(folder))
    loads = Loads()
    for name in FEATURES:
        FEATURES[name]
    modules = [m for name, m in sys.modules.items() if name.startswith("dawn_bench.metrics.")]
    loads.remembered = [v for m in modules for v in vars(m).values() if hasattr(v, "cache_clear")]
    for module in modules:
        if hasattr(module, "load_into"):
            monkeypatch.setattr(module, "load_into", loads)
    # dlib's is the face back end, also where face-alignment is installed: its file is there now
    monkeypatch.setattr(FACE_BACKENDS["face-alignment"], "missing", staticmethod(lambda: "not in these tests"))
    monkeypatch.setitem(pick_backend.__globals__, "_loaded", lambda name, folder: _loaded(loads))
    for kind in (torch.nn.modules.conv._ConvNd, torch.nn.Linear):
        monkeypatch.setattr(kind, "reset_parameters", lambda self: None)
    _lighten(monkeypatch, loads)
    loads.forget()
    yield loads
    loads.forget()


def _loaded(loads: Loads) -> FakeFaces:
    """The back end, loaded once for the same file, as the real one."""
    if loads.faces is None or loads.faces.networks != (weights.resolve("dlib-68", "files"),):
        loads.faces = FakeFaces(loads)
    return loads.faces


def _lighten(monkeypatch: pytest.MonkeyPatch, loads: Loads) -> None:
    """Means of the input in place of each network's answer."""
    from lpips import LPIPS

    def i3d(self: Any, x: torch.Tensor) -> torch.Tensor:
        return _padded(F.adaptive_avg_pool3d(x, (4, 4, 4)), 400, self.mark)

    def inception(self: Any, x: torch.Tensor, *, tap: int = 2048) -> torch.Tensor:
        return _padded(F.adaptive_avg_pool2d(x, (8, 8)), tap, self.mark)

    def lite0(self: Any, x: torch.Tensor) -> torch.Tensor:
        return _padded(F.adaptive_avg_pool2d(x, (8, 8)), 1280, self.mark)

    def lips(self: Any, frames: torch.Tensor, *, batch: int = 4) -> torch.Tensor:
        pooled = F.adaptive_avg_pool2d(frames, (8, 8)).flatten(1)
        return _padded(pooled.unfold(0, LIP_WINDOW, 1).mean(dim=-1), 1024, self.mark)

    def audio(self: Any, mfcc: torch.Tensor) -> torch.Tensor:
        return _padded(mfcc, 1024, self.mark)

    def lpips(self: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        difference = (x - y).abs().mean(dim=1, keepdim=True) + self.net.mark
        return difference**2 if self.spatial else difference.mean(dim=(2, 3), keepdim=True)

    for network, answers in ((I3D, {"forward": i3d}), (FidInception, {"forward": inception}),
                             (EfficientNetLite0, {"forward": lite0}),
                             (SyncNet, {"lips": lips, "audio": audio}), (LPIPS, {"forward": lpips})):  # fmt: skip
        for name, answer in answers.items():
            monkeypatch.setattr(network, name, answer)
    for module, shift in ((s3fd, 0), (s3fd_wav2lip, 1)):
        monkeypatch.setattr(module, "detect", lambda net, frame, shift=shift, **_: _boxes(frame, shift + net.mark))

    def embedder(resolved: Resolved) -> identity.Embed:
        loads.calls.append(("embedder", resolved))

        def embed(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
            means = frames.mean(axis=(1, 2)), points.mean(axis=1), np.full((len(frames), 1), _mark(resolved))
            return np.concatenate(means, axis=1).astype(np.float32)

        return embed

    for name in identity._EMBEDDERS:
        monkeypatch.setitem(identity._EMBEDDERS, name, embedder)


def _boxes(frame: np.ndarray, place: float) -> np.ndarray:
    x = 6 + 4 * place
    return np.array([[x, 5, x + 22, 27, 0.9]], np.float32)


class Everything(Metric):
    """A metric that needs every registered feature. It is not registered itself."""

    name, title, needs = "everything", "Everything", tuple(FEATURES)

    def measure(self, generated: Any, true: Any) -> Any: ...

    def fold(self, records: Any) -> Any: ...


def computed(name: str, protocol: ScoringProtocol, generated: Clip, true: Clip) -> Result:
    """The arrays of one feature of the generated clip, or the reason why there are none."""
    extractor = FEATURES[name](protocol)
    try:
        return run(extractor, protocol, generated, true)
    except ItemError as error:
        return error.reason


def run(extractor: FeatureExtractor, protocol: ScoringProtocol, generated: Clip, true: Clip) -> dict[str, np.ndarray]:
    """The arrays of one extractor, given those of the features that it comes after."""
    if isinstance(extractor, PairFeature):
        return extractor.run(generated, true)
    assert isinstance(extractor, Feature)
    plain = ScoringProtocol(**protocol.model_dump())
    given: dict[str, np.ndarray] = {}
    for upstream in extractor.after:
        given |= run(FEATURES[upstream](plain), plain, generated, true)
    return extractor.run(generated, given)


def same(one: Result, other: Result) -> bool:
    """Whether two results have equal arrays, or the same reason."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def behind(name: str) -> set[str]:
    """A feature and all that it comes after."""
    return {name}.union(*(behind(n) for n in getattr(FEATURES[name], "after", ())))
