"""Lengths in frames: a whole number of frames is that number, whichever way its seconds are written."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dawn_bench
from dawn_bench.clip import SAMPLE_RATE, SAMPLES_PER_FRAME, whole_frames
from dawn_bench.metrics.scoring.clip_sets import SetClip
from dawn_bench.models.diffspeaker.audio import RATE, frames_of
from dawn_bench.pipelines.extractors.hubert import chunked

ROOT = Path(dawn_bench.__file__).parent
FOLDERS = [ROOT, *(ROOT.parent / name for name in ("pipelines", "baselines", "metrics", "reports"))]
#: `int(...)` of a product with a rate that is no number of frames: by file, why.
OTHERS = {
    "dawn_bench/clip.py": "whole_frames itself",
    "metrics/functional/beats.py": "lags in hops of the envelope, as in librosa",
}
_RATE = re.compile(r"(?i)(^|_)(fps|rate|sample_rate|samples_per_frame|seconds)$")


def _of_speech(frames: int) -> int:
    rows = chunked(np.ones(frames * SAMPLES_PER_FRAME, np.float32), lambda s: np.ones(((len(s) - 80) // 320, 1)))
    return len(rows)


def _of_a_set(frames: int) -> int:
    """Pictures at 50 fps, twice as many."""
    return SetClip("a", {"frames": np.zeros((2 * frames, 1, 1, 3), np.uint8)}, 50.0).read()[0].n_frames


@pytest.mark.parametrize(
    "count",
    [
        lambda frames: whole_frames(frames / 25),
        lambda frames: whole_frames(float(f"{frames / 25:.2f}")),
        lambda frames: whole_frames(frames * SAMPLES_PER_FRAME, SAMPLE_RATE),
        lambda frames: frames_of(RATE // 25 * frames, 25),
        _of_speech,
        _of_a_set,
    ],
    ids=["seconds", "seconds as written", "samples", "steps of a speech encoder", "speech features", "set of pictures"],
)
def test_so_many_frames_are_so_many(count: Callable[[int], int]) -> None:
    assert [count(frames) for frames in range(1, 300)] == list(range(1, 300))


@pytest.mark.parametrize("fps", [25, 30, 60])
def test_a_frame_that_lacks_a_sample_is_none(fps: int) -> None:
    for frames in range(1, 1500):
        samples = -(-frames * SAMPLE_RATE // fps)
        assert whole_frames(samples, SAMPLE_RATE, fps=fps) == frames
        assert whole_frames(samples - 1, SAMPLE_RATE, fps=fps) == frames - 1


def _names(node: ast.AST) -> list[str]:
    return [getattr(part, "attr", getattr(part, "id", "")) for part in ast.walk(node)]


def test_numbers_of_frames_are_not_cut_off_elsewhere() -> None:
    """`int(seconds * FPS)` is a frame short for 1.16 s, so this is done in one place."""
    cut = set()
    for path in (path for folder in FOLDERS for path in folder.rglob("*.py")):
        text, name = path.read_text(), path.relative_to(ROOT.parent).as_posix()
        if not re.search(r"\bint\(.*[*/]", text) or name in OTHERS:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "int" and node.args:
                inner = node.args[0]
                if isinstance(inner, ast.BinOp) and any(_RATE.search(word) for word in _names(inner)):
                    cut.add(f"{name}:{node.lineno}")
    assert not cut, "Use dawn_bench.clip.whole_frames, or say in OTHERS of this file why not."
