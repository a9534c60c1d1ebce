"""What a report says of a metric, of a table and of its files where rows of several kinds stand in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from spies import Spies

from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.reports import page, tables
from dawn_bench.reports.cards import text_of, texts
from dawn_bench.reports.leaderboard import Table, leaderboards
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]


def test_a_metric_that_states_no_place_stands_last(row: Make) -> None:
    rows = [row("a", 1.0, metric=f"own-{order}", label=f"L{order}", order=order) for order in (None, 2000, 7)]
    rows += [row("a", 1.0, metric="psnr"), row("a", 1.0, metric="unheard-of")]
    assert list(texts(rows)) == ["own-7", "psnr", "own-None", "unheard-of", "own-2000"]
    (table,) = leaderboards(rows)
    assert [column.metric for column in table.columns] == list(texts(rows))


@pytest.mark.parametrize("name", list(METRICS))
def test_the_interval_is_that_of_the_rows_and_else_the_metrics(name: str, row: Make) -> None:
    """PSNR that was pooled says so, though PSNR by default is a mean."""
    own = {"metric": name, "label": "Mine", "description": "of the row", "order": 5, "aim": "zero"}
    text = text_of([row("a", 1.0, **own, interval="pooled over all frames")])
    assert (text.label, text.what, text.aim, text.order) == ("Mine", "of the row", "zero", 5)
    assert text.interval == "pooled over all frames"
    assert text_of([row("a", 1.0, **own)]).interval == METRICS[name].interval
    unknown = text_of([row("a", 1.0, **(own | {"metric": "unheard-of"}))])
    assert unknown.interval == ""


#: What of a table stands in leaderboard.json beside its columns and lines, and under which name.
STATED = {
    "dataset": "dataset", "split": "split", "method_class": "class", "cache": "cache", "piece_length": "piece_length",
    "notes": "notes", "protocol": "protocol",
}  # fmt: skip
#: What follows from these, and titles.
NOT_STATED = {"heading", "names_pieces"}


def test_json_states_every_field_of_a_table(row: Make) -> None:
    (table,) = leaderboards([row("a", 1.0)])
    assert {f.name for f in fields(Table)} == set(STATED) | NOT_STATED | {"columns", "lines"}, "classify the new field"
    other = replace(
        table, dataset="d", split="s", method_class="dub", cache="c2", piece_length=75, notes=("n", "o"), protocol="p"
    )
    (stated,) = json.loads(tables.as_json([other]))["leaderboards"]
    wanted = {key: getattr(other, field) for field, key in STATED.items()} | {"notes": ["n", "o"]}
    assert {key: stated[key] for key in wanted} == wanted


def test_tables_of_one_dataset_name_caches_and_lengths_that_differ(row: Make) -> None:
    """Two caches of one name are told apart by their hashes; pieces come before whole clips, the shortest first."""
    caches = [("one", "aaaaaaaa"), ("one", "bbbbbbbb"), ("two", "cccccccc")]
    boards = leaderboards([row("m", 1.0, data_name=name, data=data) for name, data in caches])
    assert sorted(board.cache for board in boards) == ["one, aaaaaa", "one, bbbbbb", "two"]
    assert leaderboards([row("m", 1.0, data_name="one", data="aaaaaaaa")])[0].cache == ""
    boards = leaderboards([row("m", 1.0, piece_length=n) for n in (None, 200, 40)])
    assert [board.piece_length for board in boards] == [40, 200, None]
    words = {40: "pieces of 40 frames", 200: "pieces of 200 frames", None: "whole clips"}
    for board in boards:
        (note,) = [note for note in board.notes if "not comparable" in note]
        beside = note.partition("not comparable")[2]
        assert {length for length, word in words.items() if word in beside} == {*words} - {board.piece_length}
    elsewhere = leaderboards([row("m", 1.0, piece_length=40), row("m", 1.0, piece_length=60, split="val")])
    assert not any("not comparable" in note for board in elsewhere for note in board.notes)


@pytest.mark.parametrize(("coverages", "noted"), [((1.0, 1.0), False), ((1.0, 0.9), True), ((0.9, 0.9, 0.8), True)])
def test_methods_of_unequal_coverage_stand_with_a_note(coverages: tuple[float, ...], noted: bool, row: Make) -> None:
    (table,) = leaderboards([row(f"m{k}", 1.0 + k, coverage=share) for k, share in enumerate(coverages)])
    assert any("check the coverage" in note for note in table.notes) == noted


def test_a_report_is_of_the_chosen_clips_formats_and_tables(
    row: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ResultsStore(tmp_path / "results").append([row("a", 1.0)])
    spies: Any = Spies(monkeypatch)
    spies.watch(page, "clip_rows")
    spies.watch(page, "published_tables")
    written = page.write_report(
        tmp_path / "results", tmp_path / "out", formats=("csv", "html", "csv"), clips=7, published=(1, 6)
    )
    assert [path.name for path in written] == ["leaderboard.csv", "report.html"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["leaderboard.csv", "report.html"]
    assert spies.one("clip_rows")["clips"] == 7 and spies.one("published_tables")["numbers"] == (1, 6)
