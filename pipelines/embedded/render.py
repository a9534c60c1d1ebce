"""One frame of a moving portrait."""

from __future__ import annotations

import cv2
import numpy as np

from dawn_bench.pipelines.embedded.face import Expression, Face
from dawn_bench.pipelines.embedded.identity import FINE, Portrait
from dawn_bench.pipelines.embedded.portrait import smooth

TONGUE, DARK = np.array([126, 62, 60], np.float32), np.array([38, 14, 14], np.float32)


class Renderer:
    """Draws frames of one portrait, uint8 (S,S,3) RGB."""

    def __init__(self, portrait: Portrait) -> None:
        self.face = Face(portrait)
        self.portrait = portrait
        eyes = [np.vstack([upper, lower[::-1]]) for upper, lower in portrait.lids]
        lips = np.vstack([portrait.upper_lip, portrait.lower_lip[::-1]])
        self.inside = [_fill(portrait, line) for line in eyes]
        hole = np.maximum.reduce([*self.inside, _fill(portrait, lips)])
        grown = cv2.dilate((hole > 0.3).astype(np.uint8), np.ones((5, 5), np.uint8))
        #: the skin, continued under the lids and lips so that no white of eyes or teeth sticks to their edges
        self.skin = cv2.inpaint(portrait.picture, grown, 2 * FINE, cv2.INPAINT_TELEA)
        self.teeth = self._teeth()

    def __call__(self, expression: Expression, turn: np.ndarray, sway: np.ndarray) -> np.ndarray:
        """The frame for an expression, a head rotation (3,3) and a shift of the head (2,) in pixels."""
        face = self.face
        frontal = face.unturned(turn, sway)
        source = frontal.copy()
        layers = []
        rows, columns = self._patch(face.mouth.box)
        at = frontal[rows, columns]
        x = face.mouth.across(at[..., 0], at[..., 1], expression.rounding)
        source[rows, columns, 0] = x
        source[rows, columns, 1] += face.mouth.shift(x, at[..., 1], expression.opening)
        upper, lower = face.mouth.edges(x, expression.opening)
        layers.append((rows, columns, self._mouth(at, x, upper, lower, expression), _between(at[..., 1], upper, lower)))
        for eye in face.eyes:
            rows, columns = self._patch(eye.box)
            at = frontal[rows, columns]
            source[rows, columns, 1] += eye.shift(at[..., 0], at[..., 1], expression.closure)
            upper, lower = eye.edges(at[..., 0], expression.closure)
            layers.append((rows, columns, self._sample(self.portrait.picture, at), _between(at[..., 1], upper, lower)))
        frame = self._sample(self.skin, source)
        for rows, columns, colour, share in layers:
            under = frame[rows, columns].astype(np.float32)
            frame[rows, columns] = np.round(under + share[..., None] * (colour - under)).astype(np.uint8)
        self._lines(frame, frontal, expression)
        return frame

    def _sample(self, picture: np.ndarray, at: np.ndarray) -> np.ndarray:
        index = (at + (self.portrait.border + 0.5)) * FINE - 0.5
        return cv2.remap(picture, index, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def _patch(self, box: np.ndarray) -> tuple[slice, slice]:
        """The part of the frame that a box of the portrait can reach when the head moves."""
        room, size = 0.2 * self.face.fw, self.portrait.size
        x0, y0, x1, y1 = (
            int(np.clip(v, 0, size)) for v in (box[0] - room, box[1] - room, box[2] + room, box[3] + room)
        )
        return slice(y0, y1), slice(x0, x1)

    def _mouth(
        self, at: np.ndarray, x: np.ndarray, upper: np.ndarray, lower: np.ndarray, expression: Expression
    ) -> np.ndarray:
        """What shows between the lips: the sitter's teeth above, the dark of the mouth, the tongue below."""
        mouth, fw = self.face.mouth, self.face.fw
        y = at[..., 1]
        s = (x - mouth.x) / mouth.half
        tongue_y = mouth.rest(x) + (0.86 * expression.opening * (1 - 0.25 * s * s) + 0.012) * fw
        tongue = smooth(y, -0.045 * fw, 0.0) if False else smooth(y - tongue_y, -0.055 * fw, 0.0)
        tongue = 0.75 * tongue * np.clip(1 - (s / 0.75) ** 2, 0, 1)
        colour = DARK + tongue[..., None] * (TONGUE - DARK)
        teeth = self._sample(self.teeth, at).astype(np.float32)
        colour = colour + teeth[..., 3:] / 255 * (teeth[..., :3] - colour)
        shade = 0.72 + 0.28 * smooth(y - upper, 0, 0.035 * fw)
        return colour * (shade * (1 - 0.35 * smooth(np.abs(s), 0.5, 1.0)))[..., None]

    def _lines(self, frame: np.ndarray, frontal: np.ndarray, expression: Expression) -> None:
        """The soft dark line where lips or lids meet."""
        fw, face = self.face.fw, self.face
        shut = float(1 - smooth(np.array(expression.opening), 0.01, 0.05))
        if shut > 0:
            rows, columns = self._patch(face.mouth.box)
            at = frontal[rows, columns]
            x = face.mouth.across(at[..., 0], at[..., 1], expression.rounding)
            upper, lower = face.mouth.edges(x, expression.opening)
            side = np.clip(1.04 - np.abs((x - face.mouth.x) / face.mouth.half) ** 6, 0, 1)
            _darken(frame, rows, columns, at[..., 1] - 0.5 * (upper + lower), 0.011 * fw, 0.5 * shut * side)
        lashes = float(smooth(np.array(expression.closure), 0.55, 1.0))
        for eye in face.eyes if lashes > 0 else ():
            rows, columns = self._patch(eye.box)
            at = frontal[rows, columns]
            upper, lower = eye.edges(at[..., 0], expression.closure)
            gap = eye.lower(at[..., 0]) - eye.upper(at[..., 0])
            side = np.clip(gap / (0.03 * fw), 0, 1)
            _darken(frame, rows, columns, at[..., 1] - 0.5 * (upper + lower), 0.012 * fw, 0.6 * lashes * side)

    def _teeth(self) -> np.ndarray:
        """The sitter's mouth with its opacity as a fourth channel, uint8 (H,H,4)."""
        portrait = self.portrait
        line = np.vstack([portrait.upper_lip, portrait.lower_lip[::-1]])
        share = _fill(portrait, line + np.array([0, -0.006 * portrait.face_width]))
        share = cv2.GaussianBlur(share, (0, 0), 0.006 * portrait.face_width * FINE)
        grey = portrait.picture.mean(axis=-1, keepdims=True)
        teeth = 0.92 * (0.55 * portrait.picture + 0.45 * grey)
        return np.dstack([teeth, 255 * share]).round().clip(0, 255).astype(np.uint8)


def _fill(portrait: Portrait, line: np.ndarray) -> np.ndarray:
    """A filled outline on the portrait's canvas, float32, 0–1."""
    mask = np.zeros(portrait.picture.shape[:2], np.uint8)
    at = (line + (portrait.border + 0.5)) * FINE - 0.5
    cv2.fillPoly(mask, [np.round(at * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _between(y: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """The share of each pixel that lies between two edges, 0–1."""
    return np.clip(np.minimum(y - upper, lower - y) + 0.5, 0, 1) * np.clip(lower - upper, 0, 1)


def _darken(frame: np.ndarray, rows: slice, columns: slice, off: np.ndarray, width: float, share: np.ndarray) -> None:
    """Darken a line: `off` is each pixel's distance from it."""
    dark = 1 - share * np.exp(-((off / width) ** 2))
    frame[rows, columns] = (frame[rows, columns] * dark[..., None] + 0.5).astype(np.uint8)
