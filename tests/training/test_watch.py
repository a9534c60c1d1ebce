"""What a person follows while training: validation, samples, the best checkpoint, TensorBoard, and their resumption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import losses, micro_train
from safetensors.torch import load_file
from tiny_cache import write_tiny_cache

from dawn_bench.cache import Cache
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.training import loop as loop_module
from dawn_bench.training.logger import BEST_FILE, drop_after
from dawn_bench.training.loop import MODEL_FILE
from dawn_bench.training.mouth import landmarks_where_true
from dawn_bench.training.validation import held_out, psnr, ssim

STAGES = ("lfg", "a2v-1", "pbnet")
EVERY = tuple(f"{key}.loop.validate_every=2" for key in ("lfg", "a2v_1", "pbnet"))


@pytest.fixture(scope="module")
def split_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny cache with its last two clips in split `val`, not `test`."""
    return write_tiny_cache(tmp_path_factory.mktemp("split") / "cache", splits=("train",) * 4 + ("val",) * 2)


@pytest.fixture(scope="module")
def watched(split_cache: Path, micro_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stages, validated every second step."""
    run = tmp_path_factory.mktemp("watched") / "run"
    for stage in STAGES:
        micro_train(split_cache, run, *EVERY, stage=stage)
    return run


def _lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_validation_changes_nothing_that_is_trained(watched: Path, micro_run: Path) -> None:
    for stage in STAGES:
        assert losses(watched, stage) == losses(micro_run, stage)
        ours, plain = (load_file(run / stage / MODEL_FILE) for run in (watched, micro_run))
        assert all(torch.equal(ours[k], plain[k]) for k in plain)


def test_validation_values_are_of_held_out_clips(watched: Path, split_cache: Path) -> None:
    lines = {stage: _lines(watched / stage / "validation.jsonl") for stage in STAGES}
    assert all([line["step"] for line in of_stage] == [2, 4] for of_stage in lines.values())
    assert all(line["split"] == "val" for of_stage in lines.values() for line in of_stage)
    truth = np.stack([c["frames"] for c in Cache(split_cache).clips("val")])
    copied = np.mean([psnr(np.broadcast_to(t[:1], t[1:].shape), t[1:]) for t in truth])
    assert lines["lfg"][0]["psnr_copy"] == pytest.approx(copied, abs=1e-4)
    assert {"psnr", "ssim", "mouth_r"} <= lines["a2v-1"][0].keys()
    assert {"rc", "pose_spread", "blink_spread"} <= lines["pbnet"][0].keys()


def test_sample_videos_show_the_truth_at_the_left(watched: Path, split_cache: Path) -> None:
    clip = Cache(split_cache).clips("val")[0]
    for stage in ("lfg", "a2v-1"):
        names = sorted(p.name for p in (watched / stage / "samples").iterdir())
        assert names == [f"step-000000{s}-{c}.mp4" for s in (2, 4) for c in ("c4", "c5")]
        frames = read_frames(watched / stage / "samples" / names[0])
        assert frames.shape == (30, 32, 64, 3)
        assert psnr(frames[:, :, :32], clip["frames"]) > 25  # lossy


@pytest.mark.parametrize(
    ("stage", "measure", "sign"), [("lfg", "psnr", 1), ("a2v-1", "mouth_r", 1), ("pbnet", "rc", -1)]
)
def test_the_best_checkpoint_is_kept_and_noted(watched: Path, stage: str, measure: str, sign: int) -> None:
    lines = _lines(watched / stage / "validation.jsonl")
    best = max(lines, key=lambda line: sign * line[measure])
    note = json.loads((watched / stage / "best.json").read_text())
    assert note == {"step": best["step"], "measure": measure, "value": best[measure], "split": "val"}
    _, provenance = load_checkpoint(watched / stage / BEST_FILE, stage.partition("-")[0])
    assert provenance["steps"] == best["step"]
    if best["step"] == 4:
        last, kept = (load_file(watched / stage / name) for name in (MODEL_FILE, BEST_FILE))
        assert all(torch.equal(last[k], kept[k]) for k in last)


def test_a_resumed_run_validates_as_the_uninterrupted_one(
    split_cache: Path, watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after a validation at step 2 whose state was not saved yet: the line is written again, once."""
    real = loop_module.save_state

    def dying(path: Path, step: int, *arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop_module, "save_state", dying)
    with pytest.raises(KeyboardInterrupt):
        micro_train(split_cache, tmp_path, *EVERY, stage="lfg")
    monkeypatch.setattr(loop_module, "save_state", real)
    assert len(_lines(tmp_path / "lfg" / "validation.jsonl")) == 1
    micro_train(split_cache, tmp_path, *EVERY, stage="lfg", resume=True)
    for name in ("validation.jsonl", "best.json"):
        assert (tmp_path / "lfg" / name).read_text() == (watched / "lfg" / name).read_text()


def test_tensorboard_holds_scalars_pictures_and_video(watched: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(watched / "lfg" / "tensorboard"), size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    assert {"train/total", "train/grad_norm", "train/data_share", "validation/psnr"} <= set(tags["scalars"])
    assert [p.step for p in events.Scalars("train/total")] == [1, 2, 3, 4]
    assert events.Scalars("train/total")[0].value == pytest.approx(losses(watched, "lfg")[0]["total"], rel=1e-6)
    assert {"validation/source-truth-rebuilt", "validation/c4"} <= set(tags["images"])
    video = events.Images("validation/c4")
    assert [v.step for v in video] == [2, 4] and video[0].encoded_image_string.startswith(b"GIF8")
    assert (video[0].width, video[0].height) == (64, 32)


def test_without_tensorboard_the_plain_logs_stay(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dawn_bench.training import board

    board._installed.cache_clear()
    monkeypatch.setattr(board, "find_spec", lambda name: None)
    micro_train(tiny_cache, tmp_path, *EVERY, stage="pbnet")
    board._installed.cache_clear()
    assert "TensorBoard is not installed" in capsys.readouterr().err
    assert not (tmp_path / "pbnet" / "tensorboard").exists()
    assert len(losses(tmp_path, "pbnet")) == 4 and len(_lines(tmp_path / "pbnet" / "validation.jsonl")) == 2


def test_held_out_clips_are_of_val_and_never_of_test(tmp_path: Path) -> None:
    both = Cache(write_tiny_cache(tmp_path / "a", splits=("train", "test", "val", "val")))
    split, clips = held_out(both, 1)
    assert (split, [c.id for c in clips]) == ("val", ["c2"])
    split, clips = held_out(Cache(write_tiny_cache(tmp_path / "b", splits=("test", "train", "train"))), 5)
    assert (split, [c.id for c in clips]) == ("train", ["c1", "c2"])


def test_lines_after_a_step_and_cut_ones_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"step": 1}\n{"step": 5}\n[]\n{"step": 2')
    drop_after(log, 2)
    assert log.read_text() == '{"step": 1}\n'
    drop_after(tmp_path / "absent", 2)


def test_picture_measures_are_the_known_ones() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    assert psnr(a, a) == 100 and ssim(a, a) == 1
    black, grey = np.zeros((1, 8, 8, 3), np.uint8), np.full((1, 8, 8, 3), 51, np.uint8)
    assert psnr(black, grey) == pytest.approx(20 * np.log10(5))


def test_points_are_looked_for_where_the_true_face_is() -> None:
    """Without any detection: the box follows the true points."""

    class Centre:
        def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
            return np.tile((box[:2] + box[2:]) / 2, (68, 1))

    rng = np.random.default_rng(0)
    true = rng.random((3, 68, 2)) * 10 + np.array([0, 50, 100])[:, None, None]
    points = landmarks_where_true(np.zeros((3, 4, 4, 3), np.uint8), true, Centre())  # type: ignore[arg-type]
    np.testing.assert_allclose(points[1, 0] - points[0, 0], (true[1] - true[0]).mean(0), atol=1)


def test_the_watched_run_can_be_moved(watched: Path, tmp_path: Path) -> None:
    """Nothing in it names its own place."""
    shutil.copytree(watched / "lfg", tmp_path / "lfg")
    texts = [p.read_text() for p in (tmp_path / "lfg").glob("*.json*")]
    assert texts and not any(str(watched) in text for text in texts)
