"""How many of YuNet's faces the embedded back end sees without YuNet, and what it costs.

    python benchmarks/faces.py --clips VIDEOS --yunet yunet_n_dynamic.onnx            # one line per clip
    python benchmarks/faces.py --clips VIDEOS --yunet yunet_n_dynamic.onnx --harder   # stretches made harder

Frames are output frames at 25 fps. A frame counts as seen where the tracker has a detected face in it (not an
interpolated one) whose box overlaps YuNet's by an IoU of 0.4 or more; `extra` are frames with a face where YuNet sees
none. `longest gap` is the longest run of frames without the face of the longest track. The cost is processor time of
the tracker on one thread. With `--harder` the first 60 frames of each clip of up to 800 px are shown with the face
partly outside the picture, narrowed, turned, blurred or covered in the middle of the stretch.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.base import FaceBackend, box_around, overlap, pick_backend
from dawn_bench.pipelines.faces.tracking import Tracker
from dawn_bench.pipelines.media.video import iter_frames

AGREES, STRETCH = 0.4, 60
Frames = list[np.ndarray]


class Judge:
    """YuNet's boxes, converted to `box_around`'s proportions."""

    def __init__(self, path: Path) -> None:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self.network = cv2.FaceDetectorYN.create(str(path), "", (160, 160), 0.7)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        for side in (160, 320, 640):
            scale = side / max(frame.shape[:2])
            small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            self.network.setInputSize((small.shape[1], small.shape[0]))
            _, rows = self.network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
            if rows is not None:
                x, y, width, height = (rows[:, :4] / scale).T
                half = 0.46 * np.sqrt(width * height)
                x, y = x + width / 2, y + height / 2 + 0.137 * half
                return np.stack([x - half, y - half, x + half, y + half], axis=1)
        return np.zeros((0, 4))


def shares(frames: Iterable[np.ndarray], judge: Judge, backend: FaceBackend) -> dict[str, float]:
    """Counts of one clip: frames, YuNet's, those seen too, extra ones, longest gap, and milliseconds a frame."""
    tracker, spent, boxes = Tracker(backend, max_gap=sys.maxsize), 0.0, []
    for frame in frames:
        boxes.append(judge(frame))
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        start = time.process_time()
        tracker.step(gray)
        spent += time.process_time() - start
    tracks = tracker.tracks
    points = max((track.points for track in tracks), key=len, default={})
    agrees = [any(overlap(box_around(points[t]), b) >= AGREES for b in boxes[t]) for t in points]
    return {
        "frames": len(boxes),
        "yunet": sum(len(b) > 0 for b in boxes),
        "seen": sum(agrees),
        "second": sum(track.second_frames for track in tracks),
        "extra": sum(not len(boxes[t]) for track in tracks for t in track.points),
        "gap": max(after - before - 1 for before, after in pairwise([-1, *points, len(boxes)])),
        "ms": 1000 * spent / len(boxes),
    }


def harder(frames: Frames, box: np.ndarray) -> Iterator[tuple[str, Frames]]:
    """The frames with a face in `box` made harder to see in the middle of the stretch."""
    side, (x, y) = float(box[2] - box[0]), (box[:2] + box[2:]) / 2
    height, width = frames[0].shape[:2]
    amount = [float(np.clip(min((t - 12) / 10, (50 - t) / 10), 0, 1)) for t in range(len(frames))]

    def warp(matrix: Callable[[float], list[list[float]]]) -> Frames:
        mode = cv2.BORDER_REFLECT
        return [
            cv2.warpAffine(f, np.array(matrix(a), np.float64), (width, height), borderMode=mode) if a else f
            for f, a in zip(frames, amount, strict=True)
        ]

    def covered(frame: np.ndarray, a: float) -> np.ndarray:
        frame = frame.copy()
        frame[max(0, int(y - 0.15 * side)) :, max(0, int(box[0])) : max(0, int(box[0] + a * side / 2))] = 60
        return frame

    for share in (0.25, 0.4):
        yield f"left {share:.0%} cut", warp(lambda a, s=share: [[1, 0, -(box[0] + s * side) * a], [0, 1, 0]])
        yield f"top {share:.0%} cut", warp(lambda a, s=share: [[1, 0, 0], [0, 1, -(box[1] + s * side) * a]])
    yield "half as wide", warp(lambda a: [[1 - a / 2, 0, a / 2 * x], [0, 1, 0]])
    yield "sheared", warp(lambda a: [[1, 0, 0], [0.55 * a, 1, -0.55 * a * x]])
    yield "turned 45°", warp(lambda a: cv2.getRotationMatrix2D((float(x), float(y)), 45 * a, 1).tolist())
    blur = [cv2.GaussianBlur(f, (0, 0), 0.07 * side * a) if a > 0.1 else f for f, a in zip(frames, amount, strict=True)]
    yield "blurred", blur
    yield "half covered", [covered(f, a) for f, a in zip(frames, amount, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--harder", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    judge, backend = Judge(options.yunet), pick_backend("dlib")
    print("| | frames | YuNet | seen | by the second search | extra | longest gap | ms |")
    print("|" + " --- |" * 8)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for path in sorted(options.clips.iterdir()):
        try:
            if not options.harder:
                rows[path.name].append(shares(iter_frames(path), judge, backend))
                continue
            frames = list(islice(iter_frames(path), STRETCH))
        except ItemError as error:
            print(f"| {path.name} | {error} |" + " |" * 6)
            continue
        faces = backend.detect(frames[0])
        if len(faces) and max(frames[0].shape) <= 800:
            for name, shown in harder(frames, box_around(backend.landmarks(frames[0], faces[0]))):
                rows[name].append(shares(shown, judge, backend))
    for name, clips in rows.items():
        total = {key: sum(clip[key] for clip in clips) for key in clips[0]}
        seen = f"{total['seen'] / total['yunet']:.1%}" if total["yunet"] else "-"
        cells = (name, total["frames"], total["yunet"], seen, total["second"], total["extra"])
        gap, ms = max(clip["gap"] for clip in clips), total["ms"] / len(clips)
        print(f"| {' | '.join(map(str, cells))} | {gap} | {ms:.1f} |", flush=True)


if __name__ == "__main__":
    main()
