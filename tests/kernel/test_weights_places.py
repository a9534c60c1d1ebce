"""Which file of the weights folder an entry is: each spelling of its place, and the published one by its hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.weights_add import add
from dawn_bench.weights_needs import first_present
from dawn_bench.weights_table import WEIGHTS, Weight

HASHES = {"sha256": "1" * 64, "git_blob": "2" * 40}
ENTRY = Weight("w", "w.pth", "a test", "nowhere", "of the tests")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda weight: weight.name)
def test_an_entry_is_found_under_each_spelling_of_its_place_the_first_before_the_others(
    weight: Weight, folder: Path
) -> None:
    for file in reversed((weight.file, *weight.also)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(file.encode())
        assert weights.locate(weight) == folder / file
        resolved = weights.resolve(weight.name)
        assert (resolved.path, resolved.state, resolved.weight) == (folder / file, "user", weight)


@pytest.mark.parametrize(
    ("sha256", "git_blob", "published"),
    [
        (None, None, False),
        ("1" * 64, None, True),
        ("3" * 64, None, False),
        (None, "2" * 40, True),
        (None, "3" * 40, False),
        ("1" * 64, "3" * 40, True),  # the sha256 decides where both are stated
        ("3" * 64, "2" * 40, False),
    ],
)
def test_a_file_is_the_published_one_by_the_hash_that_is_stated(
    sha256: str | None, git_blob: str | None, published: bool
) -> None:
    assert weights.is_published(replace(ENTRY, sha256=sha256, git_blob=git_blob), HASHES) == published


def test_the_first_network_of_a_need_that_is_there_is_used(folder: Path) -> None:
    need = ("hubert-large", "hubert-large-bin")
    assert first_present(need) == need[0]
    files = [folder / weights.entry(name).file for name in need]
    for file in reversed(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"cannot be told")
        assert first_present(need) == need[files.index(file)]


def test_another_file_of_the_same_size_is_not_taken_for_the_one_that_is_there(folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / "given" / name for name in ("a.txt", "same.txt", "other.txt")]
    files[0].parent.mkdir()
    for file, text in zip(files, ("1, 2", "1, 2", "1, 3"), strict=True):
        file.write_text(text)
    first = add(files[0], "biwi-lips")
    assert add(files[1], "biwi-lips") == first and first.state == "user"
    with pytest.raises(InputError, match=r"is there already, with other content.*--replace"):
        add(files[2], "biwi-lips")
    assert first.file.read_text() == "1, 2"
    replaced = add(files[2], "biwi-lips", replace=True)
    assert replaced.file.read_text() == "1, 3" and replaced.sha256 != first.sha256
