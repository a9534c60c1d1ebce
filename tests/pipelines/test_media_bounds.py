"""Limits of crops, media and meshes to the last unit: what lies on either side of each, and the limit itself."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from media.asymmetric import DRAWN, AsymmetricClip, MarkedFaces
from media.colour import HLG, PQ, on_screen, shown_light
from refusals import passes

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.hubert import chunked
from dawn_bench.pipelines.media import limits, picture, wholeness
from dawn_bench.pipelines.media.audio import decode_sound, is_silent, read_audio
from dawn_bench.pipelines.media.colours import tone_mapped
from dawn_bench.pipelines.media.display import one_field, pixel_aspect
from dawn_bench.pipelines.media.downmix import Levels, judge
from dawn_bench.pipelines.media.sound_blocks import Reading
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.pipelines.meshes import checks
from dawn_bench.pipelines.preparation import process
from dawn_bench.pipelines.preparation.process import crop_of, outside_share, process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings

# --- the crop --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "square"), [(100, 99, True), (100, 98, False), (99, 100, True), (98, 100, False)]
)
@pytest.mark.parametrize("cropped", [True, False])
def test_sides_that_differ_by_a_hundredth_are_a_square(width: int, height: int, square: bool, cropped: bool) -> None:
    source = Source("c", "s", "t", Path("c.mp4"), cropped=cropped)
    assert crop_of(source, PrepareSettings(), width, height) == ("published" if square and cropped else "face")
    assert crop_of(source, PrepareSettings(crop="none"), width, height) == "none"


@pytest.mark.parametrize(
    ("x", "y", "out"),
    [
        (9.5, 50, False), (9.4, 50, True), (39.5, 50, False), (39.6, 50, True),
        (20, 19.5, False), (20, 19.4, True), (20, 59.5, False), (20, 59.6, True),
    ],
)  # fmt: skip
def test_a_point_is_in_the_window_up_to_the_edge_of_its_pixels(x: float, y: float, out: bool) -> None:
    points = np.tile(np.array([20.0, 50.0]), (2, 68, 1))
    points[1, 7] = x, y
    assert outside_share(points, (10, 20, 30, 40), 100, 80) == (0.5 if out else 0)


@pytest.mark.parametrize(("share", "refused"), [(0.05, False), (0.0501, True)])
@pytest.mark.parametrize("early", [False, True])
def test_a_face_may_leave_its_crop_in_a_twentieth_of_the_frames(
    asymmetric: AsymmetricClip, monkeypatch: pytest.MonkeyPatch, share: float, refused: bool, early: bool
) -> None:
    """Where the crop was chosen early, the clip is seen again, before anything is refused."""
    asked: list[tuple[int, ...]] = []

    def stated(points: np.ndarray, window: tuple[int, ...], width: int, height: int) -> float:
        assert (width, height) == (208, 144) and points.shape == (36, 68, 2)
        asked.append(window)
        return share if len(asked) == 1 else 0.0

    monkeypatch.setattr(process, "outside_share", stated)
    if early:
        monkeypatch.setattr(process, "LOOKAHEAD_BYTES", 30 * 208 * 144 * 3 // 2)
    settings = PrepareSettings(size=32, max_frames=36, extract=(), person="right", **DRAWN)
    run = partial(process_clip, Source("c", "s", "t", asymmetric.path), settings, MarkedFaces(), MemorySink())
    if early:
        assert run()["looks"] == (2 if refused else 1)
        assert len(set(asked)) == (2 if refused else 1)
    else:
        assert passes(run) == (not refused)


# --- media -----------------------------------------------------------------------------------------------------------

_PACE: dict[str, Any] = {"name": "c"}
_CHECKS: dict[str, tuple[Callable[[Any], object], Any, Any]] = {
    "a still": (
        lambda v: limits.check_pace(Fraction(1), still=v, pictures=1, **_PACE), Fraction(10), Fraction(10001, 1000)
    ),
    "the pace": (
        lambda v: limits.check_pace(v, still=Fraction(1), pictures=7, **_PACE), Fraction(17), Fraction(17001, 1000)
    ),
    "the length": (
        lambda v: limits.check_pace(Fraction(v), still=Fraction(1), pictures=10**6, **_PACE), 43_200, 43_201
    ),
    "a video's width": (lambda v: limits.check_size(v, 4320, name="c"), 8192, 8193),
    "a video's height": (lambda v: limits.check_size(8192, v, name="c"), 4320, 4321),
    "a picture": (lambda v: limits.check_picture(v, 1 << 14), 1 << 13, (1 << 13) + 1),
    "the slowest sound": (lambda v: limits.check_rate(v, name="c"), 4000, 3999),
    "the fastest sound": (lambda v: limits.check_rate(v, name="c"), 768_000, 768_001),
    "the sound": (lambda v: limits.check_sound(v, silence=0.0, name="c"), 43_200.0, 43_200.5),
    "the silence": (lambda v: limits.check_sound(1.0, silence=v, name="c"), 600.0, 600.5),
    "a wide pixel": (lambda v: pixel_aspect(v, name="c"), Fraction(4), Fraction(401, 100)),
    "a narrow pixel": (lambda v: pixel_aspect(v, name="c"), Fraction(1, 4), Fraction(249, 1000)),
    "damaged packets": (lambda v: Reading(packets=100, damaged=v).check("c"), 5, 6),
    "damaged packets of few": (lambda v: Reading(packets=10, damaged=v).check("c"), 2, 3),
    "damaged packets of all": (lambda v: Reading(packets=2, damaged=v).check("c"), 1, 2),
    "sound for speech features": (
        lambda v: chunked(np.zeros(v, np.float32), lambda part: np.ones((len(part) // 320, 3))), 400, 399
    ),
    "a mesh's long sound": (lambda v: checks.check_length(100, v, fps=25), 93_000, 97_000),
    "a mesh's short sound": (lambda v: checks.check_length(150, v, fps=25), 64_000, 63_999),
}  # fmt: skip


@pytest.mark.parametrize("what", list(_CHECKS))
def test_a_limit_itself_is_allowed(what: str) -> None:
    check, allowed, beyond = _CHECKS[what]
    check(allowed)
    with pytest.raises(ItemError):
        check(beyond)


def test_memory_up_to_the_share_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "allowed_memory", lambda: 1000)
    assert passes(lambda: limits.check_memory(500, name="c")) and not passes(lambda: limits.check_memory(501, name="c"))


def test_a_picture_file_up_to_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    Image.new("RGB", (30, 20), (200, 40, 60)).save(tmp_path / "p.png")
    size = (tmp_path / "p.png").stat().st_size
    monkeypatch.setattr(picture, "PICTURE_BYTES", size)
    shown = picture.decode_picture(tmp_path / "p.png")
    assert shown is not None and shown.shape == (20, 30, 3) and tuple(shown[3, 4]) == (200, 40, 60)
    monkeypatch.setattr(picture, "PICTURE_BYTES", size - 1)
    assert not passes(lambda: picture.decode_picture(tmp_path / "p.png"))


@pytest.mark.parametrize(
    ("stated", "shown"), [((1009, 1000), 1), ((101, 100), (101, 100)), ((99, 100), (99, 100)), ((0, 1), 1)]
)
def test_pixels_within_a_hundredth_of_a_square_are_squares(stated: tuple[int, int], shown: Any) -> None:
    assert pixel_aspect(Fraction(*stated), name="c") == (Fraction(*shown) if isinstance(shown, tuple) else shown)


@pytest.mark.parametrize(("step", "kept"), [(10, True), (11, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_row_is_combed_beyond_ten_levels(step: int, kept: bool, sign: int) -> None:
    rows = np.full((5, 4, 3), 100, np.uint8)
    rows[1] = 100 + sign * step
    assert (one_field(rows)[1, 0, 0] == 100 + sign * step) == kept
    assert (one_field(rows)[[0, 2, 3, 4]] == 100).all()


def test_the_last_row_of_two_fields_is_compared_with_the_row_above_it() -> None:
    rows = np.repeat(np.array([10, 40, 100, 140], np.uint8), 12).reshape(4, 4, 3)
    assert one_field(rows)[:, 0, 0].tolist() == [10, 40, 100, 100]


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_a_file_that_ends_between_two_packets_lacks_those_after(tmp_path: Path, lost: int, name: str) -> None:
    """Every packet that is left is whole, so only their number tells; the index is at the front, or not needed."""
    path = tmp_path / name
    frames = np.random.default_rng(4).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    write_video(path, frames) if path.suffix == ".mp4" else _write_avi(path, frames)
    with av.open(str(path)) as container:
        ends = sorted((packet.pos, packet.size) for packet in container.demux(video=0) if packet.size)
    assert len(ends) == 8
    if lost:
        position, size = ends[-1 - lost]
        path.write_bytes(path.read_bytes()[: position + size])
        with pytest.raises(ItemError, match=f"is cut off; {8 - lost} of its 8 frames are there"):
            list(read_frames(path))
    else:
        assert len(list(read_frames(path))) == 8


def _write_avi(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, width=32, height=32, pix_fmt="yuvj420p")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(("gap", "filled"), [(49, 0), (50, 0), (51, 51)])
def test_a_gap_of_50_ms_between_blocks_of_sound_is_rounding(tmp_path: Path, gap: int, filled: int) -> None:
    with av.open(str(tmp_path / "s.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for begin in (0, 200 + gap):
            frame = av.AudioFrame.from_ndarray(np.full((1, 3200), 900, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 16 * begin, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sound = read_audio(tmp_path / "s.mkv")
    assert len(sound) == 16 * (400 + filled) and (sound == 0).sum() == 16 * filled


@pytest.mark.parametrize(("loudest", "silent"), [(32, True), (33, False), (-32, True), (-33, False), (-32_768, False)])
def test_sound_below_60_db_is_silent(loudest: int, silent: bool) -> None:
    sound = np.zeros(1000, np.int16)
    sound[500] = loudest
    assert is_silent(sound) == silent


@pytest.mark.parametrize(("beyond", "noted"), [(10, False), (11, True)])
def test_clipped_sound_is_noted_beyond_a_thousandth(tmp_path: Path, beyond: int, noted: bool) -> None:
    sound = np.full(10_000, 0.5, np.float32)
    sound[:beyond] = 1.5
    sound[5000:5005] = 1.0  # full scale itself is not clipped
    soundfile.write(tmp_path / "s.wav", sound, 16_000, subtype="FLOAT")
    assert ("clipped" in "; ".join(decode_sound(tmp_path / "s.wav").notes)) == noted


@pytest.mark.parametrize(
    ("powers", "mono", "verdict"),
    [
        ((1e-6, 1e-6), 1e-6, "ok"),
        ((0.99e-6, 0.99e-6), 1e-6, "silent"),
        ((1.0, 1e-4), 0.25, "ok"),
        ((1.0, 0.99e-4), 0.25, "one_channel"),
        ((1.0, 1.0), 0.5 * 10**-0.59, "ok"),
        ((1.0, 1.0), 0.5 * 10**-0.61, "phase_weakened"),
        ((1.0, 1.0), 0.5 * 10**-1.99, "phase_weakened"),
        ((1.0, 1.0), 0.5 * 10**-2.01, "phase_cancelled"),
    ],
)
def test_how_channels_go_together(powers: tuple[float, float], mono: float, verdict: str) -> None:
    assert judge(np.array(powers), mono, ("FL", "FR")).verdict == verdict
    assert judge(np.array(powers[::-1]), mono, ("FL", "FR")).alone == {
        "one_channel": 1, "phase_cancelled": 0
    }.get(verdict)  # fmt: skip


@pytest.mark.parametrize(("cancelled", "alone"), [(1, None), (2, 0)])
def test_channels_may_cancel_in_a_tenth_of_the_time(cancelled: int, alone: int | None) -> None:
    levels = Levels(("FL", "FR"))
    tones = np.sin(np.arange(1000) / 7), np.sin(np.arange(1000) / 3)
    for second in range(10):
        right = -tones[0] * 0.9 if second < cancelled else 0.9 * tones[1]
        planes = np.stack([tones[0], right])
        levels.add(planes, planes.mean(axis=0), rate=1000)
    assert levels.result().alone == alone and levels.samples == 10_000


# --- meshes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "fps", "rate"),
    [(1.23, 25, 30), (1.2301, 25, None), (1.1701, 25, 30), (1.1699, 25, None), (1.1, 23, None), (1.1001, 23, 25),
     (1 / 1.1, 27.5, None), (1 / 1.1001, 27.5, 25), (2, 25, 50), (0.5, 60, 30)],
)  # fmt: skip
def test_another_usual_rate_is_recognised(ratio: float, fps: float, rate: int | None) -> None:
    assert checks.other_rate(ratio, fps=fps) == rate


@pytest.mark.parametrize(("scale", "large"), [(1.299, False), (1.301, True), (1 / 1.299, False), (1 / 1.301, True)])
@pytest.mark.parametrize("count", [checks.FEWEST, checks.FEWEST - 1])
def test_a_sequence_may_be_a_third_larger_or_smaller_than_its_face(scale: float, large: bool, count: int) -> None:
    """Fewer vertices than twenty say nothing about scale or order."""
    face = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    with pytest.raises(ItemError) as caught:  # scaled vertices are too far away in any case
        checks.check_template(scale * face[None], face, subject="s")
    assert ("times as large" in str(caught.value)) == (large and count == checks.FEWEST)


@pytest.mark.parametrize(("share", "near"), [(0.0999, True), (0.1001, False)])
def test_a_sequence_may_lie_a_tenth_of_its_size_away(share: float, near: bool) -> None:
    face = np.random.default_rng(0).normal(size=(40, 3))
    size = float(np.sqrt(np.square(face - face.mean(axis=0)).sum(axis=1).mean()))
    moved = face + np.array([0, share * size, 0])
    assert passes(lambda: checks.check_template(moved[None], face, subject="s")) == near


@pytest.mark.parametrize(("scale", "usable"), [(7.9, True), (8.1, False), (1 / 7.9, True), (1 / 8.1, False)])
def test_an_output_may_be_eight_times_as_large_or_small(scale: float, usable: bool) -> None:
    face = np.random.default_rng(0).normal(size=(40, 3))
    assert (checks.output_fault(scale * face[None], face) == "") == usable


@pytest.mark.parametrize("lengths", [(40,), (41,), (40, 50), (41, 50), (40, 51), (41, 51, 33)])
def test_an_avi_file_of_several_parts_ends_with_the_last_of_them(lengths: tuple[int, ...], tmp_path: Path) -> None:
    """Parts of odd length have a pad byte; bytes behind the last part are not the file's own."""
    path = tmp_path / "clip.avi"
    parts = [b"RIFF" + n.to_bytes(4, "little") + b"AVI ".ljust(n + n % 2, b"x") for n in lengths]
    whole = b"".join(parts)
    for content, lacks in ((whole, False), (whole[:-2], True), (whole + b"another program's", False)):
        path.write_bytes(content)
        assert wholeness._lacks_bytes(str(path)) == lacks, len(content)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("rgb", [(0.5, 0.1, 0.1), (0.1, 0.5, 0.1), (0.1, 0.1, 0.5), (0.4, 0.4, 0.1), (0.2, 0.3, 0.6)])
