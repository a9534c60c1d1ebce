"""What each row of a table and each part of a job is made from: runs, options, folders, counts, plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from marked import marked_clip
from spies import Spies

from dawn_bench.baselines import reframe
from dawn_bench.baselines.base import Context
from dawn_bench.baselines.given_pieces import GivenOutputs
from dawn_bench.cache import Cache
from dawn_bench.clip import FPS
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.models.dawn.strategies import STRATEGIES
from dawn_bench.reports.store import Facts, GalleryItem
from dawn_bench.results import ScoreRow
from dawn_bench.workflow import entries, evaluate, levelling, quickstart, reproduce, row_runs
from dawn_bench.workflow.entries import Entry
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.paper_rows import NO_WINDOW, ROWS, PaperTable, paper_table
from dawn_bench.workflow.quickstart import PLANS, Plan, run_quickstart
from dawn_bench.workflow.reproduction import Reproduction
from dawn_bench.workflow.sample_counts import equal_windows, fewer_windows, frames_each, sample_counts
from dawn_bench.workflow.scoring import Scoring

CLIPS = [marked_clip(k, 10 + k) for k in range(4)]


def row(method: str = "m", metric: str = "psnr", **more: Any) -> ScoreRow:
    fields = {"dataset": "d", "split": "test", "protocol": "p", "fingerprint": "f", "n_clips": 4, "n_frames": 46}
    return ScoreRow.model_validate({**fields, "value": 1.0, "method": method, "metric": metric, **more})


def entry(name: str, kind: str = "portrait") -> Entry:
    outputs = {c.id: Path(f"{name}/{c.id}.mp4") for c in CLIPS}
    return Entry(name, kind, outputs, {}, ({},), outputs)  # type: ignore[arg-type]


def test_rows_over_other_clips_or_frames_are_scored_again_over_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """PSNR lacks c0 in one row, SSIM frames of c1 in the other; LPIPS is the same for both."""
    spies, stored = Spies(monkeypatch), list[ScoreRow]()
    rows = {
        name: {metric: row(name, metric) for metric in ("psnr", "ssim", "lpips")} for name in ("a", "b", "still", "out")
    }
    rows["a"]["psnr"] = row("a", "psnr", left_out={"c0": "all"})
    rows["b"]["ssim"] = row("b", "ssim", frames_missing={"c1": "7-10"})

    def again(entry: Entry, clips: Any, scoring: Scoring, store: Any, **_: Any) -> list[ScoreRow]:
        return [row(entry.name, metric, value=9.0) for metric in scoring.metrics or ()]

    spies.watch(levelling, "score_entry", returns=again)
    scoring = Scoring("d", "test", PAPER_DAWN, None, "auto", "cpu", 0)
    given = {name: entry(name, "sanity" if name == "still" else "portrait") for name in rows}
    store = SimpleNamespace(append=stored.extend)
    result = levelling.levelled(
        given,
        rows,
        CLIPS,
        CLIPS,
        scoring,
        store,
        excluded={"out": "too few"},
        min_coverage=0.5,  # type: ignore[arg-type]
    )
    asked = {(c["entry"].name, tuple(c["scoring"].metrics)): c for c in spies.of("score_entry")}
    assert set(asked) == {(name, (metric,)) for name in ("a", "b", "still") for metric in ("psnr", "ssim")}
    for (name, (metric,)), call in asked.items():
        assert [c.id for c in call["common"]] == (["c1", "c2", "c3"] if metric == "psnr" else ["c0", "c1", "c2", "c3"])
        assert call["lengths"] == ({"c1": 7} if metric == "ssim" else {})
        assert call["before"] is rows[name] and call["clips"] is CLIPS and call["store"] is store
    changed = {(n, m) for n, by_metric in result.items() for m, r in by_metric.items() if r.value == 9}
    assert changed == {(n, m) for n in ("a", "b", "still") for m in ("psnr", "ssim")} and not stored
    rows["a"]["psnr"] = row("a", "psnr", left_out=dict.fromkeys(("c0", "c1", "c2"), "all"))
    result = levelling.levelled(given, rows, CLIPS, CLIPS, scoring, store, excluded={}, min_coverage=0.5)  # type: ignore[arg-type]
    assert result["a"]["psnr"].not_ranked == "measured on 1 of 4 clips" and stored == [result["a"]["psnr"]]


def test_a_users_files_are_the_entrys_outputs_of_their_own_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four clips have a file; one is damaged. A method that crops is also scored with aligned faces."""
    spies = Spies(monkeypatch)
    spies.watch(entries, "produce", returns={})
    monkeypatch.setattr(reframe, "pick_backend", lambda: SimpleNamespace(fingerprint=lambda: "back end"))
    for name in ("c0", "c1", "c3"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    files = {name: tmp_path / f"{name}.mp4" for name in ("c0", "c1", "c3")}

    def check(self: Any, path: Path, truth: Any) -> None:
        assert path.stem == truth.id
        if truth.id == "c1":
            raise entries.ItemError("bad_output", "is damaged")

    monkeypatch.setattr("dawn_bench.baselines.formats.VideoFormat.check", check)
    job = Evaluation(cache=Path("c"), out=tmp_path, methods=("sadtalker",), device="cpu", seed=3)
    given, starts = GivenOutputs(files, {"c3": 40}), {"c3": 40}
    own, aligned = entries._given("sadtalker", given, job, CLIPS, out=tmp_path)
    assert dict(own.outputs) == {"c0": files["c0"], "c3": files["c3"]}
    assert own.failures == {"c1": "bad_output", "c2": "missing"} and own.method_class == "portrait"
    assert own.takes[0]["c3"].start == 40 and own.takes[0]["c0"].start == 0  # type: ignore[union-attr]
    call = spies.one("produce")
    assert call["method"].files == dict(own.outputs) and call["method"].starts == starts and call["seed"] == 3
    assert call["clips"] is CLIPS and aligned.name == "sadtalker-aligned"
    key = call["method"].fingerprint
    (tmp_path / "c0.mp4").write_bytes(b"other")
    entries._given("sadtalker", given, job, CLIPS, out=tmp_path)
    assert spies.of("produce")[1]["method"].fingerprint != key
    (mine,) = entries._given("mine", given, job.model_copy(update={"method_class": "dub"}), CLIPS, out=tmp_path)
    assert mine.method_class == "dub" and len(spies.of("produce")) == 2


def test_every_row_of_the_paper_is_a_method_with_options_that_it_has() -> None:
    """The settings of each row, as the paper states them."""
    seen = {}
    for number, rows in ROWS.items():
        assert len({r.label for r in rows}) == len({r.name for r in rows}) == len(rows)
        for r in rows:
            seen[number, r.label] = (r.method, r.strategy, dict(r.options), r.variant, r.length, r.size)
            if r.strategy is not None:
                kind = STRATEGIES[r.strategy][1]
                kind.model_validate({k: v for k, v in r.options.items() if k not in ("drive", "stage")})
    truth = {"drive": "truth"}
    assert {k: v for k, v in seen.items() if k[0] in (2, 4, 8)} == {
        (2, "NAR (DAWN)"): ("dawn", "nar", {}, None, None, None),
        (2, "SAR"): ("dawn-sar", "sar", {}, None, None, None),
        (2, "TTR"): ("dawn-ttr", "ttr", {}, "ttr", None, None),
        (4, "only stage 1, true pose and blink"): ("dawn", "nar", truth, "only-stage-1", None, None),
        (4, "only stage 2, true pose and blink"): ("dawn", "nar", truth, "only-stage-2", None, None),
        (4, "DAWN, true pose and blink"): ("dawn", "nar", truth, None, None, None),
        (4, "without PBNet"): ("dawn", "nar", {}, "no-pbnet", None, None),
        (4, "DAWN"): ("dawn", "nar", {}, None, None, None),
        **{
            (8, f"DAWN, window {n}"): ("dawn", "nar", {**truth, "window": n // 2}, None, None, None)
            for n in (20, 40, 80, 200)
        },
        (8, "DAWN, no window"): ("dawn", "nar", {**truth, "window": NO_WINDOW}, None, None, None),
    }
    assert [v[4] for k, v in seen.items() if k[0] == 3] == [40, 100, 200, 400, 600]
    assert [v[5] for k, v in seen.items() if k[0] == 7] == [None, 128, 256]
    assert [v[0] for k, v in seen.items() if k[0] == 5] == ["dawn"] * 3 + ["hallo"] * 3


def job(**more: Any) -> Reproduction:
    return Reproduction(**({"table": 4, "cache": Path("c"), "out": Path("o"), "device": "cpu"} | more))


@pytest.mark.parametrize(
    ("label", "given", "run", "options"),
    [
        ("DAWN", {}, "main", {"steps": 5}),
        ("DAWN, true pose and blink", {}, "main", {"steps": 5, "drive": "truth"}),
        ("only stage 2, true pose and blink", {"only-stage-2": Path("two")}, "two", {"steps": 5, "drive": "truth"}),
        ("without PBNet", {"no-pbnet": Path("none")}, "none", {"steps": 5}),
        ("without PBNet", {"only-stage-1": Path("one")}, None, {}),
    ],
)
def test_a_row_is_built_from_its_own_run_with_its_own_options(
    label: str, given: Any, run: str | None, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spies = Spies(monkeypatch)
    spies.watch(row_runs, "build_method", returns=lambda name, context: SimpleNamespace(name=name))
    (paper_row,) = [r for r in ROWS[4] if r.label == label]
    settings = job(
        checkpoint=(Path("main"), Path("second")), variants=given, options={"steps": 5, "drive": "x"}, seed=8,
        installs=Path("i.yaml"),
    )  # fmt: skip
    cache: Any = SimpleNamespace(size=128)
    if run is None:
        with pytest.raises(InputError, match=r"needs a run of its own: train --preset NAME\+no-pbnet"):
            row_runs.method_of(paper_row, settings, cache)
        return
    method, remark = row_runs.method_of(paper_row, settings, cache)
    call = spies.one("build_method")
    context: Context = call["context"]
    assert (call["name"], method.name, remark) == ("dawn", paper_row.name, "")
    assert (context.checkpoint, dict(context.options), context.seed) == (Path(run), options, 8)
    assert (context.device, context.installs, context.logs) == ("cpu", Path("i.yaml"), Path("o/logs"))


def test_the_rows_own_options_come_before_those_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    spies = Spies(monkeypatch)
    spies.watch(row_runs, "build_method", returns=lambda name, context: SimpleNamespace(name=name))
    for paper_row in ROWS[8]:
        row_runs.method_of(paper_row, job(checkpoint=Path("r"), options={"window": 3}), SimpleNamespace(size=128))  # type: ignore[arg-type]
    assert [c["context"].options["window"] for c in spies.of("build_method")] == [10, 20, 40, 100, NO_WINDOW]
    small = next(r for r in ROWS[7] if r.size == 128)
    with pytest.raises(InputError, match="this cache has 256 px"):
        row_runs.method_of(small, job(), SimpleNamespace(size=256))  # type: ignore[arg-type]


def test_counts_are_of_frames_and_of_windows() -> None:
    rows = [
        row(metric="fid", n_frames=160), row(metric="fvd16", n_frames=160), row(metric="fvd32", n_frames=160),
        row(metric="lse-c", n_frames=160, n_clips=4), row(metric="psnr"), row(metric="fid", value=None, n_frames=7),
    ]  # fmt: skip
    assert [frames_each(m) for m in ("fid", "fvd16", "fvd32", "psnr")] == [1, 16, 32, 1]
    assert sample_counts(rows) == {
        "FID frames": 160,
        "FVD16 windows": 10,
        "FVD32 windows": 5,
        "LSE windows": 160 - 4 * 5,
    }
    assert fewer_windows(rows, 10) == ["FVD32 over 5 of 10 windows"] and fewer_windows(rows, 5) == []
    assert fewer_windows(rows, None) == []


def test_windows_are_as_many_as_the_row_with_the_fewest_has() -> None:
    table: PaperTable = paper_table(3, (40, 100, 32))
    clips = [marked_clip(0, 110), marked_clip(1, 64)]
    # pieces of 40: 2 + 1, each 2 windows of 16 and 1 of 32; of 100: 1, 6 and 3; of 32: 3 + 2, 2 and 1
    metrics = replace(table, metrics=("fvd16", "fvd32"))
    assert equal_windows(metrics, clips) == 3
    assert equal_windows(replace(metrics, metrics=("fvd16",)), clips) == 6
    assert equal_windows(replace(metrics, metrics=("fid",)), clips) is None
    assert equal_windows(metrics, [marked_clip(0, 40)]) is None  # one window has no covariance
    assert equal_windows(paper_table(1), clips) is None


def test_outputs_of_another_cache_of_the_same_clips_are_not_overwritten(tmp_path: Path) -> None:
    video = tmp_path / "outputs" / "m" / "c0.mp4"
    items = [GalleryItem(clip_id="c0", method="m", video=video, data="theirs")]
    store: Any = SimpleNamespace(root=tmp_path, gallery=lambda: items)
    method: Any = SimpleNamespace(name="m")
    usual = tmp_path / "outputs"
    assert reproduce._outputs(store, method, CLIPS, data="ours-of-a-long-hash") == usual / "ours-of-"
    assert reproduce._outputs(store, method, CLIPS, data="theirs") == usual
    assert reproduce._outputs(store, method, CLIPS[1:], data="ours") == usual
    assert reproduce._outputs(store, SimpleNamespace(name="other"), CLIPS, data="ours") == usual  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("length", "dataset", "folder"),
    [
        (None, "hdtf", "outputs"),
        (200, "hdtf", "outputs"),
        (200, "crema", "outputs-pieces-200"),
        (100, "hdtf", "outputs-pieces-100"),
    ],
)
def test_outputs_in_unusual_pieces_have_a_folder_of_their_own(length: int | None, dataset: str, folder: str) -> None:
    assert evaluate.outputs_folder(PAPER_DAWN.in_pieces(length), dataset) == folder


#: Where each field of a quickstart's plan arrives: value, and (function, its argument) or a function of the calls.
PLANNED: dict[str, tuple[Any, Any, Any]] = {
    "preset": ("small", lambda s: s.one("preset"), "small"),
    "speakers": (3, lambda s: s.one("write_embedded")["speakers"], 3),
    "clips": (5, lambda s: s.one("write_embedded")["clips"], 5),
    "seconds": (1.5, lambda s: s.one("write_embedded")["seconds"], 1.5),
    "source_size": (100, lambda s: s.one("write_embedded")["size"], 100),
    "size": (48, lambda s: s.one("prepare")["settings"].size, 48),
    "scored_clips": (2, lambda s: s.one("evaluate_methods")["job"].max_clips, 2),
    "steps": (7, lambda s: s.one("evaluate_methods")["job"].options["steps"], 7),
    "training": (("lfg.loop.steps=3",), lambda s: s.one("resolve_config")["overrides"], ("lfg.loop.steps=3",)),
    "seed": (
        9,
        lambda s: [s.one("write_embedded")["seed"], s.one("train")["seed"], s.one("evaluate_methods")["job"].seed],
        [9] * 3,
    ),
}


@pytest.mark.parametrize("field", list(Plan.model_fields))
def test_every_field_of_a_quickstarts_plan_arrives(field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert field in PLANNED, f"Say in PLANNED of this file where {field} of a plan arrives."
    value, place, expected = PLANNED[field]
    spies = Spies(monkeypatch)
    spies.watch(quickstart, "write_embedded", returns=lambda root, **_: root.mkdir())
    for name in ("prepare", "Cache", "train"):
        spies.watch(quickstart, name, returns=lambda *_, **__: None)
    spies.watch(quickstart, "resolve_config", returns=SimpleNamespace(note="n"))
    spies.watch(quickstart, "evaluate_methods", returns=SimpleNamespace(summary=[], screen=()))
    spies.watch(quickstart, "_signals", returns=[])
    spies.watch(quickstart, "write_report", returns=[Path("report.html")])

    def preset(name: str) -> Any:
        spies.calls.append(("preset", name))  # type: ignore[arg-type]
        return SimpleNamespace(note="n")

    monkeypatch.setattr(quickstart, "MODELS", {"dawn": SimpleNamespace(preset=preset)})
    for plan in (PLANS["tiny"], PLANS["tiny"].model_copy(update={field: value})):
        spies.calls.clear()
        out = tmp_path / f"out {plan is PLANS['tiny']}"
        run_quickstart(out, plan, jobs=3, device="cpu")
        assert (place(spies) == expected) == (plan is not PLANS["tiny"])
        wrote, prepared, trained, job = (
            spies.one(n) for n in ("write_embedded", "prepare", "train", "evaluate_methods")
        )
        assert (wrote["root"], prepared["root"], prepared["cache"]) == (out / "dataset", out / "dataset", out / "cache")
        assert (wrote["jobs"], prepared["jobs"], prepared["settings"].dataset) == (3, 3, "embedded")
        assert (trained["out"], trained["stages"], trained["resume"], trained["device"]) == (
            out / "run",
            ["all"],
            True,
            "cpu",
        )
        evaluation = job["job"]
        assert (evaluation.cache, evaluation.out, evaluation.checkpoint) == (
            out / "cache",
            out / "results",
            out / "run",
        )
        spies.calls.clear()
        run_quickstart(out, plan, jobs=3, device="cpu")
        assert "write_embedded" not in spies.labels and "train" in spies.labels
        with pytest.raises(InputError, match="another preset or seed"):
            run_quickstart(out, plan.model_copy(update={"speakers": 99}), jobs=3, device="cpu")


def test_facts_of_a_run_are_of_the_clips_that_are_scored(tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tiny_cache)
    clips = cache.clips("test")
    facts: Facts = evaluate._facts(
        Evaluation(cache=tiny_cache, out=Path("o"), device="cpu", notes=("n",)), cache, PAPER_DAWN, clips, clips[:1],
        [row(weights_state="seeded", metric="fid"), row()], {"a": 1.0},
    )  # fmt: skip
    wanted = {"dataset": "tiny", "split": "test", "clips": 2, "scored as": "whole clips", "frames": 30, "speakers": 2}
    assert facts.dataset.items() >= wanted.items()
    assert facts.dataset["clips scored (solved by all methods)"] == 1 and facts.timings == {"a": 1.0}
    assert facts.notes[0] == "n" and facts.notes[1].startswith("Scores of fid use stand-in networks")
    assert reproduce.TIMED == 8 * FPS and np.isfinite(facts.dataset["frames"])
