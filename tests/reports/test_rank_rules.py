"""Who is ranked, walked over all metrics: no number that is none, no stand-in, no score over other clips."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.reports.cards import cards
from dawn_bench.reports.current import UNKNOWN_OUTPUTS, current
from dawn_bench.reports.gallery import browser_copy, clip_rows
from dawn_bench.reports.leaderboard import (
    Cell,
    LeaderboardRow,
    Table,
    decimals_for,
    leaderboards,
    mean_rank,
    merit,
    number,
    with_published,
)
from dawn_bench.reports.page import _duration, _value
from dawn_bench.reports.published import published_tables
from dawn_bench.reports.reasons import clips_of, coverage_gaps, difference
from dawn_bench.reports.significance import bootstrap, comparisons
from dawn_bench.reports.store import GalleryItem, ResultsStore
from dawn_bench.reports.tables import not_ranked
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]
VALUES = {"a": 0.31, "b": 0.12, "c": -0.44, "d": 0.9}
#: The order of these values by aim, best first; the ground truth has 0.3.
ORDER = {"higher": "dabc", "lower": "cbad", "zero": "bacd", "truth": "abdc"}


def ranks(table: Table, column: int = 0) -> dict[str, int | None]:
    return {line.method: cell.rank for line in table.lines if (cell := line.cells[column])}


def of_metric(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    return {"metric": name, "label": metric.title, "aim": metric.aim(), "higher_is_better": metric.higher_is_better}


def entered(row: Make, name: str, **truth: Any) -> list[ScoreRow]:
    rows = [row(m, v, **of_metric(name)) for m, v in VALUES.items()]
    given = {"value": 0.3, "rankable": False, "method_class": "reference"} | of_metric(name) | truth
    return [*rows, row("ground-truth", given.pop("value"), **given)]


@pytest.mark.parametrize("name", list(METRICS))
def test_ranks_follow_the_direction_of_each_metric(row: Make, name: str) -> None:
    (table,) = leaderboards(entered(row, name))
    wanted = {m: k + 1 for k, m in enumerate(ORDER[METRICS[name].aim()])}
    assert ranks(table) == wanted | {"ground-truth": None}
    old = [r.model_copy(update={"label": "", "aim": None}) for r in entered(row, name)]  # of an earlier version
    assert ranks(leaderboards(old)[0]) == ranks(table)


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize(
    "change",
    [
        {"value": math.nan}, {"value": math.inf}, {"value": -math.inf}, {"value": None}, {"weights_state": "seeded"},
        {"rankable": False}, {"not_ranked": "not ranked: because"}, {"fingerprint": "f1"}, {"left_out": {"c1": "all"}},
        {"method_class": "sanity"}, {"method_class": "reference"},
    ],
    ids=str,
)  # fmt: skip
def test_one_odd_score_is_never_ranked_and_moves_no_other(row: Make, name: str, change: dict[str, Any]) -> None:
    rows = entered(row, name)
    best = ORDER[METRICS[name].aim()][0]
    odd = [ScoreRow.model_validate(r.model_dump() | change) if r.method == best else r for r in rows]
    (table,) = leaderboards(odd)
    rest = [m for m in ORDER[METRICS[name].aim()] if m != best]
    shown = {m: rank for m, rank in ranks(table).items() if m not in (best, "ground-truth")}
    assert ranks(table)[best] is None and shown == {m: k + 1 for k, m in enumerate(rest)}
    (cell,) = [cell for line in table.lines if line.method == best and (cell := line.cells[0])]
    assert cell.other_settings == bool({"fingerprint", "left_out"} & set(change))
    assert bool(cell.reason) == bool({"fingerprint", "left_out", "not_ranked"} & set(change))
    assert "not_ranked" not in change or cell.reason == "because"


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
@pytest.mark.parametrize("name", [n for n in METRICS if METRICS[n].aim() == "truth"])
def test_a_ground_truth_without_a_number_is_no_target(row: Make, name: str, value: float | None) -> None:
    (table,) = leaderboards(entered(row, name, value=value))
    assert set(ranks(table).values()) == {None}


@pytest.mark.parametrize("name", [n for n in METRICS if METRICS[n].aim() == "truth"])
def test_the_target_is_over_the_same_clips(row: Make, name: str) -> None:
    rows = [r.model_copy(update={"per_clip": {"x": 1.0, "y": 2.0}}) for r in entered(row, name)]
    for changed in ({"x": 1.0, "y": None}, {"x": 1.0}, {"x": 1.0, "y": 2.0, "z": 3.0}):
        other = [r.model_copy(update={"per_clip": changed}) if r.method == "a" else r for r in rows]
        (table,) = leaderboards(other)
        assert ranks(table) == {"b": 1, "d": 2, "c": 3, "a": None, "ground-truth": None}
        reasons = {line.method: cell.reason for line in table.lines if (cell := line.cells[0])}
        assert reasons["a"] == "the ground truth was scored over other clips" and reasons["b"] == ""
    assert clips_of(rows[0]) == {"x", "y"}


def test_the_scope_of_most_methods_counts_and_of_more_frames_where_two_have_as_many(row: Make) -> None:
    most = [row("a", 1.0, fingerprint="x"), row("b", 2.0, fingerprint="x"), row("c", 0.5, n_frames=9999)]
    assert ranks(leaderboards(most)[0]) == {"a": 1, "b": 2, "c": None}
    pairs = [row(m, 1.0 + k, fingerprint=f, n_frames=n) for k, (m, f, n) in enumerate(
        (("a", "x", 700), ("b", "x", 700), ("c", "y", 800), ("d", "y", 800)))]  # fmt: skip
    assert ranks(leaderboards(pairs)[0]) == {"c": 1, "d": 2, "a": None, "b": None}
    late = [r.model_copy(update={"n_frames": 800, "created": f"2026-0{k + 1}"}) for k, r in enumerate(pairs[::-1])]
    assert ranks(leaderboards(late)[0]) == {"a": 1, "b": 2, "c": None, "d": None}


def test_equal_values_share_a_rank_and_the_next_is_left_out(row: Make) -> None:
    rows = [row(m, v) for m, v in (("a", 2.0), ("b", 1.0), ("c", 2.0), ("d", 3.0), ("e", 1.0))]
    assert ranks(leaderboards(rows)[0]) == {"b": 1, "e": 1, "a": 3, "c": 3, "d": 5}


def test_lines_are_in_the_order_of_their_mean_rank(row: Make) -> None:
    """Ranks of a: 2, 1, 2; of b: 1, 3 and none; of c: 3, 2, 1; of d none."""
    values = {"fid": "bac", "fvd16": "acb", "lpips": "ca"}
    rows = [row(m, 1.0 + k, metric=n) for n, order in values.items() for k, m in enumerate(order)]
    rows += [row("d", 0.1, metric="fid", weights_state="seeded"), row("0-seeded", 0.2, weights_state="seeded")]
    (table,) = leaderboards(rows)
    assert [li.method for li in table.lines] == ["a", "b", "c", "0-seeded", "d"]
    means = [mean_rank(li) for li in table.lines]
    assert means == [pytest.approx(5 / 3), 2, 2, math.inf, math.inf]
    assert [[c.rank if c else None for c in li.cells] for li in table.lines][1] == [1, 3, None]


def test_every_score_that_is_not_ranked_is_listed_with_its_reason(row: Make) -> None:
    rows = [row(m, 1.0 + k, metric=n) for n in ("fid", "psnr") for k, m in enumerate("abc")]
    rows += [row("odd", 9.0, metric=n, fingerprint="f1") for n in ("fid", "psnr")]
    rows.append(row("still", 8.0, not_ranked="not ranked: no face in 50% of the frames"))
    rows.append(row("seeded", 0.1, weights_state="seeded"))
    (table,) = leaderboards(rows)
    assert not_ranked(table) == [
        "odd, FID, PSNR not ranked: other settings: other true clips, settings or weights",
        "still, FID not ranked: no face in 50% of the frames",
    ]


def test_a_card_is_about_one_metric_under_one_protocol(row: Make) -> None:
    facts = [("fid", "p1", "canonical"), ("fid", "p2", "user"), ("psnr", "p1", "none")]
    rows = [
        row("a", 1.0, metric=m, protocol=p, weights_state=s, note=f"{m} {p}", fingerprint=f"{m}-{p}", unit=f"u {m}")
        for m, p, s in facts
    ]
    shown = [(c.label, c.protocol, c.states, c.notes, c.fingerprints, c.unit) for c in cards([*rows, rows[0]])]
    assert shown == [
        ("FID", "p1", ("canonical",), ("fid p1",), ("fid-p1",), "u fid"),
        ("FID", "p2", ("user",), ("fid p2",), ("fid-p2",), "u fid"),
        ("PSNR", "p1", ("none",), ("psnr p1",), ("psnr-p1",), "u psnr"),
    ]


def test_merit_is_higher_for_what_is_better() -> None:
    assert [merit(-2.0, aim, 1.0) for aim in ("higher", "lower", "zero", "truth", "none")] == [-2, 2, -2, -3, None]
    assert merit(None, "higher", 1.0) is None and merit(1.0, "truth", None) is None and merit(1.0, "zero", None) == -1


def test_a_line_has_its_largest_count_its_smallest_coverage_and_all_missing_ends(row: Make) -> None:
    cells = tuple(
        Cell(1.0, row=row("a", 1.0, metric=f"m{k}", n_clips=n, coverage=c, frames_missing=missing))
        for k, (n, c, missing) in enumerate(((5, 0.9, {"x": "7-9"}), (8, 0.5, {}), (6, 1.0, {"y": "9"})))
    )
    line = LeaderboardRow("a", "ranked", (None, *cells, Cell(2.0)))
    assert (line.n_clips, line.coverage) == (8, 0.5)
    assert line.frames_missing == "frames are missing at the end of 2 clips (7-9 of x, 9 of y)"
    assert line.gaps == [line.frames_missing, "m1 50 %", "m0 90 %"]
    assert LeaderboardRow("a", "published", (Cell(2.0),)).n_clips is None


def test_gaps_name_each_coverage_its_metrics_and_reasons_lowest_first(row: Make) -> None:
    why = [{"c1": "no_face", "c2": "too_short", "c3": "too_short"}, {"c1": "oom"}, {}]
    facts = zip(("x", "y", "z"), (0.25, 0.5, 1.0), why, strict=True)
    rows = [row("a", 1.0, metric=name, coverage=share, failures=failed) for name, share, failed in facts]
    assert coverage_gaps(rows) == ["x 25 % (too_short, no_face)", "y 50 % (oom)"]
    assert coverage_gaps(rows[:1]) == ["every metric 25 % (too_short, no_face)"] and coverage_gaps(rows[2:]) == []


def test_a_difference_says_what_differs(row: Make) -> None:
    base = row("a", 1.0, versions={"numpy": "1", "python": "3"}, device="cpu 1", left_out={"c1": "all", "c2": "5-9"})

    def other(**changes: Any) -> str:
        return difference(ScoreRow.model_validate(base.model_dump() | changes), base)

    own = {"c1": "all", "c3": "all", "c4": "7"}
    lacks = "other frames: without clip c3, frames 7 of c4; the others without frames 5-9 of c2"
    assert other(left_out=own) == lacks
    assert other(left_out={}) == "other frames: with all; the others without clip c1, frames 5-9 of c2"
    assert other(n_clips=7) == "over 7 clips, the others over 8: evaluate them together"
    assert other(n_frames=1) == "over 1 frame, the others over 800"
    assert other(fingerprint="f1", versions={"numpy": "2", "python": "9"}) == "numpy 2, not 1"
    assert other(fingerprint="f1", device="cuda 0") == "on cuda 0, not cpu 1"
    assert other(weights_state="user") == "weights: user, not canonical"
    assert other(fingerprint="f1") == "other true clips, settings or weights"


@pytest.mark.parametrize(
    ("largest", "decimals"),
    [(0.0, 3), (0.00999, 6), (0.01, 3), (1.999, 3), (2.0, 2), (999.9, 2), (1000, 1), (4.28e-4, 7), (1e-4, 7)],
)
def test_decimals_follow_the_largest_size(largest: float, decimals: int) -> None:
    assert decimals_for([largest, None, math.nan, math.inf]) == decimals_for([-largest, largest / 3]) == decimals


def test_numbers_that_are_none_have_signs_of_their_own() -> None:
    shown = [number(v, 2) for v in (None, math.nan, math.inf, -math.inf, -0.125, 1.005, 12.0)]
    assert shown == ["–", "–", "∞", "−∞", "-0.12", "1.00", "12.00"]
    assert [_duration(s) for s in (0.04, 99.94, 100, 3599, 3600, 7380)] == [
        "0.0 s", "99.9 s", "1 min 40 s", "59 min 59 s", "1 h 00 min", "2 h 03 min",
    ]  # fmt: skip
    facts = (None, True, False, 0.123456, 3, [1, 2.5], {"a": None}, "x")
    assert [_value(v) for v in facts] == ["–", "yes", "no", "0.1235", "3", "1, 2.5", "a: –", "x"]


@pytest.mark.parametrize(("common", "compared"), [(4, 0), (5, 1)])
def test_five_common_clips_are_compared(row: Make, common: int, compared: int) -> None:
    """The rows list their clips in opposite orders; each has one clip that the other lacks."""
    ours = {f"c{k}": 2.0 + k for k in range(common)} | {"mine": 99.0, "undefined": 1.0}
    theirs = {"undefined": None, "yours": -50.0} | {f"c{k}": 1.0 + k - k / 10 for k in range(common)[::-1]}
    psnr = {"metric": "psnr", "higher_is_better": True}
    rows = [row("a", 9.0, per_clip=ours, **psnr), row("b", 8.0, per_clip=theirs, **psnr)]
    differences = comparisons(leaderboards(rows)[0])
    assert len(differences) == compared
    for c in differences:
        assert (c.best, c.other, c.n_clips) == ("a", "b", common)
        gaps = np.array([1 + k / 10 for k in range(common)])
        assert c.difference == pytest.approx(gaps.mean()) and c.significant
        assert (c.low, c.high) == pytest.approx(bootstrap(np.asarray(gaps)[None])[0])


def test_a_difference_is_significant_where_its_interval_excludes_zero(row: Make) -> None:
    spread = np.array([-1.0, -2, -1.5, -0.5, -2.5, -1])
    for gaps, significant in ((spread, True), (-spread, True), (spread + 1.4, False), (spread * 0, False)):
        base = dict(zip("fedcba", range(6), strict=True))
        per_clip = {k: v + g for (k, v), g in zip(base.items(), gaps, strict=True)}
        rows = [row("best", 1.0, per_clip=per_clip), row("other", 2.0, per_clip=dict(sorted(base.items())))]
        (c,) = comparisons(leaderboards(rows)[0])
        assert c.significant == significant and c.difference == pytest.approx(gaps.mean())


@pytest.mark.parametrize("field", ["method", "dataset", "data", "split", "protocol", "metric"])
def test_a_later_row_replaces_only_the_same_score(row: Make, field: str) -> None:
    old = row("a", 1.0, data="d0")
    again, other = old.model_copy(update={"value": 2.0}), old.model_copy(update={"value": 3.0, field: "another"})
    assert [r.value for r in current([old, other, again])[0]] == [3, 2]
    assert [r.value for r in current([other, old])[0]] == [3, 1]


def test_rows_of_replaced_outputs_are_stale_and_of_unknown_ones_unranked(row: Make) -> None:
    old = row("a", 1.0, metric="psnr", data="d", outputs={"x": "1", "y": "1"})
    part = row("a", 2.0, metric="ssim", data="d", outputs={"y": "1"})
    unknown = row("a", 3.0, metric="lpips", data="d")
    new = row("a", 4.0, metric="fid", data="d", outputs={"x": "2"})
    elsewhere = [old.model_copy(update={k: "other"}) for k in ("method", "dataset", "data", "split")]
    pieces = old.model_copy(update={"piece_length": 9, "protocol": "p9"})
    holding, stale = current([old, part, unknown, *elsewhere, pieces, new])
    assert stale == [old] and [r.value for r in holding] == [2, 3, 1, 1, 1, 1, 1, 4]
    assert [r.not_ranked for r in holding if r.metric == "lpips"] == [UNKNOWN_OUTPUTS]
    from_whole = pieces.model_copy(update={"origins": {"x": "1"}})
    assert current([from_whole, new])[1] == [from_whole]  # cut from a file that was replaced
    assert current([new, from_whole])[1] == [new]


def test_rows_without_a_cache_belong_to_the_only_one_or_to_that_of_their_fingerprint(row: Make) -> None:
    old = row("a", 1.0, fingerprint="f1")
    one = row("b", 2.0, data="d1", data_name="first", fingerprint="f1")
    two = row("b", 3.0, data="d2", data_name="second", fingerprint="f2")
    assert [(r.data, r.data_name) for r in current([old, two])[0]] == [("d2", "second")] * 2
    assert [r.data for r in current([old, one, two])[0]] == ["d1", "d1", "d2"]
    unknown, elsewhere = old.model_copy(update={"fingerprint": "f3"}), two.model_copy(update={"split": "val"})
    assert [r.data for r in current([unknown, one, two])[0]] == ["", "d1", "d2"]
    assert [r.data for r in current([old, elsewhere])[0]] == ["", "d2"]


def test_published_rows_are_over_the_papers_pieces(row: Make) -> None:
    """200 frames for HDTF; `DAWN, 400 frames` states its own; CREMA's clips are whole."""
    papers = {("hdtf", 200), ("crema", None)}
    for dataset, length in (*papers, ("hdtf", None), ("hdtf", 100), ("crema", 200)):
        rows = [row("a", 1.0, dataset=dataset, piece_length=length)]
        (table,) = with_published(leaderboards(rows), published_tables([1]))
        assert any(line.group == "published" for line in table.lines) == ((dataset, length) in papers)
        assert all(c is None or c.rank is None for line in table.lines for c in line.cells)
        dub = with_published(leaderboards([rows[0].model_copy(update={"method_class": "dub"})]), published_tables([1]))
        assert {line.group for line in dub[0].lines} == {"ranked"}
    for number_of in (3, 4, 5, 7, 8):  # a row that states its frames stands in a table of this length
        for printed in published_tables([number_of]):
            stated = {line.method.split(", ")[1] for line in printed.lines if " frames" in line.method}
            assert stated <= {f"{printed.piece_length} frames"}


