"""Files by clip: as a comparison of every name with every clip would find them, in fewer comparisons."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dawn_bench.baselines import given_pieces, name_matches
from dawn_bench.baselines.name_matches import files_by_clip, places_by_clip
from dawn_bench.lists import folded, shape_of

CLIPS = ["a", "A", "ab", "a_b", "b", "b.1", "a_001", "é", "x y"]
STEMS = [
    *CLIPS, "a_b_a", "gen_a", "gen_a_b", "A_B", "AB", "a-b", "bx1", "B.1", "a_001_a_001", "e\u0301", "x y_f00200",
    "a_f00000", "a_f00200", "a_000", "a_001_000", "gen_a_f00200_x", "a_f00000_a_f00000", "a_f00000_a_f00200", "É_003",
    "", "_", "aab",
]  # fmt: skip
NAMINGS = ["{clip}", "{clip}*", "*{clip}", "*{clip}*", "gen_{clip}", "gen_{clip}*", "{clip}_*", "{clip}_{clip}",
           "{clip}*{clip}", "*_{clip}"]  # fmt: skip


def compared(naming: str, clip: str, infix: tuple[str, str] | None) -> list[tuple[str, str]]:
    """What comparing every name with the clip's pattern gives."""
    for form in (shape_of, folded):
        name = f"{clip}{infix[0]}\ue000" if infix else clip
        text = ".*".join(re.escape(form(part.replace("{clip}", name))) for part in naming.split("*"))
        if infix:
            text = text.replace("\ue000", f"(?P<place>[0-9]{infix[1]})", 1).replace("\ue000", "(?P=place)")
        hits = [(stem, match) for stem in STEMS if (match := re.fullmatch(text, form(stem)))]
        if hits:
            return [(stem, match["place"] if infix else "") for stem, match in hits]
    return []


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_same_files_as_by_comparing_all(naming: str) -> None:
    names = [(stem, Path(f"{k}.mp4")) for k, stem in enumerate(STEMS)]
    path_of = {stem: path for stem, path in names}
    expected = {clip: [path_of[stem] for stem, _ in compared(naming, clip, None)] for clip in CLIPS}
    assert files_by_clip(names, naming, CLIPS) == {clip: paths for clip, paths in expected.items() if paths}
    assert any(expected.values())
    for infix in (("_f", "{1,9}"), ("_", "{3,9}")):
        places: dict[str, dict[int, list[Path]]] = {clip: {} for clip in CLIPS}
        for clip in CLIPS:
            for stem, digits in compared(naming, clip, infix):
                places[clip].setdefault(int(digits), []).append(path_of[stem])
        assert places_by_clip(names, naming, CLIPS, infix) == places


@pytest.mark.parametrize("naming", ["{clip}", "{clip}_*", "*_{clip}", "gen_{clip}_*"])
def test_each_name_is_compared_with_few_clips(naming: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count, compared = 400, []
    clips = [f"s{k % 20:02d}_{k:04d}" for k in range(count)]
    names = [(naming.replace("{clip}", clip).replace("*", "x"), Path(clip)) for clip in clips]
    candidates = name_matches._candidates

    def counting(*arguments):  # type: ignore[no-untyped-def]
        for pair in candidates(*arguments):
            compared.append(pair)
            yield pair

    monkeypatch.setattr(name_matches, "_candidates", counting)
    assert files_by_clip(names, naming, clips) == {clip: [Path(clip)] for clip in clips}
    assert len(compared) == count


def test_clips_whose_names_begin_as_pieces_of_others() -> None:
    clips = ["a", "A_1", "a_1_2", "ab", "b", "a_"]
    longer = given_pieces._longer_names(clips)
    assert {clip: sorted(others) for clip, others in longer.items()} == {
        clip: sorted(o for o in clips if o != clip and folded(o).startswith(f"{folded(clip)}_")) for clip in clips
    }
