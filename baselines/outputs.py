"""The output store: one file per clip in a normal form, and one line of facts about each.

    <out>/<method>/<clip>.mp4      videos, or <clip>.npy for meshes (`dawn_bench.baselines.formats`)
    <out>/<method>/items.jsonl     clip, status, detail, seconds, key, inputs (what it depends on), notes, facts, sha256
    <out>/<method>/items-*.jsonl   the same, of one worker's share of the clips, until `merge_items`

An output whose key and inputs are unchanged and whose file has the recorded hash is not generated again, so a killed
run resumes and a damaged file is replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawn_bench.baselines.base import Item, Method, modality_of
from dawn_bench.baselines.formats import format_of
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import sha256_file
from dawn_bench.names import check_name, inside, name_fault, owned
from dawn_bench.progress import Meter, meter
from dawn_bench.provenance import fingerprint
from dawn_bench.readers import DamageError, fitted, json_lines, whole
from dawn_bench.storage import StorageError, raise_if_refused, storage_error, writing

OK = "ok"
ITEMS_FILE = "items.jsonl"


@dataclass(frozen=True)
class Output:
    """The result for one item: `status` is ok, or why it failed: no_face, bad_input, timeout, oom, crash, bad_output.

    `seconds` is the wall time of generating it, `load_seconds` the part of it spent loading models. `sha256` is that of
    its file as it was written, `inputs` are as in `clip_inputs`; records of earlier versions lack both.
    """

    clip: str
    status: str
    path: Path | None
    seconds: float
    key: str
    detail: str = ""
    load_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def takes(self) -> int:
        """How many takes its file has; more than one for meshes in several styles."""
        takes = self.facts.get("takes", 1)
        return takes if whole(takes, least=1) else 1


class Failure(NamedTuple):
    """Why a clip has no output: the `status` and `detail` of `Output`."""

    status: str
    detail: str


def produce(
    method: Method, clips: Sequence[Clip], out: Path, *, seed: int, settled: Mapping[str, Failure] | None = None
) -> dict[str, Output]:
    """Generate every clip with `method` into `out/<method>`; a failing clip is recorded and does not stop the others.

    Returns the results by clip id, those of an earlier run among them where nothing that they depend on has changed and
    their files are undamaged. `settled` are clips that have just failed, by id: they are not tried again. Raises as
    `Production`.
    """
    production = Production(method, clips, out, seed=seed)
    results: dict[str, Output] = {}
    left = sum(clip.n_frames for clip in clips)
    with ExitStack() as stack:
        progress: Meter | None = None  # what an earlier run generated says nothing on speed
        for clip in clips:
            if clip.id in (settled or {}):
                status, detail = (settled or {})[clip.id]
                output = Output(clip.id, status, None, 0.0, "", detail)
            else:
                key, kept = production.look_up(clip)
                if kept is None and progress is None:
                    progress = stack.enter_context(meter(f"generate {method.name}", total=left, unit="frames"))
                output = kept or production.generate(clip, key)
                if kept is None and progress is not None and output.status != OK:
                    progress.say(failure_line(method.name, output))
            results[clip.id] = output
            left -= clip.n_frames
            if progress is not None:
                progress.advance(clip.n_frames)
    return results


def failure_line(method: str, output: Output) -> str:
    """A line on a clip without output."""
    return f"{method}, {output.clip}: {output.status}: {output.detail}"


class Production:
    """The outputs of `method` for `clips` in `out/<method>`, one by one.

    Raises `StorageError` when the disk is full; nothing is recorded for that clip. Raises `InputError` for a method or
    clip whose name is not a plain one, as both become names of files, and where a link leads out of `out`.
    """

    def __init__(self, method: Method, clips: Sequence[Clip], out: Path, *, seed: int) -> None:
        check_name(method.name, what="the method's name")
        for clip in clips:
            check_name(clip.id, what="the clip id")
        self.method, self.clips, self.seed = method, clips, seed
        self.folder = owned(out, method.name, ITEMS_FILE).parent
        self.folder.mkdir(parents=True, exist_ok=True)
        self._earlier = read_items(self.folder)
        self._shared: dict[str, str] | None = None

    def output(self, clip: Clip, *, items: str = ITEMS_FILE) -> Output:
        """The clip's result, kept or generated and recorded in the list `items`."""
        key, kept = self.look_up(clip, items=items)
        return kept or self.generate(clip, key, items=items)

    def look_up(self, clip: Clip, *, items: str = ITEMS_FILE) -> tuple[str, Output | None]:
        """The key of the clip's output, and the result of an earlier run, or None where it must be generated."""
        of_inputs = _of_inputs(self._earlier.get(clip.id), self._inputs(clip))
        key, kept = _key_and_kept(self.method, clip, self.clips, self.folder, of_inputs, seed=self.seed, items=items)
        if kept is not None:
            self._earlier[clip.id] = kept
        return key, kept

    def generate(self, clip: Clip, key: str, *, items: str = ITEMS_FILE) -> Output:
        """Generate a clip and record the result in the list `items`; `key` is that of `look_up`."""
        inputs = self._inputs(clip)
        path = self.folder / f"{clip.id}{format_of(clip).suffix}"
        output = replace(_generate_one(self.method, Item(clip, self.clips, self.seed), path, key), inputs=inputs)
        append_item(self.folder, output, items=items)
        self._earlier[clip.id] = output
        return output

    def _inputs(self, clip: Clip) -> dict[str, str]:
        if self._shared is None:
            self._shared = shared_inputs(self.method, self.clips)
        return {**clip_inputs(self.method, clip), **self._shared}

    def read(self, items: str) -> None:
        """Take over what another process has recorded in the list `items` since."""
        self._earlier |= read_list(self.folder, items)


