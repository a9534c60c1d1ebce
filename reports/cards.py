"""What each metric means, for readers of a report: label, aim and one paragraph. Texts only; numbers live in metrics/.

A metric without a text here (one that another package brings) is shown with the facts that its rows carry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

#: `truth`: best where nearest to the ground truth's value; `zero`: best where nearest to zero; `none`: not ranked.
Aim = Literal["higher", "lower", "truth", "zero", "none"]

ARROWS: dict[Aim, str] = {"higher": "↑", "lower": "↓", "truth": "→ GT", "zero": "→ 0", "none": ""}
AIM_WORDS: dict[Aim, str] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "truth": "better the nearer to the ground truth's value",
    "zero": "better the nearer to zero",
    "none": "not ranked",
}


@dataclass(frozen=True)
class MetricText:
    """Label for columns, the sentence for the card, and the aim where it is neither higher nor lower."""

    label: str
    what: str
    aim: Aim | None = None


_FVD = (
    "Fréchet distance between I3D logits of {n}-frame windows of the generated and of the true videos. Picture quality "
    "and motion together; biased upwards when there are few windows, so compare only at equal counts."
)
_DR = (
    "Degradation rate: FID of the last {n} frames over FID of the first {n}, minus one. Shows errors that pile up over "
    "a clip; only clips of at least {m} frames count."
)

#: In the order of the leaderboard's columns.
TEXTS: dict[str, MetricText] = {
    "fid": MetricText(
        "FID",
        "Fréchet distance between Inception features of generated and true frames. Picture quality; biased upwards "
        "when there are few frames, so compare only at equal counts.",
    ),
    "fvd16": MetricText("FVD16", _FVD.format(n=16)),
    "fvd32": MetricText("FVD32", _FVD.format(n=32)),
    "lsec": MetricText(
        "LSE-C", "SyncNet confidence: how much better lips and speech fit at their best offset than at a usual one."
    ),
    "lsed": MetricText("LSE-D", "SyncNet distance between lips and speech at their best offset."),
    "lseoffset": MetricText(
        "Offset", "The shift between picture and sound at which SyncNet finds them to fit.", "zero"
    ),
    "csim": MetricText(
        "CSIM", "Cosine similarity of face embeddings of generated and true frame, frame by frame. Identity."
    ),
    "bas": MetricText(
        "BAS",
        "Beat align score: how close head motion beats lie to the beats of the sound. Still or jittery heads score at "
        "random, so nearness to the ground truth counts, not height.",
        "truth",
    ),
    "blinks": MetricText("Blink/s", "Blinks a second, counted as sharp closings of the eye aspect ratio.", "truth"),
    "dr25": MetricText("DR25", _DR.format(n=25, m=50), "zero"),
    "dr50": MetricText("DR50", _DR.format(n=50, m=100), "zero"),
    "psnr": MetricText("PSNR", "Peak signal-to-noise ratio against the true frame, mean over frames."),
    "ssim": MetricText("SSIM", "Structural similarity to the true frame (Gaussian window, RGB), mean over frames."),
    "lpips": MetricText("LPIPS", "Distance of deep features of generated and true frame, mean over frames."),
    "lve": MetricText("LVE", "Lip vertex error: the largest squared error over the lip's vertices, mean over frames."),
    "fdd": MetricText(
        "FDD", "How much livelier the true upper face is than the generated one, in spread over time.", "zero"
    ),
    "mve": MetricText("MVE", "Mean vertex error over the whole face."),
}

_ALIASES = {"blinkrate": "blinks", "blinkpersecond": "blinks", "blinkspersecond": "blinks", "blink": "blinks"}
_ALIASES |= {"offset": "lseoffset", "syncoffset": "lseoffset"}


def key(metric: str) -> str:
    """The name under which `TEXTS` knows a metric: lower case, letters and digits only (`LSE-C`, `lse_c` → `lsec`)."""
    plain = re.sub(r"[^a-z0-9]", "", metric.lower())
    return _ALIASES.get(plain, plain)


def text_of(metric: str) -> MetricText:
    """The text of `metric`, or one that only repeats its name."""
    return TEXTS.get(key(metric), MetricText(metric, ""))


def order(metric: str) -> tuple[int, str]:
    """Sort key: known metrics in the order of `TEXTS`, others behind them by name."""
    names = list(TEXTS)
    return (names.index(key(metric)) if key(metric) in TEXTS else len(names), metric)
