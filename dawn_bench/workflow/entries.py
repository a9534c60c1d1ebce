"""Where the videos to be scored come from: methods that run here, methods of the user's files, and both framed again.

Each becomes a `Entry`: loaders of its outputs by clip id, what failed, and what making them cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dawn_bench.baselines.base import METHODS, Context, Method, MethodClass
from dawn_bench.baselines.external.adapter import bundled, installed_names, installs_file, read_adapter
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.methods.external import builder as external
from dawn_bench.baselines.outputs import OK, find_outputs, produce, read_output
from dawn_bench.baselines.reframe import Reframed
from dawn_bench.clip import FPS, Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.scoring.matching import FileLoad, Load
from dawn_bench.pipelines.media.video import probe
from dawn_bench.progress import console
from dawn_bench.provenance import fingerprint, sha256_file
from dawn_bench.workflow.evaluation import Evaluation


@dataclass(frozen=True)
class Entry:
    """What a method has to be scored: loaders and files by clip id, its class, what failed, and what it cost.

    `takes` are loaders of further versions of the same clips, whose scores are averaged with the first's.
    """

    name: str
    method_class: MethodClass
    loaders: dict[str, Load]
    files: dict[str, Path]
    failed: dict[str, str]
    cost: dict[str, float] = field(default_factory=dict)
    takes: tuple[dict[str, Load], ...] = ()


def one_owner(job: Evaluation) -> None:
    """Outputs belong to one method: the only one named that does not run by itself."""
    own = [m for m in job.methods if m not in METHODS or m in bundled()]
    if len(own) != 1:
        raise InputError(
            f"is given as the outputs of {' and '.join(own) or 'no method'}.",
            path=job.outputs,
            hint="Name your method once: --method mine --outputs FOLDER",
        )


def maker(name: str, job: Evaluation, clips: Sequence[Clip]) -> Callable[[], list[Entry]]:
    """A function that makes or finds the outputs of `name`; the method itself is built now, so that it fails early."""
    adapter = read_adapter(bundled()[name]) if name in bundled() else None
    if job.outputs is not None and (name not in METHODS or adapter is not None):
        files = find_outputs(job.outputs, clips, job.mapping, naming=job.naming)
        if not files:
            raise InputError(
                f"has no file named like a clip of split {job.split!r}.",
                path=job.outputs,
                hint=f"Expected for example {job.naming.format(clip=clips[0].id)}.mp4, or give --mapping CSV.",
            )
        method_class = job.method_class or (adapter.method_class if adapter else "portrait")
        return partial(_found, name, method_class, files, job, clips, adapter is not None and adapter.changes_crop)
    context = Context(job.checkpoint, job.device, job.seed, job.options, job.installs, job.out / "logs")
    own = name not in METHODS and name in installed_names(installs_file(job.installs))
    began = time.perf_counter()
    method = external(name)(context) if own else METHODS[name](context)
    if check := getattr(method, "check", None):
        check(clips[0])
    return partial(_produced, method, job, clips, built_in=time.perf_counter() - began)


def _produced(method: Method, job: Evaluation, clips: Sequence[Clip], *, built_in: float) -> list[Entry]:
    """The outputs of one method, and where it crops in its own way a second version framed as the truth is.

    `built_in` is how long loading it took, in seconds; external methods load anew for each item, and tell by item.
    """
    if isinstance(method, External):
        console().print(f"{method.name}: licence {method.licence}", markup=False)
    outputs = produce(method, clips, job.out / "outputs", seed=job.seed)
    files = {i: o.path for i, o in outputs.items() if o.status == OK and o.path is not None}
    failed = {i: o.status for i, o in outputs.items() if o.status != OK}
    said = {i: o.notes for i, o in outputs.items()}
    seconds = {c.id: c.n_frames / FPS for c in clips if c.id in files}
    cost = {}
    if files and method.method_class not in ("sanity", "reference"):
        loading = sum(outputs[i].load_seconds for i in files)
        spent = sum(outputs[i].seconds for i in files) - loading
        once = 0.0 if isinstance(method, External) else built_in
        cost = {"generate_s_per_s": spent / sum(seconds.values()), "load_s": once + loading / len(files)}
    made = [Entry(method.name, method.method_class, _loaders(files, clips, failed, said), files, failed, cost)]
    if getattr(method, "changes_crop", False):
        aligned = _aligned(method.name, method.method_class, files, job, clips, method.fingerprint)
        made += [replace(one, cost=cost) for one in aligned]  # framing again is no part of the method
    return made


def _found(
    name: str,
    method_class: MethodClass,
    files: dict[str, Path],
    job: Evaluation,
    clips: Sequence[Clip],
    changes_crop: bool,
) -> list[Entry]:
    """Outputs that a user supplied."""
    failed = {c.id: "missing" for c in clips if c.id not in files}
    for clip, path in list(files.items()):
        try:
            probe(path)
        except ItemError:
            failed[clip] = "bad_output"
            del files[clip]
    made = [Entry(name, method_class, _loaders(files, clips, failed, {}), files, failed)]
    if changes_crop:
        contents = fingerprint({i: sha256_file(p) for i, p in files.items()})
        made += [replace(one, cost={}) for one in _aligned(name, method_class, files, job, clips, contents)]
    return made


def _aligned(
    name: str, method_class: MethodClass, files: dict[str, Path], job: Evaluation, clips: Sequence[Clip], key: str
) -> list[Entry]:
    return _produced(Reframed(name, method_class, files, key), job, clips, built_in=0.0) if files else []


def _loaders(
    files: Mapping[str, Path], clips: Sequence[Clip], failed: dict[str, str], said: Mapping[str, tuple[str, ...]]
) -> dict[str, Load]:
    """Functions that read one output each, or raise its failure; `failed` grows while they are read."""

    def load(path: Path, truth: Clip) -> Clip:
        try:
            return read_output(path, truth, said=said.get(truth.id, ()))
        except ItemError as error:
            failed[truth.id] = error.reason
            raise

    def refuse(status: str, clip: str) -> Clip:
        raise ItemError(status, f"{clip} was not made")

    truth = {c.id: c for c in clips}
    loaders: dict[str, Load] = {i: partial(refuse, status, i) for i, status in failed.items()}
    return loaders | {i: FileLoad(path, partial(load, path, truth[i])) for i, path in files.items()}
