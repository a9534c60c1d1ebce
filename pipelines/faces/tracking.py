"""Tracks faces through a clip frame by frame, without storing frames.

A detector runs every few frames, at scene cuts and after a miss; in between, each face box follows from the previous
landmarks. Where the back end supports it, most detections search only near the known faces, and the whole frame is
searched once per second. A face that is missed is looked for again (`gaps.py`): where it may have moved to, then with
the back end's second search, and in every frame as long as only that sees it. Scene cuts are detected from the mean
difference of 32×32 gray thumbnails: at most 12 within shots and at least 38 at cuts of real clips, so the threshold is
20.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.base import FaceBackend, box_around, overlap
from dawn_bench.pipelines.faces.choice import SMALL, SPEAKING, Face, choose
from dawn_bench.pipelines.faces.gaps import moved, thumbnail_of, verified_points
from dawn_bench.pipelines.faces.speaking import speaking_frames
from dawn_bench.text import counted

DETECT_EVERY = 5
#: Interval of full-frame searches where the back end offers a local search, in frames.
SEARCH_EVERY = 25
CUT_THRESHOLD = 20.0
#: Faces beyond this number at a time are counted but not tracked.
MAX_TRACKS = 3
_SAME_FACE_IOU = 0.3
_TRUST_POINTS_IOU = 0.5
_SAME_PLACE_IOU = 0.1
#: A face whose box overlaps that of the frame before by less is detected in each of the next `DETECT_EVERY` frames:
#: landmarks that follow it lag behind. In 40 real clips without gaps the least overlap is 0.82.
_FAST_IOU = 0.78


#: Boxes to place landmarks in, by track number.
_Boxes = dict[int, tuple["Track", np.ndarray]]


@dataclass
class Track:
    """One face over time: landmarks (68,2) by frame number, for the frames in which it was detected."""

    number: int
    points: dict[int, np.ndarray] = field(default_factory=dict)
    missed: int = 0  # frames since the face was last detected
    box: np.ndarray = field(default_factory=lambda: np.zeros(4, np.float32))  # around the latest landmarks
    thumbnail: np.ndarray | None = None  # of the face when it was last detected
    fast: int = 0  # number of frames to come in which it may move too fast for landmarks to follow
    second: bool = False  # whether the second search found the latest landmarks
    second_frames: int = 0  # number of frames in which it did

    def size(self) -> float:
        """Median side of the face box, pixels."""
        return float(np.median([np.ptp(p[:, 0]) for p in self.points.values()]))

    def speaking(self) -> int:
        """Number of frames in which the lips move as in speech."""
        return speaking_frames(np.stack(list(self.points.values())))

    def face(self) -> Face:
        """The facts by which one of several faces is chosen."""
        points = np.stack(list(self.points.values()))
        middle = np.median(points.mean(axis=1), axis=0)
        half = self.size() / 2
        return Face(np.concatenate([middle - half, middle + half]), len(self.points), speaking_frames(points))


class Tracker:
    """Tracks the faces of one clip: call `step` with each frame in order, then `choose` and `result`.

    Gaps of up to `max_gap` frames without the face are interpolated. A longer gap in which no tracked face is visible
    raises `ItemError("no_face")` at once, since the clip is unusable. `max_tracks` faces are followed at a time,
    and with `thorough` small ones are looked for beside a large one.
    """

    def __init__(
        self, backend: FaceBackend, *, max_gap: int, max_tracks: int = MAX_TRACKS, thorough: bool = False
    ) -> None:
        self.backend, self.max_gap, self.max_tracks, self.thorough = backend, max_gap, max_tracks, thorough
        self.n_frames = 0
        self.cuts: list[int] = []
        self.faces_max = 0
        self._tracks: list[Track] = []
        self._next_number = 0
        self._is_cut = CutDetector()
        self._detect_near: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = getattr(backend, "detect_near", None)
        self._second: Callable[..., np.ndarray] | None = getattr(backend, "search", None)
        self._last_detection, self._last_search, self._last_second = -DETECT_EVERY, -SEARCH_EVERY, -DETECT_EVERY
        self._new_shot = False  # after a cut, until a face is detected

    def step(self, frame: np.ndarray) -> None:
        """Process the next frame: uint8 RGB (H,W,3), or gray (H,W) for a back end with `takes_gray`."""
        t = self.n_frames
        self.n_frames += 1
        cut = self._is_cut(frame)
        if cut:
            self.cuts.append(t)
            self._new_shot = True
        alive = self._alive()
        searching = cut or not alive or any(track.missed for track in alive)
        replace = self._new_shot  # boxes come from the detector, not from the previous shot's landmarks
        second: _Boxes = {}
        due = t - self._last_detection >= DETECT_EVERY
        detecting = searching or due or any(track.second or track.fast for track in alive)
        if detecting:
            self._last_detection = t
            boxes = None
            if self._detect_near is not None and not searching and t - self._last_search < SEARCH_EVERY:
                boxes, second = self._search_near(self._detect_near, frame, alive)
            if boxes is None:
                self._last_search = t
                boxes, second = self._match(frame, alive)
        else:
            boxes = {track.number: (track, track.box) for track in alive}
        for track, box in boxes.values():
            points = self.backend.landmarks(frame, box)
            around = box_around(points)
            if np.isnan(around[0]) or overlap(around, box) < _SAME_PLACE_IOU:
                continue  # no face there, or the landmarks jumped to another face
            track.fast = max(track.fast - 1, 0)
            if not replace and track.points and overlap(track.box, around) < _FAST_IOU:
                track.fast = DETECT_EVERY
            # a detector's box is coarse: refine the landmarks in a box around them
            if replace or not track.points or track.fast:
                points = self.backend.landmarks(frame, around)
                around = box_around(points)
            track.points[t], track.missed, track.box, track.second = points, 0, around, False
            if detecting and self._second is not None:
                track.thumbnail = thumbnail_of(frame, around)
        for track, box in second.values():
            verified = verified_points(self.backend, frame, box, thumbnail=track.thumbnail)
            if verified is not None:
                track.points[t], track.missed, track.box, track.second = verified, 0, box_around(verified), True
                track.thumbnail = thumbnail_of(frame, track.box)
                track.second_frames += 1
        self._tracks = [track for track in self._tracks if track.points]
        for track in alive:
            track.missed += t not in track.points
        if not self._alive() and t + 1 - self._last_seen() > self.max_gap:
            raise self._lost(t)

    @property
    def tracks(self) -> list[Track]:
        """The tracks so far."""
        return self._tracks

    def now(self) -> list[tuple[int, np.ndarray]]:
        """Numbers of the tracks whose face is detected in the latest frame, with its points (68,2)."""
        t = self.n_frames - 1
        return [(track.number, track.points[t]) for track in self._tracks if t in track.points]

    def choose(self, choice: str = SPEAKING) -> Track:
        """The track that is meant, as `dawn_bench.pipelines.faces.choice` decides.

        Raises `ItemError("no_face")` where no face is detected, or fewer than `choice` counts.
        """
        if not self._tracks:
            raise self._lost(self.n_frames - 1)
        return self._tracks[choose([track.face() for track in self._tracks], choice)]

    def result(self, track: Track) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float32 (T,68,2) of one track, and valid bool (T,), False for interpolated frames.

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
                f"no face is detected for {counted(gaps.max(), 'frame')} from {where / FPS:.2f} s on "
                f"(detected in {valid.mean():.0%} of the frames)",
            )
        rows = np.stack(list(track.points.values())).reshape(len(seen), -1)
        times = np.arange(self.n_frames)
        filled = np.stack([np.interp(times, seen, column) for column in rows.T], axis=1)
        return filled.reshape(-1, 68, 2).astype(np.float32), valid

    def _alive(self) -> list[Track]:
        return [track for track in self._tracks if track.missed <= self.max_gap]

    def _last_seen(self) -> int:
        return max((max(track.points) + 1 for track in self._tracks), default=0)

    def _lost(self, t: int) -> ItemError:
        seen = len(set().union(*(track.points for track in self._tracks)))
        if not seen:
            return ItemError("no_face", f"no face in the first {counted(t + 1, 'frame')} (detected in 0 % of them)")
        where = self._last_seen() / FPS
        return ItemError(
            "no_face",
            f"no face for {counted(t + 1 - self._last_seen(), 'frame')} from {where:.2f} s on "
            f"(detected in {seen / (t + 1):.0%} of the frames up to there)",
        )

    def _match(self, frame: np.ndarray, alive: list[Track]) -> tuple[_Boxes, _Boxes]:
        """Detect faces and assign each box to its track, or to a new one; the boxes of the second search come last."""
        cut = self._new_shot
        sides = [float(track.box[2] - track.box[0]) for track in alive]
        expected = max(sides) if sides and not cut else None
        if self.thorough:
            expected = SMALL * max(frame.shape[:2])
        boxes = self.backend.detect(frame, expect=expected)
        from_second = not len(boxes) and (cut or not alive)
        if from_second:
            boxes = self._whole(frame)
        self._new_shot = cut and not len(boxes)
        self.faces_max = max(self.faces_max, len(boxes))
        left = list(range(len(boxes)))
        assigned: _Boxes = {}
        for track in sorted(alive, key=lambda track: -len(track.points)):
            best = _best(track.box, boxes[left])
            if best is not None:
                box = boxes[left.pop(best)]
                assigned[track.number] = track, box if cut or track.fast else _trusted(track.box, box)
            elif cut and left:  # after a cut the face may be anywhere: the largest continues the longest track
                assigned[track.number] = track, boxes[left.pop(0)]
        lost = [track for track in alive if track.number not in assigned and not cut]
        for track in lost:
            place = moved(track.box, boxes[left], missed=track.missed)
            if place is not None:
                assigned[track.number] = track, boxes[left.pop(place)]
        for i in left[: max(0, self.max_tracks - len(alive))]:
            track = Track(number=self._next_number)
            self._next_number += 1
            self._tracks.append(track)
            assigned[track.number] = track, boxes[i]
        if from_second:
            return {}, assigned
        return assigned, self._again(frame, [track for track in lost if track.number not in assigned], assigned)

    def _search_near(
        self, detect_near: Callable[[np.ndarray, np.ndarray], np.ndarray], frame: np.ndarray, alive: list[Track]
    ) -> tuple[_Boxes | None, _Boxes]:
        """Each track with its box from a local search, or from the second one for a track that needed it before.

        None if any face is not detected again.
        """
        confirmed: _Boxes = {}
        missing = []
        for track in alive:
            boxes = detect_near(frame, track.box)
            best = _best(track.box, boxes)
            if best is not None:
                confirmed[track.number] = track, boxes[best] if track.fast else _trusted(track.box, boxes[best])
            elif track.second:
                missing.append(track)
            else:
                return None, {}
        second = self._again(frame, missing, confirmed)
        return (confirmed, second) if len(second) == len(missing) else (None, {})

    def _again(self, frame: np.ndarray, tracks: list[Track], others: _Boxes) -> _Boxes:
        """The second search for each of the tracks near its last place, apart from the faces of `others`."""
        boxes: _Boxes = {}
        if self._second is None:
            return boxes
        for track in tracks:
            if track.missed > DETECT_EVERY and track.missed % DETECT_EVERY:
                continue  # long gone: the search is slow
            taken = [box for _, box in (*others.values(), *boxes.values())]
            free = [
                box
                for box in self._second(frame, near=track.box)
                if all(overlap(box, other) < _SAME_FACE_IOU for other in taken)
            ]
            place = moved(track.box, free, missed=track.missed)
            if place is not None:
                boxes[track.number] = track, free[place]
        return boxes

    def _whole(self, frame: np.ndarray) -> np.ndarray:
        """Boxes (n,4) of the second search in the whole frame, which runs as often as detection does; it is slow."""
        t = self.n_frames - 1
        if self._second is None or t - self._last_second < DETECT_EVERY:
            return np.zeros((0, 4), np.float32)
        self._last_second = t
        return self._second(frame)


class CutDetector:
    """Scene-cut detection: call with each frame in order, RGB (H,W,3) or gray (H,W); True at the start of a scene."""

    def __init__(self) -> None:
        self._thumbnail: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> bool:
        # subsampling first: averaging every pixel of a large frame costs more and detects no better
        sample = cv2.resize(frame, (128, 128), interpolation=cv2.INTER_NEAREST)
        gray = sample if sample.ndim == 2 else cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY)
        thumbnail = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA)
        before, self._thumbnail = self._thumbnail, thumbnail
        return before is not None and cv2.norm(thumbnail, before, cv2.NORM_L1) > CUT_THRESHOLD * thumbnail.size


def _best(own: np.ndarray, boxes: np.ndarray) -> int | None:
    """Index of the box in `boxes` (n,4) that overlaps `own` most; None below `_SAME_FACE_IOU`."""
    overlaps = [overlap(own, box) for box in boxes]
    best = max(range(len(boxes)), key=overlaps.__getitem__, default=None)
    return best if best is not None and overlaps[best] > _SAME_FACE_IOU else None


def _trusted(own: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """The box around the landmarks, or the detector's where the two disagree and the landmarks have drifted."""
    return own if overlap(own, detected) > _TRUST_POINTS_IOU else detected
