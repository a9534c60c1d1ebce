"""Learning signal of DAWN: the LFG reconstructs held-out frames better than copying the source frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dawn_bench.clip import Clip
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.pixels import from_frames, psnr
from dawn_bench.results import LearningSignal
from dawn_bench.text import counted
from dawn_bench.training.loop import MODEL_FILE


def signals(run: Path, clips: Sequence[Clip], *, seed: int, device: str) -> list[LearningSignal]:
    """The signals of a trained run on held-out clips, in addition to falling losses."""
    return [lfg_beats_copying(load_checkpoint(run / "lfg" / MODEL_FILE, "lfg")[0], clips, seed=seed, device=device)]


@torch.no_grad()
def lfg_beats_copying(
    lfg: LFG, clips: Sequence[Clip], *, pairs: int = 32, seed: int = 0, device: str = "cpu"
) -> LearningSignal:
    """PSNR in dB of reconstructed held-out frames; baseline: the source frame. Over random pairs of frames."""
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
        note=f"{counted(pairs, 'pair')} of {counted(len(clips), 'held-out clip')}",
    )


def _psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(psnr(torch.mean((a - b) ** 2).item(), peak=1.0))


def _picture(frame: np.ndarray, device: str) -> torch.Tensor:
    return from_frames(torch.as_tensor(np.array(frame), device=device)[None])
