"""What validation says of generated talking clips, whatever made them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.training.mouth import correlation, landmarks_where_true, mouth_opening
from dawn_bench.training.validation import Validation, psnr, rows, side_by_side, ssim


def mouth_agreement(clip: Clip, made: np.ndarray) -> float:
    """Correlation of a clip's true mouth opening with that of its first T frames as generated, uint8 (T,S,S,3)."""
    landmarks = np.asarray(clip["landmarks"][: len(made)])
    seen = landmarks_where_true(made, landmarks, pick_backend("auto"))
    return correlation(mouth_opening(seen), mouth_opening(landmarks))


def beside_truth(made: Iterable[tuple[Clip, np.ndarray]]) -> Validation:
    """Clips, each with its first T frames as generated, uint8 (T,S,S,3), with the true head pose.

    PSNR in dB and SSIM against the truth, and `mouth_r`, how the mouths agree, which picks the best. Each clip's
    picture shows its first frame, the one with the widest mouth, and that one as generated.
    """
    found: dict[str, list[float]] = {"psnr": [], "ssim": [], "mouth_r": []}
    pictures, videos = [], {}
    for clip, frames in made:
        truth, landmarks = (np.asarray(clip[name][: len(frames)]) for name in ("frames", "landmarks"))
        found["psnr"].append(psnr(frames, truth))
        found["ssim"].append(ssim(frames, truth))
        found["mouth_r"].append(mouth_agreement(clip, frames))
        widest = int(np.nan_to_num(mouth_opening(landmarks)).argmax())
        pictures.append(side_by_side(truth[0], truth[widest], frames[widest]))
        videos[clip.id] = side_by_side(truth, frames)
    values = {name: float(np.mean(each)) for name, each in found.items()}
    return Validation(values, "mouth_r", pictures={"source-truth-made": rows(np.stack(pictures))}, videos=videos)
