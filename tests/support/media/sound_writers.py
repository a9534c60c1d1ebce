"""Writers of sound: tones, wav files of any header, encoded files with a cover, clips of several sound tracks."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from media.marks import SIDE, grey

#: RMS of `tone` in int16 units.
TONE_RMS = 0.3 / np.sqrt(2) * 32768

#: How samples of -1 to 1 are stored in a wav file: format tag, bits.
_STORED = {"u8": (1, 8), "s16": (1, 16), "s24": (1, 24), "s32": (1, 32), "f32": (3, 32), "f64": (3, 64)}


def tone(seconds: float = 1.0, *, rate: int = 48_000, hertz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """A sine (n,)."""
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def channels(*planes: np.ndarray | None) -> np.ndarray:
    """Channels (C,n); None is a silent one."""
    n = next(len(plane) for plane in planes if plane is not None)
    return np.stack([np.zeros(n) if plane is None else plane for plane in planes])


def _stored(planes: np.ndarray, kind: str) -> bytes:
    rows = np.ascontiguousarray(planes.T)
    if kind == "u8":
        return (rows * 127 + 128).round().astype(np.uint8).tobytes()
    if kind == "s24":
        whole = (rows * (2**23 - 1)).round().astype("<i4")
        return whole.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    if kind in ("s16", "s32"):
        bits = int(kind[1:])
        return (rows * (2 ** (bits - 1) - 1)).round().astype(f"<i{bits // 8}").tobytes()
    return rows.astype(f"<f{int(kind[1:]) // 8}").tobytes()


def wav(path: Path, planes: np.ndarray, *, rate: int = 48_000, kind: str = "s16", size: int | None = None) -> None:
    """A plain wav file (no channel mask) of planes (C,n) or (n,); `size`: what its header states as bytes of sound."""
    planes = np.atleast_2d(planes)
    tag, bits = _STORED[kind]
    data, block = _stored(planes, kind), len(planes) * bits // 8
    head = struct.pack("<HHIIHH", tag, len(planes), rate, rate * block, block, bits)
    stated = len(data) if size is None else size
    riff = min(36 + stated, 0xFFFFFFFF)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", stated) + data
    )  # fmt: skip


def encode(
    path: Path,
    planes: np.ndarray,
    codec: str,
    *,
    rate: int = 48_000,
    layout: str = "mono",
    sample: str = "fltp",
    format: str | None = None,
    options: dict[str, str] | None = None,
    cover: bool = False,
) -> None:
    """Planes (C,n) or (n,) encoded; with `cover` a picture is attached."""
    planes = np.atleast_2d(planes)
    array = planes.astype(np.float32) if sample.startswith("flt") else (planes * 32767).round().astype(np.int16)
    if not sample.endswith("p"):
        array = array.T.reshape(1, -1)
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        picture = add_cover(container) if cover else None
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(array), format=sample, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        if picture is not None:
            mux_cover(container, picture)
        container.mux([*stream.encode(frame), *stream.encode(None)])


def add_cover(container: Any, *, marked: bool = True) -> Any:
    """A stream for one JPEG picture, `marked` as a cover."""
    picture = container.add_stream("mjpeg", rate=1)
    picture.width = picture.height = 32
    picture.pix_fmt = "yuvj420p"
    if marked:
        picture.disposition = Disposition.attached_pic
    return picture


def mux_cover(container: Any, picture: Any) -> None:
    frame = av.VideoFrame.from_ndarray(grey(200, width=32, height=32), format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    container.mux([*picture.encode(frame), *picture.encode(None)])


def clip(
    path: Path,
    tracks: Sequence[np.ndarray],
    *,
    codec: str = "aac",
    layouts: Sequence[str] = (),
    dispositions: Sequence[Disposition] = (),
    languages: Sequence[str] = (),
    cover: str = "",
) -> None:
    """25 pictures of level 90 and these sound tracks (C,n) at 48 kHz; `cover` is "", "marked" or "unmarked", first."""
    with av.open(str(path), "w") as container:
        picture = add_cover(container, marked=cover == "marked") if cover else None
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
        sounds = []
        for k, planes in enumerate(tracks):
            stream = container.add_stream(codec, rate=48_000, layout=layouts[k] if layouts else "mono")
            if dispositions:
                stream.disposition = dispositions[k]
            if languages:
                stream.metadata["language"] = languages[k]
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(np.atleast_2d(planes), np.float32),
                format="fltp",
                layout=layouts[k] if layouts else "mono",
            )
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            sounds.append((stream, frame))
        if picture is not None:
            mux_cover(container, picture)
        for k in range(25):
            shown = av.VideoFrame.from_ndarray(grey(90), format="rgb24")
            shown.pts, shown.time_base = k, Fraction(1, 25)
            container.mux(video.encode(shown))
        container.mux(video.encode(None))
        for stream, frame in sounds:
            container.mux([*stream.encode(frame), *stream.encode(None)])


def tag_gapless(path: Path, *, priming: int, padding: int, samples: int) -> None:
    """Add iTunes' `iTunSMPB` to an m4a file whose index is its last atom."""
    data = bytearray(path.read_bytes())
    text = f" 00000000 {priming:08X} {padding:08X} {samples:016X} " + " ".join(["00000000"] * 8)
    item = _atom(
        b"----",
        _atom(b"mean", bytes(4), b"com.apple.iTunes"),
        _atom(b"name", bytes(4), b"iTunSMPB"),
        _atom(b"data", struct.pack(">II", 1, 0), text.encode()),
    )
    handler = _atom(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    tags = _atom(b"udta", _atom(b"meta", bytes(4), handler, _atom(b"ilst", item)))
    at = data.rfind(b"moov") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    assert at + length == len(data)
    if (other := data.find(b"udta", at)) > 0:
        data[other : other + 4] = b"free"
    data[at : at + 4] = struct.pack(">I", length + len(tags))
    path.write_bytes(bytes(data) + tags)


def _atom(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body
