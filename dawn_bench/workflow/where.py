"""Where a user stands: the caches, runs, results and quickstarts in a folder and one level below, and their state.

The look is quick and harmless. It reads names and a few small files, a bounded number of them, imports no large
library, writes nothing, follows no link and takes no lock. What is damaged or strange is left out or called unknown.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["quickstart", "cache", "run", "results"]
DONE, STOPPED, RUNNING, DAMAGED = "done", "stopped", "running", "damaged"

#: Entries of folders that one look goes through, bytes that it reads of a file, and seconds after which it ends.
MOST_ENTRIES, MOST_BYTES, MOST_SECONDS = 20_000, 1 << 18, 0.5
#: The steps of a quickstart in order, and what each leaves when it is done, below the quickstart's folder.
QUICKSTART = {
    "dataset": "dataset/complete",
    "prepare": "cache/cache.json",
    "train": "",
    "evaluate": "results/rows",
    "report": "results/report/report.html",
}


@dataclass(frozen=True)
class Place:
    """One cache, run, results folder or quickstart.

    `path` is below the folder that was looked at, `state` is `done`, `stopped`, `running` or `damaged`, `words` say
    what it is and how far it is, and `facts` are what its small files say.
    """

    kind: Kind
    path: Path
    state: str
    words: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Survey:
    """What is in a folder; `complete` is False where the folder was too large to look at all of it."""

    places: tuple[Place, ...]
    videos: Path | None
    complete: bool

    def of(self, kind: Kind, *, state: str = "") -> list[Place]:
        """The places of one kind, in order of their paths; those in one state where it is given."""
        return [place for place in self.places if place.kind == kind and state in ("", place.state)]


def survey(folder: Path) -> Survey:
    """What is in `folder` itself, in its folders, and in theirs."""
    look = _Look(folder)
    places: list[Place] = []
    waiting = [(Path(), 0)]
    while waiting:
        path, depth = waiting.pop(0)
        entries = look.entries(path)
        if entries is None:
            continue
        place = _place(look, path, entries)
        if place is not None:
            places.append(place)
        if depth < 2 and (place is None or place.kind == "quickstart"):
            waiting += [(path / name, depth + 1) for name in sorted(entries) if entries[name] and name[:1] != "."]
    order = ("quickstart", "cache", "run", "results")
    places.sort(key=lambda place: (order.index(place.kind), str(place.path)))
    return Survey(tuple(places), look.videos, not look.cut_short)


class _Look:
    """One look at a folder, within its bounds. Everything that it is asked for is below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left = MOST_ENTRIES
        self.until = time.monotonic() + MOST_SECONDS
        self.cut_short = False
        #: The first folder with videos that is part of nothing else.
        self.videos: Path | None = None

    def entries(self, path: Path) -> dict[str, bool] | None:
        """The names in a folder, and whether each is a folder and no link; None where it cannot be looked at."""
        names: dict[str, bool] = {}
        try:
            with os.scandir(self.root / path) as listing:
                for entry in listing:
                    self.left -= 1
                    if self.left < 0 or time.monotonic() > self.until:
                        self.cut_short = True
                        break
                    names[entry.name] = entry.is_dir(follow_symlinks=False)
        except OSError:
            return None
        return names

    def has(self, path: Path) -> bool:
        """Whether there is a file or a folder that is no link."""
        try:
            mode = os.lstat(self.root / path).st_mode
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode)

    def text(self, path: Path, *, end: bool = False) -> str:
        """The beginning or the end of a file; empty where it is no regular file, a link, or cannot be read."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would wait
        try:
            number = os.open(self.root / path, flags)
        except (OSError, ValueError):
            return ""
        with os.fdopen(number, "rb") as file:
            try:
                status = os.fstat(number)
                if not stat.S_ISREG(status.st_mode) or time.monotonic() > self.until:
                    return ""
                if end:
                    file.seek(max(0, status.st_size - 4096))
                return file.read(MOST_BYTES).decode("utf-8", "replace")
            except OSError:
                return ""

    def read_json(self, path: Path) -> dict[str, Any]:
        """A small JSON object; empty where there is none."""
        return _object(self.text(path))

    def running(self, path: Path) -> bool:
        """Whether a process holds the lock of a folder. Seen in the system's list of locks, without taking it."""
        try:
            status = os.lstat(self.root / path / ".lock")
            locks = Path("/proc/locks").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        return any(place in line.split() for line in locks.splitlines())


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _place(look: _Look, path: Path, entries: Mapping[str, bool]) -> Place | None:
    """What a folder with these entries is; None where it is nothing of ours."""
    if "quickstart.json" in entries:
        return _quickstart(look, path)
    if "cache.json" in entries or ("plan.json" in entries and entries.get("parts")):
        return _cache(look, path, entries)
    if entries.get("rows") or (entries.get("outputs") and entries.get("filling")):
        return _results(look, path, entries)
    if stages := list(_stages(look, path, entries)):
        return _run(look, path, entries, stages)
    if look.videos is None and any(name.lower().endswith((".mp4", ".mov", ".mkv", ".avi")) for name in entries):
        look.videos = path
    return None


