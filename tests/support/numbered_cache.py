"""Caches in which every field of every frame says which clip and which frame it is: what reaches a loss can be named.

Frame k of clip c has multiples of the number `code(c, k)` in its pose, blinks and audio features, (c, k) in the colours
of its picture, and a face box and lips that no other frame has. No two channels, sides or clips are alike, and clips
differ in length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tiny_cache import _face_points

from dawn_bench.cache import INDEX_FILE, OK, SCHEMA_VERSION, SETTINGS_FILE
from dawn_bench.pipelines.preparation.shards import ShardWriter

#: Lengths of the clips of a cache, and their splits: the held-out ones stand between those to train on.
LENGTHS = (26, 37, 31, 29, 34)
SPLITS = ("train", "val", "train", "test", "train")
STEP = 64
#: The extractors that the cache of pictures records.
FINGERPRINTS = {"extractor pose-dense": "p1", "extractor blink-ear": "b1", "extractor logmel": "l1"}


def code(clip: int, frame: int | np.ndarray) -> int | np.ndarray:
    """The number of a frame; exact in float16."""
    return STEP * (clip + 1) + frame


def named(number: float) -> tuple[int, int]:
    """The clip and the frame of a number."""
    return int(number) // STEP - 1, int(number) % STEP


def numbered_clip(clip: int, *, size: int, frames: int) -> dict[str, np.ndarray]:
    """The arrays of clip number `clip`; see `dawn_bench.clip` for their meaning."""
    numbers = code(clip, np.arange(frames)).astype(np.float64)
    pictures = np.empty((frames, size, size, 3), np.uint8)
    pictures[..., 0] = (40 + 5 * np.arange(frames))[:, None, None]
    pictures[..., 1] = 30 + 40 * clip
    pictures[..., 2] = 5 * np.arange(size)[:, None] // 2 + 3 * np.arange(size)  # neither side is a mirror of the other
    points = np.tile(_face_points() * size, (frames, 1, 1))
    points[:, 48:] = points[:, 48:] * 0.7 + 0.2 * size
    points[:, 3:14, 1] += 0.05 * size * np.sin(np.arange(frames))[:, None]  # the jaw moves, the nose does not
    points += np.stack([0.13 * np.arange(frames) - 2, 0.07 * np.arange(frames) + 0.5 * clip], -1)[:, None]
    return {
        "frames": pictures,
        "audio": np.repeat(numbers, 640).astype(np.int16),
        "logmel": (numbers[:, None] + np.arange(80) % 2 / 4).astype(np.float16),
        "pose": (numbers[:, None] * (1 + np.arange(7) / 8)).astype(np.float32),
        "blink": (numbers[:, None] / [1024, 2048]).astype(np.float32),
        "landmarks": points.astype(np.float32),
        "bbox": np.concatenate([points.min(1), points.max(1)], 1).astype(np.float32),
        "valid": np.ones(frames, bool),
    }


def numbered_mesh(clip: int, *, frames: int, fps: int) -> dict[str, np.ndarray]:
    """The arrays of a mesh clip of five vertices: sound and offsets of frame k have its number."""
    template = (np.arange(15).reshape(1, 5, 3) + 100 * clip).astype(np.float32)
    numbers = code(clip, np.arange(frames)).astype(np.float32)
    samples = round(frames * 16000 / fps)
    at = np.minimum(np.arange(samples) * fps // 16000, frames - 1)
    return {
        "vertices": (template + numbers[:, None, None] / 64 + np.arange(3) / 8).astype(np.float32),
        "template": template,
        "audio": numbers[at].astype(np.int16),
        "lips": np.array([[0, 1]], np.int32),
        "upper": np.array([[3, 4]], np.int32),
    }


def write_numbered(
    root: Path, *, size: int = 32, lengths: Sequence[int] = LENGTHS, splits: Sequence[str] = SPLITS
) -> Path:
    """Clips `c0`, `c1`, ... of these lengths and splits."""
    clips = [numbered_clip(c, size=size, frames=n) for c, n in enumerate(lengths)]
    facts = {"dataset": "numbered", "size": size, "fps": 25, "crop": "paper", "fingerprints": FINGERPRINTS}
    return _write(root, clips, lengths, splits, facts)


def write_numbered_meshes(
    root: Path, *, lengths: Sequence[int] = LENGTHS, splits: Sequence[str] = SPLITS, fps: int = 30
) -> Path:
    """Mesh clips `c0`, `c1`, ... of these lengths and splits."""
    clips = [numbered_mesh(c, frames=n, fps=fps) for c, n in enumerate(lengths)]
    return _write(root, clips, lengths, splits, {"dataset": "numbered", "size": 32, "fps": fps})


def _write(
    root: Path,
    clips: Sequence[Mapping[str, np.ndarray]],
    lengths: Sequence[int],
    splits: Sequence[str],
    facts: Mapping[str, object],
) -> Path:
    ids = [f"c{k}" for k in range(len(clips))]
    rows = []
    with ShardWriter(root, number=0, ids=ids) as writer:
        for number, (name, clip) in enumerate(zip(ids, clips, strict=True)):
            writer.begin(name)
            for field, values in clip.items():
                writer.append(field, values)
            stored = {f"{f}.{k}": v for f, entry in writer.finish().items() for k, v in entry.items()}
            plain = {"id": name, "speaker": f"s{number}", "split": splits[number], "n_frames": lengths[number]}
            rows.append(plain | {"status": OK, "reason": "", "detail": ""} | stored)
        writer.close()
    pd.DataFrame(rows).to_parquet(root / INDEX_FILE)
    (root / SETTINGS_FILE).write_text(json.dumps({"schema": SCHEMA_VERSION, **facts}))
    return root
