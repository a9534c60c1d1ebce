"""The whole job, small: embedded dataset, prepare, train, generate, evaluate, report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dawn_bench.baselines.base import SANITY
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow import quickstart
from dawn_bench.workflow.quickstart import Plan, Quickstarted, run_quickstart

MICRO = Plan(
    preset="tiny",
    speakers=2,
    clips=4,
    seconds=1.6,
    source_size=192,
    size=64,
    scored_clips=1,
    training=("lfg.loop.steps=12", "a2v_1.loop.steps=12", "pbnet.loop.steps=12", "pbnet.frames=24"),
)


#: The files that are there when a part begins, and must not be written again; and when those of the run were.
FINISHED = {
    "prepare": ("dataset/VideoFlash/*.mp4", "dataset/truth/*.npz"),
    "train": ("cache/frames/*.safetensors",),
    "evaluate_methods": ("run/*/model.safetensors",),
    "_signals": ("results/outputs/dawn/*.mp4",),
}
KEPT: dict[Path, int] = {}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Quickstarted]:
    """A quickstart that is stopped as each part begins, and goes on: `kept` are the files of finished parts by time."""
    out = tmp_path_factory.mktemp("quickstart") / "out"
    for part in ("prepare", "train", "evaluate_methods", "_signals"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(quickstart, part, _stopped)
            run_quickstart(out, MICRO, jobs=2, device="cpu")
        KEPT.update({path: path.stat().st_mtime_ns for name in FINISHED[part] for path in out.glob(name)})
    return out, run_quickstart(out, MICRO, jobs=2, device="cpu")


def _stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_clip_is_prepared_and_every_model_trained(done: tuple[Path, Quickstarted]) -> None:
    out, _ = done
    cache = Cache(out / "cache")
    assert len(cache) == MICRO.clips and not cache.quarantined()
    assert cache.ids("train") and cache.ids("test")
    for stage in ("lfg", "a2v-1", "pbnet"):
        assert (out / "run" / stage / "model.safetensors").is_file()


def test_a_part_that_was_finished_before_a_stop_is_not_done_again(done: tuple[Path, Quickstarted]) -> None:
    kinds = {path.suffix for path in KEPT}
    assert {".mp4", ".npz", ".safetensors"} <= kinds
    assert {path: path.stat().st_mtime_ns for path in KEPT} == KEPT


def test_dawn_is_listed_with_the_sanity_rows_and_no_number_is_of_a_stand_in(done: tuple[Path, Quickstarted]) -> None:
    rows = ResultsStore(done[0] / "results").rows()
    assert {r.method for r in rows} == {*SANITY, "dawn"}
    assert {r.protocol for r in rows} == {"embedded"}
    assert "seeded" not in {r.weights_state for r in rows}
    assert all(not r.rankable for r in rows if r.method in SANITY)
    truth = {r.metric: r.value for r in rows if r.method == "ground-truth"}
    assert truth["mouth-corr"] == pytest.approx(1)
    assert truth["ssim"] == pytest.approx(1)


@pytest.mark.weekly
@pytest.mark.timeout(900)
def test_all_metrics_adds_the_papers_with_stand_ins_that_are_marked(done: tuple[Path, Quickstarted]) -> None:
    run_quickstart(done[0], MICRO, jobs=2, device="cpu", all_metrics=True)
    rows = ResultsStore(done[0] / "results").rows()
    assert {r.method for r in rows} == {*SANITY, "dawn"}
    paper = [r for r in rows if r.protocol == "paper-dawn"]
    assert {r.weights_state for r in paper if r.metric in ("fid", "fvd16", "lse-c", "lpips")} == {"seeded"}
    assert all(not r.rankable for r in rows if r.method in SANITY)
    truth = {r.metric: r.value for r in paper if r.method == "ground-truth"}
    assert truth["fid"] == pytest.approx(0, abs=1e-6)
    assert truth["ssim"] == pytest.approx(1)


def test_where_time_goes_is_printed_and_in_the_facts(done: tuple[Path, Quickstarted]) -> None:
    out, finished = done
    parts = ["dataset", "prepare", "train", "evaluate", "learning signals"]
    timings = ResultsStore(out / "results").facts().timings
    assert all(timings[part] > 0 and f"{part}, processor" in timings for part in parts)
    printed = [line.split("  ")[0].strip() for line in finished.summary]
    assert printed[-8:] == ["part", *parts, "report", "total"]
    assert "still" in printed and not any(line.startswith("still:") for line in printed), "scores are a table"


def test_the_page_is_one_self_contained_file_with_videos(done: tuple[Path, Quickstarted]) -> None:
    page = done[1].report.read_text()
    assert "data:video/mp4;base64," in page
    assert not re.search(r"""(?:src|href)=["']https?://""", page.split("</head>")[0])
    assert "Preset tiny" in page and "synthetic" in page


def test_learning_signals_are_reported_whether_or_not_they_show(done: tuple[Path, Quickstarted]) -> None:
    names = [s.signal for s in done[1].signals]
    assert any("LFG rebuilds" in n for n in names) and any("mouth opening" in n for n in names)
    assert sum("loss falls" in n for n in names) == 3


def test_a_second_run_makes_nothing_again(done: tuple[Path, Quickstarted]) -> None:
    out, first = done
    kept = ["cache/index.parquet", "run/lfg/model.safetensors", "dataset/README.txt"]
    outputs = sorted((out / "results" / "outputs").rglob("*.mp4"))
    before = [(out / k).stat().st_mtime_ns for k in kept[2:]] + [p.stat().st_mtime_ns for p in outputs]
    again = run_quickstart(out, MICRO, jobs=1, device="cpu")
    after = [(out / k).stat().st_mtime_ns for k in kept[2:]] + [p.stat().st_mtime_ns for p in outputs]
    assert before == after
    assert [s.value for s in again.signals] == [s.value for s in first.signals]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        run_quickstart(tmp_path, MICRO, jobs=1, device="cpu")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_another_plan_in_the_same_folder_is_refused(done: tuple[Path, Quickstarted]) -> None:
    with pytest.raises(InputError, match="another preset or seed"):
        run_quickstart(done[0], MICRO.model_copy(update={"seed": 5}), jobs=1, device="cpu")
