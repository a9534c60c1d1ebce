"""Helpers shared by datasets: file discovery, safe clip ids, and splits by hash."""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from dawn_bench.files import VIDEO_SUFFIXES

TEST_SHARE = 0.1
_LONGEST_ID = 120
_LFS_HEAD = b"version https://git-lfs.github.com/spec/"


def walk(root: Path) -> Iterator[Path]:
    """All files below `root` in a fixed order. Links to folders are followed once; hidden files are skipped."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a parent folder would recurse forever
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder) / name


def find_videos(root: Path) -> list[Path]:
    """All video files below `root`, recognised by suffix."""
    return [path for path in walk(root) if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]


def file_problem(path: Path) -> tuple[str, str] | None:
    """(reason, detail) of a file that is empty or a Git LFS pointer, without decoding it; otherwise None."""
    size = path.stat().st_size
    if size == 0:
        return "empty_file", "the file has no bytes"
    if size < 512:
        with path.open("rb") as file:
            if file.read(len(_LFS_HEAD)) == _LFS_HEAD:
                return "lfs_pointer", "the file is a Git LFS pointer, not the video: run git lfs pull"
    return None


def safe_id(relative: str) -> str:
    """A clip id from a relative path without suffix: letters, digits, `_` and `-`, folders joined by `__`.

    Any other character becomes `_`; a short hash of the path then keeps the id unique.
    """
    plain = relative.replace("/", "__")
    sanitised = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", plain)).lstrip("-")
    short = sanitised.encode()[:_LONGEST_ID].decode(errors="ignore")
    clean = short == plain and "__" not in relative and short
    return short if clean else f"{short or 'clip'}-{digest(relative)[:8]}"


def digest(text: str) -> str:
    """sha256 of a text; file names that are not valid UTF-8 are accepted."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def hash_split(groups: Iterable[str], *, seed: int) -> dict[str, str]:
    """`train` or `test` for each group (a speaker or a clip), about 9:1, by a hash of seed and name.

    For small sets, a fifth of the groups (at most three) is always `test`, and with two or more groups at least one is
    `train`. A single group is `train`.
    """
    place = {name: int(digest(f"{seed}/{name}")[:13], 16) / 16**13 for name in groups}
    ordered = sorted(place, key=place.__getitem__)
    least = min(3, math.ceil(len(ordered) / 5)) if len(ordered) > 1 else 0
    tests = max(least, sum(place[name] < TEST_SHARE for name in ordered))
    tests = min(tests, len(ordered) - 1)
    return {name: "test" if rank < tests else "train" for rank, name in enumerate(ordered)}
