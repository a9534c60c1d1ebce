"""The output store: one file per clip in a normal form, and one line of facts about each.

    <out>/<method>/<clip>.mp4      videos, or <clip>.npy for meshes (`dawn_bench.baselines.formats`)
    <out>/<method>/items.jsonl     clip, status, detail, seconds, key (what it depends on), notes, facts

An output whose key is unchanged and whose file is present is not generated again, so a killed run resumes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import Item, Method, modality_of
from dawn_bench.baselines.formats import format_of
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.progress import meter
from dawn_bench.provenance import fingerprint
from dawn_bench.readers import DamageError, fitted, json_lines, whole

OK = "ok"
ITEMS_FILE = "items.jsonl"


@dataclass(frozen=True)
class Output:
    """The result for one item: `status` is ok, or why it failed: no_face, bad_input, timeout, oom, crash, bad_output.

    `seconds` is the wall time of generating it, `load_seconds` the part of it spent loading models.
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

    @property
    def takes(self) -> int:
        """How many takes its file has; more than one for meshes in several styles."""
        takes = self.facts.get("takes", 1)
        return takes if whole(takes, least=1) else 1


def produce(method: Method, clips: Sequence[Clip], out: Path, *, seed: int) -> dict[str, Output]:
    """Generate every clip with `method` into `out/<method>`; a failing clip is recorded and does not stop the others.

    Returns the results by clip id, those of an earlier run among them where nothing that they depend on has changed.
    """
    folder = out / method.name
    folder.mkdir(parents=True, exist_ok=True)
    earlier = read_items(folder)
    results: dict[str, Output] = {}
    with meter(f"generate {method.name}", total=sum(c.n_frames for c in clips), unit="frames") as progress:
        for clip in clips:
            key = output_key(method, clip, clips, seed=seed)
            output = earlier.get(clip.id)
            if output is None or not _usable(output, key):
                path = folder / f"{clip.id}{format_of(clip).suffix}"
                output = _generate_one(method, Item(clip, clips, seed), path, key)
                append_item(folder, output)
                if output.status != OK:
                    progress.say(f"{method.name}, {clip.id}: {output.status}: {output.detail}")
            results[clip.id] = output
            progress.advance(clip.n_frames)
    return results


def output_key(method: Method, clip: Clip, clips: Sequence[Clip], *, seed: int) -> str:
    """Identifies what an output depends on: method, clip, its content, other clips where they are used, seed."""
    prefix = ["mesh"] if modality_of(clip) == "mesh" else []
    content = [clip.meta.get(f"{field}_sha256") for field in (format_of(clip).field, "audio")]
    others = [c.id for c in clips] if "others" in method.uses else []
    return fingerprint([*prefix, method.fingerprint, clip.id, clip.n_frames, content, others, seed])


def _usable(output: Output, key: str) -> bool:
    return output.key == key and output.status == OK and output.path is not None and output.path.is_file()


def _generate_one(method: Method, item: Item, path: Path, key: str) -> Output:
    """Generate and write one clip; any exception becomes a status, so that the run continues with the other clips."""
    clip = item.clip
    began = time.perf_counter()

    def failed(status: str, detail: str) -> Output:
        return Output(clip.id, status, None, time.perf_counter() - began, key, detail)

    try:
        generated = method.generate(item)
        seconds = time.perf_counter() - began
        written = format_of(clip).write(path, generated, clip)
    except DamageError:
        raise  # the cache's fault, not the method's
    except ItemError as error:
        return failed(error.reason, error.detail)
    except InputError as error:
        return failed("bad_input", str(error))
    except MemoryError as error:
        return failed("oom", str(error))
    except Exception as error:
        kind = "oom" if "out of memory" in str(error).lower() else "crash"
        return failed(kind, " ".join(f"{type(error).__name__}: {error}".split()))
    loading = generated.load_seconds or 0.0
    facts = {**generated.facts, **written}
    return Output(clip.id, OK, path, seconds, key, load_seconds=loading, notes=generated.notes, facts=facts)


def append_item(folder: Path, output: Output) -> None:
    """Append one result to the folder's list."""
    line = asdict(output) | {"path": output.path.name if output.path else None}
    with (folder / ITEMS_FILE).open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        truncated = file.read(1) not in (b"", b"\n")  # a kill cut the last line: it must not swallow this one
        file.write(b"\n" * truncated + json.dumps(line).encode() + b"\n")


def read_items(folder: Path) -> dict[str, Output]:
    """The last result of every clip of a folder, by id; truncated lines are skipped."""
    return {o.clip: o for o in _lines(folder)}


def _lines(folder: Path) -> Iterator[Output]:
    path = folder / ITEMS_FILE
    for _, record in json_lines(path):
        try:
            output = fitted(Output, record, path=path)
        except InputError:
            continue  # cut short by a kill, or damaged; this item is generated again
        yield replace(output, path=folder / output.path if output.path else None)