def film(path: Path, *, height: int, width: int) -> np.ndarray:
    """Red from left to right, green from top to bottom, the picture brighter in every frame."""
    y, x = np.mgrid[:height, :width]
    frames = np.stack([np.stack([60 + 3 * x, 40 + 2 * y, np.full_like(x, 30 + 12 * k)], -1) for k in range(6)])
    write_video(path, frames.astype(np.uint8), lossless=True)
    return frames


@pytest.mark.parametrize(("height", "width"), [(32, 46), (47, 33), (45, 34), (34, 45)])
def test_players_show_the_picture_upright_in_its_own_colours(tmp_path: Path, height: int, width: int) -> None:
    frames = film(tmp_path / "a.mp4", height=height, width=width)
    data, tall, wide = browser_copy(tmp_path / "a.mp4")
    assert (tall, wide) == (height + height % 2, width + width % 2)
    (tmp_path / "copy.mp4").write_bytes(data)
    back = read_frames(tmp_path / "copy.mp4").astype(int)
    assert back.shape == (6, tall, wide, 3) and np.abs(back[:, :height, :width] - frames).mean() < 4
    if height % 2:
        assert np.abs(back[:, -1, : width - 1] - frames[:, -1, : width - 1]).mean() < 6  # the last row again
    (clip,) = clip_rows([GalleryItem(clip_id="c", method="m", video=tmp_path / "a.mp4", note="n")])
    (player,) = clip.players
    assert (player.method, player.height, player.width, player.note) == ("m", tall, wide, "n")


