"""What the page says in words: leads beyond chance alone, floors and ceilings, places, missing weights, sources."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench.reports import sentences, tables
from dawn_bench.reports.bounds import bounds
from dawn_bench.reports.drilldown import weakest
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.mouth import mouth_box
from dawn_bench.reports.needs import missing, split
from dawn_bench.reports.page import data_words, write_report
from dawn_bench.reports.significance import comparisons
from dawn_bench.reports.sources import source
from dawn_bench.reports.store import Facts, ResultsStore
from dawn_bench.results import FETCH_NOTE, NEEDS_WEIGHTS, ScoreRow

Make = Callable[..., ScoreRow]
COMMAND = "dawn-bench weights fetch --for evaluate"


def values(mean: float, *, spread: float = 0.1, clips: int = 12, turn: int = 0) -> dict[str, float | None]:
    """Clips around a mean; `turn` shifts which clip is high, so that pairs differ by chance alone."""
    return {f"c{k:02d}": mean + spread * (((k + turn) % 12) / 5.5 - 1) for k in range(clips)}


def psnr(row: Make, method: str, mean: float, *, turn: int = 0, clips: int = 12, **other: Any) -> ScoreRow:
    sanity = method in ("ground-truth", "still", "dawn-shuffled")
    fields = {"metric": "psnr", "higher_is_better": True, "rankable": not sanity}
    fields |= {"method_class": "sanity" if sanity else "portrait", "per_clip": values(mean, clips=clips, turn=turn)}
    return row(method, mean, **(fields | other))


def test_a_method_is_better_only_beyond_chance(row: Make) -> None:
    truth, still = psnr(row, "ground-truth", 40.0), psnr(row, "still", 20.0)
    near = psnr(row, "near", 20.01, turn=5)
    rows = [psnr(row, "good", 35.0), psnr(row, "fair", 22.0), near, psnr(row, "poor", 15.0), truth, still]
    (table,) = leaderboards(rows)
    said = sentences.methods(table)
    at, way = "a still portrait (20.00; the true clips: 40.00; ", " % of the way from floor to ceiling)."
    assert said["good"] == f"good reaches a PSNR of 35.00 dB, well above {at}75{way}"
    assert said["fair"] == f"fair reaches a PSNR of 22.00 dB, above {at}10{way}"
    assert said["near"] == f"near reaches a PSNR of 20.01 dB, not told apart from {at}0{way}"
    assert said["poor"] == f"poor reaches a PSNR of 15.00 dB, below {at}below the floor)."
    bound = ("PSNR", "a still portrait 20.00", "the true clips 40.00")
    assert sentences.limit_lines(table) == [(*bound, ["75 %", "10 %", "0 %", "below the floor"])]


def test_a_lead_below_the_digits_shown_is_not_called_one(row: Make) -> None:
    still = psnr(row, "still", 20.0)
    (table,) = leaderboards([psnr(row, "dawn", 20.001), still, psnr(row, "ground-truth", 40.0)])
    at = "a still portrait (20.00; the true clips: 40.00; 0 % of the way from floor to ceiling)."
    assert sentences.methods(table)["dawn"] == f"dawn reaches a PSNR of 20.00 dB, in these digits the same as {at}"


def test_in_silence_a_still_portrait_is_the_ceiling(row: Make) -> None:
    rows = [row(m, v, metric="silence-leak", rankable=m != "still") for m, v in {"dawn": 0.4, "still": 0.04}.items()]
    (table,) = leaderboards(rows)
    limit = bounds(table, 0)
    assert limit.floor is None and limit.ceiling is not None and limit.ceiling.method == "still"


def test_where_lower_is_better_the_words_turn_round(row: Make) -> None:
    rows = [
        row(m, v, metric="lpips", rankable=m != "still", per_clip=values(v, spread=0.01))
        for m, v in {"dawn": 0.2, "poor": 0.9, "still": 0.5}.items()
    ]
    (table,) = leaderboards(rows)
    said = sentences.methods(table)
    assert said["dawn"] == "dawn has LPIPS 0.200, better than a still portrait (0.500)."
    assert said["poor"] == "poor has LPIPS 0.900, worse than a still portrait (0.500)."


@pytest.mark.parametrize("other", [{"clips": 4}, {"per_clip": {}}])
def test_a_verdict_without_a_test_says_so(row: Make, other: dict[str, Any]) -> None:
    (table,) = leaderboards([psnr(row, "dawn", 30.0, **other), psnr(row, "still", 20.0)])
    said = "above a still portrait (20.00; not tested against chance)."
    assert sentences.methods(table)["dawn"] == f"dawn reaches a PSNR of 30.00 dB, {said}"
    rows = [row(m, v, metric="frechet-lite0", rankable=m != "still") for m, v in {"dawn": 60.5, "still": 46.5}.items()]
    (table,) = leaderboards(rows)
    assert "60.50, worse than a still portrait (46.50; not tested against chance)." in sentences.methods(table)["dawn"]


def test_scores_of_other_settings_stand_beside_each_other(row: Make) -> None:
    (table,) = leaderboards([psnr(row, "dawn", 30.0, fingerprint="another"), psnr(row, "still", 20.0)])
    assert sentences.methods(table)["dawn"] == "dawn reaches a PSNR of 30.00 dB, beside a still portrait (20.00)."


def test_the_true_clips_re_encoded_are_no_floor(row: Make) -> None:
    own = {"ground-truth": 0.1, "ground-truth-reencoded": 0.4}
    rows = [row(m, v, metric="av-lag", aim="truth", label="AV lag", rankable=False) for m, v in own.items()]
    (table,) = leaderboards([row("dawn", 0.2, metric="av-lag", aim="truth", label="AV lag"), *rows])
    limit = bounds(table, 0)
    assert limit.floor is None and limit.ceiling is not None and limit.ceiling.method == "ground-truth"


def test_a_methods_own_shuffled_sound_is_its_floor(row: Make) -> None:
    rows = [psnr(row, "dawn", 30.0), psnr(row, "dawn-shuffled", 25.0), psnr(row, "still", 20.0)]
    (table,) = leaderboards(rows)
    assert "above itself with shuffled sound (25.00)" in sentences.methods(table)["dawn"]


def test_a_lead_is_one_over_every_ranked_method(row: Make) -> None:
    rows = [psnr(row, "one", 30.0), psnr(row, "two", 25.0), psnr(row, "three", 20.0)]
    (table,) = leaderboards(rows)
    (line,) = sentences.wins(table, comparisons(table))
    assert line.startswith("Beyond chance, one is better than every other ranked method in PSNR (by 5.00 [")
    assert line.endswith("] over two).")
    (table,) = leaderboards([*rows, psnr(row, "close", 29.99, turn=5)])
    assert sentences.wins(table, comparisons(table)) == ["The best are not told apart in PSNR (one, close)."]
    # one of the others has too few clips in common: no claim over all
    (table,) = leaderboards([*rows, psnr(row, "short", 10.0, per_clip={"c00": 10.0})])
    (line,) = sentences.wins(table, comparisons(table))
    assert "Ranked without a test" in line and "PSNR" in line


def test_places_and_order_are_those_of_the_mean_rank(row: Make) -> None:
    rows = [row(m, v, metric=k) for m, v in {"a": 1.0, "b": 2.0, "c": 2.0}.items() for k in ("fid", "lpips")]
    (table,) = leaderboards(rows)
    assert sentences.places(table) == ["1 a (mean rank 1)", "2 b (mean rank 2)", "2 c (mean rank 2)"]
    assert sentences.order(table).startswith(
        "Order: a has the best mean rank, 1, before b with 2, over 2 ranked columns."
    )
    (alone,) = leaderboards([row("a", 1.0)])
    assert sentences.order(alone) == ""


@pytest.mark.parametrize(
    ("metric", "aim", "floor", "ceiling"),
    [("psnr", "higher", "still", "ground-truth"), ("fid", "lower", "shuffled-sound", "still")],
)
def test_floor_and_ceiling_are_the_worst_and_best_sanity_rows(
    row: Make, metric: str, aim: str, floor: str, ceiling: str
) -> None:
    own = {"ground-truth": 9.0, "shuffled-sound": 5.0 if aim == "higher" else 20.0, "still": 2.0}
    sanity = [row(m, v, metric=metric, aim=aim, label="X", rankable=False) for m, v in own.items()]
    (table,) = leaderboards([row("dawn", 3.0, metric=metric, aim=aim, label="X"), *sanity])
    limit = bounds(table, 0)
    assert limit.floor and limit.ceiling
    assert (limit.floor.method, limit.ceiling.method) == (floor, ceiling)


def test_the_ceiling_of_a_target_is_the_truth_and_the_floor_is_farthest_from_it(row: Make) -> None:
    own = {"ground-truth": 0.2, "still": 0.0, "shuffled-sound": 0.7}
    rows = [row(m, v, metric="bas", aim="truth", label="BAS", rankable=False) for m, v in own.items()]
    (table,) = leaderboards([row("dawn", 0.1, metric="bas", aim="truth", label="BAS"), *rows])
    limit = bounds(table, 0)
    assert limit.floor and limit.ceiling
    assert (limit.floor.method, limit.ceiling.method) == ("shuffled-sound", "ground-truth")
    seeded = [r.model_copy(update={"weights_state": "seeded"}) for r in rows]
    (table,) = leaderboards([row("dawn", 0.1, metric="bas", aim="truth", label="BAS"), *seeded])
    assert bounds(table, 0).floor is None and bounds(table, 0).ceiling is None


def lacking(row: Make, method: str, metric: str) -> ScoreRow:
    return row(method, None, metric=metric, weights_state=NEEDS_WEIGHTS, note=f"{FETCH_NOTE}{COMMAND}")


def test_absent_weights_are_quiet_and_name_the_command(row: Make, tmp_path: Path) -> None:
    ResultsStore(tmp_path).append([psnr(row, "a", 30.0), lacking(row, "a", "fid"), lacking(row, "a", "lse-c")])
    html, text = (p.read_text() for p in write_report(tmp_path, tmp_path / "out", formats=["html", "md"], published=()))
    need = f"FID and LSE-C need published networks that are not here. To get them: {COMMAND}."
    assert need in html and tables.md(need).replace(COMMAND, f"`{COMMAND}`") in text
    assert html.count("<summary>needs weights</summary>") == 2 and html.count(f"<code>{COMMAND}</code>") == 2
    assert "banner warn" not in html and html.count("data-lacking ") == 2
    (table,) = leaderboards([psnr(row, "a", 30.0)])
    assert missing(table).startswith("The columns of DAWN's paper") and "weights fetch" not in missing(table)
    (table,) = leaderboards([row("a", 30.0, metric="fid")])
    assert missing(table) == ""


def test_columns_of_stand_ins_alone_stand_in_a_folded_part(row: Make, tmp_path: Path) -> None:
    rows = [psnr(row, "a", 30.0), row("a", 7.0, weights_state="seeded")]
    rows += [row("a", 7.5, metric="csim", weights_state="seeded"), row("b", 7.6, metric="csim")]
    (table,) = leaderboards(rows)
    assert [table.columns[k].metric for k in split(table)[1]] == ["fid"]
    ResultsStore(tmp_path).append(rows)
    html, text = (p.read_text() for p in write_report(tmp_path, tmp_path / "out", formats=["html", "md"], published=()))
    main, plumbing = html.split('<details class="plumbing">')
    assert 'data-value="7.0"' in plumbing and 'data-value="7.0"' not in main and 'data-value="7.5"' in main
    assert "Plumbing check: 1 column of stand-in networks" in plumbing
    assert "Plumbing check alone, computed with stand-ins: FID." in text


def test_the_weakest_clips_come_first_in_the_gallery(row: Make) -> None:
    own = {f"c{k}": float(k) for k in range(9)}
    (table,) = leaderboards([psnr(row, "dawn", 30.0, per_clip=own), row("dawn", 4.0)])
    order = [k for k, column in enumerate(table.columns)]
    captions = weakest(table, order=order, available={f"c{k}" for k in range(2, 9)})
    assert captions == {
        "c2": "Weakest clip of dawn by PSNR: 2.00",
        "c3": "Second weakest clip of dawn by PSNR: 3.00",
        "c5": "Median clip of dawn by PSNR: 5.00",
    }
    assert weakest(table, order=order, available=()) == {}


def test_methods_link_to_paper_and_code_and_no_address_comes_from_results(row: Make, tmp_path: Path) -> None:
    evil = '"><a href="https://evil.example">'
    ResultsStore(tmp_path).append([row("dawn-sar", 1.0, note=evil), row(evil, 2.0), row("mine", 3.0)])
    ResultsStore(tmp_path).set_facts(Facts(dataset={"dataset": evil, "split": "test", "clips": 3, "speakers": 2}))
    (page,) = write_report(tmp_path, tmp_path / "out", formats=["html"], published=())
    links = set(re.findall(r'<a [^>]*href="(https[^"]*)"', page.read_text()))
    assert links == {"https://arxiv.org/abs/2410.13726", "https://github.com/Hanbo-Cheng/DAWN-pytorch"}
    assert source("mine") is None and source("DAWN, 400 frames") == source("dawn") != source("wav2lip")


def test_the_data_are_named_with_what_was_quarantined(row: Make, tmp_path: Path) -> None:
    ResultsStore(tmp_path).append([row("a", 1.0, data_name="crema-64")])
    data = {"dataset": "crema", "split": "test", "clips": 24, "speakers": 12, "quarantined clips": 5}
    assert data_words(Facts(dataset=data)).endswith("24 clips of 12 speakers, 5 quarantined in the whole cache.")
    ResultsStore(tmp_path).set_facts(Facts(dataset=data | {"quarantined clips of the split": 2}))
    words = "Data: crema, test split: 24 clips of 12 speakers, 2 more quarantined."
    compared = "Compared: 1 portrait method (a) over 8 clips, 800 frames, of the cache crema-64."
    for path in write_report(tmp_path, tmp_path / "out", formats=["html", "md"], published=()):
        text = path.read_text()
        protocol = "Protocol paper-dawn: the choices that reproduce the numbers of DAWN"
        assert all(what in text for what in (words, compared, protocol)), path


def test_pictures_without_a_face_have_no_close_up() -> None:
    assert mouth_box(np.full((3, 64, 64, 3), 90, np.uint8)) is None
