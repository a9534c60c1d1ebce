"""Which of a file's sound tracks is read: the one asked for, else the one that a player plays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dawn_bench.clip import SAMPLE_RATE
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.limits import check_rate

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer


@dataclass(frozen=True)
class Track:
    """A sound track: its `number` among the `count` of its file, from 1, and notes on how it was chosen."""

    stream: AudioStream
    number: int
    count: int
    notes: tuple[str, ...] = ()


def choose_track(container: InputContainer, path: Path | str, *, number: int | None = None) -> Track:
    """The sound track `number`, set to decode on one thread.

    Without a number it is the first one marked as default; where none is marked, the first that is not a commentary or
    made for people who hear or see badly; else the first. Tracks without a decoder are passed over.

    Raises `ItemError`: `no_audio` for a file without sound, `no_track` for one without track `number`, `unreadable`
    where there is no decoder.
    """
    name = Path(path).name
    streams = list(container.streams.audio)
    if not streams:
        raise ItemError("no_audio", f"{name}: has no sound stream")
    if number is None:
        stream = min(streams, key=_unsuitable)
    elif number <= len(streams):
        stream = streams[number - 1]
    else:
        raise ItemError("no_track", f"{name}: has no sound track {number}; it has {_listed(streams)}")
    if stream.codec_context is None:
        raise ItemError("unreadable", f"{name}: there is no decoder for its sound")
    check_rate(stream.codec_context.sample_rate or SAMPLE_RATE, name=name)
    stream.codec_context.thread_count = 1
    chosen = streams.index(stream) + 1
    notes = [f"{_listed(streams)}; track {chosen} is read"] if len(streams) > 1 else []
    if number is None and _undecodable_default(streams):
        notes.append("its default sound track has no decoder")
    return Track(stream, chosen, len(streams), tuple(notes))


def _unsuitable(stream: AudioStream) -> tuple[bool, bool, bool]:
    """The smallest of these is the track to read; tracks that are equal here keep their order in the file."""
    from av.stream import Disposition

    special = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired
    default = bool(stream.disposition & Disposition.default)
    return stream.codec_context is None, not default, bool(stream.disposition & special)


def _undecodable_default(streams: list[AudioStream]) -> bool:
    from av.stream import Disposition

    marked = [stream for stream in streams if stream.disposition & Disposition.default]
    return bool(marked) and all(stream.codec_context is None for stream in marked)


def _listed(streams: list[AudioStream]) -> str:
    """The tracks by number, language and title: `2 sound tracks (1 eng, 2 fra "Dub")`."""
    words = []
    for number, stream in enumerate(streams, 1):
        language, title = (" ".join(stream.metadata.get(key, "").split()) for key in ("language", "title"))
        word = f"{number}" if language in ("", "und") else f"{number} {language[:20]}"
        words.append(f'{word} "{title[:40]}"' if title else word)
    plural = "track" if len(streams) == 1 else "tracks"
    return f"{len(streams)} sound {plural} ({', '.join(words)})"
