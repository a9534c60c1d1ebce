"""SyncNet's lip and audio embeddings of a clip.

Two routes, which give different numbers and are never mixed:

* `direct` (the default): the whole frame, resized to 224 x 224 without keeping the aspect, as Wav2Lip's
  `calculate_scores_LRS.py` does. The only published route that can score frames of 128 px and clips of a few seconds.
* `tracked`: the crop around the tracked face, as in `run_pipeline.py`. A clip is treated as one shot, and its longest
  track is scored with the sound during it. S3FD detects the faces where its file is present; elsewhere the suite's own
  face back end does, and the score is marked as computed with stand-in weights.

A clip with fewer than 6 frames with sound has no window and fails as `too_short`. The canonical pipeline silently skips
all clips of up to 100 frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features.landmarks import face_needs, face_weights
from dawn_bench.metrics.functional.facetrack import MEDIAN, FaceTrack, crop, smoothed, tracks
from dawn_bench.metrics.functional.mfcc import mfcc
from dawn_bench.metrics.functional.sync import window_count
from dawn_bench.metrics.networks import s3fd, s3fd_wav2lip
from dawn_bench.metrics.networks.inference import exact_inference, for_inference
from dawn_bench.metrics.networks.s3fd_wav2lip import S3FDWav2Lip
from dawn_bench.metrics.networks.syncnet import AUDIO_WINDOW, LIP_WINDOW, MFCC_PER_FRAME, SIDE, SyncNet
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, TARGET, Arrays, Feature
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.faces.choice import NEAR, distance
from dawn_bench.weights import Policy, Resolved, load_into
from dawn_bench.weights_needs import Needs

#: Windows of the lip network per block of frames: limits memory, does not change the result.
BLOCK = 32
#: Face detectors of the tracked route by the registry names of their weights.
DETECTORS: dict[str, type[s3fd.S3FD] | type[S3FDWav2Lip]] = {"s3fd": s3fd.S3FD, "s3fd-wav2lip": S3FDWav2Lip}


@FEATURES.register("syncnet")
class SyncNetFeature(Feature):
    """`syncnet.lip` and `syncnet.audio`, float32 (N,1024): window i is frames i..i+4 and the sound during them.

    N is min(frames, whole frames of sound) - 5, the canonical count. The tracked route adds `syncnet.track` int64 (3,):
    the track's first and last frame and the number of frames; features of earlier versions lack it. Raises `ItemError`:
    `too_short`, and `no_face` where nothing can be tracked.
    """

    name, fields, version = "syncnet", ("frames", "audio"), 1
    device_bound = True

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.weights = self.use_weights("syncnet")
        self.detector_weights: Resolved | None = None
        if protocol.lse_route == "tracked":
            self.follows = "tracked"
            chosen = self.use_weights(_detector(protocol))
            if chosen.path is not None:
                self.detector_weights = chosen
            else:
                self.resolved += face_weights(pick_backend())

    @cached_property
    def network(self) -> SyncNet:
        """SyncNet with its weights, loaded when the first clip needs it."""
        network = SyncNet()
        load_into(network, self.weights)
        return network.eval().to(self.device)

    @cached_property
    def detector(self) -> s3fd.S3FD | S3FDWav2Lip:
        """The face detector of the tracked route with its weights."""
        assert self.detector_weights is not None
        network = DETECTORS[_detector(self.protocol)]()
        load_into(network, self.detector_weights)
        for_inference(network, device=self.device)
        return network

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """SyncNet; for the tracked route also the face detector, and the face points that tell several people apart."""
        if protocol.lse_route == "direct":
            return (("syncnet",),)
        return (("syncnet",), (_detector(protocol),), *face_needs())

    def settings(self) -> Mapping[str, Any]:
        """The route; for the tracked one also the conditions on a track and the face detector."""
        p = self.protocol
        if p.lse_route == "direct":
            return {"route": "direct"}
        faces = pick_backend().fingerprint() if self.detector_weights is None else DETECTORS[_detector(p)].__name__
        return {"route": "tracked", "track": [p.lse_min_track, p.lse_min_face], "faces": faces}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """Lip and audio embeddings of all windows."""
        frames, sound = clip["frames"], np.asarray(clip["audio"])
        track: dict[str, np.ndarray] = {}
        if self.protocol.lse_route == "tracked":
            frames, sound, ends = self._tracked(clip.id, frames, sound, given.get(TARGET))
            track = {"syncnet.track": ends}
        count = window_count(len(frames), len(sound))
        if not count:
            raise ItemError(
                "too_short", f"{clip.id} has {len(frames)} frames, {len(sound)} samples; SyncNet needs 6 frames of both"
            )
        with exact_inference():
            return {"syncnet.lip": self._lips(frames, count), "syncnet.audio": self._audio(sound, count), **track}

    def _lips(self, frames: np.ndarray, count: int) -> np.ndarray:
        batch = 4 if self.device == "cpu" else BLOCK
        parts = []
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count) + LIP_WINDOW - 1
            squashed = np.stack([cv2.resize(frame, (SIDE, SIDE)) for frame in frames[start:stop]])
            bgr = torch.from_numpy(squashed[..., ::-1].copy()).to(self.device).permute(0, 3, 1, 2).float()
            parts.append(self.network.lips(bgr, batch=batch).cpu().numpy())
        return np.concatenate(parts)

    def _audio(self, sound: np.ndarray, count: int) -> np.ndarray:
        features = mfcc(sound).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(features, AUDIO_WINDOW, axis=0)[::MFCC_PER_FRAME][:count]
        batch = torch.from_numpy(windows[:, None].copy()).to(self.device)
        return self.network.audio(batch).cpu().numpy()

    def _tracked(
        self, clip_id: str, frames: np.ndarray, sound: np.ndarray, target: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crops uint8 (N,224,224,3) of the longest track, the sound during it, and `syncnet.track`.

        With a `target` (T,4), of the longest track at its place.
        """
        candidates = tracks(
            self._detect(frames), more_than=self.protocol.lse_min_track, larger_than=self.protocol.lse_min_face
        )
        # shorter than half the smoothing filter, a track would be smoothed to a box without a size
        candidates = [track for track in candidates if len(track.frames) > MEDIAN // 2]
        if target is not None:
            candidates = [track for track in candidates if _is_at(track, target)]
        if not candidates:
            where = "" if target is None else " at the place of the true clip's"
            raise ItemError("no_face", f"{clip_id} has no face that can be tracked{where}")
        longest = max(candidates, key=lambda track: len(track.frames))
        places = zip(longest.frames, *smoothed(longest.boxes), strict=True)
        crops = np.stack([crop(frames[t], x, y, half) for t, x, y, half in places])
        first, last = longest.frames[[0, -1]]
        return (
            crops,
            sound[first * SAMPLES_PER_FRAME : (last + 1) * SAMPLES_PER_FRAME],
            np.array([first, last, len(frames)]),
        )

    def _detect(self, frames: np.ndarray) -> list[np.ndarray]:
        """Boxes (n,4) of every frame."""
        if self.detector_weights is not None:
            if isinstance(self.detector, S3FDWav2Lip):
                return [s3fd_wav2lip.detect(self.detector, frame)[:, :4] for frame in frames]
            # The canonical scale is 0.25, for large frames; smaller ones keep a short side of 128 px.
            scale = min(1.0, max(0.25, 128 / min(frames.shape[1:3])))
            return [s3fd.detect(self.detector, frame, scale=scale)[:, :4] for frame in frames]
        backend = pick_backend()
        return [backend.detect(np.ascontiguousarray(frame)) for frame in frames]


def _detector(protocol: ScoringProtocol) -> str:
    """The registry name of the tracked route's face detector."""
    return "s3fd-wav2lip" if protocol.lse_detector == "wav2lip" else "s3fd"


def _is_at(track: FaceTrack, target: np.ndarray) -> bool:
    """Whether a track lies at the target (T,4), half of the time at least."""
    return float(np.median(distance(track.boxes, target[track.frames]))) <= NEAR
