"""A file or folder that cannot be read is named, and neither ends a listing nor shortens it without a word."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dawn_bench import cli, hashes, weights
from dawn_bench.baselines.given import find_outputs
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.files import walk
from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.datasets.crema import _demographics
from dawn_bench.pipelines.datasets.download import LOG_FILE, read_log
from dawn_bench.pipelines.datasets.files import file_problem
from dawn_bench.pipelines.preparation.origin import origin
from dawn_bench.pipelines.preparation.plan import make_groups
from dawn_bench.pipelines.settings import PrepareSettings

#: Refuses the paths added to it, as the system refuses a user without permission.
Refuse = Callable[[Path], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    refused: set[str] = set()

    def guarded(original: Callable) -> Callable:
        def call(path: object = ".", *args: object, **settings: object) -> object:
            if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path) in refused:
                raise PermissionError(errno.EACCES, "Permission denied", os.fsdecode(path))
            return original(path, *args, **settings)

        return call

    for module, name in ((os, "scandir"), (os, "listdir"), (os, "stat")):
        monkeypatch.setattr(module, name, guarded(getattr(module, name)))
    for module_name in ("io", "builtins"):
        monkeypatch.setattr(f"{module_name}.open", guarded(open))
    return lambda path: refused.add(str(path))


def layout(root: Path, dataset: str) -> tuple[Path, Path]:
    """A dataset of two small files in two folders."""
    names = {"folder": ("a", "b"), "crema": ("1015_DFA_NEU_XX", "1016_DFA_NEU_XX"), "hdtf": ("WDA_A_000", "WDA_B_000")}
    first, second = (root / k / f"{name}.mp4" for k, name in zip("xy", names[dataset], strict=True))
    for path in (first, second):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"0" * 100)
    return first, second


def listed(root: Path, dataset: str) -> dict[str, Source]:
    settings = PrepareSettings(dataset=dataset)
    sources = {source.id: source for source in DATASETS[dataset]().sources(root, settings)}
    make_groups(list(sources.values()), size=32)  # planning looks at every file again
    for source in sources.values():
        origin(source, root=root)
    return sources


@pytest.mark.parametrize("dataset", ["folder", "crema", "hdtf"])
def test_an_unreadable_small_file_is_a_clip_with_a_reason(tmp_path: Path, refuse: Refuse, dataset: str) -> None:
    first, second = layout(tmp_path, dataset)
    refuse(first)
    problems = {source.video: source.problem for source in listed(tmp_path, dataset).values()}
    assert problems == {first: ("unreadable", "the file cannot be read: Permission denied"), second: None}


@pytest.mark.parametrize("dataset", ["folder", "crema", "hdtf"])
def test_broken_links_circles_and_pipes_are_clips_with_a_reason(tmp_path: Path, dataset: str) -> None:
    first, second = layout(tmp_path, dataset)
    for path, make, word in (
        (first, lambda p: p.symlink_to("nowhere.mp4"), "leads nowhere"),
        (first, lambda p: p.symlink_to(p.name), "leads nowhere"),
        (first, os.mkfifo, "not a regular file"),
    ):
        path.unlink()
        make(path)
        problems = {source.video: source.problem for source in listed(tmp_path, dataset).values()}
        assert set(problems) == {first, second} and problems[second] is None
        reason, detail = problems[first] or ("", "")
        assert reason == "unreadable" and word in detail


@pytest.mark.parametrize("dataset", ["folder", "crema", "hdtf"])
def test_an_unreadable_folder_is_named_and_the_others_are_listed(
    tmp_path: Path, refuse: Refuse, caplog: pytest.LogCaptureFixture, dataset: str
) -> None:
    first, second = layout(tmp_path, dataset)
    refuse(first.parent)
    assert [source.video for source in listed(tmp_path, dataset).values()] == [second]
    assert f"{first.parent} cannot be listed (Permission denied)" in caplog.text


def test_an_unreadable_root_is_one_line(tmp_path: Path, refuse: Refuse) -> None:
    layout(tmp_path, "folder")
    refuse(tmp_path)
    with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\)"):
        list(walk(tmp_path))


def test_unreadable_folders_of_outputs_are_named(
    tmp_path: Path, refuse: Refuse, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = layout(tmp_path, "folder")
    refuse(first.parent)
    clips = [Clip(name, "s", "test", 1, {"frames": None}) for name in ("a", "b")]  # type: ignore[dict-item]
    assert find_outputs(tmp_path, clips, None) == {"b": second}
    assert f"{first.parent} cannot be listed" in caplog.text


def test_unreadable_tables_are_named(tmp_path: Path, refuse: Refuse, caplog: pytest.LogCaptureFixture) -> None:
    table, log = tmp_path / "VideoDemographics.csv", tmp_path / LOG_FILE
    for path in (table, log):
        path.write_text("ActorID\n1015\n")
    assert read_log(tmp_path) == {}  # of no row of ours
    refuse(table)
    refuse(log)
    assert _demographics(table) == {}
    assert "VideoDemographics.csv: cannot be read" in caplog.text
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path)
    assert file_problem(table) == ("unreadable", "the file cannot be read: Permission denied")


@pytest.mark.parametrize("command", ["list", "verify"])
def test_an_unreadable_weight_file_does_not_end_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    entry = weights.WEIGHTS[0]
    (tmp_path / entry.file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / entry.file).write_bytes(b"0")
    refuse_reading(monkeypatch, tmp_path / entry.file)
    monkeypatch.setattr(sys, "argv", ["dawn-bench", "weights", command])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    err = "".join(capsys.readouterr())
    if command == "list":
        line = next(line for line in err.splitlines() if line.startswith(entry.name))
        assert caught.value.code == 0 and "unreadable" in line and weights.WEIGHTS[-1].name in err
    else:
        assert caught.value.code == 2 and "cannot be read (Permission denied)" in err


def refuse_reading(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    original = hashes.hash_file

    def guarded(file: Path) -> dict[str, str]:
        if file == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return original(file)

    monkeypatch.setattr(hashes, "hash_file", guarded)
