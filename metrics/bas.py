"""BAS, Beat Align Score: does head motion pause on the beats of the sound?

Formula, smoothing and direction follow Bailando (Siyao et al. 2022, `utils/beat_align_score.py`): the mean over the
sound's beats of exp(-d^2 / 2 sigma^2), d being the distance in frames to the nearest motion beat, a moment of rest.
Talking-head papers do not state their choices; the values they print fit this direction and not AI Choreographer's
(`bas_direction=motion`). Motion is that of a rigid head under the estimated pose, so the mouth does not count. Beats
come from librosa's beat tracker, or are its onsets (`bas_audio=onset`), on an envelope of one value a frame
(`bas_hop=512`: librosa's default of 31 a second, whose beats lie between frames). `bas_points=rotation` ignores
translation. Undefined where either side has no beat: such clips are counted and excluded.

A still or jittery head scores at random: the value nearest to the ground truth's is best, not the highest.
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

    group = "motion"
    name, title, target, order = "bas", "BAS", "truth", 80
    description = (
        "Beat align score: how close the beats of the head motion lie to the beats of the sound. A still or jittery "
        "head scores at random, so the value nearest to the ground truth's is best, not the highest."
    )
    needs = ("headpose", "onset")
    compares = False
    shows = ("face", "motion")

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's score; weight 0 where sound or motion has no beat."""
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
