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

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch

from dawn_bench.ahead import ahead
from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import ItemError
from dawn_bench.lazy import LazyRows, each_row, stretch
from dawn_bench.metrics.features.landmarks import face_needs, face_weights
from dawn_bench.metrics.functional.distinct import content_digest, distinct_batches
from dawn_bench.metrics.functional.facetrack import MEDIAN, FaceTrack, crop, smoothed, tracks
from dawn_bench.metrics.functional.mfcc import mfcc
from dawn_bench.metrics.functional.sync import window_count
from dawn_bench.metrics.networks import s3fd, s3fd_wav2lip
from dawn_bench.metrics.networks.inference import beside, exact_inference, for_inference, uploaded
from dawn_bench.metrics.networks.s3fd_wav2lip import S3FDWav2Lip
from dawn_bench.metrics.networks.syncnet import AUDIO_WINDOW, EMBEDDING, LIP_WINDOW, MFCC_PER_FRAME, SIDE, SyncNet
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, TARGET, Arrays, Feature
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.faces.choice import NEAR, distance
from dawn_bench.text import counted
from dawn_bench.weights import Policy, Resolved, load_into
from dawn_bench.weights_needs import Needs

#: Windows of the lip network per block of frames: limits memory, does not change the result.
BLOCK = 32
#: Sound windows at once: 41 s.
AUDIO_BLOCK = 1024
#: Frames or samples of what a part does not read, which does not limit its windows.
_ANY = 1 << 40
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

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        """Lips, and on the direct route sound, of windows that the other one may lack."""
        return {"lip": ("frames",)} | ({"audio": ("audio",)} if self.protocol.lse_route == "direct" else {})

    def run_part(self, part: str, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """`syncnet.lip` and `syncnet.track`, or `syncnet.audio`, of a clip as long as either."""
        if part == "audio":
            sound = np.asarray(clip["audio"])
            return {"syncnet.audio": self._audio(sound, window_count(_ANY, len(sound)))}
        frames, track = clip["frames"], dict[str, np.ndarray]()
        if self.protocol.lse_route == "tracked":
            frames, track["syncnet.track"] = self._tracked(clip.id, frames, given.get(TARGET))
        return {"syncnet.lip": self._lips(frames, window_count(len(frames), _ANY)), **track}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """Lip and audio embeddings of all windows; `given` may hold those of its parts."""
        if "audio" in self.parts and (count := min(len(given.get(f"syncnet.{part}", ())) for part in self.parts)):
            return {f"syncnet.{part}": given[f"syncnet.{part}"][:count] for part in self.parts}  # nothing is decoded
        sound, n_frames = np.asarray(clip["audio"]), len(clip["frames"])
        lips = given if "syncnet.lip" in given else self.run_part("lip", clip, given)
        track = {name: lips[name] for name in ("syncnet.track",) if name in lips}
        if track:
            first, last, _ = lips["syncnet.track"]
            sound, n_frames = sound[first * SAMPLES_PER_FRAME : (last + 1) * SAMPLES_PER_FRAME], last + 1 - first
        count = window_count(n_frames, len(sound))
        if not count:
            raise ItemError(
                "too_short",
                f"{clip.id} has {counted(n_frames, 'frame')}, {counted(len(sound), 'sample')}; "
                "SyncNet needs 6 frames of both",
            )
        heard = given["syncnet.audio"] if "syncnet.audio" in given else self._audio(sound, count)
        return {"syncnet.lip": lips["syncnet.lip"][:count], "syncnet.audio": heard[:count], **track}

    def _lips(self, frames: np.ndarray, count: int) -> np.ndarray:
        """Embeddings (count,1024) of the lip windows; a window whose frames were seen before is not run again."""
        table, batch = np.zeros((0, EMBEDDING), np.float32), 4 if self.device == "cpu" else BLOCK
        blocks = _new_windows(stretch(frames, 0, count + LIP_WINDOW - 1), count, batch)
        for part, squashed, numbers in ahead(blocks) if beside(self.device) else blocks:
            if squashed is not None:
                bgr = uploaded(squashed, self.device).permute(0, 3, 1, 2).float()
                rows = self._run(self.network.lips, bgr, batch=batch)
                table = table if len(table) else np.empty((count, *rows.shape[1:]), rows.dtype)
                table[part] = rows
            table[numbers.start : numbers.start + len(numbers.rows)] = table[numbers.rows]
        return table

    def _audio(self, sound: np.ndarray, count: int) -> np.ndarray:
        if not count:
            return np.zeros((0, EMBEDDING), np.float32)
        features = mfcc(sound).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(features, AUDIO_WINDOW, axis=0)[::MFCC_PER_FRAME][:count]
        parts = []
        for part in np.array_split(windows, -(-count // AUDIO_BLOCK)):
            batch = uploaded(part[:, None].copy(), self.device)
            parts.append(self._run(self.network.audio, batch))
        return np.concatenate(parts)

    def _run(self, tower: Callable[..., torch.Tensor], *given: torch.Tensor, **named: int) -> np.ndarray:
        with exact_inference():
            return tower(*given, **named).cpu().numpy()

    def _tracked(self, clip_id: str, frames: np.ndarray, target: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Crops uint8 (N,224,224,3) of the longest track, and `syncnet.track`.

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
        first, last = longest.frames[[0, -1]]
        crops = FaceCrops(stretch(frames, first, last + 1), *smoothed(longest.boxes))
        return cast(np.ndarray, crops), np.array([first, last, len(frames)])

    def _detect(self, frames: np.ndarray) -> list[np.ndarray]:
        """Boxes (n,4) of every frame; of equal frames only the first is searched."""
        numbers, size = list[int](), 1 if self.device == "cpu" else BLOCK
        batches = distinct_batches(each_row(frames), numbers, size=size)
        detector = None if self.detector_weights is None else self.detector
        boxes = [rows[:, :4] for batch in batches for rows in _search(detector, batch)]
        return [boxes[number] for number in numbers]


def _search(detector: s3fd.S3FD | S3FDWav2Lip | None, frames: np.ndarray) -> list[np.ndarray]:
    """Boxes (n,4 or 5) of each of some frames (N,H,W,3), by the face back end where there is no detector."""
    if detector is None:
        return [pick_backend().detect(frame) for frame in frames]
    if isinstance(detector, S3FDWav2Lip):
        if len(frames) > 1:
            return s3fd_wav2lip.detect_batch(detector, frames)
        return [s3fd_wav2lip.detect(detector, frames[0])]
    # The canonical scale is 0.25, for large frames; smaller ones keep a short side of 128 px.
    scale = min(1.0, max(0.25, 128 / min(frames.shape[1:3])))
    if len(frames) > 1:
        return s3fd.detect_batch(detector, frames, scale=scale)
    return [s3fd.detect(detector, frames[0], scale=scale)]


class FaceCrops(LazyRows):
    """Crops uint8 (N,224,224,3) around a face at centres `x`, `y` (N,) with half sides `half` (N,), cut when read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, frames: np.ndarray, x: np.ndarray, y: np.ndarray, half: np.ndarray) -> None:
        self.frames, self.places, self.shape = frames, (x, y, half), (len(frames), SIDE, SIDE, 3)

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        rows = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        for place, (k, frame) in enumerate(zip(numbers, self.frames[list(numbers)], strict=True)):
            rows[place] = crop(frame, *(values[k] for values in self.places))
        return rows


class _Numbers(NamedTuple):
    """The rows of the table that the windows of a block, from `start` on, are equal to."""

    start: int
    rows: list[int]


def _new_windows(frames: np.ndarray, count: int, batch: int) -> Iterator[tuple[slice, np.ndarray | None, _Numbers]]:
    """Block after block of windows: the rows that are to be computed, their frames, and the rows that each one has.

    The frames are uint8 (n+4,224,224,3) in the order blue, green, red; None where every window was there before.
    """
    seen: dict[bytes, int] = {}
    for start, block in _blocks_of_windows(frames, count):
        digests = [content_digest(frame) for frame in block]
        keys = [b"".join(digests[i : i + LIP_WINDOW]) for i in range(len(block) - LIP_WINDOW + 1)]
        new = [i for i, key in enumerate(keys) if seen.setdefault(key, start + i) == start + i]
        numbers = _Numbers(start, [seen[key] for key in keys])
        if not new:
            yield slice(0), None, numbers
            continue
        # one window alone takes another kernel, whose last bits differ
        first = max(0, min(new[0], len(keys) - batch))
        last = min(len(keys), max(new[-1] + 1, first + batch))
        squashed = np.stack([cv2.resize(f, (SIDE, SIDE)) for f in block[first : last + LIP_WINDOW - 1]])
        yield slice(start + first, start + last), squashed[..., ::-1].copy(), numbers


def _blocks_of_windows(frames: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """The number of the first window of each block, and its frames: `BLOCK` windows, fewer in the last."""
    kept = np.empty((0, *frames.shape[1:]), frames.dtype)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count) + LIP_WINDOW - 1
        kept = np.concatenate([kept[-(LIP_WINDOW - 1) :], frames[start + min(len(kept), LIP_WINDOW - 1) : stop]])
        yield start, kept


def _detector(protocol: ScoringProtocol) -> str:
    """The registry name of the tracked route's face detector."""
    return "s3fd-wav2lip" if protocol.lse_detector == "wav2lip" else "s3fd"


def _is_at(track: FaceTrack, target: np.ndarray) -> bool:
    """Whether a track lies at the target (T,4), half of the time at least."""
    return float(np.median(distance(track.boxes, target[track.frames]))) <= NEAR
