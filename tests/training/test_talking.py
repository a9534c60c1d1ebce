"""Validation metrics of generated clips, on rendered faces with known landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.training.mouth import mouth_opening
from dawn_bench.training.talking import compare_with_truth


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Two seconds of a rendered face that speaks."""
    root = write_embedded(tmp_path_factory.mktemp("embedded"), speakers=1, clips=1, seconds=2.0, size=96, seed=3)
    (video,) = root.rglob("*.mp4")
    points = np.load(root / "truth" / f"{video.stem}.npz")["landmarks"]
    return Clip(video.stem, "s", "test", len(points), {"frames": read_frames(video), "landmarks": points})


def test_the_truth_talks_and_a_still_picture_does_not(spoken: Clip) -> None:
    truth = np.asarray(spoken["frames"])
    still = np.repeat(truth[:1], len(truth), axis=0)
    own, other = (compare_with_truth([(spoken, frames)]).values for frames in (truth, still))
    assert (own["psnr"], own["ssim"]) == (100, 1) and other["psnr"] < 40 and other["ssim"] < 1
    assert own["mouth_r"] > 0.9 and abs(other["mouth_r"]) < 0.5


def test_lips_of_another_moment_do_not_count(spoken: Clip) -> None:
    """The same frames half a second late: as sharp and as lively, and wrong."""
    late = np.roll(spoken["frames"], 13, axis=0)
    assert compare_with_truth([(spoken, late)]).values["mouth_r"] < 0.5


def test_a_shorter_clip_is_compared_with_its_own_frames(spoken: Clip) -> None:
    result = compare_with_truth([(spoken, np.asarray(spoken["frames"][:20]))])
    assert result.values["psnr"] == 100 and result.best == "mouth_r" and not result.smaller_is_better
    assert result.videos[spoken.id].shape[0] == 20


def test_pictures_show_the_widest_mouth_and_videos_the_truth_at_the_left(spoken: Clip) -> None:
    frames = np.asarray(spoken["frames"])
    generated = 255 - frames
    result = compare_with_truth([(spoken, generated), (spoken, generated)])
    widest = int(mouth_opening(spoken["landmarks"]).argmax())
    row = np.concatenate([frames[0], frames[widest], generated[widest]], axis=1)
    np.testing.assert_array_equal(result.pictures["source-truth-made"], np.concatenate([row, row]))
    np.testing.assert_array_equal(result.videos[spoken.id], np.concatenate([frames, generated], axis=2))