def test_strong_colours_of_high_dynamic_range_have_their_brightness(
    rgb: tuple[float, float, float], transfer: int
) -> None:
    """Each component has its own share in the luminance by which HLG is brightened."""
    signal = np.round(np.array(rgb) * 65535).astype(np.uint16).reshape(1, 1, 3)
    shown = tone_mapped(signal, transfer=transfer, primaries=9)[0, 0]
    np.testing.assert_allclose(shown, on_screen(shown_light(rgb, transfer)), atol=1)


#: x and y of red, green and blue by H.273's number of primaries: BT.709, BT.2020, and P3 with a D65 white.
PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def to_xyz(primaries: int) -> np.ndarray:
    """XYZ (3,3) of linear R, G, B, which are white (D65) together."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


@pytest.mark.parametrize(("stated", "meant"), [(1, 1), (9, 9), (12, 12), (2, 9)])
def test_colours_of_high_dynamic_range_are_those_of_their_primaries(stated: int, meant: int) -> None:
    """Not stated, they are those of BT.2020. The light is below the one from which it is compressed."""
    rgb = (0.42, 0.36, 0.33)
    light = np.linalg.solve(to_xyz(1), to_xyz(meant) @ np.array(shown_light(rgb, PQ))) / 203
    assert light.min() > 0 and light.max() < 0.5
    signal = np.round(np.array(rgb) * 65535).astype(np.uint16).reshape(1, 1, 3)
    shown = tone_mapped(signal, transfer=PQ, primaries=stated)[0, 0]
    np.testing.assert_allclose(shown, 255 * light ** (1 / 2.4), atol=0.75)
