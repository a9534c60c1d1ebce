"""Which field of a row tells two scores apart: in the store, in a table, and between the runs of a gallery.

Every field is walked. A new one has to be classified in `OTHER`, and in the sets below it where it tells scores apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_origin

import pytest

from dawn_bench.reports.current import current
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.store import GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]

#: Another value of each field.
OTHER: dict[str, Any] = {
    "method": "b", "method_class": "dub", "dataset": "hdtf", "split": "valid", "protocol": "paper-dawn-tracked",
    "metric": "psnr", "unit": "dB", "higher_is_better": True, "label": "L", "description": "D", "aim": "higher",
    "order": 3, "value": 2.5, "low": 0.5, "high": 3.5, "n_clips": 7, "n_frames": 700, "coverage": 0.5,
    "failures": {"z": "oom"}, "weights_state": "user", "research_only": ["i3d"], "rankable": False, "piece_length": 25,
    "fingerprint": "f1", "device": "cuda", "versions": {"numpy": "3"}, "seed": 4, "wall_seconds": 9.5,
    "cost": {"load_s": 2.0}, "note": "N", "per_clip": {"a": 3.0}, "over_time": [1.0], "interval": "I",
    "left_out": {"a": "all"}, "frames_missing": {"a": "5-9"}, "not_ranked": "because", "outputs": {"a": "2"},
    "origins": {"": "o"}, "data": "x", "data_name": "cache-2", "created": "2026-01-02T00:00:00+00:00",
}  # fmt: skip
#: Fields that tell two scores apart in the store. Of rows that differ in others the later one counts.
IDENTITY = {"method", "dataset", "data", "split", "protocol", "metric"}
#: Fields that make two scores of a column incomparable.
SCOPE = {"fingerprint", "left_out"}
#: Fields that put two rows into two tables, and into two columns of one table.
TABLE, COLUMN = {"dataset", "data", "split", "piece_length", "method_class"}, {"metric", "protocol"}
#: Fields with which a score is not ranked beside others.
UNRANKED = {"rankable", "not_ranked"}


def test_every_field_of_a_row_is_classified() -> None:
    assert set(OTHER) == set(ScoreRow.model_fields), "give OTHER another value of the new field; see the sets below it"
    assert not (IDENTITY | SCOPE | TABLE | COLUMN | UNRANKED) - set(OTHER)


def plain(row: Make, method: str = "a", **fields: Any) -> ScoreRow:
    """A row with a value in the fields that tests of others leave empty."""
    own: dict[str, Any] = {"outputs": {"a": "1"}, "data": "w", "data_name": "cache", "aim": "lower"}
    return row(method, 1.5, **(own | fields))


@pytest.mark.parametrize("field", OTHER)
def test_a_later_score_replaces_the_earlier_one_unless_it_is_of_something_else(
    field: str, row: Make, tmp_path: Path
) -> None:
    earlier = plain(row, created="2026-01-01T00:00:00+00:00")
    later = earlier.model_copy(update={"created": "2026-01-01T00:00:09+00:00", field: OTHER[field]})
    assert getattr(earlier, field) != getattr(later, field), "the other value is the same"
    store = ResultsStore(tmp_path)
    store.append([later])
    ResultsStore(tmp_path).append([earlier])  # the order is that of creation, not of files
    assert store.rows() == ([earlier, later] if field in IDENTITY else [later])


@pytest.mark.parametrize("field", OTHER)
def test_outputs_that_were_replaced_make_the_scores_of_the_same_method_and_clips_stale(field: str, row: Make) -> None:
    """Another metric was scored on other outputs since: the row of the first one no longer holds."""
    first = plain(row, metric="ssim")
    update = {"metric": "fid", "outputs": {"a": "2"}, "created": "2026-01-03T00:00:00+00:00", field: OTHER[field]}
    second = first.model_copy(update=update)
    stale = current([first, second])[1]
    other_outputs = field in {"method", "dataset", "data", "split", "piece_length"}
    assert (stale == [first]) == (not other_outputs)


def test_rows_over_pieces_of_another_length_are_compared_by_what_their_files_were_cut_from(row: Make) -> None:
    for origin, stale in (({"a": "1"}, False), ({"a": "2"}, True)):
        whole = plain(row, metric="ssim", outputs={"a": "1"})
        pieces = plain(row, piece_length=25, outputs={"a_f00000": "9"}, origins=origin)
        assert (current([whole, pieces])[1] == [whole]) == stale
    other = plain(row, piece_length=50, outputs={"a_f00000": "8"}, origins={"a": "1"})
    assert current([plain(row, piece_length=25, outputs={"a_f00000": "9"}, origins={"a": "1"}), other])[1] == []


@pytest.mark.parametrize("known", ["one cache", "the fingerprint", "neither"])
def test_rows_without_a_cache_belong_to_that_of_newer_rows_where_it_is_certain(known: str, row: Make) -> None:
    old = plain(row, data="", data_name="", metric="ssim", fingerprint="f7")
    one = plain(row, data="w", data_name="first", fingerprint="f7" if known != "neither" else "f8")
    second = [] if known == "one cache" else [plain(row, data="v", data_name="second", fingerprint="f9")]
    rows = [old, one, *second]
    named = next(r for r in current(rows)[0] if r.metric == "ssim")
    assert (named.data, named.data_name) == (("", "") if known == "neither" else ("w", "first"))


@pytest.mark.parametrize("field", OTHER)
def test_two_scores_are_compared_unless_they_are_of_something_else(field: str, row: Make) -> None:
    """Three methods of one column; the third differs in one field."""
    rows = [plain(row, "a"), plain(row, "b"), plain(row, "c").model_copy(update={"value": 0.5})]
    rows[2] = rows[2].model_copy(update={field: OTHER[field] if field != "method" else "d"})
    assert (rows[0].scope == rows[2].scope) == (field not in SCOPE)
    tables = leaderboards(rows)
    last = rows[2].method
    places = {(k, n): [line.cells[n] for line in table.lines if line.method == last]
              for k, table in enumerate(tables) for n in range(len(table.columns))}  # fmt: skip
    shown = {place: cells[0] for place, cells in places.items() if cells and cells[0] is not None}
    assert len(tables) == (2 if field in TABLE else 1)
    assert len(places) == (2 if field in TABLE | COLUMN else 1)
    (cell,) = shown.values()
    alone = field in TABLE | COLUMN | SCOPE | UNRANKED
    assert (cell.rank is not None) == (not alone)
    assert cell.other_settings == (field in SCOPE)
    if not alone:
        ranks = [line.cells[0].rank for line in tables[0].lines if line.cells[0]]
        assert sorted(ranks) == ([1, 1, 3] if field == "value" else [1, 2, 2])


def test_stand_in_weights_are_shown_and_never_ranked(row: Make) -> None:
    rows = [plain(row, "a"), plain(row, "b"), plain(row, "c", weights_state="seeded")]
    (table,) = leaderboards(rows)
    assert {line.method: line.cells[0].rank for line in table.lines if line.cells[0]} == {"a": 1, "b": 1, "c": None}


@pytest.mark.parametrize("field", [f for f in GalleryItem.model_fields])
def test_a_video_of_the_gallery_replaces_that_of_the_same_clip_and_method(field: str, tmp_path: Path) -> None:
    names = {"clip_id": "d", "method": "n", "video": tmp_path / "other.mp4", "note": "N", "data": "y"}
    assert set(names) == set(GalleryItem.model_fields), "say here what the new field tells apart"
    for name in ("one.mp4", "other.mp4"):
        (tmp_path / name).write_bytes(b"")
    old = GalleryItem(clip_id="c", method="m", video=tmp_path / "one.mp4", data="x")
    new = old.model_copy(update={field: names[field]})
    other_file = new.model_copy(update={"video": tmp_path / "third.mp4"})
    assert other_file.replaces(old) == (field not in {"clip_id", "method", "data"})
    assert new.replaces(old) == (field not in {"clip_id", "method"})  # the file itself was overwritten
    assert other_file.replaces(old.model_copy(update={"data": ""})) == (field not in {"clip_id", "method"})


@pytest.mark.parametrize("field", [n for n, f in ScoreRow.model_fields.items() if get_origin(f.annotation) is dict])
@pytest.mark.parametrize("aim", ["lower", "truth"])
def test_the_order_in_which_a_row_names_things_tells_nothing_apart(field: str, aim: str, row: Make) -> None:
    """Rows that were levelled, averaged or merged list the same clips in another order."""
    entries = [*OTHER[field].items(), ("q", next(iter(OTHER[field].values())))]
    forth, back = ({field: dict(several)} for several in (entries, entries[::-1]))
    fields: dict[str, Any] = {"aim": aim, "outputs": {}}
    rows = [plain(row, "a", **fields | forth), plain(row, "b", **fields | back)]
    truth = plain(row, "ground-truth", **fields | {"rankable": False} | back)
    assert rows[0].scope == rows[1].scope
    (table,) = leaderboards([*rows, truth])
    cells = {line.method: line.cells[0] for line in table.lines}
    assert [(c.rank, c.other_settings, c.reason) for m in "ab" if (c := cells[m])] == [(1, False, "")] * 2
    assert current([rows[0], rows[1].model_copy(update={"method": "a", "metric": "ssim"})])[1] == []
