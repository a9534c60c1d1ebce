"""A long campaign of kills, full disks, second writers, fuzzed media and hostile files against the command line.

    python benchmarks/torture.py --hours 1
    python benchmarks/torture.py --only full-disk --seed 17 --tries 1 --keep

A small dataset, cache, run and results folder are made once. Each try copies what it needs, does the damage, runs the
ordinary command again, and compares the result with that of the undisturbed run. A try is lost when a command ends with
a traceback, an internal error or a signal of its own, or is refused in more than one line; when a file outside its
output folders changes, or processes or temporary files stay behind, which is checked after every try; or when the
result differs. Attacks are taken in turn. A try's seed names it, so that a lost one can be repeated alone. Filling a
disk needs root, since a small tmpfs is mounted; without it that attack is left out.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from torture_attacks import ATTACKS, Lost, Skip
from torture_tools import guarded
from torture_world import World


@dataclass
class Tally:
    """The tries of one attack."""

    survived: int = 0
    lost: list[str] = field(default_factory=list)
    skipped: str = ""


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=arguments.work))
    try:
        world = World(folder / "world")
        tallies = _campaign(world, folder, arguments)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(_table(tallies))
    if any(tally.lost for tally in tallies.values()):
        sys.exit(1)


def _campaign(world: World, folder: Path, arguments: argparse.Namespace) -> dict[str, Tally]:
    """Run the attacks in turn until the time is over, `arguments.workers` tries at once."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    lock, end = Lock(), time.monotonic() + arguments.hours * 3600
    names = arguments.only or list(ATTACKS)

    def one(number: int) -> None:
        name, seed = names[number % len(names)], arguments.seed + number // len(names)
        if time.monotonic() > end or tallies[name].skipped:
            return
        scratch = folder / f"{name}-{seed}"
        scratch.mkdir()
        try:
            with guarded(world, scratch):
                ATTACKS[name](world, scratch, random.Random(f"{name} {seed}"))
        except Skip as reason:
            tallies[name].skipped = str(reason)
        except Exception as error:
            what = str(error) if isinstance(error, Lost) else traceback.format_exc()
            with lock:
                tallies[name].lost.append(f"seed {seed}: {what}")
                print(f"LOST {name} seed {seed}: {what}", file=sys.stderr, flush=True)
        else:
            with lock:
                tallies[name].survived += 1
        if not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)

    with ThreadPoolExecutor(arguments.workers) as pool:
        tries = arguments.tries * len(names) if arguments.tries else 1_000_000
        for start in range(0, tries, len(names)):
            if time.monotonic() > end:
                break
            list(pool.map(one, range(start, min(start + len(names), tries))))
    return tallies


def _table(tallies: dict[str, Tally]) -> str:
    lines = ["| attack | trials | passed | failed |", "| --- | ---: | ---: | ---: |"]
    for name, tally in sorted(tallies.items()):
        what = (ATTACKS[name].__doc__ or name).splitlines()[0].rstrip(".")
        if tally.skipped:
            lines.append(f"| {what} | not tried: {tally.skipped} | | |")
        else:
            tries = tally.survived + len(tally.lost)
            lines.append(f"| {what} | {tries} | {tally.survived} | {len(tally.lost)} |")
    tried = [t for t in tallies.values() if not t.skipped]
    survived, lost = sum(t.survived for t in tried), sum(len(t.lost) for t in tried)
    return "\n".join([*lines, f"| **all** | {survived + lost} | {survived} | {lost} |"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0, help="length of the campaign")
    parser.add_argument("--tries", type=int, default=0, help="stop after this many tries of each attack; 0: no limit")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round")
    parser.add_argument("--only", action="append", choices=list(ATTACKS), help="only this attack; repeatable")
    parser.add_argument("--workers", type=int, default=2, help="tries at once")
    parser.add_argument("--work", type=Path, default=None, help="folder for the scratch files")
    parser.add_argument("--keep", action="store_true", help="keep the scratch files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
