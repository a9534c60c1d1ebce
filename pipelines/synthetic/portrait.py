"""The source photograph: scikit-image's astronaut (public domain), with hand-placed curves and masks in its pixels."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

#: iBUG 68 landmarks in pixels of the 512×512 photograph: medians of jittered dlib runs on an enlarged copy.
LANDMARKS = np.fromstring(
    """
    180.0 104.5 180.0 116.0 181.0 127.5 182.2 139.0 185.1 150.5 191.5 160.5 200.2 168.8 209.5 176.0 220.8 178.8
    232.5 177.2 243.2 171.2 253.2 163.8 260.5 154.2 265.2 143.2 268.0 131.8 270.5 120.2 272.2 108.2
    186.5 94.5 192.5 88.5 200.8 87.5 209.2 89.2 217.0 92.8 236.1 94.0 244.2 91.2 252.5 90.8 260.5 92.5 265.8 99.0
    226.0 102.5 225.8 111.0 225.8 119.0 225.5 127.5 214.5 131.2 219.5 132.8 224.5 134.8 229.8 133.2 234.8 132.0
    195.2 101.5 200.8 98.2 207.2 98.8 212.8 104.2 206.5 104.5 200.0 104.0
    237.9 105.5 244.0 100.8 250.2 100.8 255.5 104.5 250.5 106.5 244.0 106.5
    200.8 139.5 209.2 139.5 218.0 140.0 223.5 141.2 229.8 140.2 237.8 140.5 245.9 141.0 237.8 151.2 229.2 155.2
    222.5 156.0 216.2 155.0 208.0 150.0 203.5 140.8 217.5 143.2 223.2 144.5 229.5 143.8 243.0 142.2 229.2 150.2
    223.0 150.8 217.0 149.8
    """,
    sep=" ",
).reshape(68, 2)

#: Lower edge of the upper lip and upper edge of the lower lip, corner to corner (a smile that shows the teeth).
UPPER_LIP = np.array(
    [(203.0, 139.3), (206, 140.3), (211, 141.5), (215.3, 142), (220.7, 143), (225.3, 143.3), (229.9, 142.8),
     (235.3, 142.1), (239.9, 140.9), (244.5, 140.3)]
)  # fmt: skip
LOWER_LIP = np.array(
    [(203.0, 139.3), (206, 143.0), (209.1, 145.6), (213, 147.7), (217.6, 149.2), (223, 149.8), (227.6, 149.5),
     (231.4, 148.5), (234.5, 146.9), (238.3, 144.3), (241.4, 142.5), (244.5, 140.3)]
)  # fmt: skip

#: Eyelid edges from the image-left to the image-right corner: (upper, lower) of the left eye, then of the right eye.
LIDS = (
    (
        np.array([(194, 101.6), (197.2, 99.5), (200.8, 98.3), (204.2, 98.2), (207.4, 99), (210.2, 101), (213, 104)]),
        np.array([(194, 101.6), (197, 103.2), (200, 104.2), (203.5, 104.8), (207, 104.8), (210, 104.6), (213, 104)]),
    ),
    (
        np.array(
            [(236.8, 105.2), (239.8, 102.3), (243.4, 100.6), (247.2, 100.2), (250.6, 101), (253.4, 102.6), (256, 104.8)]
        ),
        np.array(
            [(236.8, 105.2), (240, 106.1), (243.5, 106.7), (247, 107), (250.4, 106.8), (253.4, 106), (256, 104.8)]
        ),
    ),
)  # fmt: skip

#: Loose outline of the hair; its inner side follows the hairline, its outer side lies in the background.
HAIR = np.array(
    [(172, 121), (179, 115), (180.5, 104), (184.5, 93), (186, 80), (188, 75), (197, 77.5), (210, 80), (228, 80.5),
     (244, 82.5), (256, 86), (265, 89), (269, 95), (272, 108), (271, 120), (269.5, 130), (277, 130), (310, 110),
     (312, 60), (270, 5), (210, 5), (150, 40), (140, 90)]
)  # fmt: skip

#: Points on the edge of the hair, from ear to ear.
CROWN = np.array(
    [(160, 106), (153, 72), (170, 50), (194, 28), (232, 16), (268, 26), (286, 38), (301, 80), (286, 118)], dtype=float
)

#: Face, ears and neck down to the collar.
SKIN = np.array(
    [(190, 70), (265, 82), (274, 118), (286, 122), (284, 135), (268, 141), (258, 160), (256, 182), (236, 191),
     (214, 190), (188, 182), (184, 150), (180, 136), (168, 128), (166, 116), (178, 112)]
)  # fmt: skip

#: The suit and its collar ring, whose bright parts must not count as background.
SUIT = np.array(
    [(186, 147), (150, 149), (130, 164), (122, 184), (113, 187), (109, 205), (60, 245), (60, 400), (400, 400),
     (345, 280), (320, 250), (303, 235), (290, 209), (270, 187), (254, 174), (240, 185), (200, 185)]
)  # fmt: skip


@cache
def photograph() -> np.ndarray:
    """The source photograph, uint8 (512,512,3) RGB."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut())


@cache
def masks() -> dict[str, np.ndarray]:
    """Soft masks of the photograph by name, float32 (512,512), 0–1; `inside` covers eyes and teeth."""
    lab = cv2.cvtColor(photograph().astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), 0.8)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    face = np.vstack([LANDMARKS[:17], [(267, 92), (256, 88), (228, 82), (197, 79), (186, 84)]])
    inner = np.maximum(_fill(_shrink(face, 0.94), 1.5), _fill(_shrink(HAIR, 0.72), 8.0))
    background = (
        (1 - np.clip((chroma - 6) / 13, 0, 1)) * smooth(lab[..., 0], 46, 62) * (1 - inner) * (1 - _fill(SUIT, 0.8))
    )
    hair = _fill(HAIR, 1.2) * (1 - background)
    inside = np.maximum.reduce(
        [_fill(np.vstack([UPPER_LIP, LOWER_LIP[::-1]]), 0.5), *(_fill(np.vstack([u, w[::-1]]), 0.5) for u, w in LIDS)]
    )
    skin = _fill(SKIN, 1.5) * (1 - hair) * (1 - background) * (1 - inside) * smooth(lab[..., 0], 14, 30)
    lips = _fill(np.vstack([LANDMARKS[48:55], LANDMARKS[55:60]]), 1.2) * (1 - inside) * smooth(lab[..., 1], 9, 17)
    brows = np.maximum(*(_stroke(LANDMARKS[a : a + 5], 4) for a in (17, 22)))
    by_name = {"background": background, "hair": hair, "skin": skin, "lips": lips, "brows": brows, "inside": inside}
    return {name: mask.astype(np.float32) for name, mask in by_name.items()}


def smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smoothstep: 0 at `low`, 1 at `high` (which may be below `low`), constant beyond."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _shrink(polygon: np.ndarray, factor: float) -> np.ndarray:
    middle = polygon.mean(axis=0)
    return middle + factor * (polygon - middle)


def _fill(polygon: np.ndarray, soft: float) -> np.ndarray:
    mask = np.zeros((512, 512), np.uint8)
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), soft)


def _stroke(line: np.ndarray, width: int) -> np.ndarray:
    mask = np.zeros((512, 512), np.uint8)
    cv2.polylines(mask, [np.round(line * 16).astype(np.int32)], False, 255, width, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1.2)
