"""No number misleads: other frames, other outputs, other datasets and empty pictures are recognised and named."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_cache import write_tiny_cache

from dawn_bench.baselines.base import METHODS, Context, Generated, Item
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.config import replace
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features.inception import Inception
from dawn_bench.metrics.psnr import Psnr
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports import tables
from dawn_bench.reports.leaderboard import Table, leaderboards
from dawn_bench.reports.page import write_report
from dawn_bench.reports.plots import score_plots
from dawn_bench.reports.store import GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods


def make_row(method: str, value: float | None, metric: str = "psnr", **other: Any) -> ScoreRow:
    fields = {"dataset": "folder", "split": "test", "protocol": "paper-dawn", "n_clips": 2, "n_frames": 60}
    fields |= {"higher_is_better": True, "fingerprint": "f0", "created": "2026-01-01T00:00:00+00:00"}
    return ScoreRow.model_validate({"method": method, "metric": metric, "value": value} | fields | other)


def clip(name: str, n_frames: int, *, seed: int) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (n_frames, 16, 16, 3), dtype=np.uint8)
    return Clip(name, "s", "test", n_frames, {"frames": frames, "audio": np.zeros(n_frames * 640, np.int16)})


def scored(method: str, lengths: dict[str, int], metric: str = "psnr", whole: int = 60) -> ScoreRow:
    """The row of a method whose outputs have these numbers of frames."""
    truth = [clip(name, whole, seed=k) for k, name in enumerate(lengths)]
    produced = [clip(name, n, seed=k + 9) for k, (name, n) in enumerate(lengths.items())]
    rows = score_method(method, produced, truth, dataset="d", split="test", metrics=(metric,), weights="seeded")
    return rows[0]


def ranks(table: Table) -> dict[str, int | None]:
    return {line.method: cell.rank for line in table.lines if (cell := line.cells[0])}


def test_methods_that_lost_different_frames_are_not_ranked_together() -> None:
    one, two = scored("one", {"a": 60, "b": 48}), scored("two", {"a": 48, "b": 60})
    assert one.fingerprint == two.fingerprint and one.n_frames == two.n_frames
    assert one.left_out == {"b": "48-59"} and two.left_out == {"a": "48-59"}
    boards = leaderboards([one, two])
    assert set(ranks(boards[0]).values()) == {None}
    assert "without frames 48-59 of" in tables.markdown(boards) and "‡" in tables.markdown(boards)
    assert r"$^\ddagger$" in tables.latex(boards) and "frames 48-59 of" in tables.latex(boards)
    reasons = [line["not_ranked"] for line in csv.DictReader(io.StringIO(tables.as_csv(boards)))]
    assert any("without frames 48-59 of" in reason for reason in reasons)
    same = leaderboards([one, scored("three", {"a": 60, "b": 48})])
    assert set(ranks(same[0]).values()) == {1}  # equal scores over the same frames


def test_methods_undefined_for_different_clips_are_not_ranked_together() -> None:
    rows = [make_row("one", 0.8, left_out={"c1": "all"}), make_row("two", 0.9, left_out={"c2": "all"})]
    (table,) = leaderboards(rows)
    assert set(ranks(table).values()) == {None}
    (odd,) = [cell for line in table.lines if (cell := line.cells[0]) and cell.other_settings]
    assert "clip c1" in odd.reason and "clip c2" in odd.reason


def test_the_end_of_a_clip_is_the_end_of_the_true_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """DR25 of an output that lost its last batch would be of the middle of the clip."""
    monkeypatch.setattr(
        Inception, "run", lambda self, c, given: {"inception": c["frames"].reshape(c.n_frames, -1)[:, :8].astype(float)}
    )
    short = scored("short", {"a": 60, "b": 52, "c": 60}, "dr25")
    assert short.failures == {"b": "frames_missing"} and short.n_clips == 2 and short.left_out == {"b": "all"}
    assert scored("whole", {"a": 60, "b": 60, "c": 75}, "dr25").failures == {}


@pytest.fixture
def two_methods(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two methods, each with another clip that PSNR refuses."""

    def method(name: str, bad: str) -> type:
        class Method:
            method_class, licence, uses = "portrait", "mine", ("truth",)
            fingerprint = f"{name}/1"

            def __init__(self, context: Context) -> None: ...

            def generate(self, item: Item) -> Generated:
                frames = item.clip["frames"]
                white = np.full_like(frames, 255)
                return Generated(white if item.clip.id == bad else frames // 2 + 60, np.asarray(item.clip["audio"]))

        Method.name = name  # type: ignore[attr-defined]
        return Method

    measure = Psnr.measure

    def strict(self: Psnr, generated: Any, true: Any) -> Any:
        if generated["images.mse"].mean() > 5000:
            raise ItemError("no_face", "refused")
        return measure(self, generated, true)

    monkeypatch.setattr(Psnr, "measure", strict)
    METHODS.register("first")(method("first", "c1"))
    METHODS.register("second")(method("second", "c2"))
    yield
    del METHODS._items["first"], METHODS._items["second"]


def test_a_metric_is_compared_over_the_clips_it_measured_for_all(two_methods: None, tmp_path: Path) -> None:
    cache = write_tiny_cache(tmp_path / "cache", splits=("train", "test", "test", "test", "test"), frames=6)
    job = Evaluation(
        cache=cache, out=tmp_path / "out", device="cpu", methods=("first", "second"), metrics=("psnr", "ssim")
    )
    evaluate_methods(replace(job, sanity=False))
    rows = {(r.method, r.metric): r for r in ResultsStore(job.out).rows()}
    first, second = rows["first", "psnr"], rows["second", "psnr"]
    assert first.n_clips == second.n_clips == 2 and first.scope == second.scope
    assert first.failures == {"c1": "no_face"} and first.coverage == 0.75
    assert rows["first", "ssim"].n_clips == 4  # other metrics keep all clips
    assert None not in ranks(leaderboards([first, second])[0]).values()
    strict = evaluate_methods(replace(job, sanity=False, min_coverage=0.9, out=tmp_path / "strict"))
    assert "not ranked: first, psnr: measured on 3 of 4 clips" in strict.summary


@pytest.fixture
def job(tiny_cache: Path, tmp_path: Path) -> Evaluation:
    job = Evaluation(cache=tiny_cache, out=tmp_path / "results", device="cpu", methods=("mine",), sanity=False)
    return replace(job, outputs=tmp_path / "good", metrics=("psnr", "ssim"))


def write_outputs(folder: Path, cache: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    folder.mkdir()
    for item in Cache(cache).clips("test"):
        write_video(folder / f"{item.id}.mp4", change(item["frames"]), audio=np.asarray(item["audio"]), lossless=True)


def test_scores_of_replaced_outputs_are_left_out(
    job: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_outputs(tmp_path / "good", job.cache, lambda frames: frames)
    write_outputs(tmp_path / "bad", job.cache, lambda frames: 255 - frames)
    evaluate_methods(job)
    evaluate_methods(replace(job, outputs=tmp_path / "bad", metrics=("psnr",)))
    rows = ResultsStore(job.out).rows()
    assert [r.metric for r in rows] == ["psnr"] and rows[0].value is not None and rows[0].value < 20
    assert "SSIM were scored: left out" in capsys.readouterr().err
    evaluate_methods(replace(job, metrics=("psnr",)))  # the first outputs again: their SSIM holds again
    assert {r.metric: r.value for r in ResultsStore(job.out).rows()} == {"psnr": 100, "ssim": 1}


def test_fewer_clips_of_the_same_outputs_replace_nothing(job: Evaluation, tmp_path: Path) -> None:
    write_outputs(tmp_path / "good", job.cache, lambda frames: frames)
    evaluate_methods(job)
    evaluate_methods(replace(job, metrics=("psnr",), max_clips=1))
    assert {r.metric: r.n_clips for r in ResultsStore(job.out).rows()} == {"psnr": 1, "ssim": 2}


def test_two_datasets_of_one_kind_do_not_overwrite_each_other(tiny_cache: Path, tmp_path: Path) -> None:
    other = write_tiny_cache(tmp_path / "others", frames=12)
    for cache in (tiny_cache, other):
        evaluate_methods(
            Evaluation(
                cache=cache, out=tmp_path / "out", device="cpu", methods=("still",), metrics=("psnr",), sanity=False
            )
        )
    rows = ResultsStore(tmp_path / "out").rows()
    assert len(rows) == 2 and len({r.data for r in rows}) == 2 and {r.n_frames for r in rows} == {60, 24}
    titles = [tables.title(board) for board in leaderboards(rows)]
    assert len(set(titles)) == 2 and any("others" in title for title in titles)
    page = (tmp_path / "out" / "report" / "report.html").read_text()
    assert all(f"<h3>{title}</h3>" in page for title in titles)


def test_rows_of_earlier_versions_are_read_and_replaced(tmp_path: Path) -> None:
    store, late = ResultsStore(tmp_path), "2026-02-01T00:00:00+00:00"
    store.append([make_row("mine", 30.0), make_row("mine", 0.9, "ssim"), make_row("theirs", 29.0)])
    assert ranks(leaderboards(store.rows())[0]) == {"mine": 1, "theirs": 2}
    store.append([make_row("mine", 20.0, data="d1", data_name="x", outputs={"c1": "0a"}, created=late)])
    rows = {(r.method, r.metric): r for r in store.rows()}
    assert rows["mine", "psnr"].value == 20 and len(rows) == 3 and {r.data for r in rows.values()} == {"d1"}
    assert "did not record the outputs" in rows["mine", "ssim"].not_ranked and not rows["theirs", "psnr"].not_ranked


def test_the_gallery_keeps_clips_of_one_name_from_two_datasets(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    for data, video in (("d1", "one.mp4"), ("d2", "two.mp4"), ("d2", "three.mp4")):
        store.add_gallery([GalleryItem(clip_id="c1", method="mine", video=tmp_path / video, data=data)])
    assert [(i.data, i.video.name) for i in store.gallery()] == [("d1", "one.mp4"), ("d2", "three.mp4")]


def test_the_ground_truth_is_no_target_over_other_clips() -> None:
    values = {"near": 0.25, "far": 0.1, "ground-truth": 0.3}
    rows = [make_row(m, v, "blink", aim="truth", per_clip={"c1": v}) for m, v in values.items()]
    rows[2] = rows[2].model_copy(update={"method_class": "reference", "rankable": False})
    assert ranks(leaderboards(rows)[0]) == {"near": 1, "far": 2, "ground-truth": None}
    rows[2] = rows[2].model_copy(update={"per_clip": {"c2": 0.3}})
    (table,) = leaderboards(rows)
    assert set(ranks(table).values()) == {None}
    assert table.lines[0].cells[0].reason == "the ground truth was scored over other clips"  # type: ignore[union-attr]


def test_a_reason_is_shown_in_every_format(tmp_path: Path) -> None:
    store, why = ResultsStore(tmp_path), "no face in 100% of the frames"
    dr = {"label": "DR25", "aim": "zero", "interval": "one ratio over all clips"}
    rows = [make_row("white", 0.004, "dr25", not_ranked=why, **dr), make_row("good", 0.3, "dr25", **dr)]
    store.append([*rows, make_row("fine", 0.4, "dr25", **dr, failures={"c2": "too_short"}, coverage=0.5)])
    paths = {p.suffix: p.read_text() for p in write_report(tmp_path, tmp_path / "report")}
    assert ranks(leaderboards(store.rows())[0]) == {"good": 1, "fine": 2, "white": None}
    assert all("no face in 100" in text for text in paths.values())
    for suffix in (".html", ".md", ".tex"):
        assert "in the order of their mean rank" in paths[suffix] and "one ratio over all clips" in paths[suffix]
    cell = paths[".html"].split('data-value="0.004"')[1].split("</td>")[0]
    assert "not ranked" in cell and "best" not in cell
    assert "50 % (too" in paths[".html"] and "50 % (too" in paths[".md"]


@pytest.mark.parametrize("name", ["中文模型", "モデル", "نموذج", "🎭"])
def test_names_in_other_scripts_draw_no_warnings(name: str) -> None:
    (table,) = leaderboards([make_row(name, 30.0), make_row("other", 20.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (plot,) = score_plots(table)
    assert name in plot
