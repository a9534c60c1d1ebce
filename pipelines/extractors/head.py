"""A generic 3-D head model: 68 iBUG points, and their weights in the pose fit.

Obtained by rigid factorisation of dlib's landmarks on 1,600 frames of 35 talking clips (all clips weigh the same),
initialised with anatomical depths, constrained to be symmetric, and rotated so that the clips face forward on average.
x to the right of the image, y up, z to the viewer; the origin is half a face width behind the tip of the nose and a
tenth above it. Units are micrometres, with a face width (landmark 0 to 16) of 14 cm.
"""

from __future__ import annotations

import numpy as np

#: Distance of landmarks 0 and 16, micrometres.
FACE_WIDTH = 140_000.0

#: x, y, z in thousandths of the face width.
_POINTS = (
    (-500, 96, -223), (-492, -37, -203), (-474, -170, -180), (-451, -301, -148), (-410, -425, -92), (-340, -535, -11),
    (-245, -625, 79), (-131, -695, 161), (0, -717, 193), (131, -695, 161), (245, -625, 79), (340, -535, -11),
    (410, -425, -92), (451, -301, -148), (474, -170, -180), (492, -37, -203), (500, 96, -223), (-407, 216, 131),
    (-348, 279, 208), (-261, 302, 271), (-170, 294, 316), (-85, 260, 341), (85, 260, 341), (170, 294, 316),
    (261, 302, 271), (348, 279, 208), (407, 216, 131), (0, 153, 336), (0, 69, 388), (0, -14, 446),
    (0, -100, 500), (-100, -171, 353), (-52, -188, 382), (0, -201, 398), (52, -188, 382), (100, -171, 353),
    (-307, 123, 161), (-254, 154, 212), (-191, 155, 228), (-133, 118, 223), (-193, 105, 218), (-256, 103, 206),
    (133, 118, 223), (191, 155, 228), (254, 154, 212), (307, 123, 161), (256, 103, 206), (193, 105, 218),
    (-185, -367, 199), (-120, -322, 298), (-50, -299, 347), (0, -312, 355), (50, -299, 347), (120, -322, 298),
    (185, -367, 199), (122, -434, 254), (54, -464, 289), (0, -470, 297), (-54, -464, 289), (-122, -434, 254),
    (-154, -367, 214), (-50, -346, 331), (0, -350, 342), (50, -346, 331), (154, -367, 214), (51, -393, 292),
    (0, -399, 301), (-51, -393, 292),
)  # fmt: skip

#: float64 (68,3), micrometres.
HEAD = np.array(_POINTS, np.float64) / 1000 * FACE_WIDTH

#: float64 (68,). Speech moves mouth and chin, and detectors move the whole jaw line with them, which would be taken for
#: pitch: these points have zero weight except at the ears. Eyelids and brows, which also move, have reduced weight.
WEIGHTS = np.ones(68)
WEIGHTS[:17] = 0.0
WEIGHTS[[0, 1, 15, 16]] = 0.1
WEIGHTS[17:27] = 0.7
WEIGHTS[[37, 38, 40, 41, 43, 44, 46, 47]] = 0.2
WEIGHTS[48:] = 0.0
