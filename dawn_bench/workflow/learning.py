"""What training must show, even tiny: falling losses, a generator that beats copying, lips that follow the sound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dawn_bench.baselines.formats import read_output
from dawn_bench.baselines.outputs import OK, Output
from dawn_bench.clip import Clip
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pixels import psnr, to_unit
from dawn_bench.reports.store import LearningSignal
from dawn_bench.training.mouth import correlation, frame_landmarks, mouth_opening


def read_curve(path: Path) -> list[dict[str, float]]:
    """The lines of a stage's `metrics.jsonl`."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def loss_falls(run: Path, stage: str) -> LearningSignal:
    """The mean total loss of the last fifth of the log against that of the first tenth."""
    values = np.array([line["total"] for line in read_curve(run / stage / "metrics.jsonl")])
    if len(values) < 5:
        return LearningSignal(signal=f"{stage}: loss falls", value=None, passed=False, note="too few logged steps")
    first, last = values[: max(1, len(values) // 10)].mean(), values[-max(1, len(values) // 5) :].mean()
    return LearningSignal(
        signal=f"{stage}: loss falls",
        value=float(last),
        baseline=float(first),
        passed=bool(last < first),
        note="mean of the last fifth, of the first tenth",
    )


@torch.no_grad()
def lfg_beats_copying(
    lfg: LFG, clips: Sequence[Clip], *, pairs: int = 32, seed: int = 0, device: str = "cpu"
) -> LearningSignal:
    """PSNR in dB of rebuilt held-out frames against that of the source frame itself, over random pairs of frames."""
    rng = np.random.default_rng(seed)
    rebuilt, copied = [], []
    lfg = lfg.to(device).eval()
    for _ in range(pairs):
        clip = clips[int(rng.integers(len(clips)))]
        first, second = rng.choice(clip.n_frames, size=2, replace=False)
        source, driving = (_picture(clip["frames"][i], device) for i in (first, second))
        prediction = lfg(source, driving).prediction_BCSS.clamp(0, 1)
        rebuilt.append(_psnr(prediction, driving))
        copied.append(_psnr(source, driving))
    value, baseline = float(np.mean(rebuilt)), float(np.mean(copied))
    return LearningSignal(
        signal="LFG rebuilds held-out frames better than copying (PSNR, dB)",
        value=value,
        baseline=baseline,
        passed=value > baseline,
        note=f"{pairs} pairs of {len(clips)} held-out clips",
    )


def lips_follow_sound(
    heard: dict[str, Output], shuffled: dict[str, Output], clips: Sequence[Clip], backend: FaceBackend
) -> LearningSignal:
    """Correlation of generated with true mouth opening, mean over clips; baseline: the same model with other sound."""
    own: list[float] = []
    other: list[float] = []
    for clip in clips:
        if heard[clip.id].status != OK or shuffled[clip.id].status != OK:
            continue
        truth = mouth_opening(clip["landmarks"])
        for outputs, values in ((heard, own), (shuffled, other)):
            path = outputs[clip.id].path
            assert path is not None
            opening = mouth_opening(frame_landmarks(read_output(path, clip)["frames"], backend))
            values.append(correlation(opening, truth[: len(opening)]))
    name = "generated mouth opening follows the sound (correlation)"
    if not own:
        return LearningSignal(signal=name, value=None, passed=False, note="no clip was generated both ways")
    value, baseline = float(np.mean(own)), float(np.mean(other))
    note = f"{len(own)} held-out clips; baseline: another clip's sound"
    return LearningSignal(signal=name, value=value, baseline=baseline, passed=value > baseline, note=note)


def _psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(psnr(torch.mean((a - b) ** 2).item(), peak=1.0))


def _picture(frame: np.ndarray, device: str) -> torch.Tensor:
    return to_unit(torch.as_tensor(np.array(frame), device=device).permute(2, 0, 1)[None])
