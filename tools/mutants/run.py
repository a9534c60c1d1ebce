"""Put each fault of the list into a copy of the project, run the tests that can notice it, and count.

python tools/mutants/run.py record            run the suite once and record which test runs which line
python tools/mutants/run.py                   every fault; a table of killed and survived by area and kind
python tools/mutants/run.py --only bounds     one list, kind, area, file or fault
python tools/mutants/run.py --only ID --tests tests/metrics/test_fid.py      these tests instead of the recorded ones
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

from faults import FAULTS, ROOT, Fault, load_faults
from selection import Map, nearest

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Outcome:
    """What became of one fault."""

    fault: Fault
    killed: bool
    by: str
    """The first test that failed, or why none did."""
    tests: int
    seconds: float


def copy_project(target: Path) -> None:
    """A copy of the tracked and new files, with the reference material beside it where there is some."""
    names = subprocess.run(
        ["git", "ls-files", "-zco", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, names):
        source, copy = ROOT / name, target / name
        if not source.exists() and not source.is_symlink():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy, follow_symlinks=False)
    shared = ROOT.parent / "shared"
    if shared.is_dir() and not (target.parent / "shared").exists():
        (target.parent / "shared").symlink_to(shared.resolve())


class Copy:
    """A copy of the project with a process that runs tests in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        copy_project(folder)
        environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        self.worker = subprocess.Popen(
            [sys.executable, HERE / "worker.py"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tests: list[str], timeout: float) -> tuple[bool, str]:
        """Run `tests` until the first fails. Returns whether one failed, and which or why."""
        assert self.worker.stdin is not None and self.worker.stdout is not None
        names, log = self.folder.with_suffix(".txt"), self.folder.with_suffix(".log")
        names.write_text("\n".join(tests))
        order = {"tests": str(names), "log": str(log), "timeout": timeout}
        self.worker.stdin.write(json.dumps(order) + "\n")
        self.worker.stdin.flush()
        code = int(self.worker.stdout.readline())
        output = log.read_text(errors="replace").splitlines()
        failed = [line for line in output if line.startswith(("FAILED ", "ERROR "))]
        if code == 0:
            return False, ""
        if code == -1:
            return True, f"the tests did not end in {timeout:.0f} s"
        if code in (4, 5) and not failed:
            return False, "the tests could not be run: " + (output or [""])[-1]
        return True, failed[0].split(" - ")[0].split(" ", 1)[1] if failed else f"pytest ended with {code}"

    def close(self) -> None:
        """End the process."""
        assert self.worker.stdin is not None
        self.worker.stdin.close()
        self.worker.wait()


def try_fault(fault: Fault, copy: Copy, chosen: list[str], seconds: dict[str, float], budget: float) -> Outcome:
    """Apply `fault` to `copy`, run the chosen tests for about `budget` seconds of their recorded time, restore."""
    path, began = copy.folder / fault.file, time.monotonic()
    original, stamp = path.read_text(), path.stat().st_mtime
    tests, planned = [], 0.0
    for test in chosen:
        if tests and planned + seconds.get(test, 0.0) > budget:
            continue
        tests.append(test)
        planned += seconds.get(test, 0.0)
    if not tests:
        return Outcome(fault, False, "no test runs or imports the changed lines", 0, 0.0)
    try:
        path.write_text(fault.apply(original))
        os.utime(path, (stamp + 10, stamp + 10))  # compiled files are known by time and size
        killed, by = copy.run(tests, timeout=6 * max(planned, 20) + 120)
    finally:
        path.write_text(original)
        os.utime(path, (stamp, stamp))
    return Outcome(fault, killed, by, len(tests), time.monotonic() - began)


def record(folder: Path) -> int:
    """Run the whole suite on two workers with the recorder; returns pytest's exit code."""
    shutil.rmtree(folder, ignore_errors=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), str(HERE), os.environ.get("PYTHONPATH")))),
        "MUTANTS_MAP": str(folder.resolve()),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "recorder", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def chosen_faults(words: list[str]) -> list[Fault]:
    """The faults whose list, kind, area, file or id is among `words`; all of them if there are none."""
    lists = {fault.id: path.stem for path in sorted(FAULTS.glob("*.yaml")) for fault in load_faults(FAULTS, path.name)}
    faults = load_faults()
    return [f for f in faults if not words or not {lists[f.id], f.kind, f.area, f.file, f.id}.isdisjoint(words)]


def table(outcomes: list[Outcome]) -> str:
    """Killed of all by area and by kind, then each survivor with its explanation."""
    lines = []
    for title, key in (("area", lambda o: o.fault.area), ("kind", lambda o: o.fault.kind)):
        total, killed = Counter(map(key, outcomes)), Counter(key(o) for o in outcomes if o.killed)
        lines.append(f"{title:<14}{'killed':>8}{'of':>6}")
        lines += [f"{name:<14}{killed[name]:>8}{total[name]:>6}" for name in sorted(total)]
        lines.append("")
    for outcome in outcomes:
        if not outcome.killed:
            reason = outcome.fault.survives or outcome.by or "not explained"
            lines.append(f"survived: {outcome.fault.id} ({outcome.fault.file}): {outcome.fault.what} {reason}")
    share = sum(o.killed for o in outcomes) / max(1, len(outcomes))
    lines.append(f"{sum(o.killed for o in outcomes)} of {len(outcomes)} killed, {share:.0%}")
    return "\n".join(lines)


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("record", "try"), default="try")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="lists, kinds, areas, files or ids")
    parser.add_argument("--tests", nargs="+", metavar="FILE", help="test files or ids instead of the recorded choice")
    parser.add_argument("--map", type=Path, default=Path("mutants-map"), help="the folder that `record` writes")
    parser.add_argument("--budget", type=float, default=120, metavar="SECONDS", help="recorded test time per fault")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--least",
        type=float,
        default=0.85,
        help="exit with 1 below this share of killed faults, or if a survivor has no explanation",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write outcomes as JSON")
    args = parser.parse_args()
    if args.command == "record":
        return record(args.map)
    faults = chosen_faults(args.only)
    recorded = Map(args.map) if args.map.is_dir() and not args.tests else None
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(min(args.jobs, max(1, len(faults)))):
            copies.put(Copy(Path(scratch) / f"copy{number}"))

        def attempt(fault: Fault) -> Outcome:
            source = (ROOT / fault.file).read_text()
            tests = args.tests or (recorded.tests(fault, source) if recorded else nearest(fault))
            copy = copies.get()
            try:
                return try_fault(fault, copy, tests, recorded.seconds if recorded else {}, args.budget)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(args.jobs) as pool:
            for outcome in pool.map(attempt, faults):
                outcomes.append(outcome)
                word = "killed  " if outcome.killed else "SURVIVED"
                print(f"{word} {outcome.seconds:5.0f} s {outcome.fault.id}: {outcome.by}", flush=True)
        while not copies.empty():
            copies.get().close()
    print("\n" + table(outcomes))
    if args.out:
        args.out.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    killed = sum(outcome.killed for outcome in outcomes)
    unexplained = [outcome for outcome in outcomes if not outcome.killed and not outcome.fault.survives]
    return int(killed < args.least * len(outcomes) or bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
