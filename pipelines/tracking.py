"""Follow faces through a clip, frame by frame, holding no frames.

A detector runs every few frames, at scene cuts and after a miss; between, each face's box follows from its previous
points. Scene cuts show in the mean difference of 32×32 gray thumbnails: at most 12 within shots and at least 38 at
cuts of real clips, so 20 separates them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.base import FaceBackend, box_around

DETECT_EVERY = 5
CUT_THRESHOLD = 20.0
#: More faces at once than this are counted, not followed.
MAX_TRACKS = 3
_SAME_FACE_IOU = 0.3
_TRUST_POINTS_IOU = 0.5
_SAME_PLACE_IOU = 0.1


@dataclass
class Track:
    """One face through time: its points (68,2) by frame, where they were found."""

    number: int
    points: dict[int, np.ndarray] = field(default_factory=dict)
    missed: int = 0  # frames since the face was last found

    @property
    def last(self) -> np.ndarray:
        """The points most recently found."""
        return next(reversed(self.points.values()))

    def size(self) -> float:
        """Median side of the face box, pixels."""
        return float(np.median([np.ptp(p[:, 0]) for p in self.points.values()]))


class Tracker:
    """Call `step` with every frame in order, then `choose` and `result`.

    `max_gap` is the longest run of frames without the face that is bridged; a longer one in which no followed face
    is in sight raises `ItemError("no_face")` at once, since the clip is lost.
    """

    def __init__(self, backend: FaceBackend, *, max_gap: int) -> None:
        self.backend, self.max_gap = backend, max_gap
        self.n_frames = 0
        self.cuts: list[int] = []
        self.faces_max = 0
        self._tracks: list[Track] = []
        self._next_number = 0
        self._kept: Track | None = None
        self._is_cut = CutDetector()
        self._last_detection = -DETECT_EVERY
        self._new_shot = False  # a cut was seen, and no face since

    def step(self, frame: np.ndarray) -> None:
        """Take the next uint8 RGB frame (H,W,3)."""
        t = self.n_frames
        self.n_frames += 1
        cut = self._is_cut(frame)
        if cut:
            self.cuts.append(t)
            self._new_shot = True
        alive = self._alive()
        searching = not alive or any(track.missed for track in alive)
        replace = self._new_shot  # boxes come from the detector, not from the last shot's points
        if cut or searching or t - self._last_detection >= DETECT_EVERY:
            self._last_detection = t
            found = self._match(frame, alive)
        else:
            found = {track.number: (track, box_around(track.last)) for track in alive}
        for track, box in found.values():
            points = self.backend.landmarks(frame, box)
            if np.isnan(points).any() or _iou(box_around(points), box) < _SAME_PLACE_IOU:
                continue  # nothing there, or the points fled to another face
            if not track.points or replace:  # the detector's box is rough: place the points again in a box of their own
                points = self.backend.landmarks(frame, box_around(points))
            track.points[t], track.missed = points, 0
        self._tracks = [track for track in self._tracks if track.points]
        for track in alive:
            track.missed += t not in track.points
        if not self._alive() and t + 1 - self._last_seen() > self.max_gap:
            raise self._lost(t)

    @property
    def n_tracks(self) -> int:
        """How many faces were followed so far."""
        return len(self._tracks)

    def choose(self) -> Track:
        """The track in sight for most frames, the larger face on a tie; raises `ItemError("no_face")` for none."""
        if not self._tracks:
            raise self._lost(self.n_frames - 1)
        return max(self._tracks, key=lambda track: (len(track.points), track.size()))

    def keep(self, track: Track) -> None:
        """From here on follow this face alone."""
        self._kept = track

    def result(self, track: Track) -> tuple[np.ndarray, np.ndarray]:
        """Points float32 (T,68,2) of one track and valid bool (T,), False where they were interpolated.

        Raises `ItemError("no_face")` when a gap is longer than `max_gap`.
        """
        seen = np.array(list(track.points))
        valid = np.zeros(self.n_frames, bool)
        valid[seen] = True
        edges = np.concatenate([[-1], seen, [self.n_frames]])
        gaps = np.diff(edges) - 1
        if gaps.max() > self.max_gap:
            where = edges[gaps.argmax()] + 1
            raise ItemError(
                "no_face",
                f"the face is out of sight for {gaps.max()} frames from {where / FPS:.2f} s on "
                f"(found in {valid.mean():.0%} of the frames)",
            )
        rows = np.stack(list(track.points.values())).reshape(len(seen), -1)
        times = np.arange(self.n_frames)
        filled = np.stack([np.interp(times, seen, column) for column in rows.T], axis=1)
        return filled.reshape(-1, 68, 2).astype(np.float32), valid

    def _alive(self) -> list[Track]:
        followed = self._tracks if self._kept is None else [self._kept]
        return [track for track in followed if track.missed <= self.max_gap]

    def _last_seen(self) -> int:
        followed = self._tracks if self._kept is None else [self._kept]
        return max((max(track.points) + 1 for track in followed), default=0)

    def _lost(self, t: int) -> ItemError:
        seen = len(set().union(*(track.points for track in self._tracks)))
        if not seen:
            return ItemError("no_face", f"no face in the first {t + 1} frames (found in 0 % of them)")
        where = self._last_seen() / FPS
        return ItemError(
            "no_face",
            f"no face for {t + 1 - self._last_seen()} frames from {where:.2f} s on "
            f"(found in {seen / (t + 1):.0%} of the frames up to there)",
        )

    def _match(self, frame: np.ndarray, alive: list[Track]) -> dict[int, tuple[Track, np.ndarray]]:
        """Detect, and give each box to the track whose face it is, or to a new one."""
        cut = self._new_shot
        sides = [float(np.ptp(box_around(track.last)[::2])) for track in alive]
        boxes = self.backend.detect(frame, expect=max(sides) if sides and not cut else None)
        self._new_shot = cut and not len(boxes)
        self.faces_max = max(self.faces_max, len(boxes))
        left = list(range(len(boxes)))
        found: dict[int, tuple[Track, np.ndarray]] = {}
        for track in sorted(alive, key=lambda track: -len(track.points)):
            own = box_around(track.last)
            overlaps = [_iou(own, boxes[i]) for i in left]
            if overlaps and max(overlaps) > _SAME_FACE_IOU:
                best = int(np.argmax(overlaps))
                trusted = overlaps[best] > _TRUST_POINTS_IOU and not cut
                found[track.number] = track, own if trusted else boxes[left[best]]
                del left[best]
            elif cut and left:  # after a cut the clip's face may be anywhere: the largest goes on as the longest track
                found[track.number] = track, boxes[left.pop(0)]
        if self._kept is None:
            for i in left[: max(0, MAX_TRACKS - len(alive))]:
                track = Track(number=self._next_number)
                self._next_number += 1
                self._tracks.append(track)
                found[track.number] = track, boxes[i]
        return found


class CutDetector:
    """Call with every frame in order; True at the first frame of a new scene."""

    def __init__(self) -> None:
        self._thumbnail: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> bool:
        step = max(1, min(frame.shape[:2]) // 128)  # every pixel of a large frame would cost more than it tells
        gray = cv2.cvtColor(np.ascontiguousarray(frame[::step, ::step]), cv2.COLOR_RGB2GRAY)
        thumbnail = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._thumbnail = self._thumbnail, thumbnail
        return before is not None and float(np.abs(thumbnail - before).mean()) > CUT_THRESHOLD


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inner = float(np.prod(np.maximum(sides, 0)))
    return inner / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - inner)
