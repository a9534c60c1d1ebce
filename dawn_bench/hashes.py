"""Hashes of large files, remembered in the user's own cache folder.

A note beside a file is no proof: whoever can write the file can write the note. What is remembered here is keyed by the
file's absolute path, and holds for its size, times and inode; the folder has to belong to the user alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from dawn_bench.errors import InputError
from dawn_bench.files import git_blob_file, sha256_file, write_atomic
from dawn_bench.readers import read_json


def notes_folder() -> Path:
    """Where hashes are remembered."""
    return user_cache_path("dawn-bench") / "hashes"


def hash_file(path: Path) -> dict[str, str]:
    """The hashes by which publishers identify a file: `sha256`, and `git_blob`, git's sha1 of its content."""
    return {"sha256": sha256_file(path), "git_blob": git_blob_file(path)}


def known_hashes(path: Path) -> dict[str, str]:
    """`hash_file`, remembered until the file changes. Raises OSError where the file cannot be read."""
    place = str(path.resolve())
    state = path.stat()
    # the time of the last change cannot be set, as that of the content can
    stamp = [place, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_dev, state.st_ino]
    note = notes_folder() / f"{hashlib.sha256(os.fsencode(place)).hexdigest()}.json"
    try:
        remembered = read_json(note, dict) if _is_private(note.parent) else {}
        if remembered.get("stamp") == stamp:
            return {"sha256": str(remembered["sha256"]), "git_blob": str(remembered["git_blob"])}
    except (InputError, KeyError):
        pass  # missing or damaged: hashed below
    hashes = hash_file(path)
    with suppress(OSError):  # where nothing can be remembered the file is hashed every time
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(note.parent):
            write_atomic(note, json.dumps({"stamp": stamp, **hashes}).encode(), durable=False)
    return hashes


def _is_private(folder: Path) -> bool:
    """Whether only this user can write a folder; always so where the system has no such modes."""
    if not hasattr(os, "geteuid"):
        return folder.is_dir()
    try:
        state = folder.stat()
    except OSError:
        return False
    return state.st_uid == os.geteuid() and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
