"""Decodes a file's sound block by block, as float32 channels with their times, and counts what had to be repaired."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.containers import open_bytes
from dawn_bench.pipelines.media.decoding import is_cover, opened
from dawn_bench.pipelines.media.downmix import channel_names
from dawn_bench.pipelines.media.edits import Part, parts_of
from dawn_bench.pipelines.media.limits import check_rate
from dawn_bench.pipelines.media.sound_files import mp3_parts, stated_end, stated_seconds, wav_note
from dawn_bench.pipelines.media.tracks import choose_track
from dawn_bench.pipelines.media.wholeness import INDEXED
from dawn_bench.text import counted

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

#: Formats that are a stream of frames: what cannot be decoded there is a tag or another file's header, not sound.
_RAW = frozenset({"mp3", "aac", "ac3", "eac3", "dts", "flac"})
#: Share of a track's packets that may be damaged, and the number that always may.
_MOST_DAMAGED, _ALWAYS = 0.05, 2
#: Seconds, and share of the stated length, by which sound may end early without a note.
_CUT_OFF, _CUT_OFF_SHARE = 0.2, 0.02


class Block(NamedTuple):
    """Consecutive samples.

    `planes` float32 (channels, n), full scale 1; `channels` their names; `rate` in Hz; `stamp` the time of the first
    in the file's own seconds, None where it follows the last block; `after_damage`: sound before it could not be
    decoded.
    """

    rate: int
    stamp: float | None
    planes: np.ndarray
    channels: tuple[str, ...]
    after_damage: bool


@dataclass
class Reading:
    """Facts about a track that are known once it was read."""

    track: int = 1
    tracks: int = 1
    layout: str = ""
    notes: list[str] = field(default_factory=list)
    packets: int = 0
    damaged: int = 0
    #: Float samples that are not a number or infinite.
    broken: int = 0

    def check(self, name: str) -> None:
        """Raise `ItemError("unreadable")` where too many packets were damaged."""
        if self.damaged > max(_ALWAYS, _MOST_DAMAGED * self.packets) or 0 < self.packets == self.damaged:
            what = f"{self.damaged} of {counted(self.packets, 'packet')} of its sound are damaged"
            raise ItemError("unreadable", f"{name}: {what}")

    def empty(self, name: str) -> str:
        """What to say of a track without sound."""
        another = f": track {self.track} of {self.tracks}; another by --audio-track" if self.tracks > 1 else ""
        return f"{name}: its sound stream is empty{another}"

    def all_notes(self) -> list[str]:
        """What was chosen and repaired, one sentence part each."""
        lines = list(self.notes)
        if self.damaged:
            lines.append(f"{counted(self.damaged, 'damaged packet')} of sound left out")
        if self.broken:
            lines.append(f"{counted(self.broken, 'sound sample')} not a finite number: set to silence or full scale")
        return lines


def read_blocks(path: Path | str, reading: Reading, *, track: int | None = None) -> Iterator[Block]:
    """The sound of a file, of its `track` (from 1) or of the one that a player plays; `reading` is filled.

    Files that were joined into one mp3 are decoded one after the other, each without its encoder's delay and padding.
    Packets that cannot be decoded are left out and counted.

    Raises `ItemError`: `no_audio`, `no_track`, `unreadable`. `Reading.check` says whether too much was damaged.
    """
    from av.error import InvalidDataError

    path = Path(path)
    with opened(path) as container:
        chosen = choose_track(container, path, number=track)
        reading.track, reading.tracks, reading.notes = chosen.number, chosen.count, list(chosen.notes)
        kind = container.format.name
        if kind == "wav" and (note := wav_note(path)) is not None:
            reading.notes.append(note)
        parts = mp3_parts(path) if kind == "mp3" else []
        edits = parts_of(path, chosen.stream.id) if INDEXED in kind else ()
        if edits:
            yield from _joined(path, chosen.stream.index, edits, reading)
        elif not parts:
            yield from _decoded(container, chosen.stream, reading, name=path.name)
        else:
            reading.notes.append(f"{len(parts)} mp3 files joined into one")
        for number, data in enumerate(parts):
            try:
                part = open_bytes(data, kind=kind)
            except InvalidDataError:  # a few frames only
                reading.damaged += 1
                continue
            with part:
                stream = choose_track(part, path).stream
                for block in _decoded(part, stream, reading, name=path.name):
                    yield block if number == 0 else block._replace(stamp=None)


def _joined(path: Path, index: int, parts: Iterable[Part], reading: Reading) -> Iterator[Block]:
    """The sound of each part of an edit list, cut to its length, at its time."""
    for part in parts:
        with opened(path, part=part) as container:
            stream = cast("AudioStream", container.streams[index])
            stream.codec_context.thread_count = 1
            begins = True
            for block in _decoded(container, stream, reading, name=path.name):
                if block.stamp is None:
                    continue
                first = max(0, round(-block.stamp * block.rate))
                last = max(0, round((float(part.length) - block.stamp) * block.rate))
                if first >= min(last, block.planes.shape[1]):
                    continue
                stamp = float(part.begin) + block.stamp + first / block.rate
                # a part begins at its time exactly, however much sound the one before it lacked
                damaged = begins or block.after_damage
                yield block._replace(stamp=stamp, planes=block.planes[:, first:last], after_damage=damaged)
                begins = False


def _decoded(container: InputContainer, stream: AudioStream, reading: Reading, *, name: str) -> Iterator[Block]:
    from av.error import FFmpegError

    raw, damage = container.format.name in _RAW, False
    layouts: dict[str, tuple[str, ...]] = {}
    only_sound = all(map(is_cover, container.streams.video))
    end = stated_end(container, rate=stream.codec_context.sample_rate or 1) if only_sound else None
    reached = 0.0
    for packet in container.demux(stream):
        reading.packets += packet.size > 0
        try:
            frames = packet.decode()
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            reading.damaged += 1
            damage = not raw
            continue
        for frame in frames:
            check_rate(frame.sample_rate, name=name)
            stamp = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
            layout = frame.layout.name
            if layout not in layouts:
                layouts[layout] = channel_names([channel.name for channel in frame.layout.channels])
            reading.layout = reading.layout or layout
            planes = _planes(frame, len(layouts[layout]), reading)
            if end is not None and stamp is not None:
                planes = planes[:, : max(0, round((end - stamp) * frame.sample_rate))]
            reached = (reached if stamp is None else stamp) + planes.shape[1] / frame.sample_rate
            yield Block(frame.sample_rate, stamp, planes, layouts[layout], damage)
            damage = False
    stated = stated_seconds(container, stream) if only_sound else None
    begun = float((stream.start_time or 0) * (stream.time_base or 0))
    if stated is not None and stated - (reached - begun) > max(_CUT_OFF, _CUT_OFF_SHARE * stated):
        reading.notes.append(f"its sound is cut off: {max(0.0, reached - begun):.1f} of {stated:.1f} s are there")


def _planes(frame: AudioFrame, channels: int, reading: Reading) -> np.ndarray:
    """The samples of a frame of any format as float32 (channels, n), full scale 1."""
    samples: np.ndarray = frame.to_ndarray()
    planes: np.ndarray = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    if planes.dtype == np.uint8:
        planes = (planes.astype(np.float32) - 128) / 128
    elif planes.dtype.kind == "f":
        finite = np.isfinite(planes)
        if not finite.all():
            reading.broken += int((~finite).sum())
            planes = np.nan_to_num(planes, posinf=1.0, neginf=-1.0)
    elif planes.dtype.kind == "i":
        planes = planes.astype(np.float32) / -float(np.iinfo(planes.dtype).min)
    return planes.astype(np.float32, copy=False)
