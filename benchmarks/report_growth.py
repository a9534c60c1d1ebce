"""What a report costs for many methods, metrics and clips: seconds and memory to write it, its size, and to open it.

    python benchmarks/report_growth.py                                  # 30 methods, 15 metrics, 1,000 clips
    python benchmarks/report_growth.py --methods 100 --keep RESULTS     # keeps results and page for a look

Scores are synthetic: each clip has a difficulty, each method an advantage. Where Chromium is installed, the page is
opened three times; the time is that from navigation to the first frame after `load`. Then the first table of scores per
clip is opened, from click to the frame after.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.page import FORMATS, write_report
from dawn_bench.reports.significance import comparisons
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow

FRAME = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0)))"


def synthetic(methods: int, metrics: int, clips: int) -> Iterator[ScoreRow]:
    """One row for each method and metric; every clip has a value but for one in two hundred."""
    rng = np.random.default_rng(0)
    names = [f"10{k // 12:02d}_SENTENCE{k % 12:02d}_EMO_{k:06d}" for k in range(clips)]
    outputs = {name: f"{k:032x}" for k, name in enumerate(names)}
    for metric in range(metrics):
        scale = (1.0, 40.0, 0.7, 7.0, 600.0)[metric % 5]
        difficulty = rng.normal(1.0, 0.2, clips)
        for method in range(methods):
            values = scale * (difficulty + 0.003 * method + rng.normal(0, 0.05, clips))
            lost = rng.random(clips) < 0.005
            mean, half = float(values[~lost].mean()), float(2 * values.std() / clips**0.5)
            yield ScoreRow(
                method=f"method-{method:03d}", dataset="synthetic", split="test", protocol="paper-dawn",
                metric=f"metric-{metric:02d}", label=f"M{metric:02d}", aim="lower" if metric % 2 else "higher",
                order=metric, value=mean, low=mean - half, high=mean + half, n_clips=clips, n_frames=100 * clips,
                per_clip={n: None if gap else float(v) for n, v, gap in zip(names, values, lost, strict=True)},
                outputs=outputs, weights_state="canonical", fingerprint=f"{metric:08x}", data="0" * 16,
                device="cpu x86_64", versions={"python": "3.11", "numpy": "2.0"}, wall_seconds=12.5,
                created="2026-01-01T00:00:00+00:00",
            )  # fmt: skip


def opened(page: Path) -> None:
    """Print how long Chromium takes to open a page and the first drill-down, and the elements before and after."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from chromium import CHROMIUM, Browser

    if CHROMIUM is None:
        print("no Chromium is installed")
        return
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        count = "document.querySelectorAll('*').length"
        seconds = []
        for _ in range(3):
            browser.open(page)
            seconds.append(browser.run(FRAME) / 1000)
            elements = browser.run(count)
        print(f"opens in {' '.join(f'{s:.2f}' for s in seconds)} s, {elements:,} elements")
        drill = f"""(async () => {{
            const start = performance.now();
            const inner = document.querySelector('details.inner');
            inner.parentElement.open = inner.open = true;
            await new Promise(done => setTimeout(done, 0));
            return (await {FRAME}) - start; }})()"""
        print(f"drill-down in {browser.run(drill) / 1000:.2f} s, {browser.run(count):,} elements")
        browser.close()


def main() -> None:
    """Write the synthetic results, the report, and what both cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=30)
    parser.add_argument("--metrics", type=int, default=15)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--formats", nargs="+", default=["html"], choices=FORMATS)
    parser.add_argument("--keep", type=Path, help="folder for results and report; a temporary one otherwise")
    asked = parser.parse_args()
    root = asked.keep or Path(tempfile.mkdtemp())
    if not (root / "rows").exists():
        ResultsStore(root).append(synthetic(asked.methods, asked.metrics, asked.clips))
    stored = sum(p.stat().st_size for p in root.glob("rows/*"))
    print(f"{asked.methods} methods, {asked.metrics} metrics, {asked.clips} clips: {stored / 1e6:.1f} MB of rows")
    try:
        start = time.process_time()
        rows = ResultsStore(root).rows()
        read = time.process_time()
        boards = leaderboards(rows)
        ranked = time.process_time()
        pairs = sum(len(comparisons(board)) for board in boards)
        compared = time.process_time()
        print(f"CPU: rows read {read - start:.1f} s, ranked {ranked - read:.1f} s")
        print(f"CPU: {pairs} pairs {compared - ranked:.1f} s")
        del rows, boards
        before = time.process_time()
        files = write_report(root, root / "report", formats=asked.formats)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"CPU: whole report {time.process_time() - before:.1f} s; peak of the process {peak:.2f} GB")
        for path in files:
            print(f"{path.name} {path.stat().st_size / 1e6:.2f} MB")
            if path.suffix == ".html":
                opened(path)
    finally:
        if asked.keep is None:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