def _cache(look: _Look, path: Path, entries: Mapping[str, bool]) -> Place:
    settings, running = look.read_json(path / "cache.json"), look.running(path)
    plan = {} if settings else look.read_json(path / "plan.json")
    known = settings or (plan["settings"] if isinstance(plan.get("settings"), dict) else {})
    names, size = [known.get("name"), known.get("dataset")], known.get("size")
    words = list(dict.fromkeys(name[:80] for name in names if isinstance(name, str)))
    words += [f"{size} px"] if isinstance(size, int) else []
    finished = "cache.json" in entries and "index.parquet" in entries
    if not finished:
        groups = plan.get("groups")
        parts = [name for name in look.entries(path / "parts") or () if name.endswith(".json")]
        of = f" of {len(groups)}" if isinstance(groups, list) else ""
        words.append(f"{len(parts)}{of} groups of clips done")
    damaged = "cache.json" in entries and not settings
    if damaged and not running:
        return Place("cache", path, DAMAGED, "cache.json cannot be read: prepare the cache again, or remove it")
    state = RUNNING if running else DONE if finished else STOPPED
    return Place("cache", path, state, ", ".join(words), known if finished else plan)


def _stages(look: _Look, path: Path, entries: Mapping[str, bool]) -> Iterator[str]:
    """The folders of a run that hold a training stage."""
    candidates = [name for name in sorted(entries) if entries[name] and name[:1] != "."]
    for name in candidates[:50]:
        stage = path / name
        marks = ("state.pt", "model.safetensors", "metrics.jsonl")
        if look.has(stage / "config.yaml") and any(look.has(stage / mark) for mark in marks):
            yield name


def _run(look: _Look, path: Path, entries: Mapping[str, bool], stages: list[str]) -> Place:
    prefix, suffix = "settings-", ".yaml"
    files = sorted(name for name in entries if name.startswith(prefix) and name.endswith(suffix))
    model = files[0].removeprefix(prefix).removesuffix(suffix) if files else ""
    ready = [name for name in stages if look.has(path / name / "model.safetensors")]
    words, running = [model] if model else [], False
    words += [f"{' and '.join(ready)} trained"] if ready else []
    for name in stages:
        running = running or look.running(path / name)
        if name not in ready:
            step, steps = _step(look, path / name), _steps(look, path / name)
            of = f" of {steps}" if steps else ""
            words.append(f"{name} at step {step}{of}" if step is not None else f"{name} begun")
    planned = list(_planned(look, path / files[0])) if files else []
    missing = [name for name in planned if name not in stages]
    words += [f"{' and '.join(missing)} not begun"] if missing else []
    state = RUNNING if running else DONE if len(ready) == len(stages) and not missing else STOPPED
    facts = {"model": model, "settings": path / files[0] if files else None, "trained": ready, "missing": missing}
    return Place("run", path, state, ", ".join(words), facts)


def _planned(look: _Look, settings: Path) -> Iterator[str]:
    """The stages that the settings of a run have: keys with a training loop, as YAML is written there."""
    key = ""
    for line in look.text(settings).splitlines():
        if line[:1].isalnum() and line.endswith(":"):
            key = line[:-1]
        elif line == "  loop:" and key:
            yield key.replace("_", "-")


def _step(look: _Look, stage: Path) -> int | None:
    """The last step in the log of a stage."""
    lines = look.text(stage / "metrics.jsonl", end=True).splitlines()
    steps = [step for line in lines[-3:] if isinstance(step := _object(line).get("step"), int)]
    return steps[-1] if steps else None


def _steps(look: _Look, stage: Path) -> int | None:
    """The steps that a stage is trained for."""
    match = re.search(r"^loop:\n(?:  .*\n)*?  steps: (\d{1,9})$", look.text(stage / "config.yaml"), re.M)
    return int(match[1]) if match else None


def _results(look: _Look, path: Path, entries: Mapping[str, bool]) -> Place:
    page = path / "report" / "report.html"
    scored = bool(look.entries(path / "rows")) if entries.get("rows") else False
    running, shown = look.running(path), look.has(page)
    title = look.read_json(path / "facts.json").get("title")
    words = [title[:80]] if isinstance(title, str) and title else []
    words.append(f"page: {page}" if shown else "no page yet" if scored else "nothing scored yet")
    state = RUNNING if running else DONE if scored and shown else STOPPED
    return Place("results", path, state, ", ".join(words), {"page": page if shown else None, "scored": scored})


def _quickstart(look: _Look, path: Path) -> Place:
    plan = look.read_json(path / "quickstart.json")
    signals = look.read_json(path / "results" / "facts.json").get("learning")
    run = look.entries(path / "run") or {}
    trained = False
    if stages := list(_stages(look, path / "run", run)):
        trained = _run(look, path / "run", run, stages).state == DONE
    done = [
        trained if step == "train" else look.has(path / mark) and (step != "report" or bool(signals))
        for step, mark in QUICKSTART.items()
    ]
    page = path / QUICKSTART["report"]
    if look.running(path):
        return Place("quickstart", path, RUNNING, _at(done), plan)
    if all(done[-2:]):
        return Place("quickstart", path, DONE, f"page: {page}", {**plan, "page": page})
    return Place("quickstart", path, STOPPED, _at(done), plan)


def _at(done: list[bool]) -> str:
    """The step that a quickstart is at: the first that is not done."""
    return f"at step {list(QUICKSTART)[done.index(False)]}" if False in done else "at its last step"
