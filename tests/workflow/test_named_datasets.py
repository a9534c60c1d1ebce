"""Two of a user's own datasets in one results folder: each has its name and a table of its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import tiny_cache as tiny
from fake_tools import FakeTools, write_video
from tiny_cache import write_tiny_cache

from dawn_bench.cache import SETTINGS_FILE, Cache
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow.evaluate import evaluate_methods
from dawn_bench.workflow.evaluation import Evaluation


def own_cache(root: Path, *, name: str = "", frames: int = 10) -> Path:
    """A cache of a folder of videos; the clips of two such caches have the same ids."""
    write_tiny_cache(root, frames=frames, splits=("test",))
    settings = json.loads((root / SETTINGS_FILE).read_text()) | {"dataset": "folder"} | ({"name": name} if name else {})
    (root / SETTINGS_FILE).write_text(json.dumps(settings))
    return root


def test_two_datasets_of_ones_own_have_a_table_each_by_their_names(tmp_path: Path) -> None:
    caches = [own_cache(tmp_path / "a" / "cache", name="office"), own_cache(tmp_path / "b" / "street", frames=12)]
    for cache in caches:
        job = Evaluation(
            cache=cache, out=tmp_path / "results", methods=("still",), metrics=("psnr",), sanity=False, device="cpu"
        )
        evaluate_methods(job)
    rows = ResultsStore(tmp_path / "results").rows()
    assert {(row.data_name, row.n_frames) for row in rows} == {("office", 10), ("street", 12)}
    tables = leaderboards(rows)
    assert [(table.name, len(table.lines)) for table in tables] == [("office", 1), ("street", 1)]
    assert ResultsStore(tmp_path / "results").facts().title == "dawn-bench: street, test split"
    write_report(tmp_path / "results", tmp_path / "page", formats=("md", "csv"))
    text = (tmp_path / "page" / "report.md").read_text()
    assert "office, test split" in text and "street, test split" in text
    with (tmp_path / "page" / "leaderboard.csv").open(newline="") as file:
        assert sorted({row["data_name"] for row in csv.DictReader(file)}) == ["office", "street"]


def test_prepare_names_the_dataset_and_keeps_the_name(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "a.mp4", frames=10)
    settings, cache = PrepareSettings(size=32, extract=("pose",)), tmp_path / "cache"

    def named(name: str | None = None) -> tuple[str, str]:
        prepare(tmp_path / "videos", cache, settings, tools=FakeTools(), name=name)
        return Cache(cache).name, Cache(cache).title

    assert named() == ("cache", "cache")
    before = Cache(cache).settings
    assert named("lab") == named() == ("lab", "lab")
    assert Cache(cache).settings == {**before, "name": "lab"}
    assert named("lab 2") == ("lab 2", "lab 2")


def test_outputs_for_a_clip_are_not_scored_for_another_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two caches with the same ids, lengths and shapes, but other pictures, in turn in one results folder."""
    first = own_cache(tmp_path / "first", name="first")
    real = tiny.tiny_clip
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "tiny_clip", lambda seed, **more: real(seed + 7, **more))
        second = own_cache(tmp_path / "second", name="second")

    def psnr(cache: Path, out: Path) -> float | None:
        job = Evaluation(cache=cache, out=out, methods=("still",), metrics=("psnr",), sanity=False, device="cpu")
        evaluate_methods(job)
        rows = [row for row in ResultsStore(out).rows() if row.data_name == cache.name]
        return rows[-1].value

    alone = {cache: psnr(cache, tmp_path / f"{cache.name}-alone") for cache in (first, second)}
    assert None not in alone.values() and alone[first] != alone[second]
    for cache in (first, second, first):
        assert psnr(cache, tmp_path / "shared") == alone[cache]
