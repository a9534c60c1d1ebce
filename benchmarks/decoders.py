"""How fast each decoder reads video files, side by side: PyAV, and decord and torchcodec where they are installed.

    python benchmarks/decoders.py --clips VIDEOS [--rounds 3] [--frames 200]

One row per file that every installed decoder reads: frames a second of `read_frames` at the size of the file on one
thread, the best of the rounds; the decoders take turns. `opened` is the time to the first frame, milliseconds, which
includes the comparison with PyAV. The last row is the sum over all files.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.decoders.base import DECODERS, PYAV
from dawn_bench.pipelines.media.video import iter_frames


def timed(path: Path, decoder: str, *, frames: int) -> tuple[float, float, int]:
    """(seconds to the first frame, seconds in all, frames); `ItemError` where the decoder is refused the file."""
    begun = time.perf_counter()
    reading = islice(iter_frames(path, decoder=decoder), frames)
    next(reading)
    first = time.perf_counter() - begun
    count = 1 + sum(1 for _ in reading)
    return first, time.perf_counter() - begun, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=200)
    options = parser.parse_args()
    names = [PYAV, *(name for name in DECODERS if DECODERS[name].missing() is None)]
    print("file", *(f"{name} frames/s (opened ms)" for name in names), sep="\t")
    total, counted = dict.fromkeys(names, 0.0), 0
    for path in sorted(options.clips.iterdir()):
        best: dict[str, tuple[float, float, int]] = {}
        try:
            for _ in range(options.rounds):
                for name in names:
                    row = timed(path, name, frames=options.frames)
                    best[name] = min(best.get(name, row), row, key=lambda r: r[1])
        except ItemError as error:
            print(f"{path.name}\tleft out: {error.detail}")
            continue
        counted += best[PYAV][2]
        for name in names:
            total[name] += best[name][1]
        cells = [f"{count / seconds:.0f} ({first * 1000:.0f})" for first, seconds, count in best.values()]
        print(path.name, *cells, sep="\t", flush=True)
    print("all", *(f"{counted / max(seconds, 1e-9):.0f}" for seconds in total.values()), sep="\t")


if __name__ == "__main__":
    main()
