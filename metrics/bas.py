"""BAS, Beat Align Score: do the head's rests meet the beats of the sound?

Formula, smoothing and direction of Bailando (Siyao et al. 2022, `utils/beat_align_score.py`): mean over the sound's
beats of exp(-d^2 / 2 sigma^2), d the frames to the nearest rest of the motion. Talking-head papers do not say what
they took; the values they print fit this direction and not AI Choreographer's (`bas_direction=motion`). The motion is
that of a rigid head under the estimated pose, so that the mouth does not count; the beats are librosa's beat tracker's,
or its onsets (`bas_audio=onset`), at one value a frame (`bas_hop=512`: librosa's usual 31 a second, whose beats lie
between frames; `bas_points=rotation`: the head turns on the spot). Undefined where either side has no beat: such
clips are counted and left out.

A still or trembling head scores at random: read nearness to the ground truth's value, not height.
"""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.metrics.functional.beats import SAMPLE_RATE, alignment, beat_frames, motion_beats, onset_frames
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric
from dawn_bench.pipelines.extractors.head import HEAD
from dawn_bench.pipelines.extractors.pose import rotation_matrix


@METRICS.register("bas")
class Bas(RatioMetric):
    """Mean over clips of the clip's score, 0..1."""

    name, title = "bas", "BAS"
    needs = ("headpose", "onset")
    compares = False

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        p = self.protocol
        pose = generated["headpose"]
        if p.bas_points == "rotation":
            pose = np.column_stack([pose[:, :3], np.broadcast_to(pose[0, 3:], (len(pose), pose.shape[1] - 3))])
        motion = motion_beats(head_points(pose), smooth=p.bas_smooth)
        rate = SAMPLE_RATE / p.bas_hop
        sound = (beat_frames if p.bas_audio == "beat" else onset_frames)(generated["onset"], rate=rate) * (FPS / rate)
        n_frames = len(generated["headpose"])
        if not len(motion) or not len(sound):
            return Part(0, 0, n_frames=n_frames)
        pair = (sound, motion) if p.bas_direction == "audio" else (motion, sound)
        return Part(alignment(*pair, sigma=p.bas_sigma), 1, n_frames=n_frames)


def head_points(pose: np.ndarray) -> np.ndarray:
    """The rigid head's points float64 (T,K,3) under pose (T,7), in pixels of a picture 120 px wide."""
    turned = np.einsum("tij,kj->tki", rotation_matrix(pose[:, :3]), HEAD) * pose[:, None, 3:4]
    turned[..., :2] += pose[:, None, 4:6]
    return turned
