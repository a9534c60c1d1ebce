"""Outputs that a user supplies: which file belongs to which clip."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from dawn_bench.baselines.formats import format_of
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.files import walk
from dawn_bench.names import inside


def find_outputs(
    folder: Path, clips: Sequence[Clip], mapping: Path | None, *, naming: str = "{clip}"
) -> dict[str, Path]:
    """A user's files by clip id: named by the pattern `naming` in any sub-folder, or listed in a CSV `clip,file`.

    In `naming`, `{clip}` stands for the clip's id and `*` for anything: `{clip}_*_{clip}`. Videos may have any common
    suffix; meshes are npy files. Clips without a file are left out.

    Raises `InputError` for a folder without such files, a CSV that does not fit, two files for one clip, and a file
    outside the folder.
    """
    if not folder.is_dir():
        suffix = format_of(clips[0]).suffix.removeprefix(".")
        raise InputError("is not a folder of outputs.", path=folder, hint=f"Give the folder with your {suffix} files.")
    wanted = {c.id for c in clips}
    if mapping is not None:
        return _mapped(folder, wanted, mapping)
    if "{clip}" not in naming:
        raise InputError(f"--naming {naming!r} does not contain {{clip}}.", hint="Example: --naming '{clip}_*'")
    files = format_of(clips[0])
    candidates = sorted(p for p in walk(folder) if p.suffix.lower() in files.suffixes)
    if not candidates:
        raise InputError(f"has no {files.label}.", path=folder, hint=f"Looked for {', '.join(sorted(files.suffixes))}.")
    chosen: dict[str, Path] = {}
    for clip in sorted(wanted):
        pattern = re.compile(".*".join(re.escape(part.replace("{clip}", clip)) for part in naming.split("*")))
        named = [p for p in candidates if pattern.fullmatch(p.stem)]
        if len(named) > 1:
            raise InputError(
                f"has two files for clip {clip}: {named[0].name} and {named[1].name}.",
                path=folder,
                hint="Remove one, or choose with --mapping CSV.",
            )
        if named:
            chosen[clip] = _in_folder(folder, named[0], by=folder)
    return chosen


def _mapped(folder: Path, wanted: set[str], mapping: Path) -> dict[str, Path]:
    try:
        with mapping.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read as CSV ({error}).", path=mapping) from error
    if not rows or not {"clip", "file"} <= set(rows[0]):
        raise InputError("has no columns `clip` and `file`.", path=mapping, hint="First line: clip,file")
    chosen: dict[str, Path] = {}
    for row in rows:
        if row["clip"] in chosen:
            raise InputError(f"names clip {row['clip']} twice.", path=mapping, hint="Leave one line per clip.")
        path = _in_folder(folder, row["file"], by=mapping) if row["file"] else None
        if row["clip"] in wanted and path is not None and path.is_file():
            chosen[row["clip"]] = path
    return chosen


def _in_folder(folder: Path, name: str | Path, *, by: Path) -> Path:
    """The path of `name` in `folder`; raises `InputError` where it leads out of it, itself or through a link.

    A folder of outputs may come from anybody, and what it names is shown in the report.
    """
    if inside(folder, name if isinstance(name, str) else name.relative_to(folder)) is None:
        raise InputError(f"{str(name)!r} leads out of {folder}.", path=by, hint="Copy the file into that folder.")
    return folder / name
