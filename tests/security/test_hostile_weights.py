"""Weights folders that others may write: what a file is follows from its bytes, and a damaged one is said to be."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from weight_files import write_layout

from dawn_bench import cli, hashes, weights, weights_add, weights_fetch
from dawn_bench.errors import InputError
from dawn_bench.weights_check import check_weight
from dawn_bench.weights_table import WEIGHTS
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods

DATA = b"not really a network"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def test_a_note_beside_a_file_is_no_proof(folder: Path) -> None:
    entry = weights.entry("vgg19")
    path = folder / entry.file
    path.write_bytes(DATA)
    stat = path.stat()
    note = {"stamp": [str(path), stat.st_size, stat.st_mtime_ns], "sha256": entry.sha256, "git_blob": "0"}
    (folder / f"{path.name}.sha256.json").write_text(json.dumps(note))
    assert weights.resolve("vgg19").state == "user"
    assert weights.resolve("vgg19").sha256 == hashlib.sha256(DATA).hexdigest()


def test_a_file_of_the_same_size_and_time_is_hashed_again(folder: Path) -> None:
    path = folder / "a.pth"
    path.write_bytes(DATA)
    before = path.stat()
    assert hashes.known_hashes(path)["sha256"] == hashlib.sha256(DATA).hexdigest()
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashes.known_hashes(path)["sha256"] == hashlib.sha256(DATA[::-1]).hexdigest()


def test_hashes_are_remembered_in_a_folder_of_the_users_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, counted = folder / "a.pth", []
    path.write_bytes(DATA)
    notes, original = folder.parent / "notes", hashes.hash_file
    monkeypatch.setattr(hashes, "notes_folder", lambda: notes)
    monkeypatch.setattr(hashes, "hash_file", lambda file: (counted.append(file), original(file))[1])
    for _ in range(3):
        hashes.known_hashes(path)
    assert len(counted) == 1 and len(list(notes.iterdir())) == 1 and list(folder.iterdir()) == [path]
    assert notes.stat().st_mode & 0o077 == 0
    notes.chmod(0o777)  # anybody may have written the note
    hashes.known_hashes(path)
    assert len(counted) == 2
    for count, mode in enumerate((0o720, 0o702), start=3):  # the group may have, or others
        notes.chmod(mode)
        hashes.known_hashes(path)
        assert len(counted) == count
    notes.chmod(0o755)  # all may read
    assert hashes.known_hashes(path) == original(path) and len(counted) == 4
    path.with_name("b.pth").write_bytes(DATA)
    hashes.known_hashes(path.with_name("b.pth"))
    path.unlink()
    path.write_bytes(DATA)  # another file of the same content
    hashes.known_hashes(path)
    assert len(counted) == 6


def test_eight_digits_of_a_hash_are_no_proof() -> None:
    entry = replace(weights.entry("vgg19"), sha256="dcbb9e9d" + "0" * 56)
    assert not weights.is_published(entry, {"sha256": "dcbb9e9d" + "1" * 56, "git_blob": ""})
    assert all(w.sha256 is None or len(w.sha256) == 64 for w in WEIGHTS)


@pytest.mark.parametrize("data", [b"", b"abcdef", b"PK\x03\x04" + bytes(60), b"<html>log in first</html>"])
def test_what_cannot_be_read_is_not_added(folder: Path, data: bytes) -> None:
    given = folder.parent / "given"
    given.write_bytes(data)
    for name in ("syncnet", "arcface-r50", "dlib-68", "dlib-face", "hubert-large", "hubert-large-config",
                 "mediapipe-landmarker", "biwi-lips", "flame-masks"):  # fmt: skip
        with pytest.raises(InputError) as caught:
            weights_add.add(given, name)
        assert str(given) in str(caught.value) and "\n" not in str(caught.value), name
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_without_tensors_is_no_weights(tmp_path: Path) -> None:
    torch.save({"step": 3}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds no tensors"):
        check_weight(tmp_path / "a.pth", "a.pth")
    torch.save({"model": {"w": torch.ones(1)}}, tmp_path / "a.pth")
    check_weight(tmp_path / "a.pth", "a.pth")


def test_another_file_is_not_replaced_silently(folder: Path, tmp_path: Path) -> None:
    target = folder / weights.entry("syncnet").file
    target.write_bytes(DATA)
    write_layout(tmp_path / "mine.pth", "syncnet")
    with pytest.raises(InputError, match=r"syncnet_v2\.model: is there already, with other content\. .*--replace"):
        weights_add.add(tmp_path / "mine.pth", "syncnet")
    assert target.read_bytes() == DATA


def test_a_download_is_not_appended_through_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, entry = (
        folder.parent / "victim",
        replace(weights.entry("vgg19"), url="http://127.0.0.1:9/x", bytes=len(DATA)),
    )
    victim.write_text("precious")
    monkeypatch.setattr(weights, "WEIGHTS", [entry if w.name == "vgg19" else w for w in WEIGHTS])
    monkeypatch.setattr(weights_fetch, "transfer", lambda _, part, **__: part.open("ab").write(DATA) == 0)
    (folder / f"{entry.file}.part").symlink_to(victim)
    with pytest.raises(InputError, match="not the published file"):
        weights_fetch.download("vgg19")
    assert victim.read_text() == "precious"
    (folder / f".{entry.file}.lock").unlink(missing_ok=True)
    (folder / f".{entry.file}.lock").symlink_to(victim)
    with pytest.raises(InputError, match=r"lock: is a link, not a lock\. Remove the link\."):
        weights_fetch.download("vgg19")


def test_doctor_shows_a_damaged_file_in_its_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("syncnet", "inception-fid", "arcface-r50", "dlib-face", "yunet", "tddfa-v2"):
        (folder / weights.entry(name).file).write_bytes(b"abcdef")
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["dawn-bench", "doctor"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    captured = capsys.readouterr()
    lines = (captured.out + captured.err).splitlines()
    assert caught.value.code == 0
    for name in ("syncnet", "inception-fid", "arcface-r50", "dlib-face", "yunet", "tddfa-v2"):
        assert any(line.split()[:2] == [name, "damaged"] for line in lines), name
    assert any(line.split()[:1] == ["ssim"] for line in lines)  # the last section is there


def test_missing_weight_files_are_named_before_anything_is_generated(
    tiny_cache: Path, folder: Path, tmp_path: Path
) -> None:
    job = Evaluation(
        cache=tiny_cache, out=tmp_path / "r", methods=("still",), metrics=("fid", "ssim", "fvd16"), weights="files",
        sanity=False, device="cpu",
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        evaluate_methods(job)
    text = str(caught.value)
    assert text.startswith(f"{folder}: lacks 2 weight files: ") and "\n" not in text
    assert all(weights.entry(name).file in text for name in ("inception-fid", "i3d"))
    assert text.endswith("there, or: dawn-bench weights fetch --for evaluate --set metrics=fid,ssim,fvd16")
    assert not (tmp_path / "r").exists()
