"""Kinds about the colour of videos: planes of known codes and tags, and the colours by the standards' formulas."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from media.kinds import Answer, Probe, add_kind, kind
from media.picture import four, write_pictures

#: Weights of red and blue in brightness, by the matrix's number in ITU-T H.273.
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
NAMES = {1: "bt709", 4: "fcc", 5: "bt601-625", 6: "bt601-525", 7: "smpte240m", 9: "bt2020"}
LIMITED, FULL = 1, 2
PQ, HLG = 16, 18
#: Y'CbCr of the four quarters, 8 bits, limited range: skin, a strong green, a strong blue, light grey.
PATCHES = ((150, 110, 155), (140, 90, 80), (80, 175, 115), (210, 128, 128))


def to_rgb(patch: tuple[int, ...], *, matrix: int, range: int, bits: int) -> tuple[float, float, float]:
    """R'G'B' in 0 to 1 of the codes Y', Cb, Cr (ITU-T H.273, 8.3)."""
    red, blue = WEIGHTS[matrix]
    scale = 1 << (bits - 8)
    y, cb, cr = patch
    if range == LIMITED:
        luma, pb, pr = (y - 16 * scale) / (219 * scale), *((c - 128 * scale) / (224 * scale) for c in (cb, cr))
    else:
        luma, pb, pr = y / ((1 << bits) - 1), *((c - 128 * scale) / ((1 << bits) - 1) for c in (cb, cr))
    r, b = luma + 2 * (1 - red) * pr, luma + 2 * (1 - blue) * pb
    return r, (luma - red * r - blue * b) / (1 - red - blue), b


def bytes_of(rgb: tuple[float, float, float]) -> tuple[int, int, int]:
    """0 to 255, clipped."""
    return tuple(round(255 * min(1.0, max(0.0, value))) for value in rgb)  # type: ignore[return-value]


def frame_of(patches: tuple[tuple[int, ...], ...], pix_fmt: str, *, width: int = 96, height: int = 64) -> av.VideoFrame:
    """A frame whose planes hold the four patches."""
    frame = av.VideoFrame(width, height, pix_fmt)
    kind = "<u2" if "10" in pix_fmt or "12" in pix_fmt else np.uint8
    for number, plane in enumerate(frame.planes):
        values = np.array([patch[number] for patch in patches], kind).reshape(2, 2)
        rows = np.zeros((plane.height, plane.line_size // values.itemsize), kind)
        picture = values.repeat(plane.height // 2, axis=0).repeat(plane.width // 2, axis=1)
        rows[:, : picture.shape[1]] = picture
        plane.update(rows.tobytes())
    return frame


def _planes(
    path: Path, *, patches: tuple[tuple[int, ...], ...], pix_fmt: str, tags: dict[str, int], **how: Any
) -> None:
    frames = []
    for _ in range(how.pop("count", 3)):
        frame = frame_of(patches, pix_fmt, **how.get("size", {}))
        for name, value in tags.items():
            setattr(frame, name, value)
        frames.append(frame)
    how.pop("size", None)
    write_pictures(path, frames, pix_fmt=pix_fmt, tags=tags, **how)


def _register_matrices() -> None:
    for matrix in WEIGHTS:
        for span in (LIMITED, FULL):
            for bits in (8, 10):
                patches = tuple(tuple(value << (bits - 8) for value in patch) for patch in PATCHES)
                shown = [bytes_of(to_rgb(patch, matrix=matrix, range=span, bits=bits)) for patch in patches]
                tags = {"colorspace": matrix, "color_range": span}
                pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
                name = f"colour-{NAMES[matrix]}-{'full' if span == FULL else 'limited'}-{bits}-bit"
                answer = Answer(frames=3, colours=four(tuple(shown)), tolerance=2)
                add_kind(
                    name, "video", "clip.mp4", answer, partial(_planes, patches=patches, pix_fmt=pix_fmt, tags=tags)
                )


def _register_codecs() -> None:
    """The tags in other containers and codecs; the colours are coded with loss."""
    shown = four(tuple(bytes_of(to_rgb(patch, matrix=1, range=LIMITED, bits=8)) for patch in PATCHES))
    full = four(tuple(bytes_of(to_rgb(patch, matrix=5, range=FULL, bits=8)) for patch in PATCHES))
    ten = tuple(tuple(value << 2 for value in patch) for patch in PATCHES)
    tags = {"colorspace": 1, "color_range": LIMITED}
    good, av1 = {"crf": "4", "b": "4000000"}, {"crf": "4", "preset": "12", "svtav1-params": "lp=1"}
    cases: list[tuple[str, str, tuple[Probe, ...], dict[str, Any]]] = [
        ("mkv-ffv1", "clip.mkv", shown, {"codec": "ffv1", "pix_fmt": "yuv444p"}),
        ("webm-vp9", "clip.webm", shown, {"codec": "libvpx-vp9", "options": good}),
        ("webm-av1-10-bit", "clip.webm", shown, {"codec": "libsvtav1", "pix_fmt": "yuv420p10le", "options": av1}),
        ("mp4-hevc", "clip.mp4", shown, {"codec": "libx265", "options": {"x265-params": "lossless=1:log-level=none"}}),
        ("mov-prores", "clip.mov", shown, {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
        ("ts-h264", "clip.ts", shown, {"count": 25}),
        ("mpg-mpeg2", "clip.mpg", shown, {"codec": "mpeg2video", "options": {"qmin": "1", "b": "8000000"}}),
        ("mov-mjpeg", "clip.mov", full, {"codec": "mjpeg", "tags": {"colorspace": 5, "color_range": FULL}}),
        ("mp4-422", "clip.mp4", shown, {"pix_fmt": "yuv422p"}),
        ("mp4-444-10-bit", "clip.mp4", shown, {"pix_fmt": "yuv444p10le"}),
    ]  # fmt: skip
    for name, file, colours, how in cases:
        how = {"tags": tags, "pix_fmt": "yuv420p", **how}
        how["patches"] = ten if "10" in how["pix_fmt"] else PATCHES
        answer = Answer(frames=how.get("count", 3), colours=colours, tolerance=4)
        add_kind(f"colour-{name}", "video", file, answer, partial(_planes, **how))


_register_matrices()
_register_codecs()

_BT601 = four(tuple(bytes_of(to_rgb(patch, matrix=5, range=LIMITED, bits=8)) for patch in PATCHES))


@kind("video", "clip.mp4", Answer(frames=3, colours=_BT601, tolerance=2))
def colour_without_tags(path: Path) -> None:
    """BT.601, limited range."""
    _planes(path, patches=PATCHES, pix_fmt="yuv420p", tags={})


@kind("video", "clip.mp4", Answer(size=(1280, 720), colours=_BT601, notes=("colour matrix not stated",), tolerance=2))
def colour_without_tags_large(path: Path) -> None:
    """A size at which files usually state their matrix: the same, with a note."""
    _planes(path, patches=PATCHES, pix_fmt="yuv420p", tags={}, size={"width": 1280, "height": 720})


@kind("video", "clip.mp4", Answer(colours=_BT601, tolerance=2))
def colour_marked_as_rgb(path: Path) -> None:
    """Brightness and colour differences under the tag of RGB, a known fault of encoders."""
    _planes(path, patches=PATCHES, pix_fmt="yuv420p", tags={"colorspace": 0})


@kind("video", "clip.mp4", Answer(refusal=("colours are stored as YCgCo",)))
def colour_ycgco(path: Path) -> None:
    """A matrix that FFmpeg's scaler does not know."""
    _planes(path, patches=PATCHES, pix_fmt="yuv420p", tags={"colorspace": 8})


