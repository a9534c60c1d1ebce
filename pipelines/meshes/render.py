"""Renders a mesh sequence in grey from the front with the painter's algorithm, for galleries.

V vertices, F triangles, S pixels. A mesh without triangles is drawn as a point cloud.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

BACKGROUND = (22, 24, 30)
_SKIN = np.array([214.0, 200.0, 190.0])
_LIGHT = np.array([0.25, 0.35, 0.9]) / np.linalg.norm([0.25, 0.35, 0.9])
#: Supersampling factor per side.
_FINER = 2
#: Margin around the neutral face, as a share of the image side.
_MARGIN = 0.08
#: Fractional bits of OpenCV's pixel coordinates.
_SHIFT = 4


class MeshRenderer:
    """Renderer for one subject: `template` (V,3) fixes the camera, `triangles` int (F,3) the surface (None: points)."""

    def __init__(self, template: np.ndarray, triangles: np.ndarray | None, *, size: int = 256) -> None:
        self.size, self.triangles, self.fine = size, triangles, size * _FINER
        low, high = template.min(axis=0), template.max(axis=0)
        self.scale = self.fine * (1 - 2 * _MARGIN) / max(high[0] - low[0], high[1] - low[1])
        self.centre = (low + high)[:2] / 2
        area = (high - low)[:2].prod() * self.scale**2
        self.radius = max(1, round(0.3 * float(np.sqrt(area / len(template)))))

    def __call__(self, vertices: np.ndarray) -> np.ndarray:
        """Render vertices (V,3) of one frame as uint8 (S,S,3) RGB."""
        picture = np.empty((self.fine, self.fine, 3), np.uint8)
        picture[:] = BACKGROUND
        at = (vertices[:, :2] - self.centre) * self.scale * (1, -1) + self.fine / 2  # y downwards
        pixels = np.rint(at * 2**_SHIFT).astype(np.int32)
        if self.triangles is None:
            self._dots(picture, pixels, vertices[:, 2])
        else:
            self._surface(picture, pixels, vertices)
        return cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def frames(self, vertices: np.ndarray) -> Iterator[np.ndarray]:
        """Render vertices (T,V,3) lazily, one uint8 (S,S,3) frame at a time."""
        for frame in vertices:
            yield self(frame)

    def _surface(self, picture: np.ndarray, pixels: np.ndarray, vertices: np.ndarray) -> None:
        """Draw front-facing triangles, flat-shaded with the mean light of their corners."""
        assert self.triangles is not None
        corners = vertices[self.triangles].astype(np.float64)
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        number = self.triangles.reshape(-1)
        smooth = np.stack([np.bincount(number, np.repeat(normal[:, k], 3), len(vertices)) for k in range(3)], axis=1)
        smooth = smooth / np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
        light = (0.25 + 0.75 * np.clip(smooth @ _LIGHT, 0, 1))[self.triangles].mean(axis=1)
        order = np.argsort(corners[:, :, 2].mean(axis=1), kind="stable")
        order = order[normal[order, 2] > 0]
        shades = (light[order, None] * _SKIN).tolist()
        for corner, shade in zip(pixels[self.triangles[order]], shades, strict=True):
            cv2.fillConvexPoly(picture, corner, shade, shift=_SHIFT)

    def _dots(self, picture: np.ndarray, pixels: np.ndarray, depth: np.ndarray) -> None:
        """Draw one dot per vertex, brighter when nearer."""
        light = 0.3 + 0.7 * (depth - depth.min()) / max(float(np.ptp(depth)), 1e-12)
        order = np.argsort(depth, kind="stable")
        for centre, shade in zip(pixels[order].tolist(), (light[order, None] * _SKIN).tolist(), strict=True):
            cv2.circle(picture, centre, self.radius << _SHIFT, shade, -1, shift=_SHIFT)
