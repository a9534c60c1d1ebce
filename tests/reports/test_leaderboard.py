"""Who is ranked with whom."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dawn_bench.reports.leaderboard import Table, leaderboards, number, with_published
from dawn_bench.reports.published import published_tables, standalone
from dawn_bench.reports.tables import title
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]


def ranks(table: Table, column: int = 0) -> dict[str, int | None]:
    return {line.method: cell.rank for line in table.lines if (cell := line.cells[column])}


def test_ranks_follow_the_direction_and_ties_share(row: Make) -> None:
    (table,) = leaderboards([row("a", 3.0), row("b", 1.0), row("c", 1.0), row("d", 2.0)])
    assert ranks(table) == {"b": 1, "c": 1, "d": 3, "a": 4}
    (table,) = leaderboards([row(m, v, metric="csim", higher_is_better=True) for m, v in (("a", 0.3), ("b", 0.8))])
    assert ranks(table) == {"b": 1, "a": 2}


@pytest.mark.parametrize(
    "metric, expected",
    [
        ("bas", {"near": 1, "far": 2}),
        ("blink", {"near": 1, "far": 2}),
        ("dr25", {"near": 2, "far": 1}),
        ("unheard-of", {"near": None, "far": None}),
    ],
)
def test_targets_that_are_neither_high_nor_low(row: Make, metric: str, expected: dict[str, int | None]) -> None:
    values = {"near": 0.25, "far": -0.1, "ground-truth": 0.3}
    rows = [row(m, v, metric=metric, higher_is_better=None, rankable=m != "ground-truth") for m, v in values.items()]
    (table,) = leaderboards(rows)
    assert ranks(table) == expected | {"ground-truth": None}


def test_nearness_to_the_truth_needs_the_truth(row: Make) -> None:
    (table,) = leaderboards([row(m, v, metric="bas", higher_is_better=None) for m, v in (("a", 0.2), ("b", 0.3))])
    assert ranks(table) == {"a": None, "b": None}


def test_seeded_values_are_never_ranked(row: Make) -> None:
    (table,) = leaderboards([row("a", 3.0), row("b", 2.0), row("cheat", 0.1, weights_state="seeded")])
    assert ranks(table) == {"b": 1, "a": 2, "cheat": None}
    (table,) = leaderboards([row(m, v, weights_state="seeded") for m, v in (("a", 1.0), ("b", 2.0))])
    assert ranks(table) == {"a": None, "b": None} and table.seeded


def test_a_method_of_stand_ins_only_is_no_sanity_row(row: Make) -> None:
    still = row("still", 3.0, weights_state="seeded", rankable=False, method_class="sanity")
    (table,) = leaderboards([still, row("dawn", 9.0, weights_state="seeded", rankable=False)])
    assert [(li.method, li.group) for li in table.lines] == [("dawn", "ranked"), ("still", "sanity")]


def test_a_seeded_truth_is_no_target(row: Make) -> None:
    rows = [row(m, v, metric="bas", higher_is_better=None, weights_state="user") for m, v in (("a", 0.2), ("b", 0.3))]
    truth = row("ground-truth", 0.2, metric="bas", higher_is_better=None, rankable=False, weights_state="seeded")
    (table,) = leaderboards([*rows, truth])
    assert ranks(table) == {"a": None, "b": None, "ground-truth": None}


def test_scores_of_other_settings_are_shown_and_not_ranked(row: Make) -> None:
    (table,) = leaderboards([row("a", 3.0), row("b", 2.0), row("odd", 1.0, fingerprint="f1")])
    assert ranks(table) == {"b": 1, "a": 2, "odd": None}
    assert any(cell.other_settings for line in table.lines if line.method == "odd" for cell in line.cells if cell)
    assert any("other settings" in note for note in table.notes)


def test_undefined_values_and_lone_methods_have_no_rank(row: Make) -> None:
    (table,) = leaderboards([row("a", 3.0), row("b", None, note="no beats")])
    assert ranks(table) == {"a": None, "b": None}


def test_sanity_rows_stand_below_every_class_of_their_dataset(row: Make) -> None:
    rows = [
        row("dawn", 3.0),
        row("dit-head", 2.0, method_class="dub"),
        row("still", 1.0, rankable=False, method_class="sanity"),
        row("dawn", 4.0, dataset="hdtf"),
    ]
    tables = leaderboards(rows)
    assert [(t.dataset, t.method_class) for t in tables] == [
        ("crema", "dub"),
        ("crema", "portrait"),
        ("hdtf", "portrait"),
    ]
    assert [[(li.method, li.group) for li in t.lines] for t in tables] == [
        [("dit-head", "ranked"), ("still", "sanity")],
        [("dawn", "ranked"), ("still", "sanity")],
        [("dawn", "ranked")],
    ]


def test_one_metric_under_two_protocols_is_two_columns(row: Make) -> None:
    (table,) = leaderboards(
        [row("a", 3.0), row("b", 2.0), row("a", 1.0, protocol="clean"), row("b", 9.0, protocol="clean")]
    )
    assert [c.label for c in table.columns] == ["FID (clean)", "FID (paper-dawn)"]
    assert ranks(table, 0) == {"a": 1, "b": 2} and ranks(table, 1) == {"b": 1, "a": 2}


def test_published_rows_match_by_dataset_and_metric_and_stay_unranked(row: Make) -> None:
    rows = [row("dawn", 99.0), row("b", 98.0), row("dawn", 0.9, metric="psnr"), row("dawn", 9.0, dataset="embedded")]
    crema, embedded = with_published(leaderboards(rows), published_tables([1]))
    assert {li.group for li in embedded.lines} == {"ranked"}
    paper = {li.method: li for li in crema.lines if li.group == "published"}
    fid, psnr = paper["DAWN"].cells
    assert fid is not None and fid.value == 5.77 and fid.rank is None and psnr is None
    assert "Hallo" not in paper  # of the other dataset
    assert ranks(crema)["b"] == 1


def test_every_published_table_is_whole() -> None:
    tables = published_tables([1, 3, 4, 5, 7, 8])
    assert sum(len(t.lines) for t in tables) == 6 + 8 + 5 + 5 + 6 + 3 + 5
    assert all(len(line.cells) == len(t.columns) for t in tables for line in t.lines)


def test_the_user_study_is_a_table_of_its_own_with_its_source() -> None:
    (study,) = published_tables([6])
    assert [c.label for c in study.columns] == ["L-Sync", "O-Nat", "M-Viv", "V-Qual"]
    values = {line.method: [cell.value for cell in line.cells if cell] for line in study.lines}
    assert values["DAWN"] == [4.57, 4.41, 4.43, 4.51] and values["EchoMimic"] == [4.45, 4.3, 4.06, 4.53]
    assert len(values) == 6 and {line.group for line in study.lines} == {"published"}
    (note,) = study.notes
    assert "23 people scored 10 videos of each method from 1 to 5" in note
    assert "Published in arXiv 2410.13726, Section A.4 and Table 6; nothing of it is computed here." in note
    assert title(study) == "Table 6 of DAWN's paper: user study" and standalone([study]) == [study]
    assert not standalone(published_tables([1, 3, 4, 5, 7, 8]))


def test_small_scores_keep_their_telling_digits(row: Make) -> None:
    table = leaderboards([row("a", 4.28e-4, metric="lve"), row("b", 9.1e-4, metric="lve")])[0]
    assert number(4.28e-4, table.columns[0].decimals) == "0.0004280"


def test_a_metric_is_shown_as_its_rows_state(row: Make) -> None:
    own = {"metric": "my-own", "label": "Mine", "aim": "zero", "order": 15, "higher_is_better": None}
    rows = [row(m, v, **own) for m, v in (("a", -0.1), ("b", 0.3))]
    rows += [row(m, v, metric=metric) for metric in ("fid", "fvd16", "unheard-of") for m, v in (("a", 2.0), ("b", 3.0))]
    (table,) = leaderboards(rows)
    assert [c.label for c in table.columns] == ["FID", "Mine", "FVD16", "unheard-of"]
    assert table.columns[1].aim == "zero" and ranks(table, 1) == {"a": 1, "b": 2}


def test_the_newest_rows_label_a_column(row: Make) -> None:
    old = row("a", 1.0, label="Old name", created="2026-01-01T00:00:00+00:00")
    new = row("b", 2.0, label="New name", created="2026-02-01T00:00:00+00:00")
    (table,) = leaderboards([new, old, row("c", 3.0)])
    assert [c.label for c in table.columns] == ["New name"]
