"""Outputs that a user supplies where clips are scored in pieces: a file for each piece, or one for a whole clip.

For the clip `ID` in pieces of 200 frames:

    ID_f00000.mp4, ID_f00200.mp4, ...    a file a piece, named by its first frame, as dawn-bench writes them
    ID_000.mp4, ID_001.mp4, ...          the same, numbered from 0
    ID.mp4                               the whole clip, of which each piece is read

`--naming` and `--mapping` take these names in place of a clip's id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dawn_bench.baselines.given import NoClipNamedError, find_outputs
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.text import few

#: What a score's note says of pieces that were cut from the output for a whole clip.
CUT_FROM_WHOLE = "generated as whole clips and cut into pieces for scoring"


@dataclass(frozen=True)
class GivenOutputs:
    """Files by clip id, and of pieces that are read from the file of their whole clip the first frame in it."""

    files: Mapping[str, Path]
    starts: Mapping[str, int] = field(default_factory=dict)


def find_piece_outputs(
    folder: Path, clips: Sequence[Clip], mapping: Path | None, *, naming: str = "{clip}"
) -> GivenOutputs:
    """A user's files for clips, some or all of which are pieces. Raises `InputError` as `find_outputs`, and for a
    folder that has both pieces and whole clips.
    """
    if not any(clip.whole_id != clip.id for clip in clips):
        return GivenOutputs(find_outputs(folder, clips, mapping, naming=naming))
    wholes = {clip.whole_id: replace(clip, id=clip.whole_id, meta={}) for clip in clips}
    for names in (_by_frame(clips), _by_number(clips)):
        if set(names.values()) & (set(wholes) - {clip.id for clip in clips}):
            continue  # a clip is called like the piece of another
        files = _found(folder, clips, names, mapping, naming)
        if any(clip.whole_id != clip.id for clip in clips if clip.id in files):
            _check_one_kind(folder, clips, files, wholes, mapping, naming)
            return GivenOutputs(files)
    whole = find_outputs(folder, list(wholes.values()), mapping, naming=naming)
    files = {clip.id: whole[clip.whole_id] for clip in clips if clip.whole_id in whole}
    return GivenOutputs(files, {c.id: c.first_frame for c in clips if c.id in files and c.whole_id != c.id})


def _by_frame(clips: Sequence[Clip]) -> dict[str, str]:
    """The names of pieces by their first frame: their ids."""
    return {clip.id: clip.id for clip in clips}


def _by_number(clips: Sequence[Clip]) -> dict[str, str]:
    """The names of pieces by number; clips that are whole keep their id."""
    numbers: dict[str, int] = {}
    names = {}
    for clip in clips:
        number = numbers.setdefault(clip.whole_id, 0)
        names[clip.id] = clip.id if clip.id == clip.whole_id else f"{clip.whole_id}_{number:03d}"
        numbers[clip.whole_id] += 1
    return names


def _found(
    folder: Path, clips: Sequence[Clip], names: Mapping[str, str], mapping: Path | None, naming: str
) -> dict[str, Path]:
    """The files of clips under other names, by clip id; empty where a table names none of them."""
    # without the video that they were prepared from, which all pieces of a clip share
    called = [replace(clip, id=names[clip.id], meta={}) for clip in clips]
    try:
        files = find_outputs(folder, called, mapping, naming=naming)
    except NoClipNamedError:
        return {}
    return {clip.id: files[names[clip.id]] for clip in clips if names[clip.id] in files}


def _check_one_kind(
    folder: Path,
    clips: Sequence[Clip],
    files: Mapping[str, Path],
    wholes: Mapping[str, Clip],
    mapping: Path | None,
    naming: str,
) -> None:
    """Raise `InputError` for a folder that also has the whole clips of pieces.

    A pattern for names that may end with anything fits the pieces of a clip too, and a table says what it means.
    """
    if mapping is not None or "*" in naming:
        return
    cut = {clip.whole_id for clip in clips if clip.whole_id != clip.id}
    also = find_outputs(folder, [wholes[name] for name in sorted(cut)], None, naming=naming)
    if also:
        piece = next(path for clip, path in files.items() if clip not in wholes)
        hint = "Leave one kind in it, or choose with --mapping CSV."
        what = f"has files of pieces ({piece.name}) and of whole clips ({few([p.name for p in also.values()])})."
        raise InputError(what, path=folder, hint=hint)
