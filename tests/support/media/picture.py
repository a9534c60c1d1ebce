"""Kinds about the picture of videos: orientation, shape of pixels, fields, transparency."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from media.kinds import Answer, Probe, add_kind, kind

Colour = tuple[int, int, int]
#: Four colours, of the quarters of a stored picture: upper left, upper right, lower left, lower right.
A, B, C, D = (200, 60, 60), (60, 160, 60), (70, 70, 190), (190, 190, 70)
#: The display matrix (a, b, c, d, in 1/65536) of each orientation, and the quarters as displayed. A stored position
#: (x, y) appears at (ax + cy, bx + dy).
ORIENTATIONS: Mapping[str, tuple[tuple[int, int, int, int], tuple[Colour, ...]]] = {
    "as-stored": ((1, 0, 0, 1), (A, B, C, D)),
    "mirrored": ((-1, 0, 0, 1), (B, A, D, C)),
    "half-turn": ((-1, 0, 0, -1), (D, C, B, A)),
    "upside-down-mirrored": ((1, 0, 0, -1), (C, D, A, B)),
    "transposed": ((0, 1, 1, 0), (A, C, B, D)),
    "quarter-turn-clockwise": ((0, 1, -1, 0), (C, A, D, B)),
    "quarter-turn-counter-clockwise": ((0, -1, 1, 0), (B, D, A, C)),
    "transposed-at-the-other-diagonal": ((0, -1, -1, 0), (D, B, C, A)),
}


def quarters(colours: tuple[Colour, ...], *, width: int = 96, height: int = 64) -> np.ndarray:
    """A picture uint8 (H,W,3) of four colours."""
    picture = np.array(colours, np.uint8).reshape(2, 2, 3)
    return picture.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def four(colours: tuple[Colour, ...]) -> tuple[Probe, ...]:
    """Probes in the middle of the quarters."""
    places = (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)
    return tuple(Probe(x, y, rgb) for (x, y), rgb in zip(places, colours, strict=True))


def write_pictures(
    path: Path,
    pictures: list[np.ndarray] | list[av.VideoFrame],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    source: str = "rgb24",
    matrix: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    options: Mapping[str, str] | None = None,
    tags: Mapping[str, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    format: str | None = None,
) -> None:
    """Pictures at 25 fps: arrays in the format `source`, or frames as they are to be encoded."""
    with av.open(str(path), "w", format=format) as container:
        stream: Any = container.add_stream(codec, rate=25)
        first = pictures[0]
        stream.height, stream.width = first.shape[:2] if isinstance(first, np.ndarray) else (first.height, first.width)
        stream.pix_fmt = pix_fmt
        stream.options = dict({"qp": "0"} if codec == "libx264" else {}, **(options or {}))
        if matrix is not None:
            a, b, c, d = (value << 16 for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
            stream.sample_aspect_ratio = aspect
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        stream.metadata.update(metadata or {})
        for number, picture in enumerate(pictures):
            frame = (
                av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=source)
                if isinstance(picture, np.ndarray)
                else picture
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _register_orientations() -> None:
    for name, (matrix, shown) in ORIENTATIONS.items():
        size = (64, 96) if matrix[0] == 0 else (96, 64)
        answer = Answer(frames=3, size=size, colours=four(shown))
        write = partial(_turned, matrix=matrix, aspect=None)
        add_kind(f"matrix-{name}", "video", "clip.mp4", answer, write)
    for name in ("mirrored", "quarter-turn-clockwise"):
        matrix, shown = ORIENTATIONS[name]
        size = (64, 128) if matrix[0] == 0 else (128, 64)
        answer = Answer(frames=3, size=size, colours=four(shown), notes=("96x64 pixels of 4:3",))
        add_kind(f"matrix-{name}-wide-pixels", "video", "clip.mov", answer, partial(_turned, matrix=matrix))
    shown = ORIENTATIONS["upside-down-mirrored"][1]
    add_kind("matrix-in-matroska", "video", "clip.mkv", Answer(frames=3, colours=four(shown)), _in_bitstream)


def _turned(path: Path, *, matrix: tuple[int, int, int, int], aspect: Fraction | None = Fraction(4, 3)) -> None:
    write_pictures(path, [quarters((A, B, C, D))] * 3, matrix=matrix, aspect=aspect)


def _in_bitstream(path: Path) -> None:
    """The orientation as a message of the encoder, with the first frame only: every container carries it."""
    plain = path.with_stem("plain")
    write_pictures(plain, [quarters((A, B, C, D))] * 3)
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        stream = target.add_stream_from_template(video)
        inserted = av.BitStreamFilterContext("h264_metadata=flip=vertical:display_orientation=insert", video, stream)
        for packet in source.demux(video):
            for out in inserted.filter(packet):
                out.stream = stream
                target.mux(out)
    plain.unlink()


_register_orientations()


_DISC, _AROUND = (190, 190, 190), (60, 60, 60)


def disc(width: int, height: int, aspect: Fraction) -> np.ndarray:
    """A picture (height,width,3) whose pixels have this aspect: a disc of a radius of 0.3 of the displayed height."""
    y, x = np.mgrid[:height, :width] + 0.5
    distance = np.hypot((x - width / 2) * float(aspect), y - height / 2) / height
    return np.where((distance < 0.3)[..., None], np.array(_DISC, np.uint8), np.array(_AROUND, np.uint8))


def on_disc(width: int, height: int) -> tuple[Probe, ...]:
    """Probes just inside and outside a round disc, on both axes."""
    across = height / width
    inside = [(0.5 + 0.27 * across, 0.5), (0.5 - 0.27 * across, 0.5), (0.5, 0.77), (0.5, 0.23)]
    outside = [(0.5 + 0.33 * across, 0.5), (0.5 - 0.33 * across, 0.5), (0.5, 0.83), (0.5, 0.17)]
    return tuple(Probe(x, y, _DISC) for x, y in inside) + tuple(Probe(x, y, _AROUND) for x, y in outside)


def _disc(path: Path, *, stored: tuple[int, int], aspect: Fraction, **how: Any) -> None:
    write_pictures(path, [disc(*stored, aspect)] * 3, aspect=aspect, **how)


def _register_aspects() -> None:
    mpeg2: dict[str, Any] = {"codec": "mpeg2video", "options": {"qmin": "1", "b": "8000000"}}
    cases: list[tuple[str, str, tuple[int, int], Fraction, dict[str, Any]]] = [
        ("pal-16-15", "clip.mp4", (720, 576), Fraction(16, 15), {}),
        ("pal-wide-64-45", "clip.ts", (720, 576), Fraction(64, 45), mpeg2),
        ("ntsc-8-9", "clip.mkv", (720, 480), Fraction(8, 9), {}),
        ("hdv-4-3", "clip.mov", (1440, 1080), Fraction(4, 3), {"tags": {"colorspace": 6}}),
        ("tall-15-16", "clip.mp4", (128, 120), Fraction(15, 16), {}),
        ("only-in-the-bitstream", "clip.avi", (96, 96), Fraction(3, 2), {}),
        (
            "double-width",
            "clip.mp4",
            (96, 96),
            Fraction(2, 1),
            {"codec": "mpeg4", "options": {"qmin": "1", "b": "8000000"}},
        ),
    ]
    for name, file, stored, aspect, how in cases:
        width = round(stored[0] * aspect)
        note = f"{stored[0]}x{stored[1]} pixels of {aspect.numerator}:{aspect.denominator} shown as {width}x{stored[1]}"
        colours = on_disc(width, stored[1])
        answer = Answer(frames=3, size=(width, stored[1]), colours=colours, notes=(note,), tolerance=6)
        add_kind(f"pixels-{name}", "video", file, answer, partial(_disc, stored=stored, aspect=aspect, **how))


_register_aspects()


@kind("video", "clip.mp4", Answer(size=(96, 64), colours=on_disc(96, 64), tolerance=6))
def pixels_almost_square(path: Path) -> None:
    """1280:1279, the rounding error of a scaler: as stored, without a note."""
    _disc(path, stored=(96, 64), aspect=Fraction(1280, 1279))


@kind("video", "clip.mp4", Answer(refusal=("its pixels are stated to be 1:10",)))
def pixels_of_no_camera(path: Path) -> None:
    """Pixels ten times as high as wide."""
    _disc(path, stored=(96, 64), aspect=Fraction(1, 10))


def fields(bar: tuple[int, int]) -> np.ndarray:
    """A picture (64,96,3) of two fields: a bar of 24 pixels, at one place in even rows, at another in odd ones."""
    picture = np.full((64, 96, 3), 40, np.uint8)
    for parity, begin in enumerate(bar):
        picture[parity::2, begin : begin + 24] = 200
    picture[48:, 90:] = 120  # stands still
    return picture


#: The bar is where the upper field shows it, and what stands still stays.
_BAR = (
    Probe(30.5 / 96, 20.5 / 64, (200,) * 3), Probe(30.5 / 96, 21.5 / 64, (200,) * 3),
    Probe(60.5 / 96, 20.5 / 64, (40,) * 3), Probe(60.5 / 96, 21.5 / 64, (40,) * 3),
    Probe(93.5 / 96, 56.5 / 64, (120,) * 3),
)  # fmt: skip
_BAR_ANSWER = Answer(frames=3, size=(96, 64), colours=_BAR, notes=("interlaced",), tolerance=8)


@kind("video", "clip.mp4", _BAR_ANSWER)
def interlaced_h264(path: Path) -> None:
    """A bar that jumps between the fields, upper field first."""
    write_pictures(path, [fields((24, 48))] * 3, pix_fmt="yuv444p", options={"x264-params": "tff=1"})


@kind("video", "clip.mpg", _BAR_ANSWER)
def interlaced_mpeg2(path: Path) -> None:
    """The same in MPEG-2, as from a DVD."""
    options = {"flags": "+ildct+ilme", "top": "1", "qmin": "1", "b": "8000000"}
    write_pictures(path, [fields((24, 48))] * 3, codec="mpeg2video", options=options)


@kind("video", "clip.mp4", Answer(frames=3, colours=four((A, B, C, D)), notes=("interlaced",)))
def interlaced_but_still(path: Path) -> None:
    """Progressive pictures that are marked as interlaced, as broadcasters do."""
    write_pictures(path, [quarters((A, B, C, D))] * 3, options={"x264-params": "tff=1"})


def see_through(colours: tuple[Colour, ...] = (A, B, C, D)) -> np.ndarray:
    """uint8 RGBA (64,96,4): the left half opaque, the upper right transparent, the lower right half so."""
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:32, 48:], alpha[32:, 48:] = 0, 128
    return np.concatenate([quarters(colours), alpha], axis=2)


def half_white(colour: Colour) -> Colour:
    """A colour of alpha 128 on white."""
    return tuple(round((value * 128 + 255 * 127) / 255) for value in colour)  # type: ignore[return-value]


#: `see_through` as it is to be read.
SEEN = four((A, (255, 255, 255), C, half_white(D)))
_ON_WHITE: dict[str, Any] = {"size": (96, 64), "notes": ("transparent parts are shown on white",)}


def _see_through(path: Path, **how: Any) -> None:
    write_pictures(path, [see_through()] * 3, source="rgba", **how)


def _register_transparent() -> None:
    for codec, pix_fmt, file in (
        ("qtrle", "argb", "clip.mov"), ("png", "rgba", "clip.mov"), ("ffv1", "bgra", "clip.mkv"),
        ("prores_ks", "yuva444p10le", "clip.mov"), ("ffv1", "yuva420p", "clip.mkv"),
    ):  # fmt: skip
        how = {"codec": codec, "pix_fmt": pix_fmt, "options": {"profile": "4444"} if codec == "prores_ks" else {}}
        answer = Answer(frames=3, colours=SEEN, tolerance=4, **_ON_WHITE)
        add_kind(f"alpha-{codec}-{pix_fmt}", "video", file, answer, partial(_see_through, **how))


_register_transparent()


@kind("video", "clip.webp", Answer(frames=3, colours=SEEN, tolerance=4, **_ON_WHITE))
def alpha_animated_webp(path: Path) -> None:
    """Different pictures: Pillow joins equal ones."""
    from PIL import Image

    pictures = [see_through() for _ in range(3)]
    for number, picture in enumerate(pictures):
        picture[0, 0, 0] = number
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    first.save(path, save_all=True, append_images=rest, duration=40, lossless=True)


@kind("video", "clip.mkv", Answer(frames=3, colours=four((A, B, C, D))))
def alpha_all_opaque(path: Path) -> None:
    """A layer of transparency that hides nothing needs no note."""
    opaque = np.dstack([quarters((A, B, C, D)), np.full((64, 96), 255, np.uint8)])
    write_pictures(path, [opaque] * 3, source="rgba", codec="ffv1", pix_fmt="bgra")


@kind(
    "video", "clip.webm", Answer(colours=four((A, B, C, D)), notes=("layer of transparency is not used",), tolerance=6)
)
def alpha_beside_vp9(path: Path) -> None:
    """WebM keeps transparency as a second picture, which most players ignore too."""
    options = {"crf": "4", "b": "4000000"}
    write_pictures(
        path, [quarters((A, B, C, D))] * 3, codec="libvpx-vp9", options=options, metadata={"alpha_mode": "1"}
    )
