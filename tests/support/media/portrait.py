"""Kinds of picture files: orientation, transparency, and formats of pixels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from media.kinds import Answer, add_kind, kind
from media.picture import SEEN, A, B, C, D, four, quarters, see_through
from PIL import Image

SIZE = (96, 64)
PLAIN = Answer(size=SIZE, colours=four((A, B, C, D)), tolerance=4)
#: The quarters as shown by the EXIF orientation tag (TIFF 6.0): 1 to 8.
ORIENTED = {
    1: (A, B, C, D), 2: (B, A, D, C), 3: (D, C, B, A), 4: (C, D, A, B),
    5: (A, C, B, D), 6: (C, A, D, B), 7: (D, B, C, A), 8: (B, D, A, C),
}  # fmt: skip


def _oriented(path: Path, *, orientation: int, pixels: np.ndarray | None = None, **how: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quarters((A, B, C, D)) if pixels is None else pixels).save(path, exif=exif, **how)


def _register_orientations() -> None:
    for orientation, shown in ORIENTED.items():
        answer = Answer(size=SIZE if orientation < 5 else SIZE[::-1], colours=four(shown), tolerance=4)
        write = partial(_oriented, orientation=orientation, quality=95)
        add_kind(f"picture-jpeg-orientation-{orientation}", "picture", "p.jpg", answer, write)
    for file, how in (("p.png", {}), ("p.webp", {"quality": 95}), ("p.tif", {}), ("p.avif", {"quality": 95})):
        for orientation in (4, 6):
            answer = Answer(
                size=SIZE if orientation < 5 else SIZE[::-1], colours=four(ORIENTED[orientation]), tolerance=6
            )
            name = f"picture-{file[2:]}-orientation-{orientation}"
            add_kind(name, "picture", file, answer, partial(_oriented, orientation=orientation, **how))


def _transparent(path: Path, **how: Any) -> None:
    Image.fromarray(see_through()).save(path, **how)


def _register_transparent() -> None:
    for file, how in (
        ("p.png", {}), ("p.webp", {"lossless": True}), ("p.tif", {}), ("p.avif", {"quality": 98}), ("p.jp2", {}),
    ):  # fmt: skip
        answer = Answer(size=SIZE, colours=SEEN, tolerance=6)
        add_kind(f"picture-transparent-{file[2:]}", "picture", file, answer, partial(_transparent, **how))


_register_orientations()
_register_transparent()

WHITE = (255, 255, 255)


@kind("picture", "p.png", Answer(size=SIZE, colours=four((A, WHITE, C, D)), tolerance=2))
def picture_transparent_palette(path: Path) -> None:
    """One colour of a palette is transparent."""
    picture = Image.fromarray(quarters((A, B, C, D))).quantize(4)
    entries = np.array(picture.getpalette()[:12]).reshape(4, 3)
    picture.save(path, transparency=int(np.abs(entries - B).sum(axis=1).argmin()))


@kind("picture", "p.png", Answer(size=SIZE, colours=four((A, WHITE, C, D)), tolerance=1))
def picture_transparent_colour(path: Path) -> None:
    """One colour of an RGB picture is transparent."""
    Image.fromarray(quarters((A, B, C, D))).save(path, transparency=B)


@kind("picture", "p.gif", Answer(size=SIZE, colours=four((A, WHITE, C, D)), tolerance=2))
def picture_transparent_gif(path: Path) -> None:
    """A GIF, whose pixels are opaque or transparent."""
    pixels = see_through()
    pixels[32:, 48:, 3] = 255
    Image.fromarray(pixels).save(path)


@kind("picture", "p.png", Answer(size=SIZE, colours=four(((100,) * 3, WHITE, (100,) * 3, (178,) * 3)), tolerance=2))
def picture_transparent_grey(path: Path) -> None:
    """Grey and transparency."""
    pixels = see_through(((100,) * 3,) * 4)
    Image.fromarray(pixels).convert("LA").save(path)


@kind("picture", "p.png", Answer(size=SIZE[::-1], colours=four((C, A, SEEN[3].rgb, WHITE)), tolerance=2))
def picture_transparent_and_turned(path: Path) -> None:
    """Transparency under an orientation tag."""
    _oriented(path, orientation=6, pixels=see_through())


@kind("picture", "p.png", PLAIN)
def picture_opaque_rgba(path: Path) -> None:
    """A layer of transparency that hides nothing."""
    Image.fromarray(np.dstack([quarters((A, B, C, D)), np.full(SIZE[::-1], 255, np.uint8)])).save(path)


@kind("picture", "p.jpg", Answer(size=SIZE, colours=four((A, B, C, D)), tolerance=8))
def picture_cmyk(path: Path) -> None:
    """The colours of a printer."""
    Image.fromarray(quarters((A, B, C, D))).convert("CMYK").save(path, quality=95)


@kind("picture", "p.png", Answer(size=SIZE, colours=four(((40,) * 3, (90,) * 3, (160,) * 3, (230,) * 3)), tolerance=2))
def picture_grey_16_bit(path: Path) -> None:
    """Grey in 16 bits."""
    grey = quarters(((40,) * 3, (90,) * 3, (160,) * 3, (230,) * 3))[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


@kind("picture", "p.png", PLAIN)
def picture_palette(path: Path) -> None:
    """A palette."""
    Image.fromarray(quarters((A, B, C, D))).quantize(16).save(path)


@kind("picture", "p.png", Answer(refusal=("cannot be read as a picture",)))
def picture_cut_off(path: Path) -> None:
    """A transparent picture whose end is missing."""
    _transparent(path)
    path.write_bytes(path.read_bytes()[:150])
