"""Outputs that a user supplies where clips are scored in pieces: a file for each piece, or one for a whole clip.

For the clip `ID` in pieces of 200 frames:

    ID_f00000.mp4, ID_f00200.mp4, ...    a file a piece, named by its first frame, as dawn-bench writes them
    ID_000.mp4, ID_001.mp4, ...          the same, numbered from 0
    ID.mp4                               the whole clip, of which each piece is read

`--naming` and `--mapping` take these names in place of a clip's id. Each clip may have its own kind; a clip no longer
than a piece is called by any of `ID`, `ID_f00000` and `ID_000`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dawn_bench.baselines.formats import format_of
from dawn_bench.baselines.given import (
    check_not_shared,
    find_outputs,
    mapped_outputs,
    output_files,
    report_unused,
    report_without_file,
    the_one,
)
from dawn_bench.baselines.name_matches import files_by_clip, places_by_clip
from dawn_bench.baselines.piece_names import (
    BY_FRAME,
    BY_NUMBER,
    by_frame,
    by_number,
    check_frames,
    check_numbers,
    frames_of,
)
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.lists import folded

#: What a score's note says of pieces that were cut from the output for a whole clip.
CUT_FROM_WHOLE = "generated as whole clips and cut into pieces for scoring"


@dataclass(frozen=True)
class GivenOutputs:
    """Files by clip id, and of pieces that are read from the file of their whole clip the first frame in it."""

    files: Mapping[str, Path]
    starts: Mapping[str, int] = field(default_factory=dict)


def find_piece_outputs(
    folder: Path, clips: Sequence[Clip], mapping: Path | None, *, naming: str = "{clip}", length: int | None = None
) -> GivenOutputs:
    """A user's files for clips that are scored in pieces of `length` frames, or whole where it is None.

    Files that are of no clip are named in a warning. Raises `InputError` as `find_outputs`, for a clip that has both
    a file for itself and files for its pieces, and for files that are of other pieces than those that are scored.
    """
    if length is None:
        files = find_outputs(folder, clips, mapping, naming=naming)
        if mapping is None and files:
            report_unused(folder, output_files(folder, clips[0], naming=naming), files, clips[0])
        return GivenOutputs(files)
    pieces: dict[str, list[Clip]] = {}
    for clip in clips:
        pieces.setdefault(clip.whole_id, []).append(clip)
    if mapping is not None:
        return _from_table(folder, clips, pieces, mapping, length=length)
    return _from_names(folder, clips, pieces, naming, length=length)


def _from_names(
    folder: Path, clips: Sequence[Clip], pieces: Mapping[str, Sequence[Clip]], naming: str, *, length: int
) -> GivenOutputs:
    """The files that are named by the pattern, for each clip of its own kind."""
    candidates = output_files(folder, clips[0], naming=naming)
    names = [(path.stem, path) for path in candidates]
    named, longer = files_by_clip(names, naming, pieces), _longer_names(pieces)
    placed = {
        kind: places_by_clip(names, naming, pieces, infix)
        for kind, infix in (("frame", BY_FRAME), ("number", BY_NUMBER))
    }
    by_place: dict[str, dict[str, dict[int, Path]]] = {"frame": {}, "number": {}}
    wholes: dict[str, Path] = {}
    for clip in sorted(pieces):
        others = {path for other in longer[clip] for path in named.get(other, ())}
        for kind, places_of in placed.items():
            places = places_of[clip]
            own = {place: [p for p in paths if p not in others] for place, paths in sorted(places.items())}
            label = by_frame if kind == "frame" else by_number
            files = {place: the_one(folder, label(clip, place), paths) for place, paths in own.items()}
            by_place[kind][clip] = {place: path for place, path in files.items() if path is not None}
        frames, numbers = by_place["frame"][clip], by_place["number"][clip]
        # a pattern whose names may end with anything fits the pieces of a clip too
        is_whole = not (frames or numbers) or "*" not in naming
        whole = the_one(folder, clip, named.get(clip, ())) if is_whole else None
        _check_one_kind(folder, clip, frames, numbers, whole)
        if whole is not None:
            wholes[clip] = whole
    _check_places(folder, pieces, by_place["frame"], by_place["number"], length=length)
    given: dict[str, Path] = {}
    for clip, own_pieces in pieces.items():
        for number, piece in enumerate(own_pieces):
            path = by_place["frame"][clip].get(piece.first_frame) or by_place["number"][clip].get(number)
            if path is not None:
                given[piece.id] = path
    check_not_shared(folder, wholes | given, naming=naming)
    outputs = _with_wholes(clips, given, wholes)
    if outputs.files:
        report_unused(folder, candidates, outputs.files, clips[0])
    return outputs


def _check_one_kind(
    folder: Path, clip: str, frames: Mapping[int, Path], numbers: Mapping[int, Path], whole: Path | None
) -> None:
    """Raise `InputError` for a clip with files of more than one kind."""
    by_kind = [next(iter(files.values()), None) for files in (frames, numbers)]
    pieces = [path.name for path in by_kind if path is not None]
    if len(pieces) + (whole is not None) < 2:
        return
    kinds = f"of pieces ({pieces[0]}) and of whole clips ({whole.name})" if whole is not None else "named by frame"
    kinds = kinds if whole is not None else f"{kinds} ({pieces[0]}) and by number ({pieces[1]})"
    hint = "Leave one kind for each clip, or choose with --mapping CSV."
    raise InputError(f"has files {kinds} for {clip}.", path=folder, hint=hint)


def _longer_names(clips: Iterable[str]) -> dict[str, list[str]]:
    """For each clip those whose own names look like those of its pieces: `ID_001` beside `ID`."""
    order = sorted((folded(clip), clip) for clip in clips)
    longer: dict[str, list[str]] = {}
    for name, clip in order:
        start = f"{name}_"
        longer[clip], place = [], bisect_left(order, (start, ""))
        while place < len(order) and order[place][0].startswith(start):
            longer[clip].append(order[place][1])
            place += 1
    return longer


def _check_places(
    folder: Path,
    pieces: Mapping[str, Sequence[Clip]],
    frames: Mapping[str, Mapping[int, Path]],
    numbers: Mapping[str, Mapping[int, Path]],
    *,
    length: int,
) -> None:
    """Raise `InputError` where files are of other pieces than those that are scored."""
    for clip, own in frames.items():
        check_frames(folder, pieces[clip], own, length=length)
    check_numbers(folder, pieces, numbers, length=length)


def _with_wholes(clips: Sequence[Clip], given: Mapping[str, Path], wholes: Mapping[str, Path]) -> GivenOutputs:
    """The files of pieces, and the pieces of whole clips' files where a piece has none of its own."""
    files = {clip.id: given.get(clip.id) or wholes.get(clip.whole_id) for clip in clips}
    starts = {c.id: c.first_frame for c in clips if c.id != c.whole_id and c.id not in given and c.whole_id in wholes}
    return GivenOutputs({clip: path for clip, path in files.items() if path is not None}, starts)


