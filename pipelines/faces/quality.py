"""How well a face can be used: mouth covered, turned away, small, cut by the border, blurred.

A detector accepts faces that no metric or model can use: landmarks are placed on masks, hands and microphones, and on
the half of a face that is out of the picture. Pixels are looked at twice a second, upright and at one scale:

* the mouth is visible where the line between the lips is darker than the skin above and below it: over 174 frames of
  38 real clips by 0.026 or more of the brightness, over the same faces behind masks, hands, microphones and
  plain patches by less than 0.02 in 97 % of the frames;
* sharpness is the variance of the Laplacian over the variance of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import cv2
import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.extractors.pose import fit_pose
from dawn_bench.pipelines.faces.base import FaceBackend, box_around
from dawn_bench.pipelines.faces.turned import turns_to_upright

#: Frames between two looks.
EVERY = 12
#: Width and height of the upright face, where the middle of the eyes lies in it, and the length from there to the base
#: of the nose, pixels.
_WIDTH, _HEIGHT = 96, 128
_EYES, _NOSE = (48.0, 24.0), 36.0
#: Rows of the upright face in which the line between the lips may lie, and the columns over which it is averaged; the
#: same for the eyes.
_MOUTH_ROWS, _MOUTH = range(70, 98), slice(38, 58)
_EYE_ROWS, _EYE = range(17, 32), (slice(20, 38), slice(58, 76))
#: Depth of that line over the face's brightness from which on the mouth is visible.
_VISIBLE = 0.02
#: From these values on a face is flagged, though usable.
_FLAGS = {"mouth_covered": 0.25, "yaw": 30.0, "face_height": 40.0, "face_in_frame": 0.95, "sharpness": 0.01}
_NAMES = {
    "mouth_covered": "mouth covered",
    "yaw": "profile",
    "face_height": "tiny face",
    "face_in_frame": "cut face",
    "sharpness": "blurred",
}
#: Facts of which less is better.
_AT_MOST = ("mouth_covered", "yaw")


class Limits(Protocol):
    """The thresholds of the settings past which a clip is quarantined."""

    @property
    def max_mouth_covered(self) -> float: ...

    @property
    def max_yaw(self) -> float: ...

    @property
    def min_face_height(self) -> int: ...

    @property
    def min_face_in_frame(self) -> float: ...

    @property
    def min_sharpness(self) -> float: ...


class FaceLooks:
    """Looks at the pixels of tracked faces: call `step` with every frame, then `facts` for one of them."""

    def __init__(self) -> None:
        self._seen: dict[int, list[tuple[bool, float]]] = {}

    def step(self, t: int, frame: np.ndarray, faces: Iterable[tuple[int, np.ndarray]]) -> None:
        """`frame` uint8 RGB (H,W,3) or gray (H,W) is frame `t`; `faces` are numbers and points (68,2)."""
        if t % EVERY:
            return
        for number, points in faces:
            patch = upright_face(frame, points)
            self._seen.setdefault(number, []).append((mouth_visible(patch), sharpness(patch)))

    def facts(self, number: int, points: np.ndarray, *, width: int, height: int) -> dict[str, float]:
        """The facts of face `number` with points (T,68,2) in a width×height picture; see `face_facts`."""
        seen = self._seen.get(number, [])
        return face_facts(seen, points[::EVERY], width=width, height=height)


def face_facts(seen: list[tuple[bool, float]], points: np.ndarray, *, width: int, height: int) -> dict[str, float]:
    """The facts of one face from looks (mouth visible, sharpness) and points (n,68,2) in a width×height picture.

    `mouth_covered` is the share of looks without a visible mouth; `yaw` the median angle by which the head is turned to
    a side, degrees; `face_height` the median height from brows to chin, pixels; `face_in_frame` the median share of the
    box around the points that is in the picture; `sharpness` the median.
    """
    low, high = points.min(axis=1), points.max(axis=1)
    inside = np.minimum(high, (width - 1, height - 1)) - np.maximum(low, 0)
    share = inside.clip(0).prod(axis=1) / (high - low).clip(1e-6).prod(axis=1)
    whole = ((low >= 0) & (high <= (width - 1, height - 1))).all(axis=1)
    share[whole] = 1  # not a rounding error less: the limit may be 1
    return {
        "mouth_covered": float(np.mean([not visible for visible, _ in seen])) if seen else 0.0,
        "yaw": float(np.median(np.abs(fit_pose(points, size=max(width, height))[:, 0]))),
        "face_height": float(np.median((high - low)[:, 1])),
        "face_in_frame": float(np.median(share)),
        "sharpness": float(np.median([value for _, value in seen])) if seen else 0.0,
    }


def flags(facts: Mapping[str, float]) -> str:
    """What is doubtful about a face, comma-separated; empty for a good one."""
    return ", ".join(
        _NAMES[name] for name, limit in _FLAGS.items()
        if (facts[name] > limit if name in _AT_MOST else facts[name] < limit)
    )  # fmt: skip


def check_face(facts: Mapping[str, float], limits: Limits) -> None:
    """Raise `ItemError` for the first threshold that a face is past."""
    covered, yaw, tall = facts["mouth_covered"], facts["yaw"], facts["face_height"]
    shown, sharp = facts["face_in_frame"], facts["sharpness"]
    if shown < limits.min_face_in_frame:
        raise ItemError("cut_face", f"{shown:.0%} of the face is in the picture (min_face_in_frame)")
    if tall < limits.min_face_height:
        raise ItemError("tiny_face", f"the face is {tall:.0f} pixels high (min_face_height)")
    if yaw > limits.max_yaw:
        raise ItemError("profile", f"the head is turned by {yaw:.0f} degrees (max_yaw)")
    if covered > limits.max_mouth_covered:
        raise ItemError("mouth_covered", f"the mouth is covered in {covered:.0%} of the looks (max_mouth_covered)")
    if sharp < limits.min_sharpness:
        raise ItemError("blurred", f"the sharpness of the face is {sharp:.4f} (min_sharpness)")


def picture_flags(picture: np.ndarray, points: np.ndarray) -> str:
    """What is doubtful about the face with points (68,2) in a still picture, as `flags`."""
    patch = upright_face(picture, points)
    height, width = picture.shape[:2]
    return flags(face_facts([(mouth_visible(patch), sharpness(patch))], points[None], width=width, height=height))


def turned(frame: np.ndarray, backend: FaceBackend) -> int | None:
    """The angle in degrees, clockwise, by which a picture without an upright face shows one turned; None without any.

    `frame` is as for the back end. Where `turns_to_upright` cannot tell, a face of the back end counts whose eyes and
    mouth are visible.
    """
    if turns := turns_to_upright(frame):
        return 90 * turns
    for angle, back in ((180, cv2.ROTATE_180), (90, cv2.ROTATE_90_COUNTERCLOCKWISE), (270, cv2.ROTATE_90_CLOCKWISE)):
        picture = cv2.rotate(frame, back)
        for box in backend.detect(picture)[:1]:
            points = backend.landmarks(picture, box)
            if np.isfinite(points).all():
                points = backend.landmarks(picture, box_around(points))
                patch = upright_face(picture, points)
                if mouth_visible(patch) and eyes_visible(patch):
                    return angle
    return None


def upright_face(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face with points (68,2) from the brows to the chin, gray float32 (128,96): upright and at one scale."""
    eyes = (points[36:42].mean(axis=0) + points[42:48].mean(axis=0)) / 2
    down = points[33] - eyes
    length = max(float(np.hypot(*down)), 1.0)
    factor = max(1, int(length / _NOSE))  # averaged first: sampling a large face would alias
    reach = 3.2 * length
    x0, y0 = (max(0, int(c - reach)) for c in eyes)
    x1, y1 = (max(low + 1, int(c + reach)) for c, low in zip(eyes, (x0, y0), strict=True))
    part = frame[y0:y1, x0:x1]
    if not part.size:
        return np.zeros((_HEIGHT, _WIDTH), np.float32)
    if factor > 1:
        size = max(1, part.shape[1] // factor), max(1, part.shape[0] // factor)
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    if part.ndim == 3:
        part = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    cosine, sine = down[1] / length, down[0] / length
    turn = np.array([[cosine, -sine], [sine, cosine]]) * (_NOSE * factor / length)
    move = np.array(_EYES) - turn @ ((eyes - (x0, y0)) / factor)
    matrix = np.column_stack([turn, move])
    return cv2.warpAffine(part.astype(np.float32), matrix, (_WIDTH, _HEIGHT), borderMode=cv2.BORDER_REPLICATE)


def mouth_visible(patch: np.ndarray) -> bool:
    """Whether an upright face shows the line between the lips."""
    return _dark_line(patch, _MOUTH_ROWS, _MOUTH) >= _VISIBLE


def eyes_visible(patch: np.ndarray) -> bool:
    """Whether an upright face shows two eyes that are darker than what is above and below them."""
    return min(_dark_line(patch, _EYE_ROWS, columns) for columns in _EYE) >= 2 * _VISIBLE


def _dark_line(patch: np.ndarray, rows: range, columns: slice) -> float:
    """How much darker the darkest of some rows is than the skin about 7 rows above and 8 below, over the brightness."""
    column = cv2.GaussianBlur(patch, (0, 0), 2)[:, columns].mean(axis=1)
    depth = max(min(column[y - 9 : y - 5].mean(), column[y + 6 : y + 10].mean()) - column[y] for y in rows)
    return float(depth / (patch[20:110, 16:80].mean() + 1))


def sharpness(patch: np.ndarray) -> float:
    """Variance of the Laplacian over the variance of an upright face."""
    return float(cv2.Laplacian(patch, cv2.CV_32F).var() / (patch.var() + 1e-3))