@kind("video", "clip.mp4", Answer(refusal=("colours are stored as ICtCp",)))
def colour_ictcp(path: Path) -> None:
    """HDR colours of BT.2100 that are not Y'CbCr."""
    patches = tuple(tuple(value << 2 for value in patch) for patch in PATCHES)
    tags = {"colorspace": 14, "color_trc": PQ, "color_primaries": 9}
    _planes(path, patches=patches, pix_fmt="yuv420p10le", tags=tags)


@kind(
    "video", "clip.mp4",
    Answer(
        colours=four(tuple(bytes_of(to_rgb(p, matrix=9, range=LIMITED, bits=8)) for p in PATCHES)),
        notes=("BT.2020 primaries are kept",), tolerance=2,
    ),
)  # fmt: skip
def colour_wide_gamut(path: Path) -> None:
    """BT.2020 without HDR."""
    patches = tuple(tuple(value << 2 for value in patch) for patch in PATCHES)
    tags = {"colorspace": 9, "color_trc": 14, "color_primaries": 9, "color_range": LIMITED}
    _planes(path, patches=patches, pix_fmt="yuv420p10le", tags=tags)


def shown_light(rgb: tuple[float, float, float], transfer: int) -> tuple[float, float, float]:
    """cd/m² of R'G'B' (ITU-R BT.2100-2, tables 4 and 5; HLG on a screen of 1000 cd/m²)."""
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        roots = [max(0.0, value) ** (1 / m2) for value in rgb]
        light = [10_000 * (max(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) for root in roots]
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = [v * v / 3 if v <= 0.5 else (np.exp((v - c) / a) + b) / 12 for v in (max(0.0, v) for v in rgb)]
        luminance = 0.2627 * scene[0] + 0.6780 * scene[1] + 0.0593 * scene[2]
        light = [1000 * luminance**0.2 * value for value in scene]
    return tuple(float(value) for value in light)  # type: ignore[return-value]


def on_screen(light: tuple[float, float, float]) -> tuple[int, int, int]:
    """The documented rule, from cd/m² in BT.2020 primaries: see docs/media.md."""
    to_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    relative = np.maximum(to_709 @ np.array(light) / 203, 0)
    largest = relative.max()
    if largest > 0.5:
        t, end = (min(largest, 1000 / 203) - 0.5) / 0.5, (1000 / 203 - 0.5) / 0.5
        relative *= (0.5 + 0.5 * t * (1 + t / end**2) / (1 + t)) / largest
    return bytes_of(tuple(relative ** (1 / 2.4)))  # type: ignore[arg-type]


def _register_hdr() -> None:
    # skin, a strong green, a reflection, dark grey: in 10 bits
    patches = {
        PQ: ((430, 480, 560), (420, 440, 420), (750, 512, 512), (250, 512, 512)),
        HLG: ((560, 470, 580), (520, 420, 400), (900, 512, 512), (200, 512, 512)),
    }
    for transfer, name in ((PQ, "PQ"), (HLG, "HLG")):
        shown = []
        for patch in patches[transfer]:
            signal = to_rgb(patch, matrix=9, range=LIMITED, bits=10)
            shown.append(on_screen(shown_light(signal, transfer)))
        tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": LIMITED}
        answer = Answer(frames=3, colours=four(tuple(shown)), notes=(f"HDR ({name}) tone-mapped",), tolerance=3)
        av1 = {"crf": "4", "preset": "12", "svtav1-params": "lp=1"}
        cases: dict[str, tuple[str, dict[str, Any]]] = {
            "mp4": ("clip.mp4", {"codec": "libx265", "options": {"x265-params": "lossless=1:log-level=none"}}),
            "mkv": ("clip.mkv", {}),
            "webm": ("clip.webm", {"codec": "libsvtav1", "options": av1}),
        }
        for container, (file, how) in cases.items():
            how = {"patches": patches[transfer], "pix_fmt": "yuv420p10le", "tags": tags, **how}
            add_kind(f"hdr-{name.lower()}-{container}", "video", file, answer, partial(_planes, **how))


_register_hdr()
