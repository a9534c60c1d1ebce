"""Batches from the memory-mapped cache: pure functions of (clips, seed, step).

B items, F frames, S pixels. Arrays keep the shapes of the cache after the batch axis: images are uint8 (B,F,S,S,3),
boxes x0, y0, x1, y1, pose has 7 channels. Only `dawn_bench.pixels.from_frames` converts, on the device, to the
networks' float32 (B,F,3,S,S).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from joblib import cpu_count
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import DawnBenchError, InputError
from dawn_bench.masks import lip_box
from dawn_bench.pipelines.extractors.base import audio_encoder_of

Batch = dict[str, Tensor]


def step_rng(seed: int, step: int, *, stream: str) -> np.random.Generator:
    """A random generator that depends only on the seed, the step and the stage's `stream` name."""
    return np.random.default_rng([seed, step, *stream.encode()])


class ClipPool:
    """The clips that a stage trains on, with their lengths, so that sampling does not scan the whole index.

    Raises `InputError` when no clip has `min_frames` frames.
    """

    def __init__(self, cache: Cache, *, min_frames: int = 2, split: str = "train") -> None:
        self.cache, self.ids = cache, training_ids(cache, split)
        self.lengths = np.array([cache[i].n_frames for i in self.ids])
        if max(self.lengths, default=0) < min_frames:
            raise InputError(
                f"no clip has the {min_frames} frames that this stage trains on (longest: {max(self.lengths)}).",
                path=cache.root,
                hint="Prepare longer clips or lower the window with --set.",
            )

    def draw(self, rng: np.random.Generator, count: int, *, min_frames: int) -> tuple[list[Clip], Tensor]:
        """`count` random clips of at least `min_frames` frames, with replacement, and their indices in `ids`."""
        usable = np.flatnonzero(self.lengths >= min_frames)
        places = usable[rng.integers(len(usable), size=count)]
        return [self.cache[self.ids[i]] for i in places], torch.from_numpy(places)


def training_ids(cache: Cache, split: str = "train") -> list[str]:
    """Ids to train on; a cache without that split trains on everything."""
    return (cache.ids(split) if split in cache.splits else []) or cache.ids()


def finite(clip: Clip, field: str, rows: slice | int) -> np.ndarray:
    """Rows of a field of a clip; raises `InputError` where a value is NaN or infinite, which a loss may hide."""
    values = clip[field][rows]
    if not np.isfinite(values).all():
        what = f"clip {clip.id}: {field} has values that are not finite."
        raise InputError(what, hint="Prepare the clip again, or a cache without it.")
    return np.asarray(values)


def frame_pairs(pool: ClipPool, rng: np.random.Generator, *, count: int) -> Batch:
    """LFG batch: `source`, `driving` uint8 (B,S,S,3), two frames of a clip in temporal order."""
    source, driving = [], []
    clips, places = pool.draw(rng, count, min_frames=2)
    for clip in clips:
        first, second = np.sort(rng.integers(clip.n_frames, size=2))
        source.append(clip["frames"][first])
        driving.append(clip["frames"][second])
    frames = {"source": source, "driving": driving}
    return {"clip": places} | {k: torch.from_numpy(np.stack(v)) for k, v in frames.items()}


def windows(
    pool: ClipPool, rng: np.random.Generator, *, count: int, frames: int, random_source: bool, stride: int = 1
) -> Batch:
    """Windows of clips: `frames` of a clip, every `stride`-th, and a source frame.

    The source is the window's first frame, or any frame of the clip (`random_source`). Keys: `clip` (B,), `source`
    uint8 (B,S,S,3), `frames` uint8 (B,F,S,S,3), `audio` (B,F,A), `pose` (B,F,7), `blink` (B,F,2), `source_pose` (B,7),
    `source_blink` (B,2), `source_bbox` (B,4), `lip_box` (B,F,4) x0,y0,x1,y1 in pixels; float32.
    """
    items: list[dict[str, np.ndarray]] = []
    reach = (frames - 1) * stride + 1
    clips, places = pool.draw(rng, count, min_frames=reach)
    for clip in clips:
        start = int(rng.integers(clip.n_frames - reach + 1))
        source = int(rng.integers(clip.n_frames)) if random_source else start
        span = slice(start, start + reach, stride)
        items.append(
            {
                "source": clip["frames"][source],
                "frames": clip["frames"][span],
                "audio": finite(clip, audio_encoder_of(clip), span),
                "pose": finite(clip, "pose", span),
                "blink": finite(clip, "blink", span),
                "source_pose": finite(clip, "pose", source),
                "source_blink": finite(clip, "blink", source),
                "source_bbox": finite(clip, "bbox", source),
                "lip_box": lip_box(finite(clip, "landmarks", span)),
            }
        )
    batch = {k: np.stack([i[k] for i in items]) for k in items[0]}
    return {"clip": places} | {
        k: torch.from_numpy(v if v.dtype == np.uint8 else v.astype(np.float32, copy=False)) for k, v in batch.items()
    }


def sequences(pool: ClipPool, rng: np.random.Generator, *, count: int, frames: int) -> Batch:
    """Sequences of `frames` frames without pictures: `clip` (B,), `audio` (B,N,A), `pose` (B,N,7), `blink` (B,N,2) in
    raw units, and `mask` bool (B,N).

    Tracks are float32, or float16 where the cache has them so: half of what is moved. Clips shorter than `frames` are
    used whole and zero-padded (`mask` False), as in DAWN's released code.
    """
    clips, places = pool.draw(rng, count, min_frames=2)
    lengths = [min(frames, clip.n_frames) for clip in clips]
    starts = [int(rng.integers(clip.n_frames - n + 1)) for clip, n in zip(clips, lengths, strict=True)]
    batch = {"clip": places}
    for name, field in {"audio": audio_encoder_of(clips[0]), "pose": "pose", "blink": "blink"}.items():
        tracks = [clip[field] for clip in clips]
        kind = torch.float16 if all(track.dtype == np.float16 for track in tracks) else torch.float32
        batch[name] = values = torch.empty((count, frames, *tracks[0].shape[1:]), dtype=kind)
        filled = values.numpy()
        for i, (clip, start, length) in enumerate(zip(clips, starts, lengths, strict=True)):
            filled[i, :length] = finite(clip, field, slice(start, start + length))
            filled[i, length:] = 0
    return batch | {"mask": torch.arange(frames) < torch.tensor(lengths)[:, None]}


class _Steps(Dataset[Batch | DawnBenchError]):
    def __init__(self, batch: Callable[[int], Batch], start: int, stop: int) -> None:
        self.batch, self.start, self.stop = batch, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Batch | DawnBenchError:
        if index >= len(self):
            raise IndexError(index)
        try:
            return self.batch(self.start + index)
        except DawnBenchError as error:  # raised in a loader's process, it would arrive as the text of a traceback
            return error


def batches(
    batch: Callable[[int], Batch], *, start: int, stop: int, workers: int, pin: bool
) -> DataLoader[Batch | DawnBenchError]:
    """The batches of steps start…stop−1 in order, prefetched by `workers` processes, or as many as there are cores.

    Their number changes no batch. In place of a batch that cannot be made there is the error that says why.
    """
    workers = min(workers, cpu_count())
    return DataLoader(_Steps(batch, start, stop), batch_size=None, shuffle=False, num_workers=workers, pin_memory=pin)
