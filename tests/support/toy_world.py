"""Talking clips whose every property is written into their pixels, and networks that read it back.

No two frames, rows, columns, channels or clips are alike: a frame has a row of grey blocks with the numbers of its
face (place, openness of the eyes, angles) above a textured picture with a disk, whose red is the mouth. `install` puts
networks in place that are simple functions of their whole input, so that every metric runs through the real code
around its network in milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dawn_bench import weights
from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.metrics.features import headpose, i3d, identity, inception, landmarks, lite0, lpips, pictures, syncnet
from dawn_bench.metrics.networks import s3fd, s3fd_wav2lip
from dawn_bench.metrics.scoring import base, needs
from dawn_bench.metrics.scoring.person import FOUND, TRACKS
from dawn_bench.pipelines.extractors.head import HEAD
from dawn_bench.pipelines.extractors.pose import rotation_matrix
from dawn_bench.weights import Resolved

HEIGHT, WIDTH, BLOCK = 48, 40, 8
#: What the blocks hold, and how a grey level is read.
CODES = {
    "x": lambda v: v / 6, "y": lambda v: v / 5, "eyes": lambda v: v / 600, "yaw": lambda v: (v - 128) / 4,
    "pitch": lambda v: (v - 128) / 4, "roll": lambda v: (v - 128) / 4, "face": lambda v: v > 128,
    "half": lambda v: v / 20, "person": lambda v: v,
}  # fmt: skip
WRITE = {
    "x": lambda v: 6 * v, "y": lambda v: 5 * v, "eyes": lambda v: 600 * v, "yaw": lambda v: 128 + 4 * v,
    "pitch": lambda v: 128 + 4 * v, "roll": lambda v: 128 + 4 * v, "face": lambda v: 255 * v,
    "half": lambda v: 20 * v, "person": lambda v: v,
}  # fmt: skip
#: First frame of each blink, and the openness of the eyes during it: sharp, slow, short, long, twice without opening.
BLINKS = (
    (6, (0.2, 0.08, 0.2)),
    (18, (0.24, 0.18, 0.12, 0.06, 0.06, 0.12, 0.18, 0.24)),
    (33, (0.16, 0.16, 0.22)),
    (46, (0.1, 0.1, 0.1, 0.1, 0.1)),
    (60, (0.21, 0.13, 0.21)),
    (74, (0.25, 0.17, 0.15, 0.15, 0.2)),
    (86, (0.15, 0.15, 0.195, 0.203, 0.15, 0.15, 0.25)),
)


def written(frames: np.ndarray) -> dict[str, np.ndarray]:
    """What the blocks of frames uint8 (T,H,W,3) hold, each (T,)."""
    grey, across = np.asarray(frames, np.float64).mean(axis=3), WIDTH // BLOCK
    read = {}
    for k, (name, of) in enumerate(CODES.items()):
        top, left = k // across * BLOCK, k % across * BLOCK
        read[name] = of(grey[:, top + 2 : top + 6, left + 2 : left + 6].mean(axis=(1, 2)))
    return read


def draw(code: dict[str, np.ndarray], mouth: np.ndarray, *, seed: int, noise: float = 0.0) -> np.ndarray:
    """Frames uint8 (T,48,40,3)."""
    n, (y, x), rng = len(mouth), np.mgrid[:HEIGHT, :WIDTH], np.random.default_rng(seed)
    t = np.arange(n)[:, None, None]
    grain = rng.normal(0, 4, (1, HEIGHT, WIDTH, 3))
    frames = np.stack([40 + 2.0 * x + 0 * t, 150 - 2.0 * y + 0.3 * t, 60 + x + 1.5 * y - 0.1 * t], -1) + grain
    inside = np.hypot(x - code["x"][:, None, None], y - code["y"][:, None, None]) < code["half"][:, None, None]
    frames[..., 0][inside] = np.broadcast_to(60 + 180 * mouth[:, None, None], inside.shape)[inside]
    frames[..., 1][inside] = np.broadcast_to(code["person"][:, None, None], inside.shape)[inside]
    frames += rng.normal(0, 1, frames.shape) * noise
    for k, (name, of) in enumerate(WRITE.items()):
        top, left = k // (WIDTH // BLOCK) * BLOCK, k % (WIDTH // BLOCK) * BLOCK
        frames[:, top : top + BLOCK, left : left + BLOCK] = of(np.asarray(code[name], float))[:, None, None, None]
    return frames.round().clip(0, 255).astype(np.uint8)


def talk(name: str, n: int, *, seed: int, damage: float = 0.0, source: bool = True) -> Clip:
    """A clip of `n` frames; with `damage` the output of a method that is the worse, the larger it is.

    An output's frame 0 is the true one (`source`).
    """
    rng, t = np.random.default_rng(seed), np.arange(n)
    mouth = np.convolve(rng.random(n + 4), np.ones(5) / 5, "valid")
    mouth = (mouth - mouth.min()) / np.ptp(mouth)
    eyes = np.full(n, 0.3)
    for k, (start, shape) in enumerate(BLINKS):
        first = start + seed % 5 + k % 2
        if (damage == 0 or k % 3 or damage < 0.5) and not (damage > 1 and k != 1):
            eyes[first : first + len(shape)] = shape[: max(0, n - first)]
    beat = 23 + seed % 3
    phase = 2 * np.pi * (t - seed - 6 * damage * (t > n // 3)) / beat
    code = {
        "x": 17 + seed % 4 + 3 * np.sin(phase / 2) + damage * 3 * np.cos(t / 7), "y": 27 + 4 * np.cos(phase * 0.8),
        "eyes": eyes, "yaw": 12 * np.sin(phase), "pitch": 7 * np.cos(phase * 0.7 + damage), "roll": 3 * np.sin(t / 9),
        "face": np.ones(n), "half": np.full(n, 9.0 - 1.5 * (seed % 3)), "person": np.full(n, 90.0 + 12 * seed),
    }  # fmt: skip
    if damage:
        code["person"] = code["person"] + 30 * damage + 20 * damage * np.sin(t / 5)
        code["face"][10 + seed : 13 + seed] = 0
        if seed % 3 == 1:
            code["face"][40 : 40 + 30] = 0  # longer than a track may miss a face
        seen = mouth if damage < 1 else np.roll(mouth, -3)
    else:
        seen = mouth
        if seed % 3 == 2:
            code["face"][:2] = 0
    frames = draw(code, seen, seed=seed, noise=damage * np.linspace(4, 14, n)[:, None, None, None])
    if damage and source:
        frames[0] = talk(name, n, seed=seed)["frames"][0]
    late = 7 * (seed % 3 == 1)  # frames by which the sound of the second clip comes late
    loud = np.repeat(np.exp(4 * np.roll(mouth, late)), SAMPLES_PER_FRAME)
    sound = 60 * loud * rng.uniform(-1, 1, len(loud))
    for start in range(4 + seed % 7, n - 1, 11):
        begin = start * SAMPLES_PER_FRAME + 170
        sound[begin : begin + 300] += 20_000 * np.linspace(1, 0, 300) * rng.uniform(-1, 1, 300)
    return Clip(name, name, "test", n, {"frames": frames, "audio": sound.clip(-32767, 32767).astype(np.int16)})


def mesh_clip(name: str, n: int, *, seed: int, damage: float = 0.0) -> Clip:
    """A mesh of seven vertices: 0 to 2 the lips, 4 and 5 the upper face."""
    rng, t = np.random.default_rng(seed), np.arange(n)[:, None, None]
    rest = rng.normal(0, 1, (1, 7, 3)).astype(np.float32)
    sway = np.arange(1, 22).reshape(1, 7, 3) / 40
    moved = rest + sway * np.sin(t / 3 + seed) * (1 + 0.4 * damage) + damage * 0.2 * np.cos(t / 5 + sway * 9)
    regions = {"lips": np.array([[0, 1, 2]], np.int32), "upper": np.array([[4, 5]], np.int32)}
    return Clip(name, name, "test", n, {"vertices": moved.astype(np.float32), "template": rest, **regions}, 25)


class Pooled(nn.Module):
    """In place of Inception: means over nine parts of the picture, channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, tap: int = 2048) -> torch.Tensor:
        """float32 (N,3,S,S) -> (N,27)."""
        self.seen.append(x.clone())
        return F.adaptive_avg_pool2d(x, 3).flatten(1) * self.one


