"""A cache of small moving faces, written in milliseconds with the real shard writer: no video, no face detection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from dawn_bench.cache import INDEX_FILE, OK, SCHEMA_VERSION, SETTINGS_FILE
from dawn_bench.clip import SAMPLES_PER_FRAME
from dawn_bench.pipelines.extractors.masks import Masks
from dawn_bench.pipelines.preparation.shards import ShardWriter

SPLITS = ("train", "train", "train", "train", "test", "test")


def write_tiny_cache(
    root: Path,
    *,
    size: int = 32,
    frames: int = 30,
    shorter: int = 0,
    splits: tuple[str, ...] = SPLITS,
    hubert: bool = False,
    masks: bool = False,
    ids: tuple[str, ...] = (),
) -> Path:
    """`len(splits)` clips `c0`, `c1`, ... of `frames` frames: a head that sways, a mouth that opens with the sound.

    Each clip is `shorter` frames shorter than the one before it. `hubert` adds speech features of HuBERT-large's width,
    `masks` the stored masks. `ids` are other ids.
    """
    names = ids or tuple(f"c{k}" for k in range(len(splits)))
    rows = []
    with ShardWriter(root, number=0, ids=list(names)) as writer:
        for number, (name, split) in enumerate(zip(names, splits, strict=True)):
            writer.begin(name)
            length = frames - shorter * number
            clip = tiny_clip(number, size=size, frames=length)
            if hubert:
                clip["hubert"] = np.zeros((length, 1024), np.float16)
            if masks:
                clip |= Masks().run(clip, size=size, n_frames=length)
            for field, values in clip.items():
                writer.append(field, values)
            facts = {f"{f}.{k}": v for f, entry in writer.finish().items() for k, v in entry.items()}
            plain = {"id": name, "speaker": f"s{number % 3}", "split": split, "n_frames": length}
            rows.append(plain | {"status": OK, "reason": "", "detail": ""} | facts)
        writer.close()
    pd.DataFrame(rows).to_parquet(root / INDEX_FILE)
    settings = {"schema": SCHEMA_VERSION, "dataset": "tiny", "size": size, "fps": 25}
    (root / SETTINGS_FILE).write_text(json.dumps(settings))
    return root


def tiny_clip(seed: int, *, size: int, frames: int) -> dict[str, np.ndarray]:
    """The arrays of one clip; see `dawn_bench.clip` for their meaning."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / 25
    mouth = 0.5 + 0.5 * np.sin(2 * np.pi * (2 + 0.3 * seed) * time + seed)
    sway = 0.06 * size * np.sin(2 * np.pi * 0.7 * time + seed)
    nod = 0.03 * size * np.cos(2 * np.pi * 1.1 * time + seed)  # y and x move by other amounts at other times
    loud = np.repeat(mouth, SAMPLES_PER_FRAME)
    audio = (8000 * loud * np.sin(2 * np.pi * 200 * np.arange(len(loud)) / 16000)).astype(np.int16)
    tones = rng.standard_normal((2, 80)) * 0.3
    y, x = np.mgrid[:size, :size] / size
    skin, back = rng.integers(120, 220, 3), rng.integers(20, 100, 3)
    pictures = np.empty((frames, size, size, 3), np.uint8)
    for k in range(frames):
        u, v = x - 0.5 - sway[k] / size, y - 0.5 - nod[k] / size
        face = (u / 0.3) ** 2 + (v / 0.4) ** 2 < 1
        lips = (u / 0.12) ** 2 + ((v - 0.18) / (0.02 + 0.08 * mouth[k])) ** 2 < 1
        pictures[k] = np.where(face[..., None], skin, back + (60 * x)[..., None])
        pictures[k][lips] = (90, 20, 30)
    landmarks = np.tile(_face_points() * size, (frames, 1, 1))
    landmarks[..., 0] += sway[:, None]
    landmarks[..., 1] += nod[:, None]
    landmarks[:, 48:, 1] += 0.05 * size * mouth[:, None] * np.linspace(-1, 1, 20)
    pose = np.zeros((frames, 7))
    pose[:, 0], pose[:, 1], pose[:, 2], pose[:, 3] = sway, 2 * nod, -0.5 * sway, 4.6e-4
    pose[:, 4], pose[:, 5], pose[:, 6] = size / 2 + 0.2 * sway, size / 2 + 2 + 0.3 * nod, -66.67
    shut = np.arange(frames) % 15
    return {
        "frames": pictures,
        "audio": audio,
        "logmel": (np.stack([mouth, sway], 1) @ tones).astype(np.float16),
        "pose": pose.astype(np.float32),
        "blink": np.stack([0.3 - 0.2 * (shut == 7), 0.27 - 0.15 * (shut == 8)], axis=1).astype(np.float32),
        "landmarks": landmarks.astype(np.float32),
        "bbox": np.concatenate([landmarks.min(1), landmarks.max(1)], 1).astype(np.float32),
        "valid": np.ones(frames, bool),
    }


def _face_points() -> np.ndarray:
    """68 points in 0–1: an arc for the jaw, a ring for the lips, a grid for the rest."""
    jaw = np.linspace(np.pi, 0, 17)
    ring = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    rest = np.stack(np.meshgrid(np.linspace(0.35, 0.65, 31), [0.4]), -1).reshape(31, 2)
    return np.concatenate(
        [
            np.stack([0.5 + 0.28 * np.cos(jaw), 0.5 + 0.36 * np.sin(jaw)], 1),
            rest,
            np.stack([0.5 + 0.1 * np.cos(ring), 0.68 + 0.02 * np.sin(ring)], 1),
        ]
    )
