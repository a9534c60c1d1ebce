"""Files appear whole or not at all, and hashes are the published kinds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from disk_recorder import recording

from dawn_bench.errors import InputError
from dawn_bench.files import (
    TEMPORARY,
    commit,
    filling,
    git_blob_file,
    is_temporary,
    replacing,
    sealed,
    sha256_file,
    sweep,
    temporary_path,
    unsealed,
    walk,
    write_atomic,
)

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


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


@linux
@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("way", ["replacing", "sole", "write_atomic", "commit"])
def test_content_then_name_then_folder_reach_the_disk_where_that_is_asked_for(
    way: str, durable: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    with recording(tmp_path) as disk:
        if way == "write_atomic":
            write_atomic(path, b"x", durable=durable)
        elif way == "commit":
            (tmp_path / ".b.tmp").write_bytes(b"x")
            commit(tmp_path / ".b.tmp", path, durable=durable)
        else:
            with replacing(path, durable=durable, sole=way == "sole") as temporary:
                temporary.write_bytes(b"x")
    kinds = [(e.kind, e.path.name) for e in disk.events if e.kind in ("sync", "name")]
    assert [kind for kind, _ in kinds] == (["sync", "name", "sync"] if durable else ["name"])
    assert not durable or (kinds[0][1].endswith(TEMPORARY) and kinds[-1][1] == tmp_path.name)


@linux
def test_a_folder_is_filled_when_all_of_it_is_on_disk(tmp_path: Path) -> None:
    with recording(tmp_path) as disk, filling(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        for name in ("a", "sub/b"):
            (folder / name).write_bytes(b"x")
    assert disk.check({}, in_place=lambda path: False) == []
    assert sorted(p.name for p in (tmp_path / "out").rglob("*")) == ["a", "b", "sub"]


def test_a_folder_that_a_killed_process_was_filling_is_filled_anew(tmp_path: Path) -> None:
    """Only what it had moved there itself is removed."""
    out = tmp_path / "out"
    (out / f".partial{TEMPORARY}" / "rest").mkdir(parents=True)
    note = out / f".partial{TEMPORARY}" / ".moving"
    note.write_text(json.dumps(["a", "rest", "../outside"]))
    (out / "a").write_bytes(b"of the killed process")
    (tmp_path / "outside").write_bytes(b"of the user")
    with filling(out) as folder:
        (folder / "b").write_bytes(b"x")
    assert [p.name for p in out.iterdir()] == ["b"] and (tmp_path / "outside").exists()
    for text in ("", "[", "null", '"b"'):
        note.parent.mkdir(exist_ok=True)
        note.write_text(text)
        with pytest.raises(InputError, match="not an empty folder"), filling(out):
            pass
    (out / "b").unlink()
    with filling(out):
        pass
    assert list(out.iterdir()) == []


def test_a_folder_with_content_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"x")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(InputError, match="not an empty folder"), filling(out):
            pytest.fail("it has content")
    with pytest.raises(KeyError), filling(tmp_path / "out") as folder:
        (folder / "half").write_bytes(b"x")
        raise KeyError
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("age", "stays"), [(86_300, True), (86_500, False)])
def test_the_writers_of_another_machine_count_as_dead_after_a_day(age: int, stays: bool, tmp_path: Path) -> None:
    path = tmp_path / ".a.bin.000000-1-aaaaaa.tmp"
    path.write_bytes(b"x")
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    assert is_temporary(path.name)
    sweep(tmp_path)
    assert path.exists() == stays


def test_a_sweep_of_one_file_takes_the_temporary_files_of_no_other(tmp_path: Path) -> None:
    paths = [tmp_path / f".{name}.000000-1-aaaaaa.tmp" for name in ("a.mp4", "a.mp3", "ab.mp4", "a.mp4x", "a")]
    for path in paths:
        path.write_bytes(b"x")
        os.utime(path, (1, 1))
    sweep(tmp_path, only=tmp_path / "a.mp4")
    assert [p.exists() for p in paths] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("error", "stays"), [(ProcessLookupError, False), (PermissionError, True), (OverflowError, True), (None, True)]
)
def test_only_a_writer_that_is_surely_dead_is_swept_after(
    error: type[Exception] | None, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = temporary_path(tmp_path / "a")
    path.write_bytes(b"x")
    os.utime(path, (1, 1))

    def kill(pid: int, sign: int) -> None:
        assert (pid, sign) == (os.getpid(), 0)
        if error is not None:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    sweep(tmp_path)
    assert path.exists() == stays


def test_a_walk_is_in_order_and_passes_hidden_names(tmp_path: Path) -> None:
    names = ["b/z", "b/a", "a", "c", ".hidden/x", "b/.y", ".z"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in walk(tmp_path)] == ["a", "c", "b/a", "b/z"]
    for absent in ("none", "a"):
        assert list(walk(tmp_path / absent)) == []


def test_a_seal_is_of_the_whole_content_and_stays_as_it_was_in_earlier_files() -> None:
    facts = {"b": 1, "a": [1.5, None, "é"]}
    known = hashlib.sha256(b'{"a": [1.5, null, "\\u00e9"], "b": 1}').hexdigest()[:32]
    assert sealed(facts) == {**facts, "seal": known} and unsealed(sealed(facts)) == facts == unsealed(facts)
    for changed in ({"b": 2}, {"c": 1}, {"seal": known[:-1]}, {"seal": ""}):
        with pytest.raises(ValueError, match="does not match"):
            unsealed(sealed(facts) | changed)