def _key_and_kept(
    method: Method, clip: Clip, clips: Sequence[Clip], folder: Path, earlier: Output | None, *, seed: int, items: str
) -> tuple[str, Output | None]:
    """The key of a clip's output as it is generated now, and the output of an earlier run that is as good or better."""
    key = output_key(method, clip, clips, seed=seed)
    source_key = getattr(method, "source_key", None)
    if source_key is not None and (source := source_key(clip)):
        best = output_key(method, clip, clips, seed=seed, source=source)
        if (output := _kept(folder, earlier, best, clip, items)) is not None:
            return best, output
        key = best if method.has_source(clip) else key  # type: ignore[attr-defined]
    return key, _kept(folder, earlier, key, clip, items)


def stands(
    output: Output | None,
    method: Method,
    clip: Clip,
    clips: Sequence[Clip],
    *,
    seed: int,
    shared: Mapping[str, str],
    content: bool = False,
) -> bool:
    """Whether a record is of what the method would generate now, and its file is there.

    `shared` are the method's `shared_inputs`. The file is read only with `content`: a damaged one is then none.
    """
    of_inputs = _of_inputs(output, {**clip_inputs(method, clip), **shared})
    if of_inputs is None or of_inputs.status != OK or of_inputs.path is None or not of_inputs.path.is_file():
        return False
    source_key = getattr(method, "source_key", None)
    keys = {output_key(method, clip, clips, seed=seed)}
    if source_key is not None and (source := source_key(clip)):
        best = output_key(method, clip, clips, seed=seed, source=source)
        keys = {best} if method.has_source(clip) else {best, *keys}  # type: ignore[attr-defined]
    if of_inputs.key not in keys:
        return False
    return not (content and of_inputs.sha256) or sha256_file(of_inputs.path) == of_inputs.sha256


def output_key(method: Method, clip: Clip, clips: Sequence[Clip], *, seed: int, source: str = "") -> str:
    """Identifies what an output depends on: method, clip, its content, other clips where they are used, seed.

    `source` identifies files outside the cache, where the output depends on any.
    """
    prefix = ["mesh"] if modality_of(clip) == "mesh" else []
    content = _content(clip)
    others = [c.id for c in clips] if "others" in method.uses else []
    outside = [source] if source else []
    return fingerprint([*prefix, method.fingerprint, clip.id, clip.n_frames, content, others, seed, *outside])


def clip_inputs(method: Method, clip: Clip) -> dict[str, str]:
    """Hashes of the fields of a clip that the method's outputs depend on and its key leaves out, by field.

    They are recorded beside the key, so that outputs of earlier versions keep theirs.
    """
    fields = [field for field in getattr(method, "reads", ()) if field in clip]
    return {field: hashlib.sha256(np.ascontiguousarray(clip[field]).data).hexdigest()[:16] for field in fields}


def shared_inputs(method: Method, clips: Sequence[Clip]) -> dict[str, str]:
    """Hashes of what all outputs of a method depend on and their keys leave out: the clips it mixes, its own files."""
    inputs = dict(getattr(method, "further_inputs", {}))
    if "others" in method.uses:
        inputs["others"] = fingerprint([[_content(clip), clip_inputs(method, clip)] for clip in clips])
    return inputs


def _content(clip: Clip) -> list[Any]:
    """The hashes of a clip's frames or vertices and of its sound, as its cache states them."""
    return [clip.meta.get(f"{field}_sha256") for field in (format_of(clip).field, "audio")]


