"""What the index and the reports say about how a video's pictures were converted."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from dawn_bench.pipelines.media.colours import BT2020, HDR, NO_MATRIX, UNSTATED, is_yuv
from dawn_bench.pipelines.media.display import displayed_size, has_alpha, ratio

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

#: Rows of a picture from which files usually state BT.709; the others are BT.601 in any case.
_LARGE = 720


def picture_notes(stream: VideoStream, first: VideoFrame, aspect: Fraction) -> tuple[str, ...]:
    """One clause for each thing that the pictures of a stream have and plain ones have not, by the first of them."""
    format, notes = first.format.name, list[str]()
    if aspect != 1:
        width, height = displayed_size(first.width, first.height, aspect)
        notes.append(f"{first.width}x{first.height} pixels of {ratio(aspect)} shown as {width}x{height} square ones")
    if first.interlaced_frame:
        notes.append("interlaced: the upper field is shown where something moves")
    if first.color_trc in HDR:
        notes.append(f"HDR ({HDR[first.color_trc]}) tone-mapped to BT.709")
    elif first.color_primaries == BT2020:
        notes.append("BT.2020 primaries are kept as they are")
    if first.colorspace in (UNSTATED, *NO_MATRIX) and is_yuv(format) and min(first.width, first.height) >= _LARGE:
        notes.append("colour matrix not stated: BT.601 is assumed")
    if has_alpha(format):
        rgba = first.reformat(format="rgba").to_ndarray()
        if rgba[..., 3].min(initial=255) < 255:
            notes.append("transparent parts are shown on white")
    elif {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode") == "1":
        notes.append("its layer of transparency is not used")
    return tuple(notes)
