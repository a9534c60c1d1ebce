"""Which files are called by which clips, for all clips at once.

The names of files are looked up in the names of clips and not compared one by one: the time grows with the number of
files and clips, not with their product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dawn_bench.lists import folded, shape_of

#: Stands for the digits in a pattern: a character of no name, which every form of names keeps.
_DIGITS = "\ue000"
#: What stands between a clip's id and a number, and how many digits the number has, as in a regular expression.
Infix = tuple[str, str]


def files_by_clip(names: Iterable[tuple[str, Path]], naming: str, clips: Collection[str]) -> dict[str, list[Path]]:
    """The files whose names fit the pattern `naming` for a clip, by clip, in the given order; clips without are absent.

    `names` are names without suffix, with their files. They may be in any Unicode form; one in another letter case
    counts only where none has the clip's own. In `naming`, `{clip}` stands for the id and `*` for anything.
    """
    return {clip: [path for path, _ in own] for clip, own in _matches(names, naming, clips, None).items()}


def places_by_clip(
    names: Iterable[tuple[str, Path]], naming: str, clips: Collection[str], infix: Infix
) -> dict[str, dict[int, list[Path]]]:
    """The files of each clip's pieces by frame or number, for every clip; names are compared as in `files_by_clip`."""
    places: dict[str, dict[int, list[Path]]] = {clip: {} for clip in clips}
    for clip, own in _matches(names, naming, clips, infix).items():
        for path, number in own:
            places[clip].setdefault(int(number), []).append(path)
    return places


def _matches(
    names: Iterable[tuple[str, Path]], naming: str, clips: Collection[str], infix: Infix | None
) -> dict[str, list[tuple[Path, str]]]:
    """(file, digits of its number) by clip."""
    pairs, matches = list(names), dict[str, list[tuple[Path, str]]]()
    for form in (shape_of, folded):
        patterns = {clip: _parts(naming, clip, infix, form) for clip in clips if clip not in matches}
        texts, compiled = [form(name) for name, _ in pairs], dict[str, re.Pattern[str]]()
        for place, clip in _candidates(texts, naming, patterns):
            if clip not in compiled:
                compiled[clip] = _compiled(patterns[clip], infix)
            if match := compiled[clip].fullmatch(texts[place]):
                matches.setdefault(clip, []).append((pairs[place][1], match["place"] if infix else ""))
    return matches


def _parts(naming: str, clip: str, infix: Infix | None, form: Callable[[str], str]) -> list[str]:
    """The texts between the `*` of a pattern, for one clip."""
    name = f"{clip}{infix[0]}{_DIGITS}" if infix else clip
    return [form(part.replace("{clip}", name)) for part in naming.split("*")]


def _compiled(parts: Sequence[str], infix: Infix | None) -> re.Pattern[str]:
    text = ".*".join(re.escape(part) for part in parts)
    if infix:
        text = text.replace(_DIGITS, f"(?P<place>[0-9]{infix[1]})", 1).replace(_DIGITS, "(?P=place)")
    return re.compile(text)


def _candidates(texts: Sequence[str], naming: str, patterns: Mapping[str, Sequence[str]]) -> Iterator[tuple[int, str]]:
    """(place of a name, clip) where the name has the pattern's first text with the clip in it, where it must be."""
    parts = naming.split("*")
    number = next(k for k, part in enumerate(parts) if "{clip}" in part)
    clips_of: dict[str, list[str]] = {}
    for clip, own in patterns.items():
        clips_of.setdefault(own[number].partition(_DIGITS)[0], []).append(clip)
    numbered = any(_DIGITS in own[number] for own in patterns.values())
    lengths = sorted({len(text) for text in clips_of})
    for place, text in enumerate(texts):
        hits: set[str] = set()
        for length in lengths:
            spare = len(text) - length
            if spare < 0:
                break
            if number == 0:
                starts: Iterable[int] = (0,)
            elif number == len(parts) - 1 and not numbered:
                starts = (spare,)
            else:
                starts = range(spare + 1)
            hits.update(text[start : start + length] for start in starts)
        for hit in hits & clips_of.keys():
            for clip in clips_of[hit]:
                yield place, clip
