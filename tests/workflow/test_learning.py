"""The learning signals on arrays whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dawn_bench.baselines.outputs import Output
from dawn_bench.cache import Cache
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn.signals import lfg_beats_copying
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports.store import LearningSignal
from dawn_bench.training.mouth import correlation, frame_landmarks, mouth_opening
from dawn_bench.training.signals import loss_falls, read_curve
from dawn_bench.workflow.learning import lips_follow_sound


def _log(run: Path, values: list[float]) -> Path:
    (run / "lfg").mkdir()
    lines = [json.dumps({"step": k + 1, "total": v}) for k, v in enumerate(values)]
    (run / "lfg" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return run


def test_a_falling_loss_passes_and_a_rising_one_does_not(tmp_path: Path) -> None:
    falling = loss_falls(_log(tmp_path, [5.0, 4, 3, 2, 1, 1, 1, 1, 1, 3]), "lfg")
    assert falling.passed and (falling.value, falling.baseline) == (2.0, 5.0)
    (tmp_path / "other").mkdir()
    assert not loss_falls(_log(tmp_path / "other", list(range(10))), "lfg").passed
    assert isinstance(falling, LearningSignal)


def test_too_short_or_absent_logs_do_not_pass(tmp_path: Path) -> None:
    assert read_curve(tmp_path / "absent") == []
    signal = loss_falls(_log(tmp_path, [3.0, 1]), "lfg")
    assert not signal.passed and signal.value is None and "too few" in signal.note


def test_mouth_opening_is_the_inner_gap_over_the_face_width() -> None:
    points = np.zeros((3, 68, 2))
    points[:, 16, 0] = 40
    points[:, 65:68, 1] = np.array([0, 4, 8])[:, None]
    np.testing.assert_allclose(mouth_opening(points), [0, 0.1, 0.2])
    np.testing.assert_allclose(mouth_opening(points * 3 + 7), [0, 0.1, 0.2])
    points[1] = np.nan
    assert np.isnan(mouth_opening(points)).tolist() == [False, True, False]


def test_correlation_leaves_out_unknown_frames_and_gives_0_for_what_does_not_vary() -> None:
    a = np.array([0.0, 1, 2, 3, np.nan])
    assert correlation(a, 2 * a + 1) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, np.array([1.0, 2, 3, 4, 9])) == pytest.approx(1)
    assert correlation(a, np.ones(5)) == 0
    assert correlation(a[3:], a[3:]) == 0


class _Mouth:
    """Reads the mouth off the first pixel's red; sees no face in frames whose green is 255."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        return np.zeros((0, 4)) if frame[0, 0, 1] == 255 else np.zeros((1, 4))

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        points = np.zeros((68, 2))
        points[16, 0], points[65:68, 1] = 100, frame[0, 0, 0]
        return points


def test_a_missed_frame_uses_the_box_before_and_is_unknown_before_the_first() -> None:
    frames = np.zeros((4, 2, 2, 3), np.uint8)
    frames[:, 0, 0, 0], frames[[0, 2], 0, 0, 1] = [10, 20, 30, 40], 255
    opening = mouth_opening(frame_landmarks(frames, _Mouth()))
    np.testing.assert_allclose(opening, [np.nan, 0.2, 0.3, 0.4])


def test_lips_that_follow_the_sound_pass(tiny_cache: Path, tmp_path: Path) -> None:
    """Red follows the true opening in one method's clips and its reverse in the other's."""
    clips = Cache(tiny_cache).clips("test")

    def outputs(name: str, reverse: bool) -> dict[str, Output]:
        generated = {}
        for clip in clips:
            opening = mouth_opening(clip["landmarks"])
            red = np.interp(opening, (opening.min(), opening.max()), (250, 10) if reverse else (10, 250))
            frames = np.zeros((30, 16, 16, 3), np.uint8)
            frames[..., 0] = red[:, None, None]
            path = tmp_path / f"{name}-{clip.id}.mp4"
            write_video(path, frames, lossless=True)
            generated[clip.id] = Output(clip.id, "ok", path, 0, "")
        return generated

    good, bad = outputs("good", False), outputs("bad", True)
    signal = lips_follow_sound(good, bad, clips, _Mouth())  # type: ignore[arg-type]
    assert (
        signal.passed and signal.value == pytest.approx(1, abs=1e-3) and signal.baseline == pytest.approx(-1, abs=1e-3)
    )
    assert not lips_follow_sound(bad, good, clips, _Mouth()).passed  # type: ignore[arg-type]
    none = {c.id: Output(c.id, "crash", None, 0, "") for c in clips}
    assert lips_follow_sound(good, none, clips, _Mouth()).value is None  # type: ignore[arg-type]


def test_an_lfg_is_compared_with_copying_its_source(
    micro_run: Path, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lfg, clips = load_checkpoint(micro_run / "lfg" / "model.safetensors", "lfg")[0], Cache(tiny_cache).clips("test")
    untrained = lfg_beats_copying(lfg, clips, pairs=4)
    assert not untrained.passed and untrained.value < untrained.baseline < 60  # never a frame with itself
    assert untrained == lfg_beats_copying(lfg, clips, pairs=4)

    class Perfect:
        def __init__(self, driving: torch.Tensor) -> None:
            self.prediction_BCSS = driving

    monkeypatch.setattr(type(lfg), "forward", lambda self, source, driving: Perfect(driving))
    assert lfg_beats_copying(lfg, clips, pairs=4).passed
