"""Deformation of a portrait by mouth, eyelids and head pose: a forward map for landmarks, a backward map for pixels.

Coordinates are frame pixels (x right, y down); `fw` is the face width. The expression is a backward map, from the
deformed face to the portrait, so pixels are sampled directly; landmarks invert it by fixed-point iteration.
Eyelids and lips are edges: the skin slides and stretches on either side, and another layer (eyeball, mouth) shows
between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator, RBFInterpolator

from dawn_bench.pipelines.synthetic.identity import SyntheticPortrait
from dawn_bench.pipelines.synthetic.portrait import smooth

#: Landmark depth towards the viewer in face widths; the tip of the nose is 0.
DEPTH = np.array(
    [-0.72, -0.70, -0.66, -0.60, -0.52, -0.42, -0.32, -0.24, -0.20, -0.24, -0.32, -0.42, -0.52, -0.60, -0.66, -0.70,
     -0.72, -0.40, -0.31, -0.25, -0.22, -0.20, -0.20, -0.22, -0.25, -0.31, -0.40, -0.19, -0.13, -0.06, 0.0, -0.15,
     -0.11, -0.09, -0.11, -0.15, -0.38, -0.31, -0.29, -0.30, -0.31, -0.32, -0.30, -0.29, -0.31, -0.38, -0.32, -0.31,
     -0.27, -0.19, -0.15, -0.14, -0.15, -0.19, -0.27, -0.20, -0.17, -0.16, -0.17, -0.20, -0.26, -0.16, -0.15, -0.16,
     -0.26, -0.17, -0.16, -0.17]
)  # fmt: skip
#: Where the lips meet, as a fraction of the gap in the source photograph's smile, from the upper lip down.
SEAM = 0.62
#: How far the mouth corners drop at rest (face widths), and how far they move inwards (mouth widths).
DROP, RELAX = 0.034, 0.07
#: Drop of the mouth corners per unit of mouth opening.
FALL = 0.32
#: Cell size of the coarse grid on which the head rotation is inverted, frame pixels.
CELL = 4


@dataclass(frozen=True)
class Expression:
    """Mouth opening in face widths, rounding −1 (spread) to 1 (round), eyelid closure 0–1; scalars or (T,1) arrays."""

    opening: float | np.ndarray = 0.0
    rounding: float | np.ndarray = 0.0
    closure: float | np.ndarray = 0.0


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Head rotation matrix (3,3) from angles in degrees, for x right, y up, z towards the viewer.

    3DDFA's convention: Rz·Ry·Rx with R[2,0] = sin(yaw). Positive yaw turns the nose to the left of the image,
    positive pitch lowers it, positive roll turns the head anticlockwise.
    """
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    around_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return around_z @ around_y @ around_x


class Curve:
    """A smooth curve y(x), tabulated for fast lookup at many points; constant beyond its ends."""

    def __init__(self, x0: float, x1: float, values: np.ndarray) -> None:
        self.x0, self.scale, self.values = x0, (len(values) - 1) / (x1 - x0), values.astype(np.float32)

    @classmethod
    def through(cls, points: np.ndarray, *, to: tuple[float, float]) -> Curve:
        """Monotone cubic interpolation of `points` (n,2), tabulated over the x range `to`."""
        x = np.linspace(*to, 512)
        return cls(*to, PchipInterpolator(*points.T)(np.clip(x, points[0, 0], points[-1, 0])))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """y at `x`, float32 of the same shape, by nearest table entry."""
        at = (x - self.x0) * self.scale + 0.5
        return self.values[np.clip(at, 0, len(self.values) - 1).astype(np.int32)]


