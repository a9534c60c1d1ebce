"""Validation of generated talking clips, for any model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.training.mouth import correlation, landmarks_where_true, mouth_opening
from dawn_bench.training.validation import Validation, psnr, rows, side_by_side, ssim


def mouth_agreement(clip: Clip, generated: np.ndarray) -> float:
    """Correlation of the mouth openings of a clip and of `generated`, its first T frames, uint8 (T,S,S,3)."""
    landmarks = np.asarray(clip["landmarks"][: len(generated)])
    seen = landmarks_where_true(generated, landmarks, pick_backend("auto"))
    return correlation(mouth_opening(seen), mouth_opening(landmarks))


def compare_with_truth(generated: Iterable[tuple[Clip, np.ndarray]]) -> Validation:
    """Compare clips with their first T frames as generated with the true head pose, uint8 (T,S,S,3).

    PSNR in dB and SSIM against the ground truth, and `mouth_r`, the correlation of mouth openings, which selects the
    best checkpoint. A clip's image shows its first frame, the frame with the widest mouth, and the latter as generated.
    """
    scores: dict[str, list[float]] = {"psnr": [], "ssim": [], "mouth_r": []}
    pictures, videos = [], {}
    for clip, frames in generated:
        truth, landmarks = (np.asarray(clip[name][: len(frames)]) for name in ("frames", "landmarks"))
        scores["psnr"].append(psnr(frames, truth))
        scores["ssim"].append(ssim(frames, truth))
        scores["mouth_r"].append(mouth_agreement(clip, frames))
        widest = int(np.nan_to_num(mouth_opening(landmarks)).argmax())
        pictures.append(side_by_side(truth[0], truth[widest], frames[widest]))
        videos[clip.id] = side_by_side(truth, frames)
    values = {name: float(np.mean(each)) for name, each in scores.items()}
    return Validation(values, "mouth_r", pictures={"source-truth-made": rows(np.stack(pictures))}, videos=videos)
