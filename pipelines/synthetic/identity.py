"""One speaker: the source photograph reshaped by a thin-plate warp, recoloured, and placed in the frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from dawn_bench.pipelines.synthetic.portrait import (
    CROWN,
    LANDMARKS,
    LIDS,
    LOWER_LIP,
    UPPER_LIP,
    masks,
    photograph,
    smooth,
)

#: Oversampling of the canvas (a second resampling then does not blur), and its extra border as a share of the frame.
FINE, BORDER = 2, 0.14
#: Landmark order after mirroring.
MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
     41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How one speaker differs from the source photograph. Shapes are relative changes, colours are in CIELAB units."""

    jaw: float = 0.0  # width of the lower face
    length: float = 0.0  # nose to chin
    width: float = 0.0  # width of the whole face
    eyes: float = 0.0  # size of the eyes
    spread: float = 0.0  # distance between the eyes
    nose: float = 0.0  # width of the nose
    mouth: float = 0.0  # width of the mouth
    lips: float = 0.0  # thickness of the lips
    brows: float = 0.0  # height of the brows, face widths
    hair: float = 0.0  # volume of the hair
    fill: float = 0.44  # face width in frame widths
    mirrored: bool = False
    skin: tuple[float, float, float] = (1.0, 0.0, 0.0)  # factor of L, shifts of a and b
    hair_colour: tuple[float, float, float] = (1.0, 0.0, 0.0)  # factor of L and of chroma, shift of a
    lip_colour: float = 0.0  # shift of a
    brow_dark: float = 0.2  # share of L taken from the brows
    background: tuple[float, float, float] = (1.0, 0.0, 0.0)  # factor of L, shifts of a and b
    light: float = 1.0  # gamma of the whole frame
    warmth: float = 0.0  # shift of b of the whole frame


#: (L factor, a, b) of skin, (L factor, chroma factor, a) of hair, (L factor, a, b) of the background.
SKINS = ((1.0, 0, 0), (0.9, 1, 4), (0.76, 3, 8), (0.68, 4, 8), (1.03, 2, -3), (0.6, 4, 7), (0.84, 0, 7), (0.95, 4, 2))
HAIRS = (
    (1.0, 1.0, 0),
    (0.42, 0.5, 0),
    (0.62, 0.9, 7),
    (0.3, 0.35, 1),
    (1.22, 0.9, 2),
    (0.26, 0.3, 1),
    (0.5, 0.7, 3),
    (1.1, 0.25, 0),
)
GROUNDS = (
    (1.0, 0, 0),
    (0.72, -6, -16),
    (0.6, -10, 4),
    (0.9, 2, 14),
    (0.58, 0, -4),
    (0.78, 8, -10),
    (0.66, 10, 8),
    (0.95, -8, -6),
)


def draw_look(rng: np.random.Generator, index: int) -> Look:
    """The look of speaker `index`: colours cycle through the palettes so that neighbours differ, shapes are random."""
    shape = np.clip(rng.normal(0, 1, 10), -1.6, 1.6)
    turn, lap = index % len(SKINS), index // len(SKINS)
    return Look(
        jaw=0.065 * shape[0],
        length=0.055 * shape[1],
        width=0.035 * shape[2],
        eyes=0.07 * shape[3],
        spread=0.03 * shape[4],
        nose=0.10 * shape[5],
        mouth=0.05 * shape[6],
        lips=0.16 * shape[7],
        brows=0.012 * shape[8],
        hair=0.06 * shape[9],
        fill=float(rng.uniform(0.42, 0.46)),
        mirrored=bool(index % 2),
        skin=SKINS[turn],
        hair_colour=HAIRS[(turn + 3 * lap) % len(HAIRS)],
        lip_colour=float(rng.uniform(-3, 9)),
        brow_dark=float(rng.uniform(0.1, 0.5)),
        background=GROUNDS[(turn + 5 * lap) % len(GROUNDS)],
        light=float(rng.uniform(0.9, 1.12)),
        warmth=float(rng.uniform(-3, 4)),
    )


@dataclass(frozen=True)
class SyntheticPortrait:
    """A speaker at rest. Coordinates are pixels of the output frame; the picture is oversampled `FINE` times."""

    size: int
    picture: np.ndarray  # uint8 (H,H,3) RGB
    points: np.ndarray  # float64 (68,2)
    upper_lip: np.ndarray  # (n,2), from left to right
    lower_lip: np.ndarray
    lids: tuple[tuple[np.ndarray, np.ndarray], ...]
    face_width: float

    @property
    def border(self) -> int:
        """Width of the extra border in frame pixels."""
        return round(BORDER * self.size)


