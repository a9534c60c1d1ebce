"""What a cache of many clips costs: opening its index, reading windows from many shards, and planning its preparation.

    python benchmarks/cache_growth.py index --clips 100000
    python benchmarks/cache_growth.py windows --shards 200 --descriptors 128
    python benchmarks/cache_growth.py prepare --clips 50000

Nothing is decoded: indexes, shards and sources are made up, with the columns and fields of a cache of videos. Every
number is measured in a process of its own, so that memory is that of the step alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

FIELDS = {
    "audio": ("int16", [64_000]), "bbox": ("float32", [100, 4]), "blink": ("float32", [100, 2]),
    "frames": ("uint8", [100, 128, 128, 3]), "hubert": ("float16", [100, 1024]), "landmarks": ("float32", [100, 68, 2]),
    "logmel": ("float16", [100, 80]), "pose": ("float32", [100, 7]), "valid": ("bool", [100]),
}  # fmt: skip
CLIPS_OF_A_SHARD = 50


def made_row(number: int) -> dict[str, Any]:
    """The row of a part, as the preparation of a video writes it."""
    clip_id, shard = f"{1000 + number % 91}_DFA_NEU_{number:07d}", number // CLIPS_OF_A_SHARD
    digest = f"{number:064x}"
    meta: dict[str, Any] = {
        "source_fps": 29.97, "source_width": 480, "source_height": 360, "codec": "h264", "crop": "face", "crop_x": 101,
        "crop_y": 43, "crop_width": 250, "crop_height": 250, "face_backend": "dlib", "faces_max": 1, "tracks": 1,
        "track": 0, "person": "speaks", "track_frames": 100, "track_speaking": 0.5, "looks": 100, "face_share": 1.0,
        "interpolated": 0, "second_frames": 0, "outside_share": 0.0, "face_px": 110.5, "cuts": 0, "cut_frames": "",
        "has_audio": True, "silent": False, "audio_seconds": 4.0, "audio_track": 1, "audio_tracks": 1,
        "audio_layout": "mono", "audio_mix": "", "mouth_covered": 0.0, "yaw": 2.5, "face_height": 0.6,
        "face_in_frame": 1.0, "sharpness": 20.0 + number % 7, "face_flags": "", "notes": "",
    }  # fmt: skip
    return {
        "id": clip_id, "speaker": clip_id[:4], "split": "test" if number % 10 == 0 else "train", "n_frames": 100,
        "status": "ok", "reason": "", "detail": "", "source": f"VideoFlash/{clip_id}.flv", "source_sha256": digest,
        "sound": f"AudioWAV/{clip_id}.wav", "sound_sha256": digest[::-1], "meta": meta,
        "fields": {
            name: {"shard": f"{name}/{name}-{shard:05d}.safetensors", "key": clip_id, "dtype": dtype, "shape": shape,
                   "sha256": f"{number * 10 + k:064x}"}
            for k, (name, (dtype, shape)) in enumerate(FIELDS.items())
        },
    }  # fmt: skip


def write_index(root: Path, clips: int) -> None:
    """A cache without shards."""
    import pandas as pd

    from dawn_bench.pipelines.preparation.index import _flat

    rows = sorted((_flat(made_row(n)) for n in range(clips)), key=lambda row: row["id"])
    pd.DataFrame(rows).to_parquet(root / "index.parquet", index=False, write_page_checksum=True)
    (root / "cache.json").write_text(json.dumps({"schema": 1, "dataset": "crema", "size": 128, "fps": 25}))


def resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def opened(root: Path) -> dict[str, float]:
    """Seconds and MB of opening a cache, of one clip, and of every clip."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from dawn_bench.cache import Cache

    before, begun = resident(), time.process_time()
    cache = Cache(root)
    ids = cache.ids("train")
    there = time.process_time()
    opening = {"open, CPU s": there - begun, "open, MB": resident() - before}
    cache[ids[len(ids) // 2]].meta["frames_sha256"]
    one = time.process_time()
    frames = sum(clip.n_frames for clip in cache)
    every = time.process_time()
    assert frames == 100 * len(cache)
    return opening | {"one clip, CPU s": one - there, "every clip, CPU s": every - one, "then, MB": resident() - before}


@dataclass(frozen=True)
class NoTools:
    """The tools of a cache in which everything is done."""

    def facts(self, settings: Any) -> dict[str, str]:
        return {"face": "dlib", "face fingerprint": "1"}

    def afterwards(self, settings: Any) -> list[str]:
        return []


def write_prepared(folder: Path, clips: int) -> None:
    """Empty videos, and a plan and parts that say that all of them are done."""
    from dawn_bench.pipelines.preparation import plan as plans
    from dawn_bench.pipelines.preparation.prepare import _planned, list_sources

    videos, cache = folder / "VideoFlash", folder / "cache"
    cache.mkdir()
    videos.mkdir()
    rows = {}
    for number in range(clips):
        row = made_row(number)
        video = folder / row["source"]
        with video.open("wb") as file:
            file.truncate(400_000)  # takes no space, and counts as 4 s
        rows[video.stem] = row | {"source": video.name, "id": video.stem}
    os.sync()
    settings = settings_of()
    plan = _planned(videos, cache, list_sources(videos, settings), settings, NoTools())  # type: ignore[arg-type]
    for number, group in enumerate(plan.groups):
        plans.write_part(plans.part_path(cache, number), [
            rows[i] | {"fields": {f: {**at, "shard": f"{f}/{f}-{number:05d}.safetensors"}
                                  for f, at in rows[i]["fields"].items()}} for i in group
        ])  # fmt: skip


def settings_of() -> Any:
    from dawn_bench.pipelines.settings import PrepareSettings

    return PrepareSettings(dataset="folder", size=128, crop="none", face="dlib", extract=())


def resumed(folder: Path) -> dict[str, float]:
    """Seconds and the largest memory of `prepare` where everything is done."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from dawn_bench.pipelines.preparation.prepare import list_sources, prepare

    before, begun = resident(), time.process_time()
    videos = folder / "VideoFlash"
    list_sources(videos, settings_of())
    listed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - before
    report = prepare(videos, folder / "cache", settings_of(), tools=NoTools())  # type: ignore[arg-type]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - before
    return {
        "CPU s": time.process_time() - begun, "listing, KB a clip": 1000 * listed / report.clips,
        "peak, MB": peak, "peak, KB a clip": 1000 * peak / report.clips,
    }  # fmt: skip


def write_shards(root: Path, shards: int) -> None:
    """A cache of `shards` groups of 50 clips: lossless frames of 64 px, pose, log mel energies and `valid`."""
    import numpy as np
    import pandas as pd

    from dawn_bench.pipelines.preparation.shards import ShardWriter

    frames, rows = np.repeat(np.arange(64, dtype=np.uint8), 64 * 3).reshape(1, 64, 64, 3).repeat(60, 0), []
    for number in range(shards):
        ids = [f"{number:04d}-{k:02d}" for k in range(CLIPS_OF_A_SHARD)]
        with ShardWriter(root, number=number, ids=ids, packed=("frames",)) as writer:
            for clip_id in ids:
                writer.begin(clip_id)
                writer.append("frames", frames)
                writer.append("pose", np.zeros((60, 7), np.float32))
                writer.append("logmel", np.zeros((60, 80), np.float16))
                writer.append("valid", np.ones(60, bool))
                entries = {f"{f}.{k}": v for f, entry in writer.finish().items() for k, v in entry.items()}
                row = {"id": clip_id, "speaker": "s", "split": "train", "n_frames": 60, "status": "ok"}
                rows.append(row | {"reason": "", "detail": ""} | entries)
            writer.close()
    pd.DataFrame(rows).to_parquet(root / "index.parquet", index=False)
    (root / "cache.json").write_text(json.dumps({"schema": 1, "dataset": "made", "size": 64, "fps": 25}))


def read_windows(root: Path, descriptors: int) -> dict[str, float]:
    """CPU milliseconds of a drawn window of 16 frames with so many descriptors; every shard was read before."""
    import numpy as np

    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    from dawn_bench.cache import Cache

    windows = Cache(root).windows(frames=16, fields=("frames", "pose", "logmel", "valid"))
    for k in range(0, len(windows), CLIPS_OF_A_SHARD):
        windows[k]
    drawn = np.random.default_rng(0).integers(len(windows), size=2000).tolist()
    begun = time.process_time()
    for k in drawn:
        windows[k]
    return {f"{descriptors} descriptors, CPU ms a window": 1000 * (time.process_time() - begun) / len(drawn)}


def print_table(title: str, numbers: dict[str, float]) -> None:
    print(title)
    for name, value in numbers.items():
        print(f"  {name:34} {value:10.3f}")


def apart(function: Any, *arguments: Any) -> Any:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def index(clips: int, folder: Path) -> None:
    apart(write_index, folder, clips)
    print_table(f"a cache of {clips:,} clips", apart(opened, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["index", "windows", "prepare"])
    parser.add_argument("--clips", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--descriptors", type=int, default=128)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "index":
            index(given.clips, Path(folder))
        elif given.what == "windows":
            apart(write_shards, Path(folder), given.shards)
            many = apart(read_windows, Path(folder), 8 * given.shards + 100)
            print_table(
                f"{given.shards} shards of each of 4 fields",
                many | apart(read_windows, Path(folder), given.descriptors),
            )
        elif given.what == "prepare":
            apart(write_prepared, Path(folder), given.clips)
            print_table(f"prepare of {given.clips:,} clips, all of them done", apart(resumed, Path(folder)))


if __name__ == "__main__":
    main()
