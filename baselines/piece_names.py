"""Names of files of pieces: which piece of a clip a file is of, and whether these are the pieces that are scored.

A number says where a file belongs only if it was cut as the scored pieces are: files of another length, or numbered
from 1, would be compared with other frames of the clip. They are refused, since such a score looks like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dawn_bench.clip import FPS, Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.video import probe
from dawn_bench.text import counted

#: What stands between a clip's id and the first frame of a piece, or its number, and how many digits these have.
BY_FRAME, BY_NUMBER = ("_f", "{1,9}"), ("_", "{3,9}")
#: Number of files whose length is looked at.
_LOOKED_AT = 100


def by_number(clip: str, number: int) -> str:
    """The name of a numbered piece: `ID_001`."""
    return f"{clip}{BY_NUMBER[0]}{number:03d}"


def by_frame(clip: str, frame: int) -> str:
    """The name of the piece that begins at a frame, which is its id: `ID_f00200`."""
    return f"{clip}{BY_FRAME[0]}{frame:05d}"


def check_frames(folder: Path, pieces: Sequence[Clip], frames: Mapping[int, Path], *, length: int) -> None:
    """Raise `InputError` where a file begins at a frame at which no piece of its clip does.

    The rest of a clip that is too short to be scored may have a file.
    """
    begins = {piece.first_frame for piece in pieces}
    if (wrong := min(set(frames) - begins - _of_rest(pieces), default=None)) is not None:
        step = min(frame for frame in frames if frame)
        what = f"{frames[wrong].name} begins at frame {wrong}, and pieces of {length} frames begin at multiples of it"
        what = f"{what} within {pieces[0].whole_id}."
        raise InputError(what, path=folder, hint=f"Give the length of these files: --piece-length {step}")


def check_numbers(
    folder: Path,
    clips: Mapping[str, Sequence[Clip]],
    numbered: Mapping[str, Mapping[int, Path]],
    *,
    length: int,
) -> None:
    """Raise `InputError` unless numbered files are of the scored pieces.

    `clips` are the pieces of each clip and `numbered` its files by number. The numbers begin at 0 and end with the
    clip, and most files have the length of a piece, the last one of each clip aside, which may be shorter.
    """
    name_by_frame = f"name each file by its first frame: {by_frame('ID', length)}.mp4."
    for clip, numbers in numbered.items():
        if numbers and 0 not in numbers:
            first = numbers[min(numbers)].name
            what = f"has {first} and no {by_number(clip, 0)}: the pieces of a clip are numbered from 000."
            raise InputError(what, path=folder, hint=f"Number the files from 000, or {name_by_frame}")
    if other := _of_other_length(clips, numbered, length):
        name, frames = next(iter(other.items()))
        common = Counter(other.values()).most_common(1)[0][0]
        what = f"most numbered files are not of {length} frames, as the pieces are: {name} has {frames}."
        hint = f"If they were cut every {common} frames: --piece-length {common}; else {name_by_frame}"
        raise InputError(what, path=folder, hint=hint)
    for clip, numbers in numbered.items():
        pieces = clips[clip]
        rest = {frame // length for frame in _of_rest(pieces)}
        if (wrong := min(set(numbers) - set(range(len(pieces))) - rest, default=None)) is not None:
            count = f"{counted(len(pieces), 'piece')} of {counted(length, 'frame')}"
            what = f"has {numbers[wrong].name}, and {clip} has {count}, numbered from 000."
            hint = f"Give the length of these files as --piece-length, or {name_by_frame}"
            raise InputError(what, path=folder, hint=hint)


def _of_rest(pieces: Sequence[Clip]) -> set[int]:
    """Where the rest of a clip begins that is too short to be scored; empty where there is none."""
    end = pieces[-1].first_frame + pieces[-1].n_frames
    return {end} if end < pieces[-1].whole_frames else set()


def _of_other_length(
    clips: Mapping[str, Sequence[Clip]], numbered: Mapping[str, Mapping[int, Path]], length: int
) -> dict[str, int]:
    """The frames of numbered files of another length than a piece, by name, where most of them are; else empty."""
    full = [
        (path, number == max(numbers))
        for clip, numbers in numbered.items()
        for number, path in sorted(numbers.items())
        if clips[clip][0].whole_id != clips[clip][0].id
    ]
    other, looked_at = {}, 0
    for path, last in full[:_LOOKED_AT]:
        if (frames := frames_of(path)) is None:
            continue
        longer = frames - length > tolerance(length)
        looked_at += longer or not last
        if longer or (not last and length - frames > tolerance(length)):
            other[path.name] = frames
    return other if 2 * len(other) > looked_at else {}


def frames_of(path: Path) -> int | None:
    """The length of a video at 25 fps as its header states it; None for a file that cannot be read."""
    try:
        return round(probe(path).seconds * FPS)
    except ItemError:
        return None


def tolerance(length: int) -> int:
    """By how many frames a file may miss the length of a piece: methods lose or add a few at an end."""
    return max(3, length // 25)
