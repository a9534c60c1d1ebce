"""Outputs in another form than their true clips are named; ordinary bad outputs are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.appearance import PREFIX, appearance_notes
from dawn_bench.metrics.scoring.compare import compute_metrics
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.tables import latex, markdown
from dawn_bench.workflow.evaluate import _summary, other_files_notes


def portrait(n: int = 12) -> np.ndarray:
    """A skin-coloured disk that moves before a background with a gradient, uint8 (n,64,64,3)."""
    y, x = np.mgrid[:64, :64]
    frames = np.stack([np.stack([x * 2 + 20, y * 2 + 40, 90 - x], -1)] * n).clip(0, 255).astype(np.uint8)
    for k in range(n):
        cv2.circle(frames[k], (28 + k, 36), 16, (220, 150, 110), -1)
    return frames


def letterboxed(frames: np.ndarray) -> np.ndarray:
    out = np.zeros_like(frames)
    out[:, 8:-8] = np.stack([cv2.resize(f, (64, 48)) for f in frames])
    return out


TRUE = portrait()
WRONG: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("red and blue are swapped", lambda f: f[..., ::-1]),
    ("upside down", lambda f: f[:, ::-1]),
    ("mirrored left to right", lambda f: f[:, :, ::-1]),
    ("turned by 180 degrees", lambda f: f[:, ::-1, ::-1]),
    ("turned by 90 degrees clockwise", lambda f: np.rot90(f, -1, (1, 2))),
    ("turned by 90 degrees anticlockwise", lambda f: np.rot90(f, 1, (1, 2))),
    ("rows and columns are swapped", lambda f: f.swapaxes(1, 2)),
    ("red and green are swapped", lambda f: f[..., [1, 0, 2]]),
    ("green and blue are swapped", lambda f: f[..., [0, 2, 1]]),
    ("the channels are in the order GBR", lambda f: f[..., [1, 2, 0]]),
    ("the channels are in the order BRG", lambda f: f[..., [2, 0, 1]]),
    ("the colours are inverted", lambda f: 255 - f),
    ("limited range was read as full", lambda f: (16 + f * (219 / 255)).round().astype(np.uint8)),
    ("full range was read as limited", lambda f: ((f - 16.0) * 255 / 219).clip(0, 255).round().astype(np.uint8)),
    ("grey, while the true clips have colours", lambda f: np.repeat(f.mean(-1, keepdims=True).astype(np.uint8), 3, -1)),
    ("borders at the top and bottom, which the true clips lack", letterboxed),
    ("stretched from 64x48 to 64x64, another aspect ratio", lambda f: np.stack([cv2.resize(p, (64, 48)) for p in f])),
]


@pytest.mark.parametrize(("text", "change"), WRONG)
def test_what_looks_wrong_is_named(text: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    noisy = np.clip(TRUE + np.random.default_rng(0).normal(0, 6, TRUE.shape), 0, 255).astype(np.uint8)
    assert appearance_notes(np.ascontiguousarray(change(noisy)), TRUE) == [PREFIX + text]


def test_ordinary_outputs_are_not_named() -> None:
    still, rng = np.repeat(TRUE[:1], len(TRUE), axis=0), np.random.default_rng(0)
    blurred = np.stack([cv2.GaussianBlur(f, (0, 0), 4) for f in TRUE])
    for frames in (TRUE, still, blurred, TRUE[::-1], np.full_like(TRUE, 255), TRUE // 2, TRUE[:, ::2, ::2]):
        assert appearance_notes(np.ascontiguousarray(frames), TRUE) == []
    assert appearance_notes(rng.integers(0, 256, TRUE.shape, dtype=np.uint8), TRUE) == []


def test_the_console_and_markdown_say_it() -> None:
    truth = [Clip(name, name, "test", len(TRUE), {"frames": TRUE}) for name in "ab"]
    swapped = [Clip(c.id, c.id, "test", len(TRUE), {"frames": np.ascontiguousarray(TRUE[..., ::-1])}) for c in truth]
    rows = score_method("mine", swapped, truth, dataset="d", split="test", metrics=["psnr"])
    line = f"mine: {PREFIX}red and blue are swapped (2 clips)"
    assert f"warning: {line}" in _summary(rows, [], protocol("paper-dawn"))
    assert f"> {line}" in markdown(leaderboards(rows))
    assert f"footnotesize {line}" in latex(leaderboards(rows))
    score = compute_metrics(generated=[TRUE[:, ::-1]], reference=[TRUE], metrics="psnr", device="cpu")["psnr"]
    assert f"{PREFIX}upside down (1 clip)" in score.note


def sound(n: int = len(TRUE), rate: int = 16_000) -> np.ndarray:
    return (3000 * np.sin(np.arange(n * rate // 25) / 9)).astype(np.int16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
def test_sound_of_other_numbers_is_refused_everywhere(tmp_path: Path, dtype: type) -> None:
    wrong = (sound() / 32767).astype(dtype)
    clip = Clip("a", "a", "test", len(TRUE), {"frames": TRUE, "audio": wrong})
    good = Clip("a", "a", "test", len(TRUE), {"frames": TRUE, "audio": sound()})
    for given in ((TRUE, wrong), {"frames": TRUE, "audio": wrong}, clip):
        with pytest.raises(InputError, match=r"sound.*Give int16"):
            compute_metrics(generated=[given], metrics="lse-c", device="cpu")
    with pytest.raises(InputError, match="not int16"):
        write_video(tmp_path / "a.mp4", TRUE, audio=wrong)
    (row,) = score_method("mine", [clip], [good], dataset="d", split="test", metrics=["psnr"])
    assert (row.value, row.failures) == (None, {"a": "bad_output"})


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("fps", [None, 25])
def test_sound_at_another_rate_is_refused(rate: int, fps: float | None) -> None:
    given = (portrait(50), sound(50, rate))
    with pytest.raises(InputError, match=r"its sound .* s at 16 kHz\."):
        compute_metrics(generated=[given], metrics="lse-c", device="cpu", fps=fps)


def test_stereo_is_refused() -> None:
    with pytest.raises(InputError, match="Give mono"):
        compute_metrics(generated=[(TRUE, np.stack([sound()] * 2, 1))], metrics="lse-c", device="cpu")


def test_a_clip_that_needs_too_much_memory_fails_alone() -> None:
    def load() -> Clip:
        raise MemoryError

    truth = [Clip(name, name, "test", len(TRUE), {"frames": TRUE}) for name in "ab"]
    (row,) = score_method("m", {"a": load, "b": lambda: truth[1]}, truth, dataset="d", split="test", metrics=["ssim"])
    assert (row.n_clips, row.failures) == (1, {"a": "oom"})


def test_the_console_names_scores_of_networks_that_are_not_the_published_ones() -> None:
    truth = [Clip("a", "a", "test", len(TRUE), {"frames": TRUE})]
    rows = score_method("mine", truth, truth, dataset="d", split="test", metrics=["psnr"])
    line = "Scores of fid use networks that are not the published files: not comparable with a paper."
    other = [row.model_copy(update={"metric": "fid", "weights_state": "user"}) for row in rows]
    assert line in _summary([*rows, *other], [], protocol("paper-dawn"))
    assert other_files_notes(rows) == []
