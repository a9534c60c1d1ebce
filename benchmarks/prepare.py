"""Cost of preparation and speed of cache reads, compared with straightforward alternatives in the same run.

    python benchmarks/prepare.py                            # the embedded dataset at several sizes, one up to 1080p
    python benchmarks/prepare.py --clips VIDEOS --out FILE  # your own clips

Frames are output frames at 25 fps, including sound, face, landmarks, crop to 128 px, pose, blink, log-mel, checksums
and shards. *Frames/s/core* are output frames per CPU second (user and system, all threads) of a worker with loaded
networks; OpenCV and FFmpeg run on one thread. The *share outside* is the CPU time not spent inside the decoder
(opening, demuxing, decoding of video and audio), the detector (`detect`, `detect_near`, `search`) and the landmarker
(`landmarks`); conversion of decoded frames to RGB counts as outside. The *plain loop* reads each frame with OpenCV,
runs the same HOG detector on each at the scale at which the first face is detected, places landmarks, crops and
resizes the face, and saves one `.npy` per clip, without sound, pose or checksums; its rate counts the frames that it
reads. *Two workers* prepare the same groups of clips as one; the first run of each is discarded, since processes take
seconds to start. A *window* is one random training sample: 40 frames of 128 px with audio features (40,1024), head pose
and blinks, copied to a preallocated batch.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")

import av
import cv2
import numpy as np

from dawn_bench.cache import Cache
from dawn_bench.errors import ItemError
from dawn_bench.executor import run
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.faces.base import FaceBackend, pick_backend
from dawn_bench.pipelines.media import audio, video
from dawn_bench.pipelines.preparation import process
from dawn_bench.pipelines.preparation.group import ClipTools, GroupJob
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.shards import ShardWriter
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.provenance import versions

VIDEOS = {".mp4", ".flv", ".mpg", ".mov", ".avi", ".mkv", ".webm"}
WINDOW, CHUNK = 40, 25
Row = dict[str, Any]


def make_clips(folder: Path, *, seconds: float) -> list[Path]:
    """Embedded clips of 256 and 480 px, and the latter enlarged to 720p and 1080p."""
    clips = []
    for size in (256, 480):
        root = write_embedded(folder / f"embedded-{size}", speakers=2, clips=2, seconds=seconds, size=size)
        clips += sorted((root / "VideoFlash").glob("*.mp4"))
    for width, height in ((1280, 720), (1920, 1080)):
        side = (width - height) // 2
        for clip in clips[2:4]:
            square = (cv2.resize(f, (height, height), interpolation=cv2.INTER_CUBIC) for f in video.iter_frames(clip))
            wide = (cv2.copyMakeBorder(f, 0, 0, side, side, cv2.BORDER_REFLECT) for f in square)
            out = folder / f"{clip.stem}_{height}p.mp4"
            video.write_video(out, wide, audio=audio.read_audio(clip))
            clips.append(out)
    return clips


def source_of(clip: Path) -> Source:
    """A training source for a video file."""
    return Source(clip.stem, "", "train", clip)


def prepare_clip(clip: Path, settings: PrepareSettings, backend: FaceBackend, folder: Path) -> dict[str, Any]:
    """Prepare one clip into shards of its own, as a worker does; returns its metadata."""
    with ShardWriter(folder, number=0, ids=[clip.stem]) as writer:
        writer.begin(clip.stem)
        meta = process.process_clip(source_of(clip), settings, backend, writer)
        writer.finish()
        writer.close()
    return meta


class Shares:
    """CPU seconds inside wrapped functions by label; the time of nested calls counts only for the inner label."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = [0.0]

    def timed(self, label: str, call: Callable[[], Any]) -> Any:
        """Run `call` and add its time to `label`."""
        self._inner.append(0.0)
        begun = time.thread_time()
        try:
            return call()
        finally:
            took = time.thread_time() - begun
            self.seconds[label] += took - self._inner.pop()
            self._inner[-1] += took

    def function(self, owner: Any, name: str, label: str) -> None:
        """Wrap the function `owner.name`."""
        plain = getattr(owner, name)

        @wraps(plain)
        def wrapped(*args: Any, **options: Any) -> Any:
            return self.timed(label, lambda: plain(*args, **options))

        setattr(owner, name, wrapped)

    def generator(self, owner: Any, name: str, label: str) -> None:
        """Wrap the generator function `owner.name`."""
        plain = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Iterator[Any]:
            items = self.timed(label, lambda: iter(plain(*args, **options)))
            end = object()
            while (item := self.timed(label, lambda: next(items, end))) is not end:
                yield item

        setattr(owner, name, wrapped)


