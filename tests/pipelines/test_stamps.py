"""Frames without a usable time stamp: none is lost, and each is shown at its time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.audio import read_audio
from dawn_bench.pipelines.media.decoding import _Stamper
from dawn_bench.pipelines.media.video import iter_frames, probe

#: Gray of picture k.
GRAYS = [20 + 5 * k for k in range(40)]


def write(path: Path, *, first: int = 0, format: str | None = None, sound: bool = False) -> None:
    """40 pictures at 25 fps, H.264 with B-frames, of which the first is shown at frame time `first`."""
    with av.open(str(path), "w", format=format, options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.options = "yuv420p", {"bf": "2"}
        beep = container.add_stream("pcm_s16le", rate=16_000, layout="mono") if sound else None
        for k, gray in enumerate(GRAYS):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), gray, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k + first, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if beep is not None:
            samples = np.zeros((1, 16_000), np.int16)
            samples[:, 8_000:] = 9_000
            block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(beep.encode(block))
            container.mux(beep.encode(None))


def grays(path: Path) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in iter_frames(path)]


@pytest.mark.parametrize(
    ("name", "first"), [("a.mkv", 0), ("negative.mkv", -15), ("all.mkv", -39), ("b.avi", 0), ("raw.h264", 0)]
)
def test_no_frame_is_lost_and_all_are_in_order(tmp_path: Path, name: str, first: int) -> None:
    write(tmp_path / name, first=first, format="h264" if name.endswith("h264") else None)
    np.testing.assert_allclose(grays(tmp_path / name), GRAYS, atol=2)


def test_unstamped_frames_are_counted_back_and_the_sound_fits(tmp_path: Path) -> None:
    write(tmp_path / "clip.mkv", first=-15, sound=True)
    assert probe(tmp_path / "clip.mkv").start_time == pytest.approx(-0.6)
    sound = read_audio(tmp_path / "clip.mkv")  # begins with the first picture, .6 s before its first sample
    assert int(np.argmax(sound > 4_500)) == pytest.approx((0.6 + 0.5) * 16_000, abs=16)


def stamped(given: list[int | None]) -> list[float]:
    stamper = _Stamper(Fraction(10), "clip")
    out = [float(s) for stamp in given for s, _ in stamper.add(stamp, None)]  # type: ignore[arg-type]
    return out + [float(s) for s, _ in stamper.rest()]


def test_the_rule() -> None:
    assert stamped([None, None, 100, 110]) == [80, 90, 100, 110]
    assert stamped([0, None, None, 30]) == [0, 10, 20, 30]
    assert stamped([0, 30, 10, 60]) == [0, 30, 45, 60]  # a stamp that is too early
    assert stamped([None] * 40) == [10 * k for k in range(40)]
    assert stamped([0, None, None]) == [0, 10, 20]
    with pytest.raises(ItemError, match="its time stamps run backwards"):
        stamped([1000, *range(0, 400, 10)])
