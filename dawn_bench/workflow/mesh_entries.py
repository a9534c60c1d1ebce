"""The contestants of an evaluation on meshes: methods that run here, and a user's npy files. Never beside pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dawn_bench.baselines.base import Context
from dawn_bench.baselines.meshes import MESH_METHODS, MeshMethod, draw_output, produce_meshes, read_mesh
from dawn_bench.baselines.outputs import OK, Output
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.scoring.matching import Load
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.entries import Entry
from dawn_bench.workflow.evaluation import Evaluation

#: Clips of which the gallery has videos.
DRAWN = 3


def mesh_maker(name: str, job: Evaluation, clips: Sequence[Clip]) -> Callable[[], list[Entry]]:
    """As `contestants.maker`: a function that makes or finds the meshes of `name`, which is found wanting now."""
    if job.outputs is not None and name not in MESH_METHODS:
        files = find_meshes(job.outputs, clips)
        return partial(_found, name, files, job, clips)
    method = MESH_METHODS[name](Context(job.checkpoint, job.device, job.seed, job.options))
    return partial(_produced, method, job, clips)


def find_meshes(folder: Path, clips: Sequence[Clip]) -> dict[str, Path]:
    """A user's `<clip>.npy` files by clip id; raises `InputError` where there are none."""
    files = {p.stem: p for p in sorted(folder.rglob("*.npy"))} if folder.is_dir() else {}
    found = {c.id: files[c.id] for c in clips if c.id in files}
    if not found:
        raise InputError(
            "has no npy file named like a clip.", path=folder, hint=f"Expected for example {clips[0].id}.npy."
        )
    return found


def averaged(takes: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
    """The rows of several takes of the same clips as one set: means of values, of intervals' ends, and clip by clip."""
    made = []
    for rows in zip(*takes, strict=True):
        first = rows[0]
        if len(rows) > 1:
            fields = {f: _mean([getattr(row, f) for row in rows]) for f in ("value", "low", "high")}
            clips = {c: _mean([row.per_clip.get(c) for row in rows]) for c in first.per_clip}
            first = first.model_copy(update={**fields, "per_clip": clips, "over_time": []})
        made.append(first)
    return made


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _produced(method: MeshMethod, job: Evaluation, clips: Sequence[Clip]) -> list[Entry]:
    outputs = produce_meshes(method, clips, job.out / "outputs", seed=job.seed, drawn=DRAWN)
    done = {i: o for i, o in outputs.items() if o.status == OK and o.path is not None}
    failed = {i: o.status for i, o in outputs.items() if o.status != OK}
    seconds = sum(c.n_frames / c.fps for c in clips if c.id in done)
    cost = {}
    if done and method.method_class == "mesh":
        cost = {"generate_s_per_s": sum(o.seconds for o in done.values()) / seconds, "load_s": 0.0}
    takes = max((int(o.facts.get("takes", 1)) for o in done.values()), default=1)
    paths = {i: o.path for i, o in done.items() if o.path is not None}
    loaders = [_loaders(paths, clips, failed, {i: o.notes for i, o in done.items()}, take=k) for k in range(takes)]
    videos = {i: p.with_suffix(".mp4") for i, p in paths.items()}
    return [Entry(method.name, method.method_class, loaders[0], videos, failed, cost, tuple(loaders[1:]))]


def _found(name: str, files: dict[str, Path], job: Evaluation, clips: Sequence[Clip]) -> list[Entry]:
    """A user's files, checked, and drawn beside the other outputs."""
    failed = {c.id: "missing" for c in clips if c.id not in files}
    folder = job.out / "outputs" / name
    folder.mkdir(parents=True, exist_ok=True)
    good = {}
    for number, clip in enumerate(c for c in clips if c.id in files):
        try:
            mesh = read_mesh(files[clip.id], clip)
        except ItemError as error:
            failed[clip.id] = error.reason
            continue
        good[clip.id] = files[clip.id]
        if number < DRAWN:
            copy = folder / f"{clip.id}.npy"
            np.save(copy, mesh["vertices"])
            copy.with_suffix(".mp4").unlink(missing_ok=True)
            draw_output(Output(clip.id, OK, copy, 0.0, ""), clip)
    videos = {i: folder / f"{i}.mp4" for i in good}
    return [Entry(name, "mesh", _loaders(good, clips, failed, {}, take=0), videos, failed)]


def _loaders(
    files: Mapping[str, Path],
    clips: Sequence[Clip],
    failed: Mapping[str, str],
    said: Mapping[str, tuple[str, ...]],
    *,
    take: int,
) -> dict[str, Load]:
    """Functions that read one output each, or raise what kept it from being made."""

    def refuse(status: str, clip: str) -> Clip:
        raise ItemError(status, f"{clip} was not made")

    truth = {c.id: c for c in clips}
    loaders: dict[str, Load] = {i: partial(refuse, status, i) for i, status in failed.items()}
    return loaders | {i: partial(read_mesh, p, truth[i], take=take, said=said.get(i, ())) for i, p in files.items()}