def speed(clips: Iterable[Path], settings: PrepareSettings, backend: FaceBackend, scratch: Path) -> list[Row]:
    """Frames, CPU and wall seconds of each usable clip, the better of two runs; unusable clips are printed."""
    rows = []
    for clip in clips:
        best: Row = {"cpu": float("inf")}
        for _ in range(2):
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                meta = prepare_clip(clip, settings, backend, scratch / "speed")
            except ItemError as error:
                print(f"  {clip.name}: left out ({error.reason})")
                break
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if cpu < best["cpu"]:
                size = meta["source_width"], meta["source_height"]
                best = {"clip": clip, "size": size, "frames": meta["n_frames"], "cpu": cpu, "wall": wall}
        else:
            rows.append(best)
    return rows


def shares(clips: Iterable[Path], settings: PrepareSettings, backend: FaceBackend, scratch: Path) -> dict[str, float]:
    """Share of CPU time by part, over `clips`. The functions stay wrapped, so this must run last."""
    parts = Shares()
    parts.function(av, "open", "decoder")
    parts.generator(video, "decoded", "decoder")
    parts.generator(audio, "_aligned", "decoder")
    kind = type(backend)
    for name in ("detect", "detect_near", "search"):
        parts.function(kind, name, "detector")
    parts.function(kind, "landmarks", "landmarker")
    parts.function(process.Picture, "cut", "crop and resize")
    parts.function(process, "_sound", "sound, except decoding")
    parts.function(ShardWriter, "append", "checksums and shards")
    for name in settings.extract:
        parts.function(process.EXTRACTORS[name], "run", name)
    begun = time.thread_time()
    for clip in clips:
        prepare_clip(clip, settings, backend, scratch / "shares")
    total = time.thread_time() - begun
    parts.seconds["rest"] = total - sum(parts.seconds.values())
    return {label: seconds / total for label, seconds in parts.seconds.most_common()}


