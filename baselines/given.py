"""Outputs that a user supplies: which file belongs to which clip."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawn_bench.baselines.formats import OutputFormat, format_of
from dawn_bench.baselines.name_matches import files_by_clip
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.files import walk
from dawn_bench.lists import ListRow, NameIndex, read_list, shape_of
from dawn_bench.names import inside
from dawn_bench.text import counted, few

_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
log = logging.getLogger(__name__)
_JOIN = "Join the pictures of each clip to a video: ffmpeg -framerate 25 -i FOLDER/%05d.png -crf 0 CLIP.mp4"


@dataclass(frozen=True)
class MappedOutputs:
    """What a table of outputs states: files by clip id, and the cell for the clip of every row with the row's file.

    The file is None in a row that names no clip.
    """

    files: dict[str, Path]
    named: list[tuple[str, Path | None]]


def find_outputs(
    folder: Path, clips: Sequence[Clip], mapping: Path | None, *, naming: str = "{clip}"
) -> dict[str, Path]:
    """A user's files by clip id: named by the pattern `naming` in any sub-folder, or listed in a CSV `clip,file`.

    In `naming`, `{clip}` stands for the clip's id and `*` for anything: `{clip}_*_{clip}`. Videos may have any common
    suffix; meshes are npy files. Letter case, slashes, Unicode forms and suffixes of names may differ
    (`dawn_bench.lists`). Clips without a file are left out; they, and rows that fit nothing, are named in warnings.

    Raises `InputError` for a folder without such files, a CSV that does not fit or is ambiguous, two files for one
    clip, and a file outside the folder.
    """
    if mapping is not None:
        table = mapped_outputs(folder, clips, mapping)
        report_without_file(mapping, clips, table.files)
        if shared := shared_files(folder, table.files):
            log.warning("%s: one file for several clips: %s", mapping, few(shared))
        return table.files
    candidates = output_files(folder, clips[0], naming=naming)
    named = files_by_clip(((path.stem, path) for path in candidates), naming, {clip.id for clip in clips})
    chosen = {clip: path for clip in sorted(named) if (path := the_one(folder, clip, named[clip])) is not None}
    check_not_shared(folder, chosen, naming=naming)
    return chosen


def output_files(folder: Path, clip: Clip, *, naming: str) -> list[Path]:
    """All files below `folder` that can be outputs for clips such as `clip`; raises `InputError` where there is none.

    Raises it for a pattern `naming` without `{clip}` too.
    """
    files = format_of(clip)
    check_folder(folder, clip)
    if "{clip}" not in naming:
        raise InputError(f"--naming {naming!r} does not contain {{clip}}.", hint="Example: --naming '{clip}_*'")
    candidates = _candidates(folder, files)
    if not candidates:
        if _holds_pictures(folder):
            raise InputError(f"holds pictures, not {files.label}s.", path=folder, hint=_JOIN)
        raise InputError(f"has no {files.label}.", path=folder, hint=f"Looked for {', '.join(sorted(files.suffixes))}.")
    return candidates


def check_folder(folder: Path, clip: Clip) -> None:
    """Raise `InputError` unless `folder` is a folder."""
    if not folder.is_dir():
        suffix = format_of(clip).suffix.removeprefix(".")
        raise InputError("is not a folder of outputs.", path=folder, hint=f"Give the folder with your {suffix} files.")


def the_one(folder: Path, clip: str, named: Sequence[Path]) -> Path | None:
    """The file for a clip of those that fit its name; raises `InputError` for two, and for one outside the folder."""
    if len(named) > 1:
        raise InputError(
            f"has two files for clip {clip}: {named[0].name} and {named[1].name}.",
            path=folder,
            hint="Remove one, or choose with --mapping CSV.",
        )
    return _in_folder(folder, named[0], by=folder) if named else None


def check_not_shared(folder: Path, chosen: Mapping[str, Path], *, naming: str) -> None:
    """Raise `InputError` where a pattern gives one file to several clips."""
    if shared := shared_files(folder, chosen):
        what = f"--naming {naming!r} gives one file to several clips: {few(shared)}."
        raise InputError(what, path=folder, hint="Make the pattern narrower, or choose with --mapping CSV.")


def report_unused(folder: Path, files: Sequence[Path], used: Mapping[str, Path], clip: Clip) -> None:
    """Warn of files in the folder that are no output of any clip."""
    kept = set(used.values())
    if names := [path.relative_to(folder).as_posix() for path in files if path not in kept]:
        verb = "is" if len(names) == 1 else "are"
        what = f"{counted(len(names), 'file')} {verb} of no clip or piece that is scored in split {clip.split}"
        log.warning("%s: %s: %s", folder, what, few(names))


def _candidates(folder: Path, files: OutputFormat) -> list[Path]:
    """All files below `folder` that can be outputs of this format."""
    return sorted(p for p in walk(folder) if p.suffix.lower() in files.suffixes)


def mapped_outputs(
    folder: Path, clips: Sequence[Clip], mapping: Path, *, aliases: Mapping[str, Sequence[str]] | None = None
) -> MappedOutputs:
    """What a table `clip,file` states on clips, which may also be called by their `aliases`.

    Rows that fit nothing are named in warnings. Raises `InputError` as `find_outputs`.
    """
    check_folder(folder, clips[0])
    if mapping.is_dir():
        hint = "Give a CSV file with the columns clip,file as --mapping, and the folder of the outputs as --outputs."
        raise InputError("is a folder, not a CSV file.", path=mapping, hint=hint)
    files = format_of(clips[0])
    ids = NameIndex[str](suffixes=files.suffixes)
    for clip in clips:
        ids.add(clip.id, path=str(clip.meta.get("source") or ""), names=[clip.id, *(aliases or {}).get(clip.id, ())])
        ids.add(clip.id, path=clip.id)  # as `cache export` writes an id that a spreadsheet would take for a formula
    rows = read_list(
        mapping,
        ("clip", "file"),
        is_row=lambda cells: len(cells) > 1 and bool(ids.find(cells[0])),
        hint="First line: clip,file",
    )
    if not rows:
        raise InputError("has no line below the columns.", path=mapping, hint="Give a line clip,file for each clip.")
    outputs = NameIndex[Path](suffixes=files.suffixes, base=folder)
    for path in _candidates(folder, files):
        outputs.add(path, path=path.relative_to(folder).as_posix())
    rows_of: dict[str, list[ListRow]] = {}
    named: list[tuple[str, Path | None]] = []
    strangers: list[ListRow] = []
    for row in rows:
        match ids.find(row["clip"]):
            case []:
                strangers.append(row)
                named.append((row["clip"], None))
            case [clip_id]:
                rows_of.setdefault(clip_id, []).append(row)
            case several:
                what = f"line {row.line}: {row['clip']!r} fits several clips: {few(several)}."
                raise InputError(what, path=mapping, hint="Give the id of the clip.")
    chosen: dict[str, Path] = {}
    absent: list[ListRow] = []
    for clip_id, own in rows_of.items():
        located = {row["file"]: _located(folder, row, outputs, mapping) for row in own if row["file"]}
        places = {shape_of(name) if path is None else str(path) for name, path in located.items()}
        if len(places) > 1:
            lines = few([str(row.line) for row in own])
            what = f"names clip {clip_id} twice with different files (lines {lines})."
            raise InputError(what, path=mapping, hint="Leave one line per clip.")
        file = next(iter(located.values()), None)
        absent += [row for row in own if row["file"] and file is None]
        if file is not None and file.is_dir():
            pictures = _holds_pictures(file)
            what = f"names a folder {'of pictures ' if pictures else ''}for clip {clip_id}: {own[0]['file']}."
            hint = _JOIN if pictures else "Give the file of each clip."
            raise InputError(what, path=mapping, hint=hint)
        if file is not None:
            chosen[clip_id] = file
        named += [(row["clip"], file) for row in own]
    if not chosen and absent:
        there = folder / shape_of(absent[0]["file"])
        raise InputError("names no file that exists.", path=mapping, hint=f"There is no {there}, for example.")
    if not chosen:
        first = min(clip.id for clip in clips)
        raise InputError("names none of the clips.", path=mapping, hint=f"They are called {first}, for example.")
    for gaps, column, thing in ((strangers, "clip", f"clip of split {clips[0].split}"), (absent, "file", "file")):
        if gaps:
            names = few([f"{row[column]} (line {row.line})" for row in gaps])
            log.warning("%s: %s of %s name no %s: %s", mapping, len(gaps), counted(len(rows), "row"), thing, names)
    return MappedOutputs(chosen, named)


def _located(folder: Path, row: ListRow, outputs: NameIndex[Path], mapping: Path) -> Path | None:
    """The file or folder that a row names, None where there is none; raises `InputError` where it is ambiguous."""
    for name in (row["file"], shape_of(row["file"])):  # a name may have a backslash in it
        path = _in_folder(folder, name, by=mapping)
        if path.exists():
            return path
    match outputs.find(row["file"]):
        case []:
            return None
        case [path]:
            return _in_folder(folder, path, by=mapping)
        case several:
            names = few([path.relative_to(folder).as_posix() for path in several])
            what = f"line {row.line}: {row['file']!r} fits several files: {names}."
            raise InputError(what, path=mapping, hint="Give the whole path below the folder.")


def report_without_file(mapping: Path, clips: Sequence[Clip], chosen: Mapping[str, Path]) -> None:
    """Warn of clips for which a table names no file."""
    if without := [clip.id for clip in clips if clip.id not in chosen]:
        log.warning("%s: %s of %s have no file: %s", mapping, len(without), counted(len(clips), "clip"), few(without))


def shared_files(folder: Path, chosen: Mapping[str, Path]) -> list[str]:
    """The files that are the output of several clips: `x.mp4 for c1 and c2`."""
    clips_of: dict[Path, list[str]] = {}
    for clip_id, path in chosen.items():
        clips_of.setdefault(path, []).append(clip_id)
    shared = {path: ids for path, ids in clips_of.items() if len(ids) > 1}
    return [f"{path.relative_to(folder).as_posix()} for {' and '.join(ids[:3])}" for path, ids in shared.items()]


def _in_folder(folder: Path, name: str | Path, *, by: Path) -> Path:
    """The path of `name` in `folder`; raises `InputError` where it leads out of it, itself or through a link.

    A folder of outputs may come from anybody, and what it names is shown in the report.
    """
    below = name if isinstance(name, str) else name.relative_to(folder)
    if inside(folder, below) is None:
        raise InputError(f"{str(name)!r} leads out of {folder}.", path=by, hint="Copy the file into that folder.")
    return folder / below


def _holds_pictures(folder: Path) -> bool:
    """Whether the folder or one below it has pictures, as methods write that give one file for each frame."""
    return any(path.suffix.lower() in _PICTURES for path in folder.rglob("*"))