class Distance(nn.Module):
    """In place of LPIPS: the mean absolute difference, the sides weighted unequally."""

    def __init__(self, net: str, spatial: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor({"alex": 1.0, "vgg": 1.3, "squeeze": 0.7}[net] + 0.05 * spatial))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """float32 (N,3,H,W) twice -> (N,1,1,1)."""
        self.seen.append((x.clone(), y.clone()))
        return (x - y).abs().mean(dim=(1, 2, 3), keepdim=True) * self.scale


class Towers(nn.Module):
    """In place of SyncNet: five frames' red against five frames' loudness."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
        self.frames: list[torch.Tensor] = []

    def lips(self, frames: torch.Tensor, *, batch: int = 4) -> torch.Tensor:
        """float32 (T,3,224,224), blue, green, red -> (T-4,5)."""
        self.frames.append(frames.clone())
        red = (frames[:, 2].mean(dim=(1, 2)) - 107) / 5
        return red.unfold(0, 5, 1).contiguous()

    def audio(self, mfcc: torch.Tensor) -> torch.Tensor:
        """float32 (W,1,13,20) -> (W,5)."""
        energy = mfcc[:, 0, 0].reshape(-1, 5, 4).mean(dim=2)
        return (energy - 17.8) / 2


class Faces:
    """In place of a face back end: reads the blocks."""

    name, networks = "toy", ()

    def fingerprint(self) -> str:
        return "toy-1"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        return boxes(frame, 1.0)


def boxes(frame: np.ndarray, scale: float) -> np.ndarray:
    """The face's box (n,4): wider than high, off the middle."""
    code = {name: value[0] for name, value in written(frame[None]).items()}
    if not code["face"]:
        return np.zeros((0, 4))
    x, y, half = code["x"], code["y"], code["half"] * scale
    return np.array([[x - half, y - half, x + half, y + 1.2 * half]])