def _of_inputs(output: Output | None, inputs: Mapping[str, str]) -> Output | None:
    """An earlier output, or None where it was generated from other inputs; what it does not state is not compared."""
    if output is None or any(inputs.get(name, digest) != digest for name, digest in output.inputs.items()):
        return None
    return output


def _kept(folder: Path, output: Output | None, key: str, clip: Clip, items: str) -> Output | None:
    """The output of an earlier run, or None where it must be generated: it depends on other things, or is damaged.

    A record without a hash, of an earlier version, is accepted when its file can be read, and recorded with its hash.
    """
    if output is None or output.key != key or output.status != OK or output.path is None:
        return None
    try:
        digest = sha256_file(output.path)
        if output.sha256:
            return output if output.sha256 == digest else None
        for take in range(output.takes):
            format_of(clip).read(output.path, clip, take=take)
    except (OSError, ItemError) as error:  # absent or unreadable
        raise_if_refused(error)
        return None
    output = replace(output, sha256=digest)
    append_item(folder, output, items=items)
    return output


def _generate_one(method: Method, item: Item, path: Path, key: str) -> Output:
    """Generate and write one clip; any exception becomes a status, so that the run continues with the other clips.

    Only a disk that cannot be written ends the run: it says nothing about the method.
    """
    clip = item.clip
    began = time.perf_counter()

    def failed(status: str, detail: str) -> Output:
        return Output(clip.id, status, None, time.perf_counter() - began, key, detail)

    try:
        generated = method.generate(item)
        seconds = time.perf_counter() - began
        written = format_of(clip).write(path, generated, clip)
        digest = sha256_file(path)
    except (StorageError, DamageError):
        raise  # the disk's or the cache's fault, not the method's
    except ItemError as error:
        raise_if_refused(error)
        return failed(error.reason, error.detail)
    except InputError as error:
        raise_if_refused(error)
        return failed("bad_input", str(error))
    except MemoryError as error:
        return failed("oom", str(error))
    except Exception as error:
        if (refused := storage_error(error)) is not None:
            raise refused from error
        kind = "oom" if "out of memory" in str(error).lower() else "crash"
        return failed(kind, " ".join(f"{type(error).__name__}: {error}".split()))
    loading = generated.load_seconds or 0.0
    facts = {**generated.facts, **written}
    return Output(clip.id, OK, path, seconds, key, "", loading, generated.notes, facts, digest)


def items_file(share: str) -> str:
    """The list of one worker's share of the clips."""
    return f"items-{share}.jsonl"


def append_item(folder: Path, output: Output, *, items: str = ITEMS_FILE) -> None:
    """Append one result to a list of the folder. Raises `StorageError` when the disk is full."""
    line = asdict(output) | {"path": output.path.name if output.path else None}
    if not output.inputs:  # nothing is compared, as with records of earlier versions
        del line["inputs"]
    _append(folder / items, json.dumps(line).encode() + b"\n")


def _append(path: Path, lines: bytes) -> None:
    with writing(path), path.open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        truncated = file.read(1) not in (b"", b"\n")  # a kill cut the last line: it must not swallow this one
        file.write(b"\n" * truncated + lines)


def merge_items(folder: Path) -> None:
    """Append the lists of all shares to the folder's one list, in order; no worker may be writing them."""
    for path in _shares(folder):
        if owned(folder, path.name).is_file():
            _append(folder / ITEMS_FILE, path.read_bytes())
        path.unlink()


def _shares(folder: Path) -> list[Path]:
    """The lists of shares: by age, then by name."""
    paths = (path for path in folder.glob(items_file("*")) if not path.is_symlink())
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))


def read_items(folder: Path) -> dict[str, Output]:
    """The last result of every clip of a folder, by id; truncated lines are skipped."""
    lists = [ITEMS_FILE, *(path.name for path in _shares(folder))]
    return {clip: output for items in lists for clip, output in read_list(folder, items).items()}


def read_list(folder: Path, items: str) -> dict[str, Output]:
    """The last result of every clip in one list of a folder, as `read_items`."""
    return {output.clip: output for output in _lines(folder, items)}


def _lines(folder: Path, items: str) -> Iterator[Output]:
    path = folder / items
    for _, record in json_lines(path):
        try:
            output = fitted(Output, record, path=path)
        except InputError:
            continue  # cut short by a kill, or damaged; this item is generated again
        name = str(output.path) if output.path else None
        if name is not None and (name_fault(name) is not None or inside(folder, name) is None):
            continue  # it leads out of the folder: no output of ours
        yield replace(output, path=folder / name if name else None)
