"""`dawn-bench` without arguments: the four steps, what is in the present folder, and the next command."""

from __future__ import annotations

import shlex
from pathlib import Path

from dawn_bench.workflow.where import DONE, RUNNING, Kind, Place, Survey

#: The steps: command, what it turns into what, and the kind of folder that shows that it is done.
STEPS: tuple[tuple[str, str, Kind | None], ...] = (
    ("prepare", "videos -> a cache", "cache"),
    ("train", "cache -> a run, the trained model", "run"),
    ("generate", "portrait and speech -> a talking clip", None),
    ("evaluate", "methods -> scores and a page", "results"),
)
#: Places of one kind that are listed.
LISTED = 8


def home(folder: Path) -> tuple[dict[str, object], list[str]]:
    """The facts on a folder, and the lines that show them."""
    from dawn_bench.workflow.next_steps import here
    from dawn_bench.workflow.where import survey

    present = survey(folder)
    words = here(present)
    command = shlex.join(["dawn-bench", *words]) if words is not None else None
    lines = ["Benchmark of talking-head generation, in four steps:", ""]
    for number, (name, what, kind) in enumerate(STEPS, 1):
        lines.append(f"  {number}  {name:<9} {what:<39} {_state(present, kind)}".rstrip())
    lines += ["", *_listed(present)]
    lines += [f"next: {command}" if command else _read(present), ""]
    lines.append("All commands: dawn-bench help; one of them: dawn-bench help COMMAND")
    places = [{"kind": p.kind, "path": p.path, "state": p.state, "what": p.words} for p in present.places]
    facts: dict[str, object] = {"folder": folder.absolute(), "places": places, "complete": present.complete}
    return facts | {"next": command}, lines


def _state(present: Survey, kind: Kind | None) -> str:
    """The mark of a step: done, or how far it is."""
    if kind is None:
        return ""
    states = [place.state for place in present.of(kind)]
    return DONE if DONE in states else next(iter(states), "")


def _listed(present: Survey) -> list[str]:
    """A line for each place."""
    part = [] if present.complete else ["  The folder is large: only a part of it was looked at."]
    if not present.places:
        return ["Nothing of dawn-bench is in this folder yet.", *part, ""]
    lines = ["In this folder:"]
    width = min(40, max(len(str(place.path)) for place in present.places))
    for kind in ("quickstart", "cache", "run", "results"):
        places = present.of(kind)
        lines += [_line(place, width) for place in places[:LISTED]]
        lines += [f"  {kind:<10}  and {len(places) - LISTED} more"] if len(places) > LISTED else []
    return [*lines, *part, ""]


def _line(place: Place, width: int) -> str:
    state = place.state if place.state != DONE else ""
    text = f"  {place.kind:<10}  {place.path!s:<{width}}  {': '.join(filter(None, (state, place.words)))}".rstrip()
    return text.replace("\r", r"\r").replace("\n", r"\n")  # a name of two lines would look like two places


def _read(present: Survey) -> str:
    """What to do where nothing is left to run."""
    pages = [place.facts["page"] for place in present.places if place.facts.get("page")]
    running = [place for place in present.places if place.state == RUNNING]
    if running:
        return f"running now: {', '.join(str(place.path) for place in running)}"
    return f"next: open {shlex.quote(str(pages[-1]))} in a browser" if pages else "next: dawn-bench help"