def _from_table(
    folder: Path, clips: Sequence[Clip], pieces: Mapping[str, Sequence[Clip]], mapping: Path, *, length: int
) -> GivenOutputs:
    """The files of a table, whose rows are of pieces or of whole clips.

    One file for several pieces of a clip is that of the whole clip. Raises `InputError` where a file for a single piece
    reaches from the clip's start to that piece: its first frames would be scored in the piece's place.
    """
    aliases = {}
    for whole_id, own in pieces.items():
        for number, piece in enumerate(own):
            other = (by_frame(whole_id, piece.first_frame), by_number(whole_id, number))
            aliases[piece.id] = [name for name in other if name == piece.id or name not in pieces]
    called = {whole_id: replace(own[0], id=whole_id, meta=_source(own[0])) for whole_id, own in pieces.items()}
    called |= {clip.id: replace(clip, meta={}) for clip in clips if clip.id not in called}
    table = mapped_outputs(folder, list(called.values()), mapping, aliases=aliases)
    whole_ids = {whole_id for whole_id, own in pieces.items() if own[0].id != whole_id}
    wholes = {name: path for name, path in table.files.items() if name in whole_ids}
    given = {name: path for name, path in table.files.items() if name not in whole_ids}
    shares = Counter((clip.whole_id, given[clip.id]) for clip in clips if clip.id in given)
    cut = {path for (_, path), count in shares.items() if count > 1}
    bare = [(_bare(cell, clips[0]), path or Path(cell)) for cell, path in table.named]
    names = [(name, path) for name, path in bare if name not in pieces and path not in cut]
    uncut = set(pieces) - {whole_id for (whole_id, path) in shares if path in cut}
    frames, numbers = (
        {
            name: {place: paths[0] for place, paths in places.items()}
            for name, places in places_by_clip(names, "{clip}", uncut, kind).items()
        }
        for kind in (BY_FRAME, BY_NUMBER)
    )
    numbers = {name: {} if frames[name] else own for name, own in numbers.items()}  # a table may have both
    _check_places(mapping, pieces, frames, numbers, length=length)
    starts = {}
    for clip in clips:
        if clip.id not in given or clip.id == clip.whole_id:
            continue
        path = given[clip.id]
        if shares[clip.whole_id, path] > 1:
            starts[clip.id] = clip.first_frame
        elif clip.first_frame and (frames_of(path) or 0) >= clip.first_frame + clip.n_frames // 2:
            what = f"names {path.name} for {clip.id}, and it is long enough to be of the whole clip."
            hint = f"If it is, write {clip.whole_id},{path.name}; else cut it to {clip.n_frames} frames."
            raise InputError(what, path=mapping, hint=hint)
    outputs = _with_wholes(clips, given, wholes)
    report_without_file(mapping, clips, outputs.files)
    return replace(outputs, starts={**outputs.starts, **starts})


def _source(clip: Clip) -> dict[str, object]:
    """The video that a clip was prepared from, by which a table may call it."""
    return {key: clip.meta[key] for key in ("source",) if key in clip.meta}


def _bare(cell: str, clip: Clip) -> str:
    """A name of a table without the suffix of an output."""
    head, dot, suffix = cell.rpartition(".")
    return head if dot and f".{suffix.lower()}" in format_of(clip).suffixes else cell
