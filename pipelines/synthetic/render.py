"""Renders frames of a deformable portrait."""

from __future__ import annotations

import cv2
import numpy as np

from dawn_bench.pipelines.synthetic.face import Expression, Face, Lids
from dawn_bench.pipelines.synthetic.identity import FINE, SyntheticPortrait
from dawn_bench.pipelines.synthetic.portrait import smooth

TONGUE, DARK = np.array([112, 52, 50], np.float32), np.array([38, 14, 14], np.float32)


class Renderer:
    """Renders frames of one portrait, uint8 (S,S,3) RGB."""

    def __init__(self, portrait: SyntheticPortrait) -> None:
        self.face = Face(portrait)
        self.portrait = portrait
        eyes = [np.vstack([upper, lower[::-1]]) for upper, lower in portrait.lids]
        lips = np.vstack([portrait.upper_lip, portrait.lower_lip[::-1]])
        self.inside = [_fill(portrait, line) for line in eyes]
        hole = np.maximum.reduce([*self.inside, _fill(portrait, lips)])
        grown = cv2.dilate((hole > 0.3).astype(np.uint8), np.ones((3, 3), np.uint8))
        #: the skin, inpainted under eyelids and lips so that no white of eyes or teeth bleeds into their edges
        self.skin = cv2.inpaint(portrait.picture, grown, 2 * FINE, cv2.INPAINT_TELEA)
        self.teeth = self._teeth()

    def __call__(self, expression: Expression, turn: np.ndarray, sway: np.ndarray) -> np.ndarray:
        """The frame for an expression, a head rotation (3,3) and a shift of the head (2,) in pixels."""
        face = self.face
        frontal = face.unturned(turn, sway)
        source = frontal.copy()
        part = self._patch(face.mouth.box, turn, sway)
        at = frontal[part]
        x = face.mouth.across(at[..., 0], at[..., 1], expression)
        source[part][..., 0] = x
        source[part][..., 1] += face.mouth.shift(x, at[..., 1], expression.opening)
        lids = [self._patch(eye.box, turn, sway) for eye in face.eyes]
        for eye, part in zip(face.eyes, lids, strict=True):
            at = frontal[part]
            source[part][..., 1] += eye.shift(at[..., 0], at[..., 1], expression.closure)
        frame = self._sample(self.skin, source)
        part = self._patch(face.mouth.hole, turn, sway)
        self._draw_mouth(frame[part], frontal[part], expression)
        for eye, part in zip(face.eyes, lids, strict=True):
            self._draw_eye(frame[part], frontal[part], eye, expression)
        return frame

    def _sample(self, picture: np.ndarray, at: np.ndarray) -> np.ndarray:
        index = (at + (self.portrait.border + 0.5)) * FINE - 0.5
        return cv2.remap(picture, index[..., 0], index[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def _patch(self, box: tuple[float, ...], turn: np.ndarray, sway: np.ndarray) -> tuple[slice, slice]:
        """The slices of the frame that show a box of the portrait."""
        x0, y0, x1, y1 = box
        ring = np.array([(x, y) for x in np.linspace(x0, x1, 5) for y in np.linspace(y0, y1, 5)], np.float32)
        seen = self.face.turned(ring, turn, sway)
        low = np.clip(np.floor(seen.min(axis=0)) - 3, 0, self.portrait.size).astype(int)
        high = np.clip(np.ceil(seen.max(axis=0)) + 4, 0, self.portrait.size).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _draw_eye(self, frame: np.ndarray, at: np.ndarray, eye: Lids, expression: Expression) -> None:
        """Draw the eyeball between the lids, shaded by the upper lid, and the lash line where they meet."""
        fw, x, y = self.face.fw, at[..., 0], at[..., 1]
        upper, lower = eye.edges(x, expression.closure)
        shade = 0.62 + 0.38 * smooth(y - upper, 0, 0.03 * fw)
        _blend(frame, self._sample(self.portrait.picture, at) * shade[..., None], _between(y, upper, lower))
        meet = float(smooth(np.asarray(expression.closure), 0.55, 1.0))
        if meet > 0:
            gap = eye.lower(x) - eye.upper(x)
            _darken(frame, y - 0.5 * (upper + lower), 0.012 * fw, 0.6 * meet * np.clip(gap / (0.03 * fw), 0, 1))

    def _draw_mouth(self, frame: np.ndarray, at: np.ndarray, expression: Expression) -> None:
        """Draw teeth, oral cavity and tongue between the lips, and a dark line where closed lips meet."""
        mouth, fw, y = self.face.mouth, self.face.fw, at[..., 1]
        x = mouth.across(at[..., 0], y, expression)
        s = (x - mouth.x) / mouth.half
        upper, lower = mouth.edges(x, expression.opening)
        tongue_y = mouth.rest(x) + (0.82 * expression.opening * (1 - 0.25 * s * s) + 0.012) * fw
        tongue = 0.4 * smooth(y - tongue_y, -0.055 * fw, 0.0) * np.clip(1 - (s / 0.75) ** 2, 0, 1)
        colour = DARK + tongue[..., None] * (TONGUE - DARK)
        teeth = self._sample(self.teeth, at).astype(np.float32)
        colour += teeth[..., 3:] / 255 * (teeth[..., :3] - colour)
        light = 0.8 + 0.2 * smooth(np.asarray(expression.opening), 0.01, 0.07)  # a narrow opening lets in little light
        shade = (0.72 + 0.28 * smooth(y - upper, 0, 0.035 * fw)) * (1 - 0.35 * smooth(np.abs(s), 0.5, 1.0))
        _blend(frame, colour * (light * shade)[..., None], _between(y, upper, lower))
        shut = float(1 - smooth(np.asarray(expression.opening), 0.01, 0.05))
        if shut > 0:
            side = np.clip(1.04 - np.abs(s) ** 6, 0, 1)
            _darken(frame, y - 0.5 * (upper + lower), 0.008 * fw, 0.4 * shut * side)

    def _teeth(self) -> np.ndarray:
        """The photographed teeth with opacity as a fourth channel, uint8 (H,H,4)."""
        portrait = self.portrait
        line = np.vstack([portrait.upper_lip, portrait.lower_lip[::-1]])
        share = _fill(portrait, line + np.array([0, -0.006 * portrait.face_width]))
        share = cv2.GaussianBlur(share, (0, 0), 0.006 * portrait.face_width * FINE)
        grey = portrait.picture.mean(axis=-1, keepdims=True)
        teeth = 1.0 * (0.55 * portrait.picture + 0.45 * grey) * np.array([1.0, 0.96, 0.91])
        return np.dstack([teeth, 255 * share]).round().clip(0, 255).astype(np.uint8)


def _fill(portrait: SyntheticPortrait, line: np.ndarray) -> np.ndarray:
    """The filled outline `line` (n,2) on the portrait's canvas, float32, 0–1."""
    mask = np.zeros(portrait.picture.shape[:2], np.uint8)
    at = (line + (portrait.border + 0.5)) * FINE - 0.5
    cv2.fillPoly(mask, [np.round(at * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _between(y: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Coverage of each pixel by the area between two edges, 0–1."""
    return np.clip(np.minimum(y - upper, lower - y) + 0.5, 0, 1) * np.clip(lower - upper, 0, 1)


def _blend(frame: np.ndarray, colour: np.ndarray, share: np.ndarray) -> None:
    """Blend `colour` (h,w,3) over `frame` in place, with opacity `share` (h,w)."""
    under = frame.astype(np.float32)
    frame[:] = np.clip(under + share[..., None] * (colour - under) + 0.5, 0, 255).astype(np.uint8)


def _darken(frame: np.ndarray, off: np.ndarray, width: float, share: np.ndarray) -> None:
    """Darken a line of `frame` in place: `off` is each pixel's distance from it."""
    dark = 1 - share * np.exp(-((off / width) ** 2))
    frame[:] = (frame * dark[..., None] + 0.5).astype(np.uint8)
