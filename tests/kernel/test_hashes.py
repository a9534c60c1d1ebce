"""What is remembered of a file holds for that file alone, and only where nobody else can write it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dawn_bench import hashes

#: What tells one state of a file from another.
IDENTITY = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_dev", "st_ino")


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "notes"
    monkeypatch.setattr(hashes, "notes_folder", lambda: folder)
    return folder


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read in order to hash them."""
    calls: list[Path] = []
    real = hashes.hash_file
    monkeypatch.setattr(hashes, "hash_file", lambda path: calls.append(path) or real(path))
    return calls


@pytest.mark.parametrize("field", IDENTITY)
def test_a_file_is_hashed_again_when_any_part_of_its_identity_changes(
    field: str, notes: Path, hashed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(b"net")
    first = hashes.known_hashes(path)
    assert hashes.known_hashes(path) == first == hashes.hash_file(path) and len(hashed) == 2
    real = Path.stat

    def stat(self: Path, **options: Any) -> Any:
        state = real(self, **options)
        if self.name != path.name:
            return state
        facts = {name: getattr(state, name) for name in dir(state) if name.startswith("st_")}
        return SimpleNamespace(**facts | {field: getattr(state, field) + 1})

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        hashes.known_hashes(path)
    assert len(hashed) == 3
    (tmp_path / "other.pth").write_bytes(b"other")
    assert hashes.known_hashes(tmp_path / "other.pth") != first


@pytest.mark.parametrize(
    ("mode", "trusted"), [(0o700, True), (0o755, True), (0o720, False), (0o702, False), (0o777, False)]
)
def test_notes_that_others_can_write_are_not_believed(
    mode: int, trusted: bool, notes: Path, hashed: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(b"net")
    hashes.known_hashes(path)
    (note,) = notes.iterdir()
    forged = json.loads(note.read_text()) | {"sha256": "forged"}
    note.write_text(json.dumps(forged))
    notes.chmod(mode)
    assert (hashes.known_hashes(path)["sha256"] == "forged") == trusted
    assert len(hashed) == (1 if trusted else 2)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs owners of files")
def test_notes_of_another_user_are_neither_believed_nor_written(
    notes: Path, hashed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(b"net")
    hashes.known_hashes(path)
    (note,) = notes.iterdir()
    note.write_text("{}")
    monkeypatch.setattr(os, "geteuid", lambda me=os.geteuid(): me + 1)
    hashes.known_hashes(path)
    assert len(hashed) == 2 and note.read_text() == "{}"


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"stamp": []}'])
def test_a_damaged_note_is_written_again(text: str, notes: Path, hashed: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(b"net")
    first = hashes.known_hashes(path)
    (note,) = notes.iterdir()
    note.write_text(text)
    assert hashes.known_hashes(path) == first and hashes.known_hashes(path) == first and len(hashed) == 2