def points_of(frames: np.ndarray) -> np.ndarray:
    """68 points float32 (T,68,2) of the head that the blocks describe."""
    code = written(frames)
    turned = np.einsum("tij,kj->tki", rotation_matrix(np.stack([code[k] for k in ("yaw", "pitch", "roll")], 1)), HEAD)
    points = np.stack([turned[..., 0], -turned[..., 1]], -1) * (code["half"] / 70_000)[:, None, None]
    points += np.stack([code["x"], code["y"]], -1)[:, None]
    for corner, share in ((36, 1.1), (42, 0.9)):
        a, d = points[:, corner], points[:, corner + 3]
        up = np.stack([(d - a)[:, 1], -(d - a)[:, 0]], -1) * (share * code["eyes"] / 2)[:, None]
        for lid, at, sign in ((1, 0.3, 1), (2, 0.7, 1), (4, 0.7, -1), (5, 0.3, -1)):
            points[:, corner + lid] = a + at * (d - a) + sign * up
    return points.astype(np.float32)


def install(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put the networks in place; returns those that record their input, by name."""
    used: dict[str, Any] = {
        "inception": Pooled(),
        "lite0": Pooled(),
        "lpips": [],
        "i3d": [],
        "syncnet": [],
        "identity": [],
    }

    def resolved(name: str, policy: str = "auto") -> Resolved:
        return Resolved(weights.entry(name), "canonical", Path(f"/{name}"), name * 4)

    def find_landmarks(self: Any, clip: Clip, given: Any) -> dict[str, np.ndarray]:
        points, detected = points_of(clip["frames"]), written(clip["frames"])["face"]
        return {"landmarks.toy": points, FOUND: detected, TRACKS: np.array([1])}

    def load_i3d(weights: Resolved, device: str, *, eps: float = 1e-3) -> Any:
        def network(x: torch.Tensor) -> torch.Tensor:
            used["i3d"].append(x.clone())
            return F.adaptive_avg_pool3d(x, 2).flatten(1) * (1 + 50 * eps)

        return network

    def load_lpips(net: str, weights: Resolved, device: str, *, spatial: bool = False) -> Distance:
        used["lpips"].append(Distance(net, spatial))
        return used["lpips"][-1]

    class Recorded(Towers):
        def __init__(self) -> None:
            super().__init__()
            used["syncnet"].append(self)

    def embedder(k: int) -> Any:
        def embed(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
            used["identity"].append((frames, points))
            colour = frames.reshape(len(frames), -1, 3).mean(axis=1) - (30 + 10 * k)
            return np.column_stack([colour, np.full(len(frames), 40.0 + k)]).astype(np.float32)

        return lambda weights: embed

    backend = Faces()
    for module in (headpose, identity, landmarks, pictures, syncnet):
        patch.setattr(module, "pick_backend", lambda name="auto": backend)
    patch.setattr(base, "resolve", resolved)
    patch.setattr(needs, "missing_needs", lambda declared: ())
    patch.setattr(landmarks.Landmarks, "run", find_landmarks)
    patch.setattr(inception, "load_inception", lambda weights, device: used["inception"])
    patch.setattr(inception, "SIDE", 61)
    patch.setattr(lite0, "load_lite0", lambda weights, device: used["lite0"])
    patch.setattr(lite0, "SIDES", (53, 57))
    patch.setattr(i3d, "load_i3d", load_i3d)
    patch.setattr(i3d, "SIDE", 32)
    patch.setattr(lpips, "load_lpips", load_lpips)
    patch.setattr(syncnet, "SyncNet", Recorded)
    for name in ("load_into", "for_inference"):
        patch.setattr(syncnet, name, lambda network, *args, **settings: network)
    detectors = {"s3fd": type("S3FD", (), {}), "s3fd-wav2lip": type("S3FDWav2Lip", (), {})}
    patch.setattr(syncnet, "DETECTORS", detectors)
    patch.setattr(syncnet, "S3FDWav2Lip", detectors["s3fd-wav2lip"])
    patch.setattr(s3fd, "detect", lambda network, frame, *, scale: np.pad(boxes(frame, 1.0), ((0, 0), (0, 1))))
    patch.setattr(s3fd_wav2lip, "detect", lambda network, frame: np.pad(boxes(frame, 1.1), ((0, 0), (0, 1))))
    names = ("arcface", "arcface-r100", "mobilefacenet", "dlib")
    patch.setattr(identity, "_EMBEDDERS", {name: embedder(k) for k, name in enumerate(names)})
    return used
