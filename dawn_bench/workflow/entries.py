"""The entries of an evaluation: methods run by dawn-bench, and outputs supplied by the user."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from dawn_bench.baselines.base import (
    METHODS,
    Context,
    Method,
    MethodClass,
    Modality,
    build_method,
    check_modality,
    modalities_of,
    modality_of,
)
from dawn_bench.baselines.external.adapter import bundled, installed_names, installs_file, read_adapter
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.external.portrait import PORTRAIT
from dawn_bench.baselines.formats import format_of, read_output
from dawn_bench.baselines.given_pieces import CUT_FROM_WHOLE, GivenOutputs, find_piece_outputs
from dawn_bench.baselines.mesh_files import draw_mesh
from dawn_bench.baselines.methods.external import builder as external_builder
from dawn_bench.baselines.outputs import OK, Failure, Output, produce
from dawn_bench.baselines.reframe import Reframed
from dawn_bench.baselines.silence import Silent, spoken_name
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError, UnknownNameError
from dawn_bench.files import sha256_file
from dawn_bench.metrics.scoring.matching import FileLoad, Load
from dawn_bench.names import check_name, owned
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.progress import console
from dawn_bench.provenance import fingerprint
from dawn_bench.workflow.evaluation import Evaluation

#: Number of clips of a mesh entry that are rendered for the gallery, and of pieces that are cut from whole clips.
DRAWN = 3
#: Classes whose rows are references: they are not ranked and have no cost.
UNRANKED: tuple[MethodClass, ...] = ("sanity", "reference")


@dataclass(frozen=True)
class Entry:
    """The outputs of one method in an evaluation.

    `outputs` are files by clip id, `failures` the reasons for clips without output; together they cover every clip.
    `takes` are loaders of the outputs by clip id: one mapping, or several for meshes in several styles, whose scores
    are averaged. `videos` are files for the gallery, `cost` and `origins` are as in `ScoreRow`. `notes` are sentences
    for its rows. `silent` are the outputs driven by silence, or `no_silence` says why there are none
    (`dawn_bench.workflow.silence`).
    """

    name: str
    method_class: MethodClass
    outputs: Mapping[str, Path]
    failures: Mapping[str, str]
    takes: tuple[Mapping[str, Load], ...]
    videos: Mapping[str, Path]
    cost: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    silent: Entry | None = None
    no_silence: str = ""

    @property
    def ranked(self) -> bool:
        """Whether the entry is ranked; sanity and reference rows are not."""
        return self.method_class not in UNRANKED


def check_owner(job: Evaluation) -> None:
    """Raise `InputError` unless exactly one named method can own `job.outputs`: one that dawn-bench does not run."""
    own = [m for m in job.methods if m not in METHODS or m in bundled()]
    if len(own) != 1:
        raise InputError(
            f"is given as the outputs of {' and '.join(own) or 'no method'}.",
            path=job.outputs,
            hint="Name your method once: --method mine --outputs FOLDER",
        )


@dataclass(frozen=True)
class Source:
    """Where the outputs of one name for `clips` come from: `method`, which writes them to `out`, or a user's files.

    `build_seconds` is the time to load the method.
    """

    name: str
    job: Evaluation
    clips: Sequence[Clip]
    out: Path
    method: Method | None = None
    given: GivenOutputs | None = None
    build_seconds: float = 0.0

    def entries(self, settled: Mapping[str, Failure] | None = None) -> list[Entry]:
        """Generate the outputs that are not there yet, or read the user's; `settled` as in `produce`."""
        if self.given is not None:
            return _given(self.name, self.given, self.job, self.clips, out=self.out, settled=settled)
        assert self.method is not None
        seconds = self.build_seconds
        return _generated(self.method, self.job, self.clips, out=self.out, build_seconds=seconds, settled=settled)


def entry_source(
    name: str,
    job: Evaluation,
    clips: Sequence[Clip],
    *,
    out: Path,
    shown: set[str],
    piece_length: int | None = None,
) -> Source:
    """Where the outputs of `name` come from.

    Remarks on the method that are not in `shown` are printed. `piece_length` is that of the pieces in which `clips` are
    cut, also where all of them are too short for that.

    The method is built and validated up front: raises `InputError` for an unknown method, another modality than that of
    the clips, a checkpoint that does not fit, or a folder without outputs.
    """
    modality = modality_of(clips[0])
    if name in METHODS:
        check_modality(name, modalities_of(METHODS[name]), modality)
    if job.outputs is not None and (name not in METHODS or name in bundled()):
        given = find_piece_outputs(job.outputs, clips, job.mapping, naming=job.naming, length=piece_length)
        if not given.files:
            names = dict.fromkeys((clips[0].id, clips[0].whole_id))
            expected = " or ".join(f"{job.naming.format(clip=name)}{format_of(clips[0]).suffix}" for name in names)
            raise InputError(
                f"has no file named like a clip of split {job.split!r}.",
                path=job.outputs,
                hint=f"Expected for example {expected}, or give --mapping CSV.",
            )
        return Source(name, job, clips, out, given=given)
    began = time.perf_counter()
    try:
        method = method_of(name, job, modality)
    except UnknownNameError as error:  # most often a method of the user's own
        raise InputError(
            error.what, hint=f"{error.hint} Of your own method, give the mp4s: --outputs FOLDER."
        ) from None
    if check := getattr(method, "check", None):
        check(clips[0])
    for note in remarks_of(method, clips[0]):
        if note not in shown:
            shown.add(note)
            console().print(f"{name}: {note}")
    return Source(name, job, clips, out, method=method, build_seconds=time.perf_counter() - began)


