"""Clips whose frame k and clip c are recognised by any of their arrays, and whose face box is off the diagonal."""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip

#: x0, y0, x1, y1 of the face in frame 0 of a marked clip of 32 pixels: no side or corner equals another.
BOX = (3.0, 9.0, 17.0, 28.0)


def marked_clip(number: int, frames: int, *, size: int = 32, split: str = "test", fps: int = 25) -> Clip:
    """Clip `c<number>`: red is 40 times its number, green 5 times the frame, blue grows to the right and down.

    Every other array is of the same kind: the number of the clip, then that of the frame, then that of the channel.
    """
    own = 10.0 * (number + 1) + np.arange(frames)
    y, x = np.mgrid[:size, :size]
    pictures = np.empty((frames, size, size, 3), np.uint8)
    pictures[..., 0] = 40 * (number + 1)
    pictures[..., 1] = (5 * np.arange(frames) % 250)[:, None, None]
    pictures[..., 2] = 3 * x + 2 * y
    points = np.stack([np.linspace(BOX[0], BOX[2], 68), np.linspace(BOX[1], BOX[3], 68) ** 2 / BOX[3]], -1)
    landmarks = points + 0.05 * np.arange(frames)[:, None, None]
    time = np.arange(frames * SAMPLES_PER_FRAME) / 16_000
    sound = (
        9000 * np.sin(2 * np.pi * (200 + 90 * number) * time) * np.repeat(0.2 + 0.8 * np.arange(frames) / frames, 640)
    )
    arrays = {
        "frames": pictures,
        "audio": sound.astype(np.int16),
        "logmel": (own[:, None] / 20 + np.arange(80) / 80).astype(np.float16),
        "pose": (own[:, None] + np.arange(7) / 10).astype(np.float32),
        "blink": (own[:, None] / 50 + np.array([0.0, 0.3])).astype(np.float32),
        "landmarks": landmarks.astype(np.float32),
        "bbox": (np.array(BOX) + 0.05 * np.arange(frames)[:, None]).astype(np.float32),
        "valid": np.ones(frames, bool),
    }
    meta = {f"{field}_sha256": f"{field} {number}" for field in ("frames", "audio")}
    return Clip(f"c{number}", f"s{number}", split, frames, arrays, fps=fps, meta=meta)


def marked_mesh(number: int, frames: int, *, vertices: int = 5, speaker: str = "a", fps: int = 25) -> Clip:
    """A mesh of the same kind: the face at rest is the clip's number, and each frame moves it by the frame's."""
    rest = (number + 1 + np.arange(3 * vertices).reshape(1, vertices, 3) / 100).astype(np.float32)
    moved = rest + 0.01 * np.arange(frames, dtype=np.float32)[:, None, None] * (1 + np.arange(3, dtype=np.float32))
    sound = marked_clip(number, frames).arrays["audio"]
    meta = {f"{field}_sha256": f"{field} {number}" for field in ("vertices", "audio")}
    arrays = {"vertices": moved, "template": rest, "audio": sound}
    return Clip(f"m{number}", speaker, "test", frames, arrays, fps=fps, meta=meta)