def test_the_gallery_shows_the_first_clips_of_each_dataset_truth_first(tmp_path: Path) -> None:
    def item(clip: str, method: str, data: str) -> GalleryItem:
        return GalleryItem(clip_id=clip, method=method, video=tmp_path / f"{clip}-{method}-{data}.mp4", data=data)

    items = [item("x", "m", "d1"), item("x", "m", "d2"), item("y", "m", ""), item("x", "ground-truth", "d2")]
    items += [item("x", "n", "d1"), item("y", "n", "d1"), item("z", "m", "d1")]
    shown = clip_rows(items, clips=3)
    assert [(r.clip_id, [p.method for p in r.players]) for r in shown] == [
        ("x", ["m", "n"]), ("x", ["ground-truth", "m"]), ("y", ["m", "n"]),
    ]  # fmt: skip
    assert [p.note for p in shown[1].players] == [f"the video is missing: x-{m}-d2.mp4" for m in ("ground-truth", "m")]
    assert len(clip_rows(items, clips=4)) == 4


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"value": 1e15}, True), ({"value": 1.1e15}, False), ({"low": -1.1e15}, False), ({"coverage": 1.0}, True),
        ({"coverage": 0.0}, True), ({"coverage": 1.01}, False), ({"coverage": -0.01}, False), ({"n_clips": 0}, True),
        ({"n_clips": -1}, False), ({"n_frames": -1}, False), ({"per_clip": {"a": 2e15}}, False),
        ({"over_time": [1.0, -2e15]}, False), ({"cost": {"load_s": 2e15}}, False), ({"high": 1e16}, False),
        ({"wall_seconds": 2e15}, False),
    ],
    ids=str,
)  # fmt: skip
def test_a_stored_row_that_cannot_be_a_score_is_left_out(
    row: Make, tmp_path: Path, change: dict[str, Any], kept: bool
) -> None:
    ResultsStore(tmp_path).append([row("a", 2.0), ScoreRow.model_validate(row("b", 1.0).model_dump() | change)])
    assert {r.method for r in ResultsStore(tmp_path).rows()} == ({"a", "b"} if kept else {"a"})