def method_of(name: str, job: Evaluation, modality: Modality) -> Method:
    """The method `name`, one of dawn-bench or an installed one, built with the settings of the job.

    Raises `InputError` as `build_method`.
    """
    if (spoken := spoken_name(name)) != name:
        return Silent(method_of(spoken, job, modality))  # of a worker, which is given the name alone
    context = Context(
        job.checkpoint, job.device, job.seed, job.method_options, job.installs, job.out / "logs", modality=modality
    )
    if name not in METHODS and name in installed_names(installs_file(job.installs)):
        check_modality(name, ("video",), modality)
        return external_builder(name)(context)
    return build_method(name, context)


def entry_of(
    method: Method, results: Mapping[str, Output], clips: Sequence[Clip], *, build_seconds: float = 0.0
) -> Entry:
    """The entry of a method from the results of `produce`; the first meshes are rendered for the gallery.

    `build_seconds` is the time to load the method. External methods load for every item and report it per item.
    """
    outputs = {i: o.path for i, o in results.items() if o.status == OK and o.path is not None}
    failures = {i: o.status for i, o in results.items() if i not in outputs}
    cost = {}
    if outputs and method.method_class not in UNRANKED:
        loading = sum(results[i].load_seconds for i in outputs)
        generating = sum(results[i].seconds for i in outputs) - loading
        once = 0.0 if isinstance(method, External) else build_seconds
        video_seconds = sum(c.seconds for c in clips if c.id in outputs)
        cost = {"generate_s_per_s": generating / video_seconds, "load_s": once + loading / len(outputs)}
    return Entry(
        method.name,
        method.method_class,
        outputs,
        failures,
        takes_of(results, clips),
        _videos(outputs, clips),
        cost,
        notes=remarks_of(method, clips[0]),
    )


def takes_of(results: Mapping[str, Output], clips: Sequence[Clip]) -> tuple[dict[str, Load], ...]:
    """The loaders of the outputs among some results, as in `Entry`."""
    outputs = {i: o.path for i, o in results.items() if o.status == OK and o.path is not None}
    takes = max((results[i].takes for i in outputs), default=1)
    notes = {i: (*results[i].notes, *_portrait_notes(results[i])) for i in outputs}
    return tuple(loaders_of(outputs, clips, notes=notes, take=k) for k in range(takes))


def remarks_of(method: Method, clip: Clip) -> tuple[str, ...]:
    """How a clip's cache differs from what the method's model was trained on, as sentences for its rows."""
    remarks = getattr(method, "remarks", None)
    return tuple(remarks(clip)) if remarks is not None else ()


def _portrait_notes(output: Output) -> tuple[str, ...]:
    """Where the portrait of an external method's output is from; outputs of earlier versions do not state it."""
    stated = output.facts.get(PORTRAIT)
    return (stated,) if isinstance(stated, str) else ()


def _generated(
    method: Method,
    job: Evaluation,
    clips: Sequence[Clip],
    *,
    out: Path,
    build_seconds: float,
    settled: Mapping[str, Failure] | None = None,
) -> list[Entry]:
    """The entry of a method, and a second entry with aligned faces if the method changes the crop."""
    if isinstance(method, External):
        console().print(f"{method.name}: licence {method.licence}")
    results = produce(method, clips, out, seed=job.seed, settled=settled)
    entry = entry_of(method, results, clips, build_seconds=build_seconds)
    entry = replace(entry, origins={"": fingerprint([method.fingerprint, job.seed])})
    if not getattr(method, "changes_crop", False):
        return [entry]
    return [entry, *_aligned(entry, job, clips, method.fingerprint, out=out)]


