"""From a checkpoint to a clip: every model by the same two calls, and what is not a checkpoint in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from micro_dit_head import micro_train as train_dit_head
from micro_mesh import micro_mesh_train, write_mesh_cache

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.generator import TalkingClip
from dawn_bench.models.loading import find_model, load_model, report_notes
from dawn_bench.pipelines.faces import base
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import probe, read_frames
from dawn_bench.pipelines.meshes.face import FaceShape, make_face


class MiddleFace:
    """Sees one face in the middle of every picture."""

    name = "middle-face"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        return np.array([[0, 0, frame.shape[1], frame.shape[0]]], np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        grid = np.stack(np.meshgrid(np.linspace(0.3, 0.7, 17), np.linspace(0.35, 0.65, 4)), -1).reshape(68, 2)
        return grid * frame.shape[1::-1]


@pytest.fixture(scope="module")
def runs(micro_run: Path, tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    train_dit_head(tiny_cache, folder / "dubbed")
    micro_mesh_train(write_mesh_cache(folder / "meshes"), folder / "spoken")
    return {"dawn": micro_run, "dit-head": folder / "dubbed", "diffspeaker": folder / "spoken"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    cv2.imwrite(str(folder / "me.png"), np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8))
    write_wav(folder / "speech.wav", (5000 * np.sin(np.arange(8000) / 7)).astype(np.int16))
    return folder


@pytest.mark.parametrize("name", ["dawn", "dit-head", "diffspeaker"])
def test_every_model_is_loaded_and_generates_by_the_same_calls(
    name: str, runs: dict[str, Path], files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(base, "pick_backend", lambda face: MiddleFace())
    assert find_model(str(runs[name])).name == name
    model = load_model(str(runs[name]), device="cpu")
    image = None if name == "diffspeaker" else str(files / "me.png")
    first, again, other = (
        model.generate(image, str(files / "speech.wav"), seed=seed, max_seconds=0.4, steps=2) for seed in (1, 1, 2)
    )
    side = 256 if name == "diffspeaker" else 32
    assert first.frames.shape == (10, side, side, 3) and first.frames.dtype == np.uint8
    assert first.audio.shape == (6400,) and first.audio.dtype == np.int16 and first.fps == 25
    np.testing.assert_array_equal(first.frames, again.frames)
    changed = (first.vertices, other.vertices) if name == "diffspeaker" else (first.frames, other.frames)
    assert not np.array_equal(*changed)
    path = first.save(str(tmp_path / "new" / "talk.mp4"))
    assert read_frames(path).shape == first.frames.shape and probe(path).has_audio
    with pytest.raises(InputError, match="option 'stesp'"):
        model.generate(image, files / "speech.wav", stesp=3)


def test_a_stream_gives_the_clip_in_segments(
    runs: dict[str, Path], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "pick_backend", lambda face: MiddleFace())
    monkeypatch.setattr("dawn_bench.models.dawn.passes._DECODED", 4)
    model = load_model(runs["dawn"], device="cpu")
    stream = model.stream(files / "me.png", files / "speech.wav", max_seconds=0.4, steps=2)
    assert stream.n_frames == 10
    segments = list(stream.segments)
    assert [len(segment) for segment in segments] == [4, 4, 2]
    whole = model.generate(files / "me.png", files / "speech.wav", max_seconds=0.4, steps=2)
    assert isinstance(whole, TalkingClip)
    np.testing.assert_array_equal(np.concatenate(segments), whole.frames)


def test_a_file_of_a_run_names_its_run(runs: dict[str, Path]) -> None:
    assert find_model(runs["dawn"] / "lfg" / "model.safetensors").name == "dawn"
    assert find_model(runs["diffspeaker"] / "diffspeaker" / "model.safetensors").name == "diffspeaker"


def test_released_names_and_files_are_recognised(tmp_path: Path, runs: dict[str, Path]) -> None:
    assert find_model("released-128").name == "dawn"
    (tmp_path / "DAWN_128.pth").touch()
    assert find_model(tmp_path).name == find_model(tmp_path / "DAWN_128.pth").name == "dawn"
    state = load_checkpoint(runs["diffspeaker"] / "diffspeaker" / "model.safetensors", "diffspeaker")[0].state_dict()
    torch.save({"state_dict": state}, tmp_path / "released.ckpt")
    assert find_model(tmp_path / "released.ckpt").name == "diffspeaker"


def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, runs: dict[str, Path]) -> None:
    with pytest.raises(
        InputError, match=r"nothing: there is no such checkpoint\..*dawn-bench train.*released-128, released-256"
    ):
        find_model(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"is not a checkpoint of a known model\..*dawn, diffspeaker, dit-head"):
        find_model(tmp_path)
    for name in ("dawn", "dit-head"):
        for stage in runs[name].iterdir():
            (tmp_path / stage.name).symlink_to(stage)
    with pytest.raises(InputError, match=r"several models: dawn, dit-head\. Choose one: --model dawn"):
        find_model(tmp_path)
    assert load_model(tmp_path, device="cpu", model="dit-head").options_class.__name__ == "DubFileOptions"


def test_damaged_and_incomplete_runs_are_reported_by_their_model(tmp_path: Path, runs: dict[str, Path]) -> None:
    (tmp_path / "lfg").mkdir()
    (tmp_path / "lfg" / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(InputError, match="damaged"):
        load_model(tmp_path, device="cpu")
    part = tmp_path / "part"
    part.mkdir()
    (part / "vqgan-face").symlink_to(runs["dit-head"] / "vqgan-face")
    with pytest.raises(InputError, match="holds no trained vqgan-masked"):
        load_model(part, device="cpu")


def test_a_report_states_what_each_model_was_trained_with(runs: dict[str, Path]) -> None:
    dawn, dubbed, spoken = (report_notes(runs[name]) for name in ("dawn", "dit-head", "diffspeaker"))
    assert dawn[0] == "DAWN trained with preset micro on 4 clips."
    assert any(note.startswith("Stage lfg was trained without VGG-19's weights") for note in dawn)
    assert "DiT-Head uses logmel features instead of the paper's Wav2Vec2." in dubbed
    assert any(note.startswith("Stage dit, choices that are ours") and "loop.steps=4" in note for note in dubbed)
    assert "DiffSpeaker's speech encoder started from random weights, not from pretrained weights." in spoken
    assert report_notes(Path("released-128")) == []


def test_a_mesh_model_moves_the_users_face_at_rest(runs: dict[str, Path], files: Path, tmp_path: Path) -> None:
    model = load_model(runs["diffspeaker"], device="cpu")
    face = make_face(FaceShape(1, 1, 1, 1))
    np.save(tmp_path / "rest.npy", face.rest + 5)
    clips = {
        "embedded": model.generate(None, files / "speech.wav", max_seconds=0.2),
        "npy": model.generate(tmp_path / "rest.npy", files / "speech.wav", max_seconds=0.2),
    }
    vertices = clips["npy"].vertices
    assert vertices is not None and clips["embedded"].vertices is not None
    assert vertices.dtype == np.float32 and vertices.shape == (5, 572, 3)
    np.testing.assert_allclose(vertices, clips["embedded"].vertices + 5, atol=1e-5)
    np.save(tmp_path / "small.npy", np.zeros((9, 3)))
    (tmp_path / "text.ply").write_text("hello")
    for name, message in (("small.npy", "has 9 vertices; the model needs 572"), ("text.ply", "not a readable PLY")):
        with pytest.raises(InputError, match=message):
            model.generate(tmp_path / name, files / "speech.wav")
    with pytest.raises(InputError, match=r"option 'style' is 'nobody'.*auto, F"):
        model.generate(None, files / "speech.wav", style="nobody")


@pytest.mark.parametrize("coding", ["ascii", "binary_little_endian"])
def test_ply_vertices_and_triangles_are_read(coding: str, tmp_path: Path) -> None:
    from dawn_bench.models.diffspeaker.rest import read_rest

    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.5]], np.float32)
    header = (
        f"ply\nformat {coding} 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    if coding == "ascii":
        body = b"".join(b"%g %g %g\n" % tuple(row) for row in points) + b"3 0 1 2\n"
    else:
        body = points.astype("<f4").tobytes() + b"\x03" + np.array([0, 1, 2], "<i4").tobytes()
    path = tmp_path / "rest.ply"
    path.write_bytes(header.encode() + body)
    rest, triangles = read_rest(path, vertices=3)
    np.testing.assert_array_equal(rest, points)
    assert triangles is not None and triangles.tolist() == [[0, 1, 2]]


def test_clips_of_a_cache_are_what_training_sees(tiny_cache: Path) -> None:
    """Bytes stay as cached; floats have their channels first and are the same numbers."""
    from dawn_bench.pixels import from_frames

    frames = Cache(tiny_cache)["c0"]["frames"][:3]
    pictures = from_frames(torch.from_numpy(np.array(frames)))
    assert pictures.is_contiguous()
    assert torch.equal(pictures, torch.from_numpy(np.moveaxis(frames, -1, 1).copy()).float() / 255)