class Lids:
    """One eye: its eyelid edges and the displacement of the skin around them."""

    def __init__(self, upper: np.ndarray, lower: np.ndarray, *, brow: float, fw: float) -> None:
        span = (upper[0, 0] - 0.12 * fw, upper[-1, 0] + 0.12 * fw)
        self.upper, self.lower = Curve.through(upper, to=span), Curve.through(lower, to=span)
        self.height = 0.70 * (upper[:, 1].min() - brow)  # of the skin that moves; the brow itself does not
        self.box = (span[0], brow, span[1], float(lower[:, 1].max() + 0.16 * fw))
        self.lash, self.below = 0.022 * fw, 0.12 * fw

    def edges(self, x: np.ndarray, closure: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y of the upper and the lower eyelid edge at `x`, for a closure of 0–1."""
        upper, lower = self.upper(x), self.lower(x)
        gap = lower - upper
        return upper + 0.88 * closure * gap, lower - 0.12 * closure * gap

    def shift(self, x: np.ndarray, y: np.ndarray, closure: float | np.ndarray) -> np.ndarray:
        """Backward displacement dy, from points (x, y) of the deformed skin to the portrait."""
        upper, lower = self.edges(x, closure)
        down, up = upper - self.upper(x), lower - self.lower(x)
        above = 1 - np.clip((upper - y - self.lash) / (self.height + down - self.lash), 0, 1)  # lashes do not stretch
        under = np.clip(1 - (y - lower) / self.below, 0, 1) ** 2
        return np.where(y < 0.5 * (upper + lower), -down * above, -up * under)


class Mouth:
    """Lips, mouth corners and chin."""

    def __init__(self, portrait: SyntheticPortrait) -> None:
        upper, lower, fw = portrait.upper_lip, portrait.lower_lip, portrait.face_width
        self.fw = fw
        self.x, self.y = 0.5 * (upper[0] + upper[-1])
        self.half = 0.5 * (upper[-1, 0] - upper[0, 0])
        self.chin = portrait.points[8, 1]
        span = (self.x - 3 * self.half, self.x + 3 * self.half)
        self.upper, self.lower = Curve.through(upper, to=span), Curve.through(lower, to=span)
        x = np.linspace(*span, 512)
        self.gap = float((self.lower(x) - self.upper(x)).max() / fw)
        s = np.abs((x - self.x) / self.half)
        self.profile = Curve(*span, np.clip(1 - s**2.4, 0, 1))
        corner = fw * np.where(s < 1, s**2, np.clip(1 - ((s - 1) / 1.7) ** 2, 0, 1) ** 2)
        self.corner = Curve(*span, corner)
        self.rest = Curve(*span, (1 - SEAM) * self.upper(x) + SEAM * self.lower(x) + DROP * corner)
        self.reach = Curve(*span, fw * (0.13 + 0.14 * smooth(s, 0.5, 1.4)))
        self.box = (self.x - 2.5 * self.half, self.y - 0.32 * fw, self.x + 2.5 * self.half, self.chin + 0.40 * fw)
        self.hole = (self.x - self.half, self.y - 0.08 * fw, self.x + self.half, self.y + 0.34 * fw)

    def across(self, x: np.ndarray, y: np.ndarray, expression: Expression) -> np.ndarray:
        """Portrait x of deformed points: rounded lips and a wide open mouth both draw the corners inwards."""
        rounding = expression.rounding
        narrow = RELAX + np.where(np.asarray(rounding) > 0, 0.28, 0.10) * rounding + 0.7 * expression.opening
        near = np.clip(1 - ((x - self.x) / (2.4 * self.half)) ** 2, 0, 1) ** 2
        near = near * np.clip(1 - ((y - self.y) / (0.42 * self.fw)) ** 2, 0, 1) ** 2
        return x + narrow * near * (x - self.x)

    def edges(self, x: np.ndarray, opening: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y of the upper and the lower lip edge at portrait `x`."""
        rest, gap = self.rest(x) + FALL * opening * self.corner(x), opening * self.fw * self.profile(x)
        return rest - 0.2 * gap, rest + 0.8 * gap

    def shift(self, x: np.ndarray, y: np.ndarray, opening: float | np.ndarray) -> np.ndarray:
        """Backward displacement dy, from points of the deformed skin to the portrait; `x` is already the portrait's."""
        upper, lower = self.edges(x, opening)
        down, fall = upper - self.upper(x), lower - self.lower(x)
        above = np.clip(1.15 - 1.15 * (upper - y) / self.reach(x), 0, 1)
        above = above * above * (3 - 2 * above)
        near = np.clip(1 - (y - lower) / (0.20 * self.fw), 0, 1)
        near = near * near * (3 - 2 * near)
        jaw = 0.72 * (opening - 0.35 * self.gap) * self.fw
        side = np.clip(1 - ((x - self.x) / (0.62 * self.fw)) ** 2, 0, 1) ** 1.5
        jaw = jaw * side * smooth(y, self.y - 0.05 * self.fw, self.y + 0.22 * self.fw)
        jaw = jaw * (1 - smooth(y, self.chin + 0.5 * opening * self.fw, self.chin + 0.38 * self.fw))
        return np.where(y < 0.5 * (upper + lower), -down * above, -(near * fall + (1 - near) * jaw))


class Face:
    """A deformable portrait: forward map for landmarks, backward map for pixels."""

    def __init__(self, portrait: SyntheticPortrait) -> None:
        self.portrait, self.fw = portrait, portrait.face_width
        points = portrait.points
        self.mouth = Mouth(portrait)
        brows = (points[17:22], points[22:27])
        self.eyes = tuple(
            Lids(upper, lower, brow=float(np.sort(brow[:, 1])[1]), fw=self.fw)
            for (upper, lower), brow in zip(portrait.lids, brows, strict=True)
        )
        self.pivot = (float(points[27:31, 0].mean()), float(points[8, 1] - 0.06 * self.fw))
        self.centre = (float(0.5 * (points[0, 0] + points[16, 0])), float(points[29, 1] - 0.10 * self.fw))
        coarse = np.arange(CELL / 2 - 0.5, portrait.size, CELL, dtype=np.float32)
        self.grid = np.stack(np.meshgrid(coarse, coarse), axis=-1)
        axis = np.arange(portrait.size, dtype=np.float32)
        self.pixels = np.stack(np.meshgrid(axis, axis), axis=-1)
        self._depth = self._depth_map()

    def landmarks(self, expression: Expression, turns: np.ndarray, sways: np.ndarray) -> np.ndarray:
        """The 68 landmarks of T deformed faces, float64 (T,68,2) in frame pixels.

        The fields of `expression` are (T,1), `turns` (T,3,3) and `sways` (T,2) pixels.
        """
        goal = np.broadcast_to(self.portrait.points, (len(turns), 68, 2))
        at = goal.copy()
        for _ in range(12):
            at += goal - self.unexpress(at, expression)
        for edge, lip in ((0, slice(61, 64)), (1, slice(65, 68))):  # inner-lip points lie on the lip edges
            at[:, lip, 1] = self.mouth.edges(goal[:, lip, 0], expression.opening)[edge]
            at[:, lip, 0] = goal[:, lip, 0]
            for _ in range(12):
                at[:, lip, 0] += goal[:, lip, 0] - self.mouth.across(at[:, lip, 0], at[:, lip, 1], expression)
        for eye, first in zip(self.eyes, (36, 42), strict=True):
            for edge, lid in ((0, [first + 1, first + 2]), (1, [first + 4, first + 5])):
                at[:, lid, 1] = eye.edges(goal[:, lid, 0], expression.closure)[edge]
                at[:, lid, 0] = goal[:, lid, 0]
        return np.stack([self.turned(*moved) for moved in zip(at, turns, sways, strict=True)])

    def unexpress(self, at: np.ndarray, expression: Expression) -> np.ndarray:
        """Portrait points (...,2) for points `at` (...,2) of the frontal face with `expression`."""
        x, y = at[..., 0], at[..., 1]
        across = self.mouth.across(x, y, expression)
        shift = self.mouth.shift(across, y, expression.opening)
        for eye in self.eyes:
            inside = (x > eye.box[0]) & (x < eye.box[2]) & (y > eye.box[1]) & (y < eye.box[3])
            shift = shift + np.where(inside, eye.shift(x, y, expression.closure), 0)
        return np.stack([across, y + shift], axis=-1)

    def turned(self, at: np.ndarray, turn: np.ndarray, sway: np.ndarray) -> np.ndarray:
        """Frontal points (...,2) after the head rotates by `turn` (3,3) and shifts by `sway` (2,) pixels.

        The rotation is orthographic about a point in the neck. It fades out around the head, so shoulders and
        background stay in place and the image does not tear.
        """
        off_x, off_y = at[..., 0] - self.centre[0], at[..., 1] - self.centre[1]
        high = np.where(off_y < 0, np.float32(0.98 * self.fw), np.float32(0.88 * self.fw))
        weight = 1 - smooth(np.hypot(off_x / (0.84 * self.fw), off_y / high), 1.0, 1.75)
        index = (at / CELL + (0.5 / CELL - 0.5)).astype(np.float32).reshape(-1, at.shape[-2], 2)
        z = cv2.remap(self._depth, index[..., 0], index[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        z = z.reshape(at.shape[:-1])
        x, y = at[..., 0] - self.pivot[0], self.pivot[1] - at[..., 1]
        (xx, xy, xz), (yx, yy, yz) = turn[:2].tolist()
        moved = np.empty_like(at)
        moved[..., 0] = at[..., 0] + weight * ((xx - 1) * x + xy * y + xz * z + float(sway[0]))
        moved[..., 1] = at[..., 1] + weight * (float(sway[1]) - yx * x - (yy - 1) * y - yz * z)
        return moved

    def unturned(self, turn: np.ndarray, sway: np.ndarray) -> np.ndarray:
        """The inverse of `turned` on the pixel grid: for each frame pixel its frontal point, float32 (S,S,2)."""
        at = self.grid
        for _ in range(4):
            at = at + (self.grid - self.turned(at, turn, sway))
        size = self.portrait.size
        return cv2.resize(at - self.grid, (size, size), interpolation=cv2.INTER_LINEAR) + self.pixels

    def _depth_map(self) -> np.ndarray:
        points, size = self.portrait.points, self.portrait.size
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = self.centre + self.fw * np.stack([0.78 * np.cos(angle), 0.88 * np.sin(angle)], axis=-1)
        ring = ring[ring[:, 1] < points[4, 1]]
        forehead = 0.5 * (points[19] + points[24]) - np.array([0, 0.32 * self.fw])
        edge = np.array([(x, y) for x in (0, size) for y in (0, size / 2, size)], dtype=float)
        neck = points[8] + self.fw * np.array([[-0.25, 0.15], [0, 0.17], [0.25, 0.15]])
        places = np.vstack([points, ring, forehead[None], edge, neck])
        depth = np.concatenate([DEPTH, np.full(len(ring), -0.8), [-0.26], np.full(len(edge), -0.8), np.full(3, -0.62)])
        field = RBFInterpolator(places, depth, kernel="linear", smoothing=0.02 * size)
        values = np.round(field(self.grid.reshape(-1, 2).astype(float)), 4).reshape(self.grid.shape[:2])
        values = (0.72 + np.clip(values, -0.85, 0.02)) * self.fw  # from the axis of the neck
        return cv2.GaussianBlur(values.astype(np.float32), (0, 0), 0.012 * size / CELL * 1.5)
