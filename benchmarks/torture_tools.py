"""What the attacks have in common: stopping commands, comparing with the undisturbed state, damaging files."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torture_world import (
    HANGING,
    STAGES,
    STOPPED,
    Lost,
    World,
    contents,
    descendants,
    done,
    execute,
    leftovers,
    models,
    scores,
    start,
    working_in,
)

#: A traceback through the import of the program, before it has installed its handlers of signals.
_WHILE_STARTING = re.compile(r'dawn_bench/__(?:main|init)__\.py", line \d+, in <module>\n +(?:from|import) ')


@contextmanager
def guarded(world: World, scratch: Path) -> Iterator[None]:
    """For one try: raises `Lost` if it changes a file of the world, or leaves processes or temporary files."""
    before = contents(world.root)
    yield
    if (after := contents(world.root)) != before:
        changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
        raise Lost(f"files outside the output folders change: {changed[:5]}")
    if left := leftovers(scratch):
        raise Lost(f"temporary files stay behind: {left[:5]}")
    for _ in range(50):
        if not (alive := working_in(scratch)):
            return
        time.sleep(0.1)
    raise Lost(f"{len(alive)} processes go on after the try: {alive[:5]}")


def interrupt(command: list[str], scratch: Path, rng: random.Random, *, at: float, sign: signal.Signals) -> None:
    """Start `command` and send `sign` after a random share of its usual time `at`; for SIGKILL to the parent alone
    or to its whole session. All its processes must end.
    """
    log = scratch / "log"
    process = start(command, log)
    try:
        process.wait(rng.uniform(0.02, 0.95) * at)
    except subprocess.TimeoutExpired:
        if sign == signal.SIGINT or (sign == signal.SIGKILL and rng.random() < 0.5):
            os.killpg(process.pid, sign)
        else:
            process.send_signal(sign)
    try:
        process.wait(HANGING)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise Lost(f"`{command[0]}` goes on after {sign.name}") from None
    for _ in range(300):
        if not (alive := descendants(process.pid)):
            break
        time.sleep(0.1)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        raise Lost(f"`{command[0]}` leaves {len(alive)} processes after {sign.name}")
    output = log.read_text(errors="replace")
    if sign != signal.SIGKILL:
        early = process.returncode == -sign or (process.returncode == 1 and _WHILE_STARTING.search(output))
        faults = "Traceback (most recent call last)" in output and not early
        if faults or "internal error" in output or process.returncode not in STOPPED | {0, 1}:
            raise Lost(f"`{command[0]}` ends with {process.returncode} after {sign.name}: {output.strip()[-600:]}")


def together(commands: list[list[str]], scratch: Path, rng: random.Random) -> list[int]:
    """Run commands at once, the second a moment later; returns the exit codes, of which one at least is 0."""
    processes = []
    for k, command in enumerate(commands):
        processes.append(start(command, scratch / f"log{k}"))
        time.sleep(rng.choice([0, 0, rng.uniform(0, 3)]))
    codes = []
    for k, process in enumerate(processes):
        try:
            codes.append(process.wait(HANGING))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Lost("two writers wait for each other") from None
        text = (scratch / f"log{k}").read_text(errors="replace")
        if codes[-1] not in (0, 2) or "Traceback (most" in text or "internal error" in text:
            raise Lost(f"one of two writers ends with {codes[-1]}: {text.strip()[-600:]}")
    if 0 not in codes:
        raise Lost("both of two writers are refused")
    return codes


def same_cache(world: World, cache: Path) -> None:
    done(execute(world.prepare(cache)), "prepare again")
    ours = contents(cache)
    different = sorted(k for k in ours.keys() | world.contents.keys() if ours.get(k) != world.contents.get(k))
    if different:
        raise Lost(f"the cache differs from that of an undisturbed run: {different[:5]}")


def same_run(world: World, run: Path) -> None:
    extra = ["--resume"] if run.exists() and any(run.iterdir()) else []
    done(execute(world.train(world.cache, run, *extra)), "train --resume")
    if (ours := models(run)) != world.models:
        raise Lost(f"models differ from an undisturbed run: {[s for s in STAGES if ours.get(s) != world.models[s]]}")
    nothing_behind(run)


def same_scores(world: World, results: Path) -> None:
    done(execute(world.evaluate(world.cache, results)), "evaluate again")
    ours = scores(results)
    if any(ours.get(key) != value for key, value in world.scores.items()):
        raise Lost(f"scores differ from an undisturbed run: {ours} against {world.scores}")
    nothing_behind(results)


def nothing_behind(folder: Path) -> None:
    if folder.exists() and (left := leftovers(folder)):
        raise Lost(f"temporary files stay behind: {left[:5]}")


def only(folder: Path, names: set[str]) -> None:
    if extra := {p.name for p in folder.iterdir()} - names:
        raise Lost(f"files outside the output folders: {sorted(extra)}")


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def damage(folder: Path, rng: random.Random, *, flips: bool = True, only: str = "*") -> str:
    """Damage one file of a folder and return its relative path."""
    files = [p for p in sorted(folder.rglob(only)) if p.is_file() and p.stat().st_size and not p.name.startswith(".")]
    files = [p for p in files if "tensorboard" not in p.parts and "report" not in p.parts]
    path = rng.choice(files)
    path.write_bytes(mutated(path.read_bytes(), rng, flips=flips))
    return path.relative_to(folder).as_posix()


def mutated(data: bytes, rng: random.Random, *, flips: bool = True) -> bytes:
    """`data` cut short, emptied, overwritten, or with bits changed."""
    kind = rng.choice(["cut", "empty", "zeros", "noise", *(["bits", "bits", "head", "splice"] if flips else [])])
    if kind == "cut":
        return data[: rng.randrange(len(data))]
    if kind == "empty":
        return b""
    if kind == "zeros":
        return bytes(len(data))
    if kind == "noise":
        return rng.randbytes(min(len(data), 5000))
    changed = bytearray(data)
    if kind == "splice":
        a, b = sorted(rng.randrange(len(data)) for _ in range(2))
        return bytes(changed[:a] + changed[b:])
    near = min(len(data), 2000) if kind == "head" else len(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(near)] ^= 1 << rng.randrange(8)
    return bytes(changed)
