"""The folder of a cache while it is prepared: claiming it, sweeping what dead workers left, and emptying it.

Only names that dawn-bench writes are removed, and nothing through a link to a folder.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from dawn_bench.cache import INDEX_FILE, SETTINGS_FILE
from dawn_bench.errors import InputError
from dawn_bench.files import TEMPORARY, is_temporary
from dawn_bench.locks import LOCK_FILE
from dawn_bench.names import check_links, owned, shard_fault
from dawn_bench.pipelines.preparation.plan import PARTS, PLAN_FILE, CachePlan


def make_folder(cache: Path) -> None:
    """Create the folder of a cache; raises `InputError` for a file, or a folder with other files in it."""
    if cache.is_dir():
        ours = (PLAN_FILE, SETTINGS_FILE, LOCK_FILE)
        if any(cache.iterdir()) and not any((cache / name).exists() for name in ours):
            raise InputError("is a folder with other files in it.", path=cache, hint="Give an empty or new --cache.")
    elif cache.exists():
        raise InputError("is a file.", path=cache, hint="Give a folder as --cache.")
    cache.mkdir(parents=True, exist_ok=True)


def check_folders(cache: Path) -> None:
    """Raise `InputError` for a folder of the cache that is a link out of it: shards and parts would be written there.

    Shards that are links to files elsewhere are left alone: a new shard replaces the link.
    """
    for path in sorted(cache.iterdir()):
        if path.is_symlink() and not path.is_file():
            owned(cache, path.name)
    check_links(cache, PARTS)


def sweep(cache: Path, *, ended: bool = False) -> None:
    """Remove what interrupted workers left behind: temporary files and markers of the cache's own names.

    The markers of unfinished groups stay until the run has `ended`: they tell which clip a worker died on.
    """
    for pattern in (f".*{TEMPORARY}", f"*/.*{TEMPORARY}", f"{PARTS}/*/.*{TEMPORARY}"):
        for path in _own(cache, pattern):
            # the cache is locked, so that no writer is alive; in earlier versions the names had no writer
            if is_temporary(path.name) or _is_ours(path.with_name(path.name[1 : -len(TEMPORARY)]), cache):
                with suppress(OSError):  # a disk that became read-only has its own message
                    path.unlink(missing_ok=True)
    for mark in _own(cache, f"{PARTS}/**/*.running"):
        if ended or mark.with_suffix(".json").exists():
            with suppress(OSError):
                mark.unlink(missing_ok=True)


def _is_ours(path: Path, cache: Path) -> bool:
    """Whether dawn-bench writes a file of this name at this place of a cache."""
    name = path.relative_to(cache).as_posix()
    if shard_fault(name, field=path.parent.name) is None or name in (SETTINGS_FILE, INDEX_FILE, PLAN_FILE):
        return True
    return name.startswith(f"{PARTS}/") and re.fullmatch(r"[0-9]{5,9}\.json", path.name) is not None


def _own(cache: Path, pattern: str) -> list[Path]:
    """The files of a cache that match; nothing is removed through a link to a folder, which may be anybody's."""
    return [path for path in cache.glob(pattern) if not any(p.is_symlink() for p in _parents(path, cache))]


def _parents(path: Path, cache: Path) -> list[Path]:
    """The folders between a file of the cache and the cache."""
    return list(path.parents)[: len(path.relative_to(cache).parts) - 1]


def empty(cache: Path) -> None:
    """Remove a cache's own files: the index first and the plan last, so that a half-removed cache is never mistaken
    for a whole one, nor for a part of the next one.
    """
    for name in (SETTINGS_FILE, INDEX_FILE):
        (cache / name).unlink(missing_ok=True)
    if (cache / PARTS).exists():
        shutil.rmtree((cache / PARTS).resolve())  # a link to another folder of the cache is followed
    for shard in _own(cache, "*/*.safetensors"):
        if shard_fault(shard.relative_to(cache).as_posix(), field=shard.parent.name) is None:
            shard.unlink()
    (cache / PLAN_FILE).unlink(missing_ok=True)


def drop_superseded(cache: Path, plan: CachePlan) -> None:
    """Remove the shards of groups whose clips were all processed again by later groups, or merged into them."""
    drop_shards(cache, {*range(len(plan.groups))} - {*plan.current()})


def drop_shards(cache: Path, numbers: Collection[int]) -> None:
    """Remove the shards of the groups with these numbers."""
    for shard in _own(cache, "*/*.safetensors") if numbers else ():
        name = shard.relative_to(cache).as_posix()
        if shard_fault(name, field=shard.parent.name) is None and shard_number(name) in numbers:
            shard.unlink()


def shard_number(shard: str | None) -> int | None:
    """The number of the group of a shard; None for what is no shard."""
    match = re.search(r"-([0-9]{5,9})\.safetensors$", shard or "")
    return None if match is None else int(match[1])
