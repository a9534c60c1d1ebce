"""What each identity network sees of a frame: the face's own points at the template's places, in RGB, in its range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dawn_bench import weights
from dawn_bench.metrics.features import identity
from dawn_bench.metrics.functional.align import ARCFACE, DLIB, Template, similarity
from dawn_bench.weights import Resolved

#: Red grows to the right, green downwards, blue is the same everywhere; the sides differ.
FRAME = np.stack([*np.meshgrid(np.arange(180), np.arange(210), indexing="xy"), np.full((210, 180), 33)], -1).astype(
    np.uint8
)
#: More faces than one pass takes.
COUNT = identity.BATCH + 3


@dataclass(frozen=True)
class Sees:
    """The template of a network, the points that it is put on, and the levels of its input back in 0 to 255."""

    template: Template
    points: tuple[int | slice, ...]
    level: Callable[[np.ndarray], np.ndarray]


_FIVE = (slice(36, 42), slice(42, 48), 30, 48, 54)
_MEAN, _DEVIATION = (np.array(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
NETWORKS = {
    "arcface": Sees(ARCFACE, _FIVE, lambda x: x * 127.5 + 127.5),
    "arcface-r100": Sees(ARCFACE, _FIVE, lambda x: x * 127.5 + 127.5),
    "mobilefacenet": Sees(ARCFACE, _FIVE, lambda x: (x * _DEVIATION + _MEAN) * 255),
    "dlib": Sees(DLIB, (45, 42, 36, 39, 33), lambda x: x),
}


class Recording:
    """In place of OpenCV's and dlib's networks: keeps its input (n,3,S,S); an embedding is the mean of each channel."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def setInput(self, blob: np.ndarray) -> None:
        self.seen.append(blob.copy())

    def forward(self) -> np.ndarray:
        return self.seen[-1].mean(axis=(2, 3))

    def compute_face_descriptor(self, crop: np.ndarray) -> list[float]:
        self.setInput(crop.transpose(2, 0, 1)[None].astype(np.float32))
        return self.forward()[0].tolist()


def place(k: int, template: Template) -> tuple[np.ndarray, np.ndarray]:
    """Where face `k` is: 90 px wide, each one turned and moved otherwise."""
    angle, scale = 0.06 * (k - 3), 90 / template.side
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn, np.array([36.0 + 4 * k, 62.0 - 3 * k])


@pytest.mark.parametrize("name", list(identity._EMBEDDERS))
def test_a_network_sees_each_face_at_the_places_of_its_template(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name in NETWORKS, "say in NETWORKS of this file which points the network is put on, and its range"
    sees, network, grid = NETWORKS[name], Recording(), np.array([12.0, 40.0, 97.0])
    monkeypatch.setattr("cv2.dnn.readNetFromONNX", lambda path, **_: network)
    monkeypatch.setattr("dlib.face_recognition_model_v1", lambda path: network)
    points = np.zeros((COUNT, 68, 2), np.float32)
    for k in range(COUNT):
        turn, move = place(k, sees.template)
        for index, at in zip(sees.points, sees.template.points, strict=True):
            points[k, index] = turn @ at + move
    frames = np.stack([np.where(k % 2, FRAME, FRAME + np.array([0, 0, 5], np.uint8)) for k in range(COUNT)])
    embed = identity._EMBEDDERS[name](
        Resolved(weights.entry(identity.ENTRIES[name]), "user", Path("/no"), f"seen-{name}")
    )
    rows = embed(frames, points)
    levels = sees.level(np.concatenate(network.seen))
    assert levels.shape == (COUNT, 3, sees.template.side, sees.template.side)
    for k in range(COUNT):
        turn, move = place(k, sees.template)
        for v in grid:
            for u in grid:
                x, y = turn @ [u, v] + move
                wanted = (x, y, 33 if k % 2 else 38)
                assert levels[k, :, int(v), int(u)] == pytest.approx(wanted, abs=1.3), (k, u, v)
    assert np.allclose(rows, np.concatenate(network.seen).mean(axis=(2, 3)), atol=1e-4)
    for cached in ("arcface", "mobilefacenet", "dlib_face"):
        getattr(identity, cached).cache_clear()


@pytest.mark.parametrize("template", [ARCFACE, DLIB])
def test_a_crop_is_never_mirrored(template: Template) -> None:
    """Points of a face that is seen in a mirror are mapped as closely as a turned crop can."""
    for mirrored in (np.array([-1, 1]), np.array([1, -1])):
        matrix = similarity(template.points * mirrored + 300, template.points)[:, :2]
        assert np.linalg.det(matrix) > 0
        assert matrix @ matrix.T == pytest.approx(np.eye(2) * np.linalg.det(matrix), abs=1e-5)