def _given(
    name: str,
    given: GivenOutputs,
    job: Evaluation,
    clips: Sequence[Clip],
    *,
    out: Path,
    settled: Mapping[str, Failure] | None = None,
) -> list[Entry]:
    """The entry of user-supplied outputs, and a second entry with aligned faces if the method changes the crop."""
    adapter = read_adapter(bundled()[name]) if name in bundled() else None
    default: MethodClass = "mesh" if modality_of(clips[0]) == "mesh" else "portrait"
    method_class = job.method_class or (adapter.method_class if adapter else default)
    outputs: dict[str, Path] = {}
    files, starts = given.files, given.starts
    failures = {c.id: "missing" for c in clips if c.id not in files}
    for clip in clips:
        if clip.id in (settled or {}):
            failures[clip.id] = (settled or {})[clip.id].status
        elif clip.id in files:
            try:
                format_of(clip).check(files[clip.id], clip)
            except ItemError as error:
                failures[clip.id] = "bad_output"
                console().print(f"{name}, {clip.id}: {error}")
            else:
                outputs[clip.id] = files[clip.id]
    videos = _videos(outputs, clips, folder=out / name, starts=starts)
    loaders = loaders_of(outputs, clips, notes=dict.fromkeys(starts, (CUT_FROM_WHOLE,)), starts=starts)
    entry = Entry(
        name, method_class, outputs, failures, (loaders,), videos, origins=_whole_files(outputs, clips, starts)
    )
    if adapter is None or not adapter.changes_crop:
        return [entry]
    contents = fingerprint({i: sha256_file(p) for i, p in outputs.items()})
    return [entry, *_aligned(entry, job, clips, contents, out=out, starts=starts)]


def _whole_files(outputs: Mapping[str, Path], clips: Sequence[Clip], starts: Mapping[str, int]) -> dict[str, str]:
    """The hashes of the files of whole clips by their id; clips that are short only where no piece has a file."""
    in_pieces = any(c.id != c.whole_id and c.id not in starts for c in clips if c.id in outputs)
    chosen = [c for c in clips if c.id in outputs and (c.id in starts or (c.id == c.whole_id and not in_pieces))]
    hashes = {path: sha256_file(path)[:16] for path in {outputs[c.id] for c in chosen}}
    return {c.whole_id: hashes[outputs[c.id]] for c in chosen}


def _aligned(
    entry: Entry,
    job: Evaluation,
    clips: Sequence[Clip],
    key: str,
    *,
    out: Path,
    starts: Mapping[str, int] | None = None,
) -> list[Entry]:
    """The same outputs with aligned faces. Alignment is not part of the method, so the cost is unchanged."""
    if not entry.outputs:
        return []
    method = Reframed(entry.name, entry.method_class, entry.outputs, key, starts=starts)
    results = produce(method, clips, out, seed=job.seed)
    return [replace(entry_of(method, results, clips), cost=entry.cost, origins=entry.origins)]


def loaders_of(
    outputs: Mapping[str, Path],
    clips: Sequence[Clip],
    *,
    notes: Mapping[str, tuple[str, ...]] | None = None,
    take: int = 0,
    starts: Mapping[str, int] | None = None,
) -> dict[str, Load]:
    """One loader per output; unchanged video files are not decoded again. `starts` are as in `GivenOutputs`."""
    loaders: dict[str, Load] = {}
    for clip in clips:
        if clip.id in outputs:
            path, start = outputs[clip.id], (starts or {}).get(clip.id)
            own = (notes or {}).get(clip.id, ())
            read = partial(read_output, path, clip, take=take, notes=own, start=start)
            loaders[clip.id] = FileLoad(path, read, start or 0, own) if modality_of(clip) == "video" else read
    return loaders


def _videos(
    outputs: Mapping[str, Path],
    clips: Sequence[Clip],
    *,
    folder: Path | None = None,
    starts: Mapping[str, int] | None = None,
) -> dict[str, Path]:
    """Files for the gallery: the videos themselves, the first pieces cut from them, and renderings of the first meshes.

    With `folder` renderings are recreated in it; otherwise they are cached next to the npy files.
    """
    if modality_of(clips[0]) == "video":
        videos = {clip: path for clip, path in outputs.items() if clip not in (starts or {})}
        if folder is not None and starts:
            videos |= _first_pieces(outputs, clips, folder, starts)
        return videos
    videos = {}
    for clip in [c for c in clips[:DRAWN] if c.id in outputs]:
        path = outputs[clip.id]
        target = path.with_suffix(".mp4") if folder is None else folder / f"{clip.id}.mp4"
        if folder is not None or not target.is_file():
            draw_mesh(path, clip, target)
        videos[clip.id] = target
    return videos


def _first_pieces(
    outputs: Mapping[str, Path], clips: Sequence[Clip], folder: Path, starts: Mapping[str, int]
) -> dict[str, Path]:
    """The first pieces of whole-clip videos as files of their own, written to `folder`; a damaged one is left out."""
    videos = {}
    for clip in [c for c in clips if c.id in outputs and c.id in starts][:DRAWN]:
        name = f"{check_name(clip.id, what='the clip id')}.mp4"
        target = owned(folder.parent, check_name(folder.name, what="the method's name"), name)
        try:
            piece = read_output(outputs[clip.id], clip, start=starts[clip.id])
        except ItemError:
            continue  # scoring says so
        folder.mkdir(parents=True, exist_ok=True)
        write_video(
            target, piece["frames"], audio=np.asarray(piece["audio"]) if "audio" in piece else None, lossless=True
        )
        videos[clip.id] = target
    return videos
