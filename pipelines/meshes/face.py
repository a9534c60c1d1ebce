"""A parametric face of a few hundred vertices with separable lips: the geometry of the embedded mesh dataset.

x points to the face's left, y up, z to the viewer; the face is one unit wide. Vertices form a grid over the front of
the head; the mouth row is duplicated, so that no triangle spans the lips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLUMNS, ROWS = 21, 27
#: The grid row of the mouth slit, and the columns of its corners.
MOUTH_ROW, CORNERS = 18, (7, 13)
MOUTH_Y = -0.28


@dataclass(frozen=True)
class FaceShape:
    """Shape of one subject: factors on face width, face height, nose depth and range of mouth motion."""

    width: float
    height: float
    nose: float
    reach: float


def draw_shape(rng: np.random.Generator) -> FaceShape:
    """A random subject: factors within about 20 % of 1, 30 % for the nose."""
    return FaceShape(*(float(rng.uniform(*r)) for r in ((0.92, 1.08), (0.92, 1.1), (0.7, 1.3), (0.8, 1.2))))


@dataclass(frozen=True)
class MeshFace:
    """Neutral face `rest` float64 (V,3), `triangles` int32 (F,3), `lips` and `upper` face int32 (n,) vertex indices.

    `below` bool (V,) marks vertices below the mouth slit, including the edge of the lower lip; `edge` bool (V,) marks
    the edges of both lips.
    """

    shape: FaceShape
    rest: np.ndarray
    triangles: np.ndarray
    lips: np.ndarray
    upper: np.ndarray
    below: np.ndarray
    edge: np.ndarray

    def move(self, opening: np.ndarray, rounding: np.ndarray, brows: np.ndarray, closure: np.ndarray) -> np.ndarray:
        """Vertices float64 (T,V,3) for tracks (T,).

        `opening` is in face widths, `rounding` -1 to 1, `brows` (raised) and `closure` (of the eyelids) 0 to 1.
        """
        x, y, _ = self.rest.T
        across = np.exp(-((x / 0.26) ** 4))
        inner = np.exp(-((x / (0.17 * self.shape.width)) ** 4))  # lips separate in the middle, not at the corners
        drop = self.below * np.where(self.edge, inner, across) * np.exp(-(((y - MOUTH_Y) / 0.33) ** 2))
        rise = ~self.below * inner * np.exp(-(((y - MOUTH_Y) / 0.07) ** 2))
        near = np.exp(-((x / 0.3) ** 2) - ((y - MOUTH_Y) / 0.14) ** 2)
        brow = np.exp(-(((y - 0.32) / 0.12) ** 2)) * np.exp(-((x / 0.42) ** 4))
        lid = sum(np.exp(-(((x - s * 0.2) / 0.09) ** 2) - ((y - 0.2) / 0.05) ** 2) for s in (-1, 1))
        open_T1, round_T1 = self.shape.reach * opening[:, None], rounding[:, None]
        vertices = np.repeat(self.rest[None], len(opening), axis=0)
        vertices[..., 1] += open_T1 * (0.18 * rise - 0.82 * drop)
        vertices[..., 1] += 0.05 * brows[:, None] * brow - 0.03 * closure[:, None] * lid
        vertices[..., 0] -= 0.18 * round_T1 * near * x
        vertices[..., 2] += 0.03 * round_T1 * near - 0.25 * open_T1 * drop
        return vertices


def make_face(shape: FaceShape) -> MeshFace:
    """The neutral face of one subject; triangles and regions are the same for all subjects."""
    u, v = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(1, -1, ROWS))
    y = 0.72 * v
    y[MOUTH_ROW] = MOUTH_Y  # a straight slit
    side = np.sqrt(np.clip(1 - (v / 1.12) ** 2, 0, 1))
    narrow = 1 - 0.22 * np.clip(-v, 0, 1) ** 2
    x = 0.5 * side * narrow * np.sin(u * np.pi / 2 * 0.9)
    z = 0.42 * side * np.cos(u * np.pi / 2 * 0.9)
    z += 0.16 * shape.nose * np.exp(-((x / 0.07) ** 2) - ((y + 0.02) / 0.14) ** 2)
    z -= 0.05 * sum(np.exp(-(((x - s * 0.2) / 0.09) ** 2) - ((y - 0.19) / 0.07) ** 2) for s in (-1, 1))
    z += 0.035 * np.exp(-((x / 0.15) ** 2) - ((y - MOUTH_Y) / 0.06) ** 2)
    z += 0.03 * np.exp(-((x / 0.12) ** 2) - ((y + 0.55) / 0.1) ** 2)
    grid = np.stack([x * shape.width, y * shape.height, z], axis=-1)
    grid[..., 1] -= MOUTH_Y * (shape.height - 1)  # the slit stays where the motion expects it

    inside = np.arange(CORNERS[0] + 1, CORNERS[1])  # duplicated columns of the slit
    number = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    under = number.copy()
    under[MOUTH_ROW, inside] = ROWS * COLUMNS + np.arange(len(inside))
    rest = np.concatenate([grid.reshape(-1, 3), grid[MOUTH_ROW, inside]])
    triangles = np.concatenate([_triangles(number[: MOUTH_ROW + 1]), _triangles(under[MOUTH_ROW:])])
    below = np.zeros(len(rest), bool)
    below[number[MOUTH_ROW + 1 :]] = below[under[MOUTH_ROW, inside]] = True
    edge = np.zeros(len(rest), bool)
    edge[number[MOUTH_ROW, inside]] = edge[under[MOUTH_ROW, inside]] = True
    mouth = number[MOUTH_ROW - 1 : MOUTH_ROW + 2, CORNERS[0] : CORNERS[1] + 1]
    lips = np.union1d(mouth, under[MOUTH_ROW, inside])
    upper = np.sort(number[3:11, 4:-4].reshape(-1))
    return MeshFace(shape, rest, triangles, lips.astype(np.int32), upper.astype(np.int32), below, edge)


def _triangles(number: np.ndarray) -> np.ndarray:
    """Triangles int32 (F,3) of a grid of vertex indices, counter-clockwise seen from the front."""
    a, b, c, d = (part.reshape(-1) for part in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int32)
