"""Pictures that do not change or show no face are recognised, and real ones are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.pictures import Pictures
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.pipelines.media.video import read_frames, write_video


@pytest.fixture(scope="module")
def true(embedded_clips) -> Clip:
    clip = embedded_clips[0].clip
    return Clip("c", "s", "test", 30, {"frames": clip["frames"][:30], "audio": clip["audio"][: 30 * 640]})


def objection(frames: np.ndarray, true: Clip, metric: str) -> str:
    (row,) = score_method(
        "m",
        [replace(true, arrays=dict(true.arrays) | {"frames": frames})],
        [true],
        dataset="d",
        split="test",
        metrics=(metric,),
        weights="seeded",
    )
    return row.not_ranked


def test_a_talking_head_is_ranked(true: Clip) -> None:
    assert objection(true["frames"], true, "blink") == ""
    noise = np.random.default_rng(0).integers(-9, 10, true["frames"].shape)
    noisy = np.clip(true["frames"] + noise, 0, 255).astype(np.uint8)
    assert objection(noisy, true, "blink") == ""


def test_a_still_picture_is_not_ranked_even_when_encoded(true: Clip, tmp_path) -> None:
    still = np.repeat(true["frames"][:1], 30, axis=0)
    assert objection(still, true, "blink") == "the pictures do not change in 1 of 1 clip"
    write_video(tmp_path / "still.mp4", still, crf=28)
    assert "do not change" in objection(read_frames(tmp_path / "still.mp4"), true, "blink")
    noise = np.random.default_rng(0).normal(0, 12, still.shape)
    noisy = np.clip(still + noise, 0, 255).astype(np.uint8)
    assert "do not change" in objection(noisy, true, "blink")
    assert objection(still, true, "psnr") == ""  # compared with the true frames, it cannot win


def test_frames_without_a_face_are_not_ranked(true: Clip) -> None:
    half = true["frames"].copy()
    half[15:] = 255
    assert objection(half, true, "blink") == "no face in 50% of the frames"


def test_every_metric_that_empty_pictures_could_win_says_so() -> None:
    guarded = {name for name in METRICS if METRICS[name].shows}
    of_sound = {name for name in guarded if METRICS[name].group == "sync" or name in ("head-spread", "apd")}
    networks = {"bas", "blink", "csim", "id-dlib", "dr25", "dr50", "frechet-motion-lite0"}
    along = {"exposure-shift", "colour-shift"} | {f"drift-{of}" for of in ("exposure", "colour", "csim", "fid")}
    assert guarded - of_sound == networks | along and of_sound >= {"lse-c", "lse-d", "lse-offset"}


def test_true_clips_without_a_face_or_motion_are_no_objection() -> None:
    pictures = Pictures()
    none = {"pictures.face": np.zeros(12, bool), "pictures.motion": np.zeros(1)}
    pictures.update(none, none, clip_id="c")
    assert pictures.objection(("face", "motion")) == ""
