"""Speed of `evaluate` by the number of its workers. Run manually on a machine that does nothing else:

    python benchmarks/evaluate_jobs.py --folder DIR                     20 clips of 2 s, one and two workers
    python benchmarks/evaluate_jobs.py --folder DIR --workers 1,4,8     other numbers
    python benchmarks/evaluate_jobs.py --folder DIR --baseline CHECKOUT another version of dawn-bench, as its default

Every run is a process of its own with a new results folder, runs alternate, and the time is that of the wall clock,
with the start of the workers. Rows are compared: they must not differ. Networks have seeded weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
METRICS = ("fid", "fvd16", "lse-c", "lse-d", "csim", "psnr", "ssim", "lpips")
#: A run, in a version of dawn-bench that may not know `jobs`.
RUN = """
import json, sys
import dawn_bench
if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    rows = dawn_bench.evaluate(**settings).rows
    kept = [row.model_dump(mode="json", exclude={"created", "wall_seconds", "cost"}) for row in rows]
    print(json.dumps(kept, sort_keys=True))
"""


def write_clips(cache: Path, *, clips: int, frames: int, size: int) -> None:
    """A cache of small moving faces."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from tiny_cache import write_tiny_cache

    write_tiny_cache(cache, size=size, frames=frames, splits=("train", *("test",) * clips))


def run(folder: Path, checkout: Path, jobs: int | None) -> tuple[float, float, str]:
    """Seconds of an evaluation from nothing, those of processors in all its processes, and its rows."""
    out = folder / "results"
    shutil.rmtree(out, ignore_errors=True)
    settings = {"cache": str(folder / "cache"), "out": str(out), "methods": "still", "metrics": METRICS}
    settings |= {"device": "cpu", "weights": "seeded", **({"jobs": jobs} if jobs is not None else {})}
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(checkout)}
    began, used = time.perf_counter(), processor_seconds()
    command = [sys.executable, "-c", RUN, json.dumps(settings)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, processor_seconds() - used, done.stdout


def processor_seconds() -> float:
    """Of processes that this one has started, and of theirs, as far as they have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the cache and the results are written")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    if not (given.folder / "cache").exists():
        write_clips(given.folder / "cache", clips=given.clips, frames=given.frames, size=given.size)
    cases: list[tuple[str, Path, int | None]] = [
        (f"--jobs {number}", ROOT, int(number)) for number in given.workers.split(",")
    ]
    if given.baseline is not None:
        cases.insert(0, ("baseline", given.baseline.resolve(), None))
    seconds: dict[str, list[float]] = {name: [] for name, *_ in cases}
    rows: dict[str, str] = {}
    for _ in range(given.rounds):
        for name, checkout, jobs in cases:
            taken, used, rows[name] = run(given.folder, checkout, jobs)
            seconds[name].append(taken)
            print(f"{name:12s} {taken:8.1f} s, {used:.1f} s of processors", flush=True)
    best = {name: min(values) for name, values in seconds.items()}
    first = next(iter(best))
    same = len({rows[name] for name in best if name != "baseline"}) == 1
    for name, value in best.items():
        print(f"{name:12s} {value:8.1f} s, {best[first] / value:.2f}x of {first}")
    print("the rows are the same" if same else "THE ROWS DIFFER")


if __name__ == "__main__":
    main()
