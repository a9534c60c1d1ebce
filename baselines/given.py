"""Outputs that a user supplies: which file belongs to which clip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dawn_bench.baselines.formats import format_of
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.readers import read_csv

_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
_JOIN = "Join the pictures of each clip to a video: ffmpeg -framerate 25 -i FOLDER/%05d.png -crf 0 CLIP.mp4"


def find_outputs(
    folder: Path, clips: Sequence[Clip], mapping: Path | None, *, naming: str = "{clip}"
) -> dict[str, Path]:
    """A user's files by clip id: named by the pattern `naming` in any sub-folder, or listed in a CSV `clip,file`.

    In `naming`, `{clip}` stands for the clip's id and `*` for anything: `{clip}_*_{clip}`. Videos may have any common
    suffix; meshes are npy files. Clips without a file are left out.

    Raises `InputError` for a folder without such files, a CSV that does not fit, or two files for one clip.
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
    candidates = sorted(p for p in folder.rglob("*") if p.suffix.lower() in files.suffixes)
    if not candidates:
        if _holds_pictures(folder):
            raise InputError(f"holds pictures, not {files.label}s.", path=folder, hint=_JOIN)
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
            chosen[clip] = named[0]
    return chosen


def _mapped(folder: Path, wanted: set[str], mapping: Path) -> dict[str, Path]:
    if mapping.is_dir():
        hint = "Give a CSV file with the columns clip,file as --mapping, and the folder of the outputs as --outputs."
        raise InputError("is a folder, not a CSV file.", path=mapping, hint=hint)
    rows = read_csv(mapping, ("clip", "file"), hint="First line: clip,file")
    if not rows:
        raise InputError("has no line below the columns.", path=mapping, hint="Give a line clip,file for each clip.")
    chosen: dict[str, Path] = {}
    for row in rows:
        if row["clip"] in chosen:
            raise InputError(f"names clip {row['clip']} twice.", path=mapping, hint="Leave one line per clip.")
        if row["clip"] not in wanted or not row["file"]:
            continue
        file = folder / row["file"]
        if file.is_dir():
            pictures = _holds_pictures(file)
            what = f"names a folder {'of pictures ' if pictures else ''}for clip {row['clip']}: {row['file']}."
            hint = _JOIN if pictures else "Give the file of each clip."
            raise InputError(what, path=mapping, hint=hint)
        if file.is_file():
            chosen[row["clip"]] = file
    if not chosen:
        named = next((row["file"] for row in rows if row["clip"] in wanted and row["file"]), None)
        if named is None:
            first = min(wanted)
            raise InputError("names none of the clips.", path=mapping, hint=f"They are called {first}, for example.")
        raise InputError("names no file that exists.", path=mapping, hint=f"There is no {folder / named}, for example.")
    return chosen


def _holds_pictures(folder: Path) -> bool:
    """Whether the folder or one below it has pictures, as methods write that give one file for each frame."""
    return any(path.suffix.lower() in _PICTURES for path in folder.rglob("*"))
