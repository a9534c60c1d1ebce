"""Kinds of picture files: orientation, transparency, and formats of pixels."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from media.kinds import Answer, add_kind, kind
from media.picture import SEEN, A, B, C, D, four, half_white, quarters, see_through
from PIL import Image, ImageCms

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


def display_p3() -> bytes:
    """The profile of sRGB with the primaries of Display P3 (in D50, as its own profile states them)."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for entry in range(struct.unpack_from(">I", profile, 128)[0]):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * entry)
        if tag in primaries:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in primaries[tag]))
    return bytes(profile)


def from_p3(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """A colour of Display P3 in sRGB: the same transfer, other primaries (both D65)."""
    to_srgb = np.array([[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0197, -0.0786, 1.0983]])
    signal = np.array(colour) / 255
    light = to_srgb @ np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    light = light.clip(0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return tuple(int(value) for value in (255 * shown).round())  # type: ignore[return-value]


_IN_P3 = tuple(from_p3(colour) for colour in (A, B, C, D))
_ON_WHITE = _IN_P3[0], WHITE, _IN_P3[2], half_white(_IN_P3[3])


@kind("picture", "p.jpg", Answer(size=SIZE, colours=four(_IN_P3), tolerance=5))
def picture_display_p3(path: Path) -> None:
    """The colours of a phone."""
    Image.fromarray(quarters((A, B, C, D))).save(path, quality=95, icc_profile=display_p3())


@kind(
    "picture",
    "p.png",
    Answer(size=SIZE, colours=four(_ON_WHITE), tolerance=4),
)
def picture_display_p3_transparent(path: Path) -> None:
    """A cut-out of a phone."""
    _transparent(path, icc_profile=display_p3())


@kind("picture", "p.png", Answer(size=SIZE, colours=four((A, B, C, D)), tolerance=0))
def picture_with_srgb_profile(path: Path) -> None:
    """A profile that changes nothing."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(quarters((A, B, C, D))).save(path, icc_profile=profile)


@kind("picture", "p.png", Answer(refusal=("cannot be read as a picture",)))
def picture_cut_off(path: Path) -> None:
    """A transparent picture whose end is missing."""
    _transparent(path)
    path.write_bytes(path.read_bytes()[:150])
