"""The folder of a cache: which files of interrupted workers go, and in which order a cache is emptied."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk_recorder import Killed, recording
from fake_tools import FakeTools, write_video

from dawn_bench.cache import INDEX_FILE, SETTINGS_FILE
from dawn_bench.files import temporary_path
from dawn_bench.locks import LOCK_FILE
from dawn_bench.pipelines.preparation import folder
from dawn_bench.pipelines.preparation.plan import PARTS, PLAN_FILE
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a real cache to which an extractor was added."""
    path = tmp_path_factory.mktemp("d")
    write_video(path / "v" / "a.mp4", frames=3, value=1)
    for extract in (("pose",), ("pose", "late")):
        prepare(path / "v", path / "c", PrepareSettings(size=32, extract=extract), tools=FakeTools())
    return sorted(p.relative_to(path / "c").as_posix() for p in (path / "c").rglob("*") if p.is_file())


@pytest.fixture
def cache(names: list[str], tmp_path: Path) -> Path:
    """A folder with files of these names."""
    for name in names:
        (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / name).touch()
    return tmp_path / "c"


def files(cache: Path) -> set[str]:
    return {p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file()}


def test_what_was_left_of_any_file_is_removed_and_nothing_else(names: list[str], cache: Path) -> None:
    assert {name.count("/") for name in names} == {0, 1, 2}
    others = [".mine.tmp", "frames/.mine.tmp", f"{PARTS}/late/.mine.tmp", f"{PARTS}/.mine", ".git"]
    for name in others:
        (cache / name).touch()
    for name in names:
        path = cache / name
        for left in (temporary_path(path), path.with_name(f".{path.name}.0123456789ab.tmp")):
            left.touch()
        if path.name != LOCK_FILE:  # as the names were in earlier versions
            path.with_name(f".{path.name}.tmp").touch()
    folder.sweep(cache)
    assert files(cache) == {*names, *others}


def test_the_mark_of_a_group_stays_until_it_is_finished_or_the_run_has_ended(names: list[str], cache: Path) -> None:
    parts = [cache / name for name in names if name.startswith(f"{PARTS}/")]
    done = [part.with_suffix(".running") for part in parts]
    going = [part.with_name("00077.running") for part in parts]
    for mark in [*done, *going]:
        mark.touch()
    folder.sweep(cache)
    assert [mark.exists() for mark in done] == [False] * len(parts)
    assert [mark.exists() for mark in going] == [True] * len(parts)
    folder.sweep(cache, ended=True)
    assert files(cache) == set(names)


def test_a_cache_that_is_killed_while_it_is_emptied_is_still_known_as_one(names: list[str], cache: Path) -> None:
    """The index goes first, so that it is never read; the plan last, so that the rest has an owner."""
    state: list[set[str]] = []
    with recording(cache, fail=lambda number, event: state.append(files(cache))):
        folder.empty(cache)
    assert files(cache) <= {LOCK_FILE} and len(state) > 4
    shards = {name for name in names if name.endswith(".safetensors")}
    for before in state:
        assert PLAN_FILE in before
        if not shards | {p for p in names if p.startswith(PARTS)} <= before:
            assert not {INDEX_FILE, SETTINGS_FILE} & before
    for number in range(len(state)):
        for name in names:
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            (cache / name).touch()

        def kill(current: int, event: object, at: int = number) -> None:
            if current == at:
                raise Killed

        with pytest.raises(Killed), recording(cache, fail=kill):
            folder.empty(cache)
        (cache / LOCK_FILE).unlink(missing_ok=True)
        folder.make_folder(cache)
        folder.empty(cache)
        assert files(cache) == set()
