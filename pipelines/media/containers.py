"""Opens media files. A file of a dataset or of a results folder may not name other files that are then read."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from dawn_bench.pipelines.media.animations import is_animated_webp, quicktime_of
from dawn_bench.pipelines.media.edits import OnePart, Part
from dawn_bench.pipelines.media.limits import VIDEO_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer

#: For every decoder: it allocates no larger picture, whatever a header in the middle of a stream states.
DECODER = {"max_pixels": str(VIDEO_PIXELS)}
#: Formats of FFmpeg that are lists, scripts or addresses of other files and streams, whatever their suffix.
_NAMES_OTHERS = frozenset({
    "applehttp", "avisynth", "concat", "dash", "hls", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "smoothstreaming",
    "vapoursynth",
})  # fmt: skip


def open_container(path: Path, *, part: Part | None = None) -> InputContainer:
    """A media file open for reading, told by its content; of its edit list only one `part`, where that is given.

    Raises `OSError` or an error of FFmpeg.

    A playlist counts as no media file: as `talk.mp4` it would put any video of this machine into the results.
    """
    import av

    if part is not None:
        return av.open(OnePart(path, part), "r", format="mp4", options={**DECODER})
    if is_animated_webp(path):
        return av.open(quicktime_of(path), "r", format="mp4", options={**DECODER})
    # absolute: so that "-x" or "a:b" is not parsed as an option or URL
    return av.open(str(path.absolute()), options={"format_whitelist": _formats(), **DECODER})


def open_bytes(data: bytes, *, kind: str) -> InputContainer:
    """Media data in memory, of FFmpeg's format `kind`, open for reading."""
    import av

    return av.open(BytesIO(data), "r", format=kind, options={**DECODER})


@cache
def _formats() -> str:
    import av

    return ",".join(sorted(av.formats_available - _NAMES_OTHERS))