def plain_loop(clip: Path, out: Path) -> tuple[int, float]:
    """Frames and CPU seconds of the plain loop (see the module)."""
    import dlib

    from dawn_bench.pipelines.faces.backends.dlib import model_file

    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(model_file("shape_predictor_68_face_landmarks.dat")))
    begun = time.process_time()
    capture, rows, points, side, box = cv2.VideoCapture(str(clip)), [], [], 320, None
    while True:
        there, frame = capture.read()
        if not there:
            break
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        while True:
            scale = side / max(gray.shape)
            small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            faces = detector(small, 0)
            if faces or rows or side >= 1280:
                break
            side *= 2
        if faces:
            face = max(faces, key=lambda f: f.area())
            box = dlib.rectangle(*(round(v / scale) for v in (face.left(), face.top(), face.right(), face.bottom())))
        if box is None:
            continue
        points.append([(p.x, p.y) for p in predictor(gray, box).parts()])
        x, y = box.center().x, box.center().y
        half = min(round(0.8 * box.width()), *(n // 2 for n in gray.shape))
        x, y = (int(np.clip(c, half, n - half)) for c, n in zip((x, y), gray.shape[::-1], strict=True))
        part = rgb[y - half : y + half, x - half : x + half]
        rows.append(cv2.resize(part, (128, 128), interpolation=cv2.INTER_AREA))
    np.save(out / f"{clip.stem}.npy", np.stack(rows))
    np.save(out / f"{clip.stem}_points.npy", np.array(points))
    return len(rows), time.process_time() - begun


def scaling(clips: list[Path], settings: PrepareSettings, scratch: Path, *, rounds: int) -> dict[int, float]:
    """Frames per second by number of workers: `rounds` passes over the clips, one clip per group, best of two runs."""
    cv2.setNumThreads(1)
    rates = {}
    for workers in (1, 2):
        walls = []
        for turn in range(3):
            cache = scratch / f"workers-{workers}-{turn}"
            cache.mkdir()
            jobs = []
            for number in range(rounds * len(clips)):
                source = source_of(clips[number % len(clips)])
                ids = (source.id,)
                jobs.append(
                    GroupJob(cache, source.video.parent, number, ids, {source.id: source}, settings, ClipTools())
                )
            begun = time.perf_counter()
            frames = sum(report.frames for report in run(jobs, workers=workers))
            walls.append(time.perf_counter() - begun)
        rates[workers] = frames / min(walls[1:])
    return rates


class _FixedArrays(ClipTools):
    """Tools that write given arrays to a cache."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def process(self, source: Source, settings: PrepareSettings, sink: Any) -> dict[str, Any]:
        for field, rows in self.arrays.items():
            sink.append(field, np.roll(rows, int(source.id[-3:]), axis=0))
        return {}


def windows(frames: np.ndarray, scratch: Path, *, clips: int = 10) -> dict[str, float]:
    """Median milliseconds per window by layout, from page cache; all clips contain `frames` uint8 (T,128,128,3)."""
    rng = np.random.default_rng(0)
    widths = {"hubert": 1024, "pose": 7, "blink": 2}
    tracks = {name: rng.random((len(frames), width), np.float32) for name, width in widths.items()}
    fields = {"frames": frames, **tracks}
    videos = scratch / "videos"
    videos.mkdir()
    for k in range(clips):
        (videos / f"clip{k:03d}.mp4").write_bytes(b"x")
    prepare(videos, scratch / "cache", PrepareSettings(face="dlib", extract=()), tools=_FixedArrays(fields))
    cache = Cache(scratch / "cache")
    ids = cache.ids()
    for clip in cache:
        for field in fields:
            folder = scratch / "files" / field / clip.id
            folder.mkdir(parents=True)
            for k in range(0, clip.n_frames, CHUNK):
                np.save(folder / f"chunk_{k // CHUNK:04d}.npy", clip[field][k : k + CHUNK])
        for k, frame in enumerate(clip["frames"]):
            cv2.imwrite(str(scratch / f"files/frames/{clip.id}/{k:06d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    # preallocated, as in a data loader
    batch = {field: np.zeros((WINDOW, *rows.shape[1:]), rows.dtype) for field, rows in fields.items()}

    def from_cache(clip_id: str, start: int) -> None:
        clip = cache[clip_id]
        for field, into in batch.items():
            into[:] = clip[field][start : start + WINDOW]

    def from_chunks(clip_id: str, start: int, names: Iterable[str] = tuple(fields)) -> None:
        for field in names:
            for k in range(start // CHUNK, (start + WINDOW - 1) // CHUNK + 1):
                chunk = np.load(scratch / "files" / field / clip_id / f"chunk_{k:04d}.npy")
                first, last = max(start, CHUNK * k), min(start + WINDOW, CHUNK * (k + 1))
                batch[field][first - start : last - start] = chunk[first - CHUNK * k : last - CHUNK * k]

    def from_pictures(clip_id: str, start: int) -> None:
        for k in range(WINDOW):
            path = str(scratch / f"files/frames/{clip_id}/{start + k:06d}.png")
            cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB, dst=batch["frames"][k])
        from_chunks(clip_id, start, tracks)

    medians = {}
    for name, read, count in (
        ("cache", from_cache, 300),
        ("25-frame .npy chunks", from_chunks, 100),
        ("PNG folders", from_pictures, 20),
    ):
        places = [(ids[rng.integers(len(ids))], int(rng.integers(len(frames) - WINDOW + 1))) for _ in range(count)]
        read(*places[0])
        read_so = {field: rows.copy() for field, rows in batch.items()}
        from_cache(*places[0])
        assert all(np.array_equal(read_so[field], rows) for field, rows in batch.items())
        took = []
        for place in places:
            begun = time.perf_counter()
            read(*place)
            took.append(time.perf_counter() - begun)
        medians[name] = 1000 * float(np.median(took))
    return medians


def rate(rows: list[Row], key: str = "cpu") -> float:
    """Frames per second over several clips together."""
    return sum(row["frames"] for row in rows) / sum(row[key] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of videos; default: the embedded dataset")
    parser.add_argument("--seconds", type=float, default=4, help="length of each clip; longer clips are truncated")
    parser.add_argument("--out", type=Path, default=Path("prepare-benchmark.json"), help="figures as JSON")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if options.clips is None:
            clips = make_clips(scratch, seconds=options.seconds)
        else:
            clips = sorted(path for path in options.clips.iterdir() if path.suffix in VIDEOS)
        settings = PrepareSettings(face="dlib", require_audio=False, max_frames=round(25 * options.seconds))
        backend = pick_backend("dlib")
        prepare_clip(clips[0], settings, backend, scratch / "warm")
        rows = speed(clips, settings, backend, scratch)
        for row in rows:
            size, fps = "x".join(map(str, row["size"])), row["frames"] / row["cpu"]
            wall = row["frames"] / row["wall"]
            print(
                f"  {row['clip'].name[:44]:44s} {size:>9s} {fps:6.0f} frames/s/core {wall:6.0f} frames/s wall",
                flush=True,
            )
        small = [row for row in rows if min(row["size"]) < 1080]
        large = [row for row in rows if min(row["size"]) >= 1080]
        table: list[tuple[str, str, float, bool]] = []

        def add(what: str, target: float, reached: float, *, at_most: bool = False) -> None:
            good = reached <= target if at_most else reached >= target
            table.append((what, f"{'<=' if at_most else '>='} {target:g}", reached, good))

        if small:
            add("frames/s/core below 1080p, all together", 150, rate(small))
            add("frames/s/core below 1080p, slowest clip", 150, min(row["frames"] / row["cpu"] for row in small))
        if large:
            add("frames/s/core at 1080p, all together", 50, rate(large))
            add("frames/s/core at 1080p, slowest clip", 50, min(row["frames"] / row["cpu"] for row in large))
        # the plain loop reads whole files, so only clips that were prepared in full are compared
        whole = [row for row in rows if video.probe(row["clip"]).seconds <= options.seconds + 0.5][:12] or rows[:2]
        loop = [plain_loop(row["clip"], scratch) for row in whole]
        plain = sum(frames for frames, _ in loop) / sum(seconds for _, seconds in loop)
        add("times the plain loop, one core, same clips", 2, rate(whole) / plain)
        some = [row["clip"] for row in small or rows][:6]
        rates = scaling(some, settings, scratch, rounds=max(1, 24 // len(some)))
        add("throughput of 2 workers over 1", 1.8, rates[2] / rates[1])
        print(
            f"plain loop {plain:.0f} frames/s/core; 1 and 2 workers {rates[1]:.0f} and {rates[2]:.0f} frames/s",
            flush=True,
        )
        sample = np.stack([p.cut((0, 0, p.width, p.height), 128) for p in video.iter_pictures(some[0])])
        reads = windows(np.resize(sample, (200, 128, 128, 3)), scratch)
        add("window of 40 frames from the cache, ms", 0.5, reads["cache"], at_most=True)
        add("times 25-frame .npy chunk files", 10, reads["25-frame .npy chunks"] / reads["cache"])
        add("times PNG folders", 50, reads["PNG folders"] / reads["cache"])
        parts = shares([row["clip"] for row in rows], settings, backend, scratch)
        inside = sum(parts.get(name, 0.0) for name in ("decoder", "detector", "landmarker"))
        add("share outside decoder, detector, landmarker, %", 15, 100 * (1 - inside), at_most=True)

    print("shares of CPU time: " + ", ".join(f"{label} {share:.1%}" for label, share in parts.items()))
    print("windows: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in reads.items()))
    print(f"\n{'measure':48s} {'target':>8s} {'reached':>9s}")
    for what, target, reached, good in table:
        print(f"{what:48s} {target:>8s} {reached:9.2f}  {'yes' if good else 'NO'}")
    facts = {
        "table": [dict(zip(("measure", "target", "reached", "holds"), line, strict=True)) for line in table],
        "clips": [{**row, "clip": row["clip"].name} for row in rows],
        "shares": parts,
        "plain_frames_per_cpu_second": plain,
        "frames_per_second_by_workers": rates,
        "window_ms": reads,
        "versions": versions(),
    }
    options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
