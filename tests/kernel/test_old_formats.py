"""Caches, runs and results folders that an earlier version wrote are still read (`tests/data/README.md`)."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.masks import face_mask, lip_mask
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import read_frames

ARCHIVE = Path(__file__).resolve().parents[1] / "data" / "old_formats.tar.xz"
VIDEO = "--method dawn,dit-head --cache cache --checkpoint run --metrics psnr,ssim --option steps=2 --out results"
MESH = "--method diffspeaker --cache meshes --checkpoint run --metrics lve,mve --out mesh-results"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of everything that the earlier version wrote; it is also the working folder."""
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, f"{' '.join(words)}: {done.exception}\n{done.output}"
    return done.output


def contents(folder: Path) -> dict[str, object]:
    """The bytes of every file by path; of a log the lines of successful clips (the others are tried again)."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {
        name: [line for line in data.splitlines() if b'"status": "ok"' in line] if name.endswith(".jsonl") else data
        for name, data in files.items()
    }


def generated(results: Path) -> dict[str, object]:
    """The outputs of a results folder without the lists of them."""
    return {path: data for path, data in contents(results / "outputs").items() if not path.endswith("items.jsonl")}


def scores(results: Path) -> dict[str, list[tuple[float | None, str]]]:
    """By method and metric: value and fingerprint of every row, oldest first."""
    values: dict[str, list[tuple[float | None, str]]] = {}
    for path in sorted((results / "rows").glob("*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            values.setdefault(f"{row['method']} {row['metric']}", []).append((row["value"], row["fingerprint"]))
    return values


def items(results: Path, method: str) -> dict[str, dict]:
    """The last line of each clip in a method's log."""
    lines = (results / "outputs" / method / "items.jsonl").read_text().splitlines()
    return {line["clip"]: line for line in map(json.loads, lines)}


@pytest.mark.parametrize(("name", "clips"), [("cache", 3), ("meshes", 3)])
def test_a_cache_opens_and_its_checksums_fit(old: Path, name: str, clips: int) -> None:
    run("cache", "verify", name)
    cache = Cache(old / name)
    assert len(cache) == clips
    for clip in cache:
        for field in clip.fields:
            assert np.asarray(clip[field]).size
        assert "vertices" in clip or clip["lip_mask"].any()


def test_a_cache_without_stored_masks_gives_them(old: Path) -> None:
    clips = list(Cache(old / "cache"))
    for clip in clips:
        assert not {"face_mask", "lip_mask"} & set(clip.arrays)
        assert np.array_equal(clip["lip_mask"], lip_mask(clip["landmarks"], 32))
        assert np.array_equal(clip["face_mask"], face_mask(clip["bbox"], 32))
    run("cache", "export", "cache", "--out", "files")
    assert np.array_equal(np.load(old / "files" / clips[0].id / "lip_mask.npy"), clips[0]["lip_mask"])
    assert "prepare with --extract masks stores them" in run("cache", "stats", "cache")


def test_an_interrupted_run_resumes(old: Path) -> None:
    log = old / "stopped" / "lfg" / "metrics.jsonl"
    before = log.read_text()
    # the run's own settings; its preset was of the tests and has no name on the command line
    words = ["--preset", "tiny", "--config", "stopped/settings-dawn.yaml", "--stage", "lfg", "--device", "cpu"]
    run("train", "--cache", "cache", "--out", "stopped", "--resume", *words)
    assert log.read_text().startswith(before)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4]
    assert (old / "stopped" / "lfg" / "model.safetensors").is_file()


def test_a_run_loads_and_generates(old: Path) -> None:
    clip = Cache(old / "cache")["c1"]
    cv2.imwrite("me.png", np.ascontiguousarray(clip["frames"][0][..., ::-1]))
    write_wav("a.wav", clip["audio"][: 10 * 640])
    words = ["--checkpoint", "run", "--model", "dawn", "--crop", "paper", "--steps", "2", "--device", "cpu"]
    run("generate", "--image", "me.png", "--audio", "a.wav", "--out", "talk.mp4", *words)
    assert read_frames("talk.mp4").shape == (10, 32, 32, 3)


@pytest.mark.parametrize(("words", "methods"), [(VIDEO, {"dawn", "dit-head"}), (MESH, {"diffspeaker"})])
def test_evaluating_again_makes_nothing_again(old: Path, words: str, methods: set[str]) -> None:
    results = old / words.split()[-1]
    outputs, features, rows = (generated(results), contents(results / "features"), scores(results))
    before = {method: items(results, method) for method in methods}
    run("evaluate", *words.split(), "--device", "cpu")
    assert generated(results) == outputs
    for method in methods:  # a list of outputs gains their hashes, nothing else
        lines = {
            clip: {k: v for k, v in line.items() if k != "sha256"} for clip, line in items(results, method).items()
        }
        assert lines == before[method] and all(line["sha256"] for line in items(results, method).values())
    kept = contents(results / "features")
    assert {name: data for name, data in kept.items() if name in features} == features
    assert all(name.startswith("matched/") for name in kept.keys() - features.keys())  # outputs are compared anew
    for name, (*_, again) in scores(results).items():
        assert [again] == rows[name], name  # the same value under the same fingerprint
    page = (results / "report" / "report.html").read_text()
    assert all(method in page for method in methods)


@pytest.mark.parametrize(
    ("words", "missing"),
    [(VIDEO, {"dawn": "c2.mp4", "dit-head": "c1.mp4"}), (MESH, {"diffspeaker": "F2_37.npy"})],
)
def test_a_deleted_output_is_regenerated_by_the_old_models_under_its_old_key(
    old: Path, words: str, missing: dict[str, str]
) -> None:
    results = old / words.split()[-1]
    before = {method: items(results, method) for method in missing}
    for method, name in missing.items():
        (results / "outputs" / method / name).unlink()
    run("evaluate", *words.split(), "--device", "cpu")
    for method, name in missing.items():
        assert (results / "outputs" / method / name).is_file()
        after = items(results, method)
        assert {clip: line["key"] for clip, line in after.items()} == {
            clip: line["key"] for clip, line in before[method].items()
        }
        assert {line["status"] for line in after.values()} == {"ok"}


def test_a_results_folder_alone_gives_its_report(old: Path) -> None:
    shutil.rmtree(old / "cache")
    shutil.rmtree(old / "run")
    run("report", "results")
    page = (old / "results" / "report" / "report.html").read_text()
    assert "dit-head" in page and "ground-truth" in page
