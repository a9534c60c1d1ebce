"""`dawn-bench generate` from files to an mp4: motion of its own, of a video, of a file; the seed; refusals."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from media.sound_writers import TONE_RMS, channels, clip, tone
from micro import micro_train
from typer.testing import CliRunner, Result

from dawn_bench.cache import SETTINGS_FILE
from dawn_bench.cli import app
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.pipelines.faces import base
from dawn_bench.pipelines.media.audio import read_audio, write_wav
from dawn_bench.pipelines.media.video import probe, read_frames, write_video


class BrightFace:
    """Sees one face in the middle of every picture that is not dark."""

    name = "bright-face"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        box = np.array([[0, 0, frame.shape[1], frame.shape[0]]], np.float32)
        return box if frame.mean() > 50 else box[:0]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        grid = np.stack(np.meshgrid(np.linspace(0.3, 0.7, 17), np.linspace(0.35, 0.65, 4)), -1).reshape(68, 2)
        return grid * frame.shape[1::-1]


@pytest.fixture(autouse=True)
def one_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "pick_backend", lambda name: BrightFace())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A portrait, a second of stereo-free speech, a driving video and tracks."""
    cv2.imwrite(str(tmp_path / "me.png"), np.full((90, 70, 3), 150, np.uint8))
    cv2.imwrite(str(tmp_path / "dark.png"), np.zeros((90, 70, 3), np.uint8))
    write_wav(tmp_path / "a.wav", (5000 * np.sin(np.arange(6400) / 7)).astype(np.int16))
    write_video(tmp_path / "drive.mp4", np.full((12, 64, 64, 3), 180, np.uint8))
    np.savez(tmp_path / "track.npz", pose=np.random.default_rng(0).normal(0, 30, (10, 7)), blink=np.ones((10, 2)))
    return tmp_path


def run(files: Path, checkpoint: Path, *more: str, image: str = "me.png", out: str = "talk.mp4") -> Result:
    given = ["--image", files / image, "--audio", files / "a.wav", "--checkpoint", checkpoint, "--out", files / out]
    return CliRunner().invoke(app, ["generate", *map(str, given), "--steps", "2", "--device", "cpu", *more])


def test_a_clip_of_25_frames_a_second_with_its_sound(files: Path, micro_run: Path) -> None:
    done = run(files, micro_run)
    assert done.exit_code == 0, done.exception
    info = probe(files / "talk.mp4")
    assert (info.fps, info.has_audio, info.width) == (25.0, True, 32)
    assert len(read_frames(files / "talk.mp4")) == 10
    heard, spoken = read_audio(files / "talk.mp4")[:6400].astype(float), read_audio(files / "a.wav").astype(float)
    assert np.corrcoef(heard, spoken)[0, 1] > 0.95


def test_another_sound_track_and_channels_that_cancel(files: Path, micro_run: Path) -> None:
    loud = tone()
    clip(files / "a.mkv", [channels(loud, -loud), channels(loud / 10)], layouts=("stereo", "mono"))
    (files / "a.mkv").rename(files / "a.wav")  # a file is told by its content
    first = run(files, micro_run, "--max-seconds", "0.4")
    assert first.exit_code == 0, first.exception
    assert "track 1 is read" in " ".join(first.output.split()) and "sound cancel" in " ".join(first.output.split())
    heard = read_audio(files / "talk.mp4").astype(float)
    assert np.sqrt((heard**2).mean()) == pytest.approx(TONE_RMS, rel=0.1)
    assert run(files, micro_run, "--max-seconds", "0.4", "--audio-track", "2").exit_code == 0
    heard = read_audio(files / "talk.mp4").astype(float)
    assert np.sqrt((heard**2).mean()) == pytest.approx(TONE_RMS / 10, rel=0.1)
    refused = run(files, micro_run, "--audio-track", "3")
    assert isinstance(refused.exception, InputError) and "has no sound track 3; it has 2" in str(refused.exception)


def test_files_whose_names_are_not_utf8(files: Path, micro_run: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (files / "me.png").rename(files / f"{name}.png")
    (files / "a.wav").rename(files / f"{name}.wav")
    words = ["--image", files / f"{name}.png", "--audio", files / f"{name}.wav", "--out", files / f"{name}.mp4"]
    words += ["--checkpoint", micro_run, "--steps", "2", "--device", "cpu"]
    done = CliRunner().invoke(app, ["generate", *map(str, words)])
    assert done.exit_code == 0, done.exception
    assert len(read_frames(files / f"{name}.mp4")) == 10


def test_the_seed_and_the_motions_origin_decide(files: Path, micro_run: Path) -> None:
    cases: dict[str, tuple[str, ...]] = {
        "first": (),
        "again": (),
        "other": ("--seed", "5"),
        "drive": ("--drive", str(files / "drive.mp4")),
        "pose": ("--pose-file", str(files / "track.npz")),
        "half": ("--precision", "bf16"),
    }
    generated = {}
    for name, more in cases.items():
        done = run(files, micro_run, *more, out=f"{name}.mp4")
        assert done.exit_code == 0, (name, done.exception)
        generated[name] = (files / f"{name}.mp4").read_bytes()
    assert generated["first"] == generated["again"]
    assert len({generated[name] for name in ("first", "other", "drive", "pose")}) == 4


def test_a_picture_without_a_face_is_one_line_or_taken_as_it_is(files: Path, micro_run: Path) -> None:
    refused = run(files, micro_run, image="dark.png")
    assert isinstance(refused.exception, InputError) and "--crop paper" in str(refused.exception)
    assert not (files / "talk.mp4").exists()
    done = run(files, micro_run, "--crop", "paper", image="dark.png")
    assert done.exit_code == 0 and "no face found" in done.output


def test_a_portrait_is_cropped_as_the_data_of_the_run(
    files: Path, micro_run: Path, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint records the cache's crop; a crop that is given goes before it."""
    shutil.copytree(tiny_cache, tmp_path / "cache")
    settings = tmp_path / "cache" / SETTINGS_FILE
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"crop": "paper"}))
    micro_train(tmp_path / "cache", tmp_path / "run", stage="pbnet")
    facts = load_checkpoint(tmp_path / "run" / "pbnet" / "model.safetensors", "pbnet")[1]
    assert facts["crop"] == "paper" and DawnGenerator.load(micro_run).crop == "face"  # which records none
    monkeypatch.setattr(DawnGenerator, "provenance", DawnGenerator.load(micro_run).provenance | {"crop": "paper"})
    done = run(files, micro_run, image="dark.png")
    assert done.exit_code == 0 and "as the model's training data: --crop paper" in " ".join(done.output.split())
    refused = run(files, micro_run, "--crop", "face", image="dark.png")
    assert isinstance(refused.exception, InputError) and "shows no face" in str(refused.exception)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--crop", "round"), "Known: face, paper"),
        (("--precision", "fp8"), "'precision'"),
        (("--drive", "a.mp4", "--pose-file", "b.npz"), "both set the head motion"),
        (("--method", "magic"), "no model called 'magic'"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    more: tuple[str, ...], message: str, files: Path, micro_run: Path
) -> None:
    refused = run(files, micro_run, *more)
    assert isinstance(refused.exception, InputError) and message in str(refused.exception)
    assert "\n" not in str(refused.exception)
