"""Numbers and nesting of a results store at exactly the limits, and gallery items that replace each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawn_bench.config import validated
from dawn_bench.errors import InputError
from dawn_bench.files import sealed
from dawn_bench.reports.store import DEEPEST, LARGEST_SCORE, Facts, GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]
#: Every number of a row that a plot or a table shows, as the row has it.
SHOWN: dict[str, Callable[[float], Any]] = {
    "value": float, "low": float, "high": float, "wall_seconds": float, "per_clip": lambda v: {"a": 1.0, "b": v},
    "over_time": lambda v: [1.0, v], "cost": lambda v: {"load_s": v},
}  # fmt: skip
#: Numbers of a row with bounds of their own, or that are compared and never drawn.
COUNTED = {"n_clips", "n_frames", "coverage", "order", "seed", "piece_length", "higher_is_better", "rankable"}


def stored(root: Path, row: ScoreRow, **changes: Any) -> int:
    """How many rows are read from a store whose file has `row` with some fields changed."""
    (root / "rows").mkdir(exist_ok=True)
    facts = json.loads(row.model_dump_json()) | changes
    (root / "rows" / "a.jsonl").write_text(json.dumps(sealed(facts)) + "\n")
    return len(ResultsStore(root).rows())


def test_every_number_of_a_row_is_bounded() -> None:
    numbers = {n for n, f in ScoreRow.model_fields.items() if {"int", "float"} & set(str(f.annotation).replace("[", " ")
               .replace("]", " ").replace(",", " ").replace("'", " ").split())}  # fmt: skip
    plain = {n for n, f in ScoreRow.model_fields.items() if f.annotation in (int, float)}
    assert numbers | plain <= set(SHOWN) | COUNTED, "state in SHOWN or COUNTED which bounds it has"


@pytest.mark.parametrize("field", SHOWN)
@pytest.mark.parametrize(
    ("number", "good"),
    [(LARGEST_SCORE, True), (-LARGEST_SCORE, True), (LARGEST_SCORE * 1.001, False), (-LARGEST_SCORE * 1.001, False)],
)
def test_a_number_of_a_row_is_no_larger_than_any_score(
    field: str, number: float, good: bool, row: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stored(tmp_path, row("m", 1.0), **{field: SHOWN[field](number)}) == good
    assert good or "line 1 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "value", "good"),
    [("coverage", 0.0, True), ("coverage", 1.0, True), ("coverage", -0.01, False), ("coverage", 1.01, False),
     ("n_clips", 0, True), ("n_clips", -1, False), ("n_frames", 0, True), ("n_frames", -1, False)],
)  # fmt: skip
def test_counts_and_shares_of_a_row_have_bounds(
    field: str, value: float, good: bool, row: Make, tmp_path: Path
) -> None:
    assert stored(tmp_path, row("m", 1.0), **{field: value}) == good


@pytest.mark.parametrize("field", ["dataset", "machine"])
@pytest.mark.parametrize(("more", "good"), [(-1, True), (0, True), (1, False)])
def test_facts_are_nested_no_deeper_than_they_are_shown(field: str, more: int, good: bool) -> None:
    value: Any = "x"
    for _ in range(DEEPEST + more):
        value = {"a": value}
    try:
        validated(Facts, {field: value})
    except InputError:
        assert not good
    else:
        assert good


@pytest.mark.parametrize(("count", "good"), [(64, True), (65, False)])
def test_a_page_has_at_most_so_many_curves(count: int, good: bool) -> None:
    curves = {f"c{k}": [{"step": 1}] for k in range(count)}
    try:
        assert len(validated(Facts, {"curves": curves}).curves) == 64
    except InputError:
        assert not good


@pytest.mark.parametrize(
    ("seconds", "good"), [(0, True), (LARGEST_SCORE, True), (-1, False), (LARGEST_SCORE * 2, False)]
)
def test_timings_have_bounds(seconds: float, good: bool) -> None:
    try:
        validated(Facts, {"timings": {"train": seconds}})
    except InputError:
        assert not good
    else:
        assert good


@pytest.mark.parametrize(
    ("changes", "replaces"),
    [({}, True), ({"note": "x"}, True), ({"clip_id": "other"}, False), ({"method": "other"}, False),
     ({"data": "other"}, False), ({"data": ""}, True), ({"data": "other", "video": Path("new.mp4")}, True)],
)  # fmt: skip
def test_which_video_takes_the_place_of_which(changes: dict[str, Any], replaces: bool) -> None:
    old = GalleryItem(clip_id="c", method="m", video=Path("old.mp4"), data="d").model_copy(update=changes)
    assert GalleryItem(clip_id="c", method="m", video=Path("new.mp4"), data="d").replaces(old) == replaces


def test_facts_are_merged_by_key_and_by_field(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    store.set_facts(Facts(title="old", notes=["a"], timings={"a": 1.0, "b": 2.0}, versions={"torch": "1"}))
    store.set_facts(Facts(notes=["b"], timings={"b": 3.0, "c": 4.0}))
    facts = store.facts()
    assert (facts.title, facts.notes, facts.versions) == ("old", ["b"], {"torch": "1"})
    assert facts.timings == {"a": 1.0, "b": 3.0, "c": 4.0}


def test_many_methods_in_turn_write_the_gallery_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = ResultsStore._write
    monkeypatch.setattr(
        ResultsStore, "_write", lambda self, name, data: written.append(len(data)) or write(self, name, data)
    )
    items = [
        GalleryItem(clip_id=f"c{k}", method=f"m{m % 60}", video=tmp_path / f"{m}-{k}.mp4", note=str(m), data=str(m % 2))
        for m in range(64)
        for k in range(5)
    ]
    for first in range(0, len(items), 5):
        ResultsStore(tmp_path / "r").add_gallery(items[first : first + 5])
    assert written[0] == 5 and len(written) < 12 and sum(written) < 3 * len(items)
    stored = ResultsStore(tmp_path / "r").gallery()
    assert [(i.clip_id, i.method, i.note) for i in stored[:5]] == [(f"c{k}", "m0", "60") for k in range(5)]
    assert len(stored) == 300 and [i.note for i in stored[20:25]] == ["4"] * 5


def test_an_item_cut_off_by_a_kill_costs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ResultsStore(tmp_path)
    for k in range(3):
        store.add_gallery([GalleryItem(clip_id=f"c{k}", method="m" * 300 * (k == 0) + "m", video=tmp_path / "a.mp4")])
    log = tmp_path / "gallery.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    store.add_gallery([GalleryItem(clip_id="c3", method="m", video=tmp_path / "a.mp4")])
    assert [item.clip_id for item in ResultsStore(tmp_path).gallery()] == ["c0", "c1", "c3"]
    assert "gallery.jsonl: line 2 is damaged" in capsys.readouterr().err