def make_portrait(look: Look, *, size: int) -> SyntheticPortrait:
    """Render the speaker of `look` in a square frame of `size` pixels."""
    angle = np.arctan2(*(LANDMARKS[42:48].mean(0) - LANDMARKS[36:42].mean(0))[::-1])
    scale = look.fill * size / np.hypot(*(LANDMARKS[16] - LANDMARKS[0]))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle, centre = np.array([226.0, 119.0]), np.array([0.5 * size, 0.5 * size])

    curves = [LANDMARKS, UPPER_LIP, LOWER_LIP, *(line for eye in LIDS for line in eye)]
    upright = [(line - middle) @ turn.T + centre for line in curves]
    shaped = _reshape(upright, look)
    crown = (CROWN - middle) @ turn.T + centre
    grown = crown + look.hair * (crown - upright[0][27])

    border = round(BORDER * size)
    grid = np.arange(-border, size + border + 1, 8.0)
    knots = np.stack(np.meshgrid(grid, grid), axis=-1)
    back = _thin_plate(np.vstack([*shaped, grown]), np.vstack([*upright, crown]), size)(knots.reshape(-1, 2)).reshape(
        knots.shape
    )
    fine = (np.arange(-border * FINE, (size + border) * FINE, dtype=np.float32) + 0.5) / FINE - 0.5
    index = ((fine + border) / 8).astype(np.float32)
    at = cv2.remap(
        np.round(back, 4).astype(np.float32),
        *np.meshgrid(index, index),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    at = at + np.stack(np.meshgrid(fine, fine), axis=-1)
    source = ((at - centre) @ np.linalg.inv(turn).T + middle).astype(np.float32)
    picture = cv2.remap(
        _recolour(look), source[..., 0], source[..., 1], cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101
    )
    soft = cv2.GaussianBlur(picture, (0, 0), 0.9 * FINE)
    picture = np.clip(picture + 0.3 * (picture - soft), 0, 1)
    picture = np.round(picture * 255).astype(np.uint8)

    if look.mirrored:
        picture = np.ascontiguousarray(picture[:, ::-1])
        flipped = [np.stack([size - 1 - line[:, 0], line[:, 1]], axis=-1)[::-1] for line in shaped]
        shaped = [flipped[0][::-1][MIRROR], flipped[1], flipped[2], *flipped[5:7], *flipped[3:5]]
    points, upper, lower, *lids = shaped
    width = float(np.hypot(*(points[16] - points[0])))
    return SyntheticPortrait(size, picture, points, upper, lower, ((lids[0], lids[1]), (lids[2], lids[3])), width)


def _reshape(curves: list[np.ndarray], look: Look) -> list[np.ndarray]:
    """Apply the proportions of `look` to curves (n,2) of an upright face, in pixels."""
    points = curves[0]
    fw = np.hypot(*(points[16] - points[0]))
    nose, mouth = points[33], points[48:60].mean(axis=0)
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]

    def move(p: np.ndarray) -> np.ndarray:
        x, y = (p[:, 0] - nose[0]) / fw, (p[:, 1] - nose[1]) / fw
        low = smooth(y, -0.25, 0.35)
        dx = x * (look.width + look.jaw * low)
        dy = look.length * np.maximum(y, 0) * smooth(y, 0, 0.25)
        for side, eye in zip((-1, 1), eyes, strict=True):
            ex, ey = (p[:, 0] - eye[0]) / fw, (p[:, 1] - eye[1]) / fw
            near = np.exp(-((ex / 0.2) ** 2 + (ey / 0.11) ** 2))
            dx += near * (look.eyes * ex + side * look.spread * 0.5)
            dy += near * look.eyes * 1.3 * ey
            dy -= look.brows * np.exp(-((ex / 0.3) ** 2 + ((ey + 0.15) / 0.06) ** 2))
        dx += look.nose * x * np.exp(-((x / 0.16) ** 2 + ((y + 0.02) / 0.1) ** 2))
        my = (p[:, 1] - mouth[1]) / fw
        near = np.exp(-((x / 0.3) ** 2 + (my / 0.14) ** 2))
        dx += look.mouth * x * near
        dy += look.lips * my * near
        return p + fw * np.stack([dx, dy], axis=-1)

    return [move(curve) for curve in curves]


def _thin_plate(moved: np.ndarray, original: np.ndarray, size: int) -> RBFInterpolator:
    """Backward displacement field of the warp from `original` to `moved` points; the frame's border stays fixed."""
    edge = np.linspace(-BORDER * size, size * (1 + BORDER), 9)
    ring = np.array([(x, y) for x in edge for y in edge if x in (edge[0], edge[-1]) or y in (edge[0], edge[-1])])
    places, first = np.unique(np.round(np.vstack([moved, ring]), 3), axis=0, return_index=True)
    shifts = np.vstack([original - moved, np.zeros_like(ring)])[first]
    return RBFInterpolator(places, shifts, kernel="thin_plate_spline", smoothing=1e-3 * size)


def _recolour(look: Look) -> np.ndarray:
    """The source photograph in the colours of `look`, float32 (512,512,3) RGB, 0–1."""
    mask = masks()
    lab = cv2.cvtColor(photograph().astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

    def grade(name: str, factor: float, chroma: float, a: float, b: float) -> None:
        """Scale L, and scale and shift a and b, inside one mask."""
        graded = lab * np.array([factor, chroma, chroma]) + np.array([0, a, b])
        lab[:] += mask[name][..., None] * (graded - lab)

    grade("brows", 1 - look.brow_dark, 1, 0, 0)
    grade("skin", look.skin[0], 1, *look.skin[1:])
    grade("inside", 0.6 + 0.4 * min(look.skin[0], 1), 1, 0, 0)
    grade("lips", 0.97, 1, look.lip_colour, 0)
    grade("hair", look.hair_colour[0], look.hair_colour[1], look.hair_colour[2], 0)
    grade("background", look.background[0], 1, *look.background[1:])
    lab[..., 2] = lab[..., 2] + look.warmth * smooth(lab[..., 0], 5, 40)
    rgb = np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1)
    return rgb**look.light
