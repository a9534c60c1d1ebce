"""Maintenance of a finished cache: verify its checksums and count its contents."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench.cache import INDEX_FILE, OK, SETTINGS_FILE, Cache, check_finished, hashed_blocks, read_settings
from dawn_bench.cache_index import Index, Stored
from dawn_bench.clip import FPS, field_fault
from dawn_bench.errors import InputError
from dawn_bench.files import user_path
from dawn_bench.names import name_fault, shard_fault
from dawn_bench.progress import track
from dawn_bench.readers import DamageError
from dawn_bench.shard import Shards


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify`.

    `clips` counts the usable clips as `stats` does, `left_out` those that could not be used and have no arrays;
    `faults` are (clip id, field, what is wrong), `loose` shards that no clip refers to. A fault of `cache.json` or the
    index has the file's name in place of a clip's id, and no field.
    """

    clips: int
    arrays: int
    faults: tuple[tuple[str, str, str], ...]
    loose: tuple[str, ...]
    left_out: int = 0


def verify(root: Path) -> VerifyReport:
    """Read every array of the cache at `root` and compare its sha256, dtype and shape with the index.

    Damage of any file is a fault of the report. Raises `InputError` for a folder that is not a finished cache.
    """
    root = user_path(root)
    check_finished(root)
    faults, arrays, used, size = [], 0, set(), None
    try:
        size = int(read_settings(root / SETTINGS_FILE)["size"])
    except DamageError as error:
        faults.append((SETTINGS_FILE, "", error.what))
    try:
        index = Index(root / INDEX_FILE)
        faults += index.faults()
        fields = [field for field in index.all_fields if name_fault(field) is None]
        shards = Shards(root)
        for row in track(range(len(index)), "verify", unit="clips"):
            for field in fields:
                stored = index.stored(row, field)
                if stored is None or shard_fault(stored.shard, field=field):
                    continue  # a shard elsewhere is a fault already, and is not opened
                arrays += 1
                used.add(stored.shard)
                fault = _fault(shards, stored, field, n_frames=int(index.n_frames[row]), size=size)
                if fault:
                    faults.append((index.value("id", row), field, fault))
    except DamageError as error:
        return VerifyReport(0, 0, (*faults, (INDEX_FILE, "", error.what)), ())
    there = {path.relative_to(root).as_posix() for path in root.glob("*/*.safetensors")}
    usable = sum(state == OK for state in index.text("status").to_pylist())
    return VerifyReport(usable, arrays, tuple(faults), tuple(sorted(there - used)), len(index) - usable)


def check_content(cache: Cache, ids: Sequence[str]) -> None:
    """Compare every array of these clips with its sha256 in the index, where an older index has one.

    Scores are stored under the hashes of the index, so that arrays of other content must not be scored. Raises
    `DamageError` naming the first clip that differs.
    """
    for clip_id in track(list(ids), "check cache", unit="clips"):
        for field in cache.fields:
            stored = cache.stored(clip_id, field)
            if stored is not None and stored.sha256 is not None:
                fault = _fault(cache.shards, stored, field, n_frames=cache[clip_id].n_frames, size=cache.size)
                if fault:
                    hint = f"See what else is damaged: dawn-bench cache verify {cache.root}"
                    raise DamageError(f"{field} of clip {clip_id}: {fault}.", path=cache.root, hint=hint)


def _fault(shards: Shards, stored: Stored, field: str, *, n_frames: int, size: int | None) -> str | None:
    """What is wrong with one array, or None; `size` is the side of the cache's frames in pixels, where it is known."""
    path, digest = shards.root / stored.shard, hashlib.sha256()
    if stored.dtype is None or stored.sha256 is None or stored.shape is None:
        return "its dtype, shape or sha256 is not in the index"
    try:
        array = shards.array(stored.shard, stored.key)
        if str(array.dtype) != stored.dtype or list(array.shape) != stored.shape:
            return f"{path.name} holds {array.dtype} {array.shape} for it"
        if size is not None and (fault := field_fault(field, array, n_frames=n_frames, size=size)):
            return fault
        for block in hashed_blocks(array):
            digest.update(block.data)
    except InputError as error:
        absent = not path.is_file()
        return f"{path.name} is absent" if absent else f"{path.name} cannot be read ({error.what.rstrip('.')})"
    return None if digest.hexdigest() == stored.sha256 else f"checksum differs in {path.name}"


def stats(root: Path) -> dict[str, Any]:
    """What is in the cache at `root`: counts by split, hours, frames with a face, reasons of failures, bytes by field.

    Keys: `name`, `dataset`, `size`, `clips`, `speakers`, `frames`, `hours`, `frames_with_face` (a share, or None),
    `splits`, `quarantined` and `without` (tuples of id, reason or extractor, detail), `bytes` and `clips_with` of
    stored fields, `computed` (fields of clips that are not stored, with the number of clips) and `fingerprints`.
    """
    cache = Cache(root)
    good = cache.index[cache.index["status"] == OK]
    fps = cache.settings.get("fps", FPS)
    computed = Counter(field for clip in cache for field in clip.fields if field not in clip.arrays)
    faces = [np.count_nonzero(clip["valid"]) for clip in cache if "valid" in clip]
    splits = {
        str(split): {
            "clips": len(rows),
            "speakers": int(rows["speaker"].nunique()),
            "frames": int(rows["n_frames"].sum()),
            "hours": float(rows["n_frames"].sum()) / fps / 3600,
        }
        for split, rows in good.groupby("split")
    }
    return {
        "name": cache.name,
        "dataset": cache.settings["dataset"],
        "size": cache.size,
        "clips": len(good),
        "speakers": int(good["speaker"].nunique()),
        "frames": int(good["n_frames"].sum()),
        "hours": float(good["n_frames"].sum()) / fps / 3600,
        "frames_with_face": float(sum(faces) / max(1, good["n_frames"].sum())) if faces else None,
        "splits": splits,
        "quarantined": cache.quarantined(),
        "without": [
            (str(row["id"]), name.removeprefix("without."), str(row[name]))
            for name in good.columns
            if name.startswith("without.")
            for _, row in good[good[name].notna()].iterrows()
        ],
        "bytes": {f: sum(p.stat().st_size for p in _files(cache.root / f)) for f in cache.fields},
        "clips_with": {f: int(good[f"{f}.shard"].notna().sum()) for f in cache.fields},
        "computed": dict(sorted(computed.items())),
        "fingerprints": cache.settings.get("fingerprints", {}),
    }


def listed(root: Path, *, split: str | None = None) -> list[dict[str, Any]]:
    """The usable clips of the cache at `root`, of `split` or of all splits, one after the other.

    Keys: `id`, `speaker`, `split`, `frames`, `seconds`, `source` (the file, relative to the source folder where it is
    below it; empty where the cache does not name it), and `start` (seconds in that file). Raises as `Cache.ids`.
    """
    return [
        {
            "id": clip.id,
            "speaker": clip.speaker,
            "split": clip.split,
            "frames": clip.n_frames,
            "seconds": clip.seconds,
            "source": str(clip.meta.get("source") or ""),
            "start": start if isinstance(start := clip.meta.get("start"), int | float) and start == start else 0.0,
        }
        for clip in Cache(root).clips(split)
    ]


def _files(folder: Path) -> list[Path]:
    """The shards of a field that are files, not broken links."""
    return [path for path in folder.glob("*.safetensors") if path.is_file()]
