"""Long clips are scored in parts: the same numbers, and no part of more than a few frames in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring_keys import Loads, light

from dawn_bench.baselines.formats import read_output
from dawn_bench.clip import Clip
from dawn_bench.lazy import MOST_ROWS, LazyRows
from dawn_bench.metrics.functional import beats, mfcc, sync
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS
from dawn_bench.metrics.scoring.matching import FileLoad
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.pipelines.media import film
from dawn_bench.pipelines.media.film import FileFrames
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.results import ScoreRow

__all__ = ["light"]

METRICS_OF_VIDEO = [name for name in METRICS if name not in ("fdd", "lve", "mve")]
COUNT = 110
#: Frames that a feature may hold at a time; those of every window, block and look at several moments are fewer.
MOST = max(MOST_ROWS, 64)


class Shot(LazyRows):
    """Noise that moves slowly, a frame for each number, and how many were asked for at a time."""

    dtype = np.dtype(np.uint8)

    def __init__(self, count: int, seed: int) -> None:
        self.shape, self.seed = (count, 36, 36, 3), seed
        self.asked: list[int] = []

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        self.asked.append(len(numbers))
        picture = np.random.default_rng(self.seed).integers(0, 200, (36, 36, 3), dtype=np.uint8)
        return np.stack([np.roll(picture, k, axis=1) + np.uint8(k % 50) for k in numbers])


def shot(count: int, seed: int) -> Clip:
    sound = np.random.default_rng(seed).integers(-9000, 9000, count * 640).astype(np.int16)
    arrays: Any = {"frames": Shot(count, seed), "audio": sound}
    return Clip("a", "s", "test", count, arrays)


@pytest.mark.parametrize("changes", [(), ("lse_route=tracked", "lse_min_face=10", "fvd_stride=4", "skip_first=3")])
def test_no_feature_reads_more_than_a_few_frames_at_a_time(changes: tuple[str, ...], light: Loads) -> None:
    ours, true = shot(COUNT, 1), shot(COUNT, 2)
    rows = score_method(
        "m",
        [ours],
        [true],
        dataset="d",
        split="test",
        metrics=METRICS_OF_VIDEO,
        protocol=protocol("paper-dawn", changes),
    )
    small = {"cpbd", "drift-cpbd"}  # which need frames of 64 px
    assert {row.metric: row.failures for row in rows} == {
        name: {"a": "too_small"} if name in small else {} for name in METRICS_OF_VIDEO
    }
    for clip in (ours, true):
        frames: Any = clip["frames"]
        assert max(frames.asked) <= MOST
        assert sum(frames.asked) < 15 * COUNT, "each feature reads the clip once or twice"


def test_every_feature_of_frames_is_among_them() -> None:
    """What the test above covers: a new feature that reads frames belongs to a metric that it scores."""
    behind = {need for name in METRICS_OF_VIDEO for need in METRICS[name].needs} | {"pictures", "landmarks"}
    assert {name for name in FEATURES if "frames" in FEATURES[name].fields} - behind == set()


SMALL, LONG = np.random.default_rng(3).integers(0, 256, (2, 70, 24, 28, 3), dtype=np.uint8)


def scores(path: Path, true: Clip, changes: tuple[str, ...]) -> list[ScoreRow]:
    load = {"a": FileLoad(path, lambda: read_output(path, true))}
    names = ["fid", "fvd16", "fvd32", "lse-c", "bas", "psnr", "ssim", "csim"]
    return score_method(
        "m", load, [true], dataset="d", split="test", metrics=names, protocol=protocol("paper-dawn", changes)
    )


@pytest.mark.parametrize("changes", [(), ("transcode=h264", "skip_first=2", "fvd_stride=5"), ("lse_route=tracked",)])
@pytest.mark.parametrize("size", [(24, 28), (36, 40)])
def test_a_file_that_is_decoded_part_by_part_has_the_same_scores(
    size: tuple[int, int], changes: tuple[str, ...], light: Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, LONG, lossless=True, audio=shot(70, 1)["audio"])
    frames = np.random.default_rng(4).integers(0, 256, (66, *size, 3), dtype=np.uint8)
    true = Clip("a", "s", "test", 66, {"frames": frames, "audio": shot(66, 2)["audio"]})
    changes = (*changes, "lse_min_track=5", "lse_min_face=10") if "lse_route=tracked" in changes else changes
    at_once = scores(path, true, changes)
    monkeypatch.setattr(film, "AT_ONCE", 5000)
    output: Any = read_output(path, true)["frames"]
    assert isinstance(output, FileFrames)
    for row, other in zip(at_once, scores(path, true, changes), strict=True):
        assert row.value is not None and not row.failures
        assert (row.value, row.low, row.per_clip, row.note, row.fingerprint) == (
            other.value, other.low, other.per_clip, other.note, other.fingerprint
        )  # fmt: skip


def test_the_memory_of_a_score_does_not_grow_with_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, peaks = tmp_path / "a.mp4", []
    monkeypatch.setattr(film, "AT_ONCE", 2**19)
    for count in (150, 500):  # 2 and 6 MB of frames
        write_video(path, Clip64(count), lossless=True)
        arrays: Any = {"frames": Clip64(count)}
        true = Clip("a", "s", "test", count, arrays)
        load = {"a": FileLoad(path, lambda true=true: read_output(path, true))}  # type: ignore[misc]
        tracemalloc.start()
        (row,) = score_method(
            "m", load, [true], dataset="d", split="test", metrics=["psnr"], features_dir=tmp_path / "f"
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert row.n_frames == count and "equal the true ones" in row.note
    assert peaks[1] < peaks[0] + 1_000_000


class Clip64(Shot):
    """The same at 64 px."""

    def __init__(self, count: int) -> None:
        super().__init__(count, 5)
        self.shape = (count, 64, 64, 3)

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        picture = np.random.default_rng(self.seed).integers(0, 200, (64, 64, 3), dtype=np.uint8)
        return np.stack([np.roll(picture, k, axis=1) for k in numbers]) if len(numbers) else np.zeros((0, 64, 64, 3))


@pytest.mark.parametrize(
    ("module", "work"),
    [
        (mfcc, lambda: mfcc.mfcc(shot(40, 1)["audio"])),
        (beats, lambda: beats.onset_envelope(shot(40, 1)["audio"])),
        (sync, lambda: sync.distances(*np.random.default_rng(0).normal(size=(2, 40, 8)).astype(np.float32))),
    ],
)
def test_sound_in_blocks_has_the_numbers_of_the_whole(
    module: Any, work: Callable[[], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = work()
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_allclose(work(), whole, rtol=1e-6, atol=1e-9 * np.abs(whole).max())


def test_a_cut_of_a_long_clip_reads_nothing(light: Loads) -> None:
    from dawn_bench.metrics.scoring.matching import cut
    from dawn_bench.workflow.pieces import cut_piece

    clip = replace(shot(500, 1), meta={"frames_sha256": "0" * 64})
    for part in (cut(clip, 100, 400), cut_piece(clip, 100, 400)):
        frames: Any = part["frames"]
        assert frames.shape == (300, 36, 36, 3) and clip["frames"].asked == []  # type: ignore[attr-defined]
        np.testing.assert_array_equal(frames[7:9], shot(500, 1)["frames"][107:109])
        clip["frames"].asked.clear()  # type: ignore[attr-defined]
