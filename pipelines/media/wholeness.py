"""Whether all of a file is there. A file that was cut off is refused: its last frames would be missing from a clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dawn_bench.errors import ItemError
from dawn_bench.storage import raise_if_refused
from dawn_bench.text import counted

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

#: The formats whose index lists every packet: FFmpeg has one name for all relatives of mp4.
INDEXED = "mp4"
#: Formats that mark packets as damaged wherever they are; in others it is the last one of a file that was cut off.
_ANYWHERE = frozenset({"mpegts", "mpeg"})
#: Seconds, and share of the stated length, by which a length in a header may be wrong.
_SLACK_SECONDS, _SLACK_SHARE = 0.5, 0.1
#: Frames by which a file may end earlier than stated where bytes are known to be missing.
_SLACK_FRAMES = 1.5
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_GIF_END = b";"
#: Bytes before the data of a tag of FLV.
_FLV, _FLV_TAG = b"FLV", 11


class Tally:
    """Counts the packets of a file as they are read; `check` compares them with what the file states.

    Raises `ItemError("unreadable")` at once where the file lacks the mark that ends it.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, name: str) -> None:
        self.container, self.stream, self.name = container, stream, name
        self.packets, self.reached, self.broken_off = 0, 0.0, False
        self.lacks_bytes = _lacks_bytes(container.name)
        if self.lacks_bytes is None:
            raise self._cut("its end is missing")

    def add(self, packet: Packet) -> bool:
        """Count a packet of this stream or of the sound; whether it is whole, so that it can be decoded."""
        if packet.is_corrupt and self.container.format.name not in _ANYWHERE:
            self.broken_off |= packet.stream is self.stream
            return False
        if packet.pts is not None and packet.time_base is not None:
            self.reached = max(self.reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is self.stream:
            self.packets += packet.size > 0
        return True

    def check(self, shown: int, frame_seconds: float) -> None:
        """Raise `ItemError("unreadable")` where packets or bytes are missing, `shown` frames having been decoded."""
        import av

        listed = self._listed()
        if self.packets < listed:
            raise self._cut(f"{shown} of its {counted(self._to_show(listed), 'frame')} are there")
        if self.broken_off:
            raise self._cut(f"its end is missing after {counted(shown, 'frame')}")
        if self.stream.frames:
            return
        stated, start = ((value or 0) / av.time_base for value in (self.container.duration, self.container.start_time))
        # most muxers count a length from zero, some from the first time stamp
        missing = stated - self.reached + (0 if 0 <= start <= stated else start)
        slack = _SLACK_FRAMES * frame_seconds if self.lacks_bytes else max(_SLACK_SECONDS, _SLACK_SHARE * stated)
        if missing > slack:
            raise self._cut(f"it ends after {stated - missing:.1f} of its {stated:.1f} s")

    def _listed(self) -> int:
        """The packets that the container's index lists; 0 where it has none.

        The edit list of an mp4 file leaves out packets that no edit needs: `stream.frames` counts those as well. AVI
        counts the empty packets too by which it keeps a frame on screen, so only what its bytes lack is missing.
        """
        if self.container.format.name == "avi" and not self.lacks_bytes:
            return 0
        return len(self.stream.index_entries) if INDEXED in self.container.format.name else self.stream.frames

    def _to_show(self, listed: int) -> int:
        """The frames of the whole file: some packets are only decoded, because the frames after them need them."""
        if INDEXED not in self.container.format.name:
            return listed
        return sum(not entry.is_discard for entry in self.stream.index_entries)

    def _cut(self, what: str) -> ItemError:
        return ItemError("unreadable", f"{self.name}: is cut off; {what}")


def _lacks_bytes(path: str) -> bool | None:
    """Whether the file is shorter than its header states; None where it lacks the mark that ends it."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(64)
            size = file.seek(0, 2)
            if head[:3] == _FLV:
                return not _ends_with_tag(file, size)
            if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
                return _riff_end(file, size) > size
            if head[:4] == b"GIF8":
                file.seek(max(0, size - 64))
                return False if file.read().rstrip(b"\0")[-1:] == _GIF_END else None
    except OSError as error:
        raise_if_refused(error)
        return False  # no file of its own
    return head[:4] == _EBML and _segment_end(head) > size


def _ends_with_tag(file: BinaryIO, size: int) -> bool:
    """Whether the last bytes of an FLV file are the size of its last tag, which states its own size too."""
    file.seek(size - 4)
    length = int.from_bytes(file.read(4), "big")
    if not _FLV_TAG <= length <= size - 4:
        return False
    file.seek(size - 4 - length + 1)
    return int.from_bytes(file.read(3), "big") + _FLV_TAG == length


def _riff_end(file: BinaryIO, size: int) -> int:
    """Where the last part of an AVI file ends, in bytes; a file of more than a gigabyte has several.

    A file that was never finished states no size, which counts as lacking its end.
    """
    at = 0
    while at + 8 <= size:
        file.seek(at)
        kind, length = file.read(4), int.from_bytes(file.read(4), "little")
        if kind != b"RIFF":  # bytes behind the file's own
            return at
        if length == 0:
            return size + 1
        at += 8 + length + length % 2
    return at


def _segment_end(head: bytes) -> int:
    """Where the segment of a Matroska or WebM file ends, in bytes; 0 where the file does not state it."""
    at = head.find(_SEGMENT)
    if at < 0:
        return 0
    at += len(_SEGMENT)
    length = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + length], "big") - (1 << 7 * length)
    return 0 if length > 8 or value == (1 << 7 * length) - 1 else at + length + value
