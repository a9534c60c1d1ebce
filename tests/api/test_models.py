"""`load_model`: one call for every model, and clips that are saved and scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from micro_dit_head import micro_train as train_dit_head
from micro_mesh import micro_mesh_train, write_mesh_cache

from dawn_bench import Generator, InputError, TalkingClip, compute_metrics, load_model, open_cache
from dawn_bench.pipelines.media.video import probe, read_frames


def check_clip(clip: TalkingClip, folder: Path, *, fps: int) -> None:
    """Frames, sound and file of half a second."""
    assert clip.frames.dtype == np.uint8 and clip.frames.ndim == 4 and clip.frames.shape[3] == 3
    assert clip.audio.dtype == np.int16 and clip.fps == fps
    assert len(clip.frames) == pytest.approx(0.5 * fps, abs=1)
    path = clip.save(folder / "new" / "talk.mp4")
    info = probe(path)
    assert (info.fps, info.has_audio) == (fps, True)
    assert read_frames(path, fps=fps).shape == clip.frames.shape


def test_dawn(workspace: Path, tmp_path: Path) -> None:
    image, audio = workspace / "portrait.png", workspace / "speech.wav"
    generator = load_model(workspace / "runs" / "crema", device="cpu")
    assert isinstance(generator, Generator)
    clip = generator.generate(image, str(audio), seed=1, steps=2)
    check_clip(clip, tmp_path, fps=25)
    file = load_model(str(workspace / "runs" / "crema" / "lfg" / "model.safetensors"), device="cpu")
    assert np.array_equal(file.generate(image, audio, seed=1, steps=2).frames, clip.frames)
    assert not np.array_equal(file.generate(image, audio, seed=2, steps=2).frames, clip.frames)
    with pytest.raises(InputError, match="option 'step'"):
        generator.generate(image, audio, step=2)
    scores = compute_metrics(generated=[clip], reference=[(clip.frames, clip.audio)], metrics="psnr")
    assert scores["psnr"].value == 100


def test_dit_head(workspace: Path, tiny_cache: Path, tmp_path: Path) -> None:
    train_dit_head(tiny_cache, tmp_path / "run")
    generator = load_model(tmp_path / "run", device="cpu")
    clip = generator.generate(workspace / "portrait.png", workspace / "speech.wav", steps=2)
    check_clip(clip, tmp_path, fps=25)


def test_diffspeaker(workspace: Path, tmp_path: Path) -> None:
    cache = open_cache(write_mesh_cache(tmp_path / "meshes"))
    micro_mesh_train(cache.root, tmp_path / "run")
    generator = load_model(tmp_path / "run", device="cpu")
    clip = generator.generate(None, workspace / "speech.wav", size=64)
    assert clip.vertices is not None and len(clip.vertices) == len(clip.frames)
    check_clip(clip, tmp_path, fps=cache.clips()[0].fps)
    score = compute_metrics(generated=[clip], reference=cache.clips()[:1], metrics="lve")["lve"]
    assert score.value is not None and score.value > 0 and not score.failures
    (tmp_path / "meshes of one clip").mkdir()
    np.save(tmp_path / "meshes of one clip" / f"{cache.ids()[0]}.npy", clip.vertices[None].astype(np.float32))
    given = {"generated": tmp_path / "meshes of one clip", "reference": cache.clips()[:1]}
    assert compute_metrics(**given, metrics="lve")["lve"].value == pytest.approx(score.value, rel=1e-5)


def test_windows_of_meshes(tmp_path: Path) -> None:
    cache = open_cache(write_mesh_cache(tmp_path))
    windows = cache.windows(frames=10, fields=("vertices", "template", "audio"))
    item, clip = windows[1], cache[windows[1]["clip"]]
    assert np.array_equal(item["vertices"], clip["vertices"][10:20])
    assert np.array_equal(item["template"], clip["template"])
    assert {len(window["audio"]) for window in windows} == {round(10 * 16000 / clip.fps)}


def test_what_is_no_checkpoint_is_one_line(workspace: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", workspace / "portrait.png"):
        with pytest.raises(InputError) as refused:
            load_model(path)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)
