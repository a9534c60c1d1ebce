"""Speakers and splits from a table `file,speaker,split` that a person wrote.

A row may name its file by its path below the root or by its bare name. What fits nothing is reported; what contradicts
itself is refused: a name that fits several files, a file with two speakers or two splits, and a person whose clips are
stated to be in both train and test.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawn_bench.errors import InputError
from dawn_bench.files import VIDEO_SUFFIXES
from dawn_bench.lists import ListRow, NameIndex, folded, read_list
from dawn_bench.text import counted, few

SPLITS = ("train", "val", "test")
_HEADER = "Its header must be: file,speaker,split"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Label:
    """What the rows of one file state; empty where they state nothing."""

    speaker: str = ""
    split: str = ""


def read_labels(root: Path, path: Path, videos: Sequence[Path]) -> dict[Path, Label]:
    """The labels of `videos`, which lie below `root`, in the table `path`; videos without a row have none.

    A person whose name is written in several ways (letter case, Unicode form) gets the first spelling. Raises
    `InputError` for a table that cannot be read, fits no video, or contradicts itself.
    """
    index = NameIndex[Path](suffixes=VIDEO_SUFFIXES, base=root)
    for video in videos:
        index.add(video, path=video.relative_to(root).as_posix())
    rows = read_list(
        path, ("file",), optional=("speaker", "split"), is_row=lambda cells: bool(index.find(cells[0])), hint=_HEADER
    )
    if odd := [row for row in rows if not row.headed and row["speaker"].lower() in SPLITS]:
        what = f"line {odd[0].line}: {odd[0]['speaker']!r} is in the place of the speaker."
        raise InputError(what, path=path, hint="Name the columns in the first line: file,split")
    rows_of: dict[Path, list[ListRow]] = {}
    unknown: list[ListRow] = []
    for row in rows:
        match index.find(row["file"]):
            case []:
                unknown.append(row)
            case [video]:
                rows_of.setdefault(video, []).append(row)
            case several:
                names = few([video.relative_to(root).as_posix() for video in several])
                raise InputError(
                    f"line {row.line}: several files are called {row['file']!r}: {names}.",
                    path=path,
                    hint="Give the path below the folder; ./NAME for a file at its top.",
                )
    spellings: dict[str, str] = {}
    for row in rows:
        if row["speaker"]:
            spellings.setdefault(folded(row["speaker"]), row["speaker"])
    labels = {video: _label(path, video, rows_of[video], spellings) for video in videos if video in rows_of}
    _report(path, root, videos, labels, unknown, rows)
    _check_people(path, labels)
    return labels


def stated_splits(labels: Mapping[Path, Label]) -> dict[str, str]:
    """The split by speaker of those whose rows state exactly one; it holds for their other clips too."""
    stated: dict[str, set[str]] = {}
    for label in labels.values():
        if label.speaker and label.split:
            stated.setdefault(label.speaker, set()).add(label.split)
    return {speaker: min(splits) for speaker, splits in stated.items() if len(splits) == 1}


def _label(path: Path, video: Path, rows: Sequence[ListRow], spellings: Mapping[str, str]) -> Label:
    """The rows of one file as a label; raises `InputError` where they differ or state an unknown split."""
    for row in rows:
        split = row["split"].lower()
        if split and split not in SPLITS:
            raise InputError(f"line {row.line}: split {split!r} is none of {', '.join(SPLITS)}.", path=path)
    speakers = dict.fromkeys(spellings[folded(row["speaker"])] for row in rows if row["speaker"])
    splits = dict.fromkeys(row["split"].lower() for row in rows if row["split"])
    for what, values in (("speakers", speakers), ("splits", splits)):
        if len(values) > 1:
            lines = few([str(row.line) for row in rows])
            raise InputError(
                f"lists {video.name} with two {what}: {' and '.join(values)} (lines {lines}).",
                path=path,
                hint="Leave one row for each file.",
            )
    return Label(next(iter(speakers), ""), next(iter(splits), ""))


def _report(
    path: Path,
    root: Path,
    videos: Sequence[Path],
    labels: Mapping[Path, Label],
    unknown: Sequence[ListRow],
    rows: Sequence[ListRow],
) -> None:
    """Name the rows that fit no file, the files without a row, and people that are written in several ways."""
    if unknown and not labels:
        files, names = counted(len(videos), "video file"), few([row["file"] for row in unknown])
        raise InputError(
            f"names none of the {files} below {root}: {names}.",
            path=path,
            hint=f"They are called {videos[0].relative_to(root).as_posix()}, for example." if videos else "",
        )
    if unknown:
        names = few([f"{row['file']} (line {row.line})" for row in unknown])
        log.warning("%s: %s of %s name no file: %s", path, len(unknown), counted(len(rows), "row"), names)
    if without := [video.relative_to(root).as_posix() for video in videos if video not in labels]:
        log.warning(
            "%s: %s of %s have no row: %s. Each is a speaker of its own, in a split by hash",
            path, len(without), counted(len(videos), "file"), few(without),
        )  # fmt: skip
    spelt: dict[str, dict[str, None]] = {}
    for row in rows:
        spelt.setdefault(folded(row["speaker"]), {})[row["speaker"]] = None
    if several := [" = ".join(names) for names in spelt.values() if len(names) > 1]:
        log.warning("%s: one person under several spellings: %s", path, few(several))


def _check_people(path: Path, labels: Mapping[Path, Label]) -> None:
    """Refuse people whose clips are stated to be in train and test, or in several splits where a row states none."""
    stated: dict[str, dict[str, Path]] = {}
    for video, label in labels.items():
        if label.speaker:
            stated.setdefault(label.speaker, {}).setdefault(label.split, video)
    torn = [name for name, clips in stated.items() if {"train", "test"} <= set(clips)]
    if torn:
        clips = stated[torn[0]]
        raise InputError(
            f"{'a person is' if len(torn) == 1 else f'{len(torn)} people are'} in both train and test: {few(torn)} "
            f"({clips['train'].name} and {clips['test'].name}, for example).",
            path=path,
            hint="Give each person one split. Leave the speaker empty where known faces in the test are meant.",
        )
    shared = [name for name, clips in stated.items() if len(set(clips) - {""}) > 1]
    if open_ := [name for name in shared if "" in stated[name]]:
        splits = " and ".join(sorted(set(stated[open_[0]]) - {""}))
        raise InputError(
            f"{few(open_)}: some rows of the person state {splits}, others no split.",
            path=path,
            hint=f"State the split of {stated[open_[0]][''].name}.",
        )
    if shared:
        log.warning(
            "%s: %s in val and in another split: %s", path, counted(len(shared), "person", "people"), few(shared)
        )
