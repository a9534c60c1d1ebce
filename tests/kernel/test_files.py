"""Files appear whole or not at all, and hashes are the published kinds."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from dawn_bench.files import git_blob_file, replacing, sha256_file, temporary_path


@pytest.mark.parametrize("sole", [False, True])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, sole: bool) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(path, sole=sole) as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise RuntimeError
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_two_writers_of_one_file_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with replacing(path) as one, replacing(path) as other:
        one.write_bytes(b"first")
        other.write_bytes(b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]
    assert temporary_path(path) != temporary_path(path)


def test_what_a_killed_sole_writer_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with replacing(path, sole=True) as temporary:
        left = temporary
        temporary.write_bytes(b"whole")
    left.write_bytes(b"half, of a writer that was killed")
    with replacing(path, sole=True) as temporary:
        temporary.write_bytes(b"next")
    assert path.read_bytes() == b"next" and list(tmp_path.iterdir()) == [path]


def test_hashes_are_those_of_sha256_and_of_git(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 9000)
    assert sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    git = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True)
    assert git_blob_file(path) == git.stdout.strip()
