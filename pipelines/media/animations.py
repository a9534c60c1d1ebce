"""Animated WebP files, which FFmpeg does not decode: Pillow decodes them, and a QuickTime file in memory holds them.

So every reader of videos reads them too, each picture for its own duration. Animated GIF and PNG files need no
help.
"""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.files import ANIMATION_SUFFIXES, VIDEO_SUFFIXES
from dawn_bench.pipelines.media.limits import check_memory, check_size
from dawn_bench.storage import raise_if_refused

_ANIMATED = 0x02
_HEAD = 21


class NamedBytes(BytesIO):
    """Bytes in memory under the name of the file that they came from."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def is_animated_webp(path: Path) -> bool:
    """Whether a file is a WebP file of several pictures, by its header; raises `OSError`."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    webp = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X"
    return webp and len(head) == _HEAD and bool(head[20] & _ANIMATED)


def is_video(path: Path) -> bool:
    """Whether a file is a video by its suffix, or by that a picture which may move, and which holds several."""
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES or (suffix in ANIMATION_SUFFIXES and _moves(path))


def _moves(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path, formats=["GIF", "PNG", "WEBP"]) as picture:
            return bool(getattr(picture, "is_animated", False))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise_if_refused(error)
        return False  # no picture, or one that is cut off before its second


def quicktime_of(path: Path) -> NamedBytes:
    """An animated WebP file as a QuickTime file of PNG pictures with alpha; raises `ItemError("unreadable")`."""
    import av
    from PIL import Image

    with path.open("rb") as file:
        stated = int.from_bytes(file.read(8)[4:], "little") + 8
    if path.stat().st_size < stated:
        raise ItemError("unreadable", f"{path.name}: is cut off; {path.stat().st_size} of its {stated} bytes are there")
    buffer = NamedBytes(str(path.absolute()))
    try:
        with Image.open(path, formats=["WEBP"]) as pictures, av.open(buffer, "w", format="mov") as container:
            check_size(*pictures.size, name=path.name)
            stream = container.add_stream("png", rate=1000)
            stream.width, stream.height = pictures.size
            stream.pix_fmt, stream.options = "rgba", {"compression_level": "1"}
            unit = Fraction(1, 1000)
            stream.codec_context.time_base = stream.time_base = unit
            stamp = 0
            for number in range(getattr(pictures, "n_frames", 1)):
                pictures.seek(number)
                frame = av.VideoFrame.from_ndarray(np.array(pictures.convert("RGBA")), format="rgba")
                frame.pts, frame.time_base = stamp, unit
                lasts = max(1, int(pictures.info.get("duration", 0)))
                stamp += lasts
                for packet in stream.encode(frame):
                    packet.duration = lasts
                    container.mux(packet)
                check_memory(2 * buffer.tell(), name=path.name)
            container.mux(stream.encode(None))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise_if_refused(error)
        raise ItemError("unreadable", f"{path.name}: is a damaged WebP file ({error})") from error
    buffer.seek(0)
    return buffer
