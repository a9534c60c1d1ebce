"""Helpers shared by datasets: their video files, safe clip ids, and splits by hash."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from dawn_bench.files import walk
from dawn_bench.pipelines.media.animations import is_video
from dawn_bench.storage import raise_if_refused

TEST_SHARE = 0.1
_LONGEST_ID = 120
_LFS_HEAD = b"version https://git-lfs.github.com/spec/"


def find_videos(root: Path) -> list[Path]:
    """All video files below `root`, animated pictures too; `file_problem` tells which of them cannot be read."""
    return [path for path in walk(root) if is_video(path)]


def file_problem(path: Path) -> tuple[str, str] | None:
    """(reason, detail) of a file that is empty, a Git LFS pointer, unreadable or no file, without decoding it."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return "unreadable", "it is not a regular file"
        if state.st_size == 0:
            return "empty_file", "the file has no bytes"
        if state.st_size < 512:
            with path.open("rb") as file:
                if file.read(len(_LFS_HEAD)) == _LFS_HEAD:
                    return "lfs_pointer", "the file is a Git LFS pointer, not the video: run git lfs pull"
    except OSError as error:
        raise_if_refused(error)
        nowhere = error.errno in (errno.ENOENT, errno.ELOOP)  # a listed file: so it is a link
        what = "the link leads nowhere" if nowhere else "the file cannot be read"
        return "unreadable", f"{what}: {error.strerror}"
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
