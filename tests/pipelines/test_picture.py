"""Lazily converted frames, against conversion of the whole frame."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media.asymmetric import BT709, write_asymmetric
from media.colour import PQ, WEIGHTS
from media.picture import write_pictures
from skimage.data import astronaut

from dawn_bench.pipelines.media.picture import _BRIGHT_FIRST, _DEEP, Converter, Picture
from dawn_bench.pipelines.media.video import iter_pictures, probe, write_video


def photo(width: int = 320, height: int = 240) -> np.ndarray:
    return cv2.resize(astronaut(), (width, height), interpolation=cv2.INTER_AREA)


def turned(path: Path) -> Path:
    """The file with rotation metadata of a quarter turn, as written by phones."""
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    out = path.with_stem("turned")
    out.write_bytes(data[:at] + quarter + data[at + 36 :])
    return out


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """BT.709 in full range, the first picture at 0.4 s."""
    return write_asymmetric(tmp_path / "clip.mp4", [photo()] * 3, None)


def first(path: Path) -> Picture:
    return next(iter(iter_pictures(path)))


def check(picture: Picture, *, weights: tuple[float, float] = (0.299, 0.114)) -> None:
    """Gray, crops and resized crops agree with the whole RGB frame; `weights` of red and blue in brightness."""
    red, blue = weights
    rgb, gray = picture.rgb().astype(int), picture.gray().astype(float)
    assert rgb.shape[:2] == gray.shape == (picture.height, picture.width)
    brightness = rgb @ [red, 1 - red - blue, blue]
    assert np.corrcoef(gray.ravel(), brightness.ravel())[0, 1] > 0.999
    part = picture.within((20, 30, 180, 160))
    assert part is not None and (part.width, part.height) == (180, 160)
    assert np.array_equal(part.rgb(), rgb[30:190, 20:200]) and np.array_equal(part.gray(), gray[30:190, 20:200])
    for window in ((10, 20, 120, 120), (10, 20, 120, 90), (11, 21, 121, 121)):  # the last cannot be cut from halves
        x, y, width, height = window
        wanted = cv2.resize(
            rgb[y + 30 : y + 30 + height, x + 20 : x + 20 + width].astype(np.uint8),
            (64, 64),
            interpolation=cv2.INTER_AREA,
        )
        cut = part.cut(window, 64)
        assert cut.shape == (64, 64, 3) and cut.dtype == np.uint8
        error = cut.astype(int) - wanted
        assert np.abs(error).mean() < 2.5 and np.abs(error).max() < 40
        grown = part.cut(window, 200)
        assert grown.shape == (200, 200, 3) and np.abs(grown.mean(axis=(0, 1)) - cut.mean(axis=(0, 1))).max() < 2


def test_all_views_show_the_same_image(video: Path) -> None:
    picture = first(video)
    assert (picture.width, picture.height) == (320, 240)
    assert np.abs(picture.rgb().astype(int) - photo()).mean() < 2
    check(picture, weights=WEIGHTS[BT709])


def test_rotation_metadata_is_applied(video: Path) -> None:
    picture, stored = first(turned(video)), first(video)
    facts = probe(turned(video))
    assert (picture.width, picture.height) == (facts.width, facts.height) == (240, 320) and facts.rotation % 180 == 90
    assert any(np.array_equal(picture.rgb(), np.rot90(stored.rgb(), k)) for k in (1, 3))
    check(picture, weights=WEIGHTS[BT709])


def test_ten_bits_give_the_same_views(tmp_path: Path) -> None:
    write_pictures(tmp_path / "clip.mp4", [photo()] * 3, pix_fmt="yuv420p10le")
    check(first(tmp_path / "clip.mp4"))


def test_high_dynamic_range_is_tone_mapped_in_every_view(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": PQ}
    write_pictures(tmp_path / "clip.mp4", [photo() // 2 + 20] * 3, pix_fmt="yuv420p10le", tags=tags)
    picture = first(tmp_path / "clip.mp4")
    rgb, gray = picture.rgb(), picture.gray()
    assert rgb.shape[:2] == gray.shape == (240, 320) and rgb.dtype == gray.dtype == np.uint8
    assert np.corrcoef(gray.ravel(), rgb.mean(axis=2).ravel())[0, 1] > 0.9
    for window in ((10, 20, 120, 120), (11, 21, 121, 121)):
        x, y, width, height = window
        wanted = cv2.resize(rgb[y : y + height, x : x + width], (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(picture.cut(window, 64).astype(int) - wanted).mean() < 2
        assert np.array_equal(picture.cut(window, width), rgb[y : y + height, x : x + width])


def test_rgb_sources_and_odd_sides(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", np.stack([photo(321, 241)] * 2), lossless=True)
    picture = first(tmp_path / "clip.mp4")
    assert np.array_equal(picture.rgb(), photo(321, 241))
    check(picture)
    window = 10, 20, 120, 120
    assert np.array_equal(picture.cut(window, 120), photo(321, 241)[20:140, 10:130])


def test_a_crop_at_its_own_size_is_not_resampled(video: Path) -> None:
    picture = first(video)
    assert np.array_equal(picture.cut((10, 20, 100, 100), 100), picture.rgb()[20:120, 10:110])


def test_chroma_keeps_its_resolution_when_downscaled(tmp_path: Path) -> None:
    """Red columns that are two pixels wide after downscaling by two, starting at odd pixels."""
    red = (np.arange(256) + 2) // 4 % 2 == 1
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, red, 0] = 200
    write_video(tmp_path / "clip.mp4", np.stack([stripes] * 2), crf=1)
    cut = first(tmp_path / "clip.mp4").cut((0, 0, 256, 256), 128)[20:-20, :, 0]
    assert np.median(cut[:, red[::2]]) > 150 and np.median(cut[:, ~red[::2]]) < 50


def test_a_crop_must_lie_inside_the_frame(video: Path) -> None:
    picture = first(video)
    assert picture.within((0, 0, 320, 240)) is not None
    for area in ((-1, 0, 10, 10), (0, 0, 321, 10), (300, 0, 30, 30), (0, 0, 0, 5)):
        assert picture.within(area) is None
    part = picture.within((100, 100, 50, 50))
    assert part is not None and part.within((10, 10, 45, 10)) is None
    inner = part.within((10, 10, 40, 10))
    assert inner is not None and np.array_equal(inner.rgb(), picture.rgb()[110:120, 110:150])


@pytest.mark.parametrize("kind", sorted(_BRIGHT_FIRST | _DEEP.keys()))
def test_gray_is_the_stored_brightness_in_eight_bits(kind: str) -> None:
    """Of every pixel format whose brightness is read without conversion."""
    frame = av.VideoFrame(48, 32, kind)
    codes = (np.arange(32)[:, None] * 5 + np.arange(48)).astype(np.uint16)
    plane = frame.planes[0]
    stored = (codes << _DEEP.get(kind, 0)).astype("<u2" if kind in _DEEP else np.uint8)
    rows = np.zeros((plane.height, plane.line_size // stored.itemsize), stored.dtype)
    rows[:, :48] = stored
    plane.update(rows.tobytes())
    np.testing.assert_array_equal(Picture(frame, Converter()).gray(), codes)
