"""The paper's tables on the micro models: which rows run, their published values, the reasons for the others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dying import played
from fake_repos import PYTHON, fake_repo
from micro import micro_train
from micro_mesh import write_mesh_cache
from tiny_cache import write_tiny_cache
from typer.testing import CliRunner

from dawn_bench import executor
from dawn_bench.baselines import formats
from dawn_bench.baselines.external.adapter import bundled, read_adapter
from dawn_bench.baselines.methods import dawn as dawn_methods
from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.baselines.outputs import produce
from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.features.images import Images
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.pipelines.extractors.base import audio_encoder_of
from dawn_bench.pipelines.media.film import read_film
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow import reproduce as module
from dawn_bench.workflow import scoring
from dawn_bench.workflow.fill_job import FillJob
from dawn_bench.workflow.paper_rows import NO_WINDOW, ROWS, paper_table
from dawn_bench.workflow.pieces import pieces_of, repeated
from dawn_bench.workflow.reproduce import Reproduction, reproduce
from dawn_bench.workflow.reproduced import Reproduced

QUICK = {"steps": 2}


pytestmark = pytest.mark.usefixtures("cheap_scores")


def _run(table: int, cache: Path, run: Path | None, out: Path, **changes: object) -> Reproduced:
    job = {"table": table, "cache": cache, "out": out, "checkpoint": run, "options": QUICK, "device": "cpu"}
    return reproduce(Reproduction(**(job | changes)))


def _ran(reproduced: Reproduced) -> dict[str, bool]:
    return {line.label: not line.reason for line in reproduced.lines}


def test_every_published_row_has_something_to_run() -> None:
    for number in ROWS:
        table = paper_table(number)
        labels = {label for lines in table.published.values() for label in lines}
        assert labels <= {row.label for row in table.rows}, number
        assert all(metric in METRICS for metric in table.metrics), number
        assert all(set(values) <= set(table.metrics) for lines in table.published.values() for values in lines.values())
    windows = {row.label: row.options["window"] for row in ROWS[8]}
    assert windows["DAWN, window 80"] == 40 and windows["DAWN, no window"] == NO_WINDOW
    with pytest.raises(InputError, match="table 6"):
        paper_table(6)


def test_our_values_are_listed_with_the_published_ones(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    reproduced = _run(4, tiny_cache, micro_run, tmp_path)
    assert _ran(reproduced) == {
        "only stage 1, true pose and blink": True,
        "only stage 2, true pose and blink": False,
        "DAWN, true pose and blink": True,
        "without PBNet": False,
        "DAWN": True,
    }
    lines = {line.label: line for line in reproduced.lines}
    assert lines["DAWN"].published["fid"] == 9.6 and lines["DAWN"].ours["fid"] is not None
    assert "not trained for longer" in lines["only stage 1, true pose and blink"].remark
    assert "--preset NAME+no-pbnet" in lines["without PBNet"].reason
    text = (tmp_path / "table4.md").read_text()
    assert text == reproduced.markdown() and "(9.6)" in text and "\nOurs; in brackets the paper's on HDTF." in text
    assert "\nNot run:\n\n* only stage 2, true pose and blink: needs a run of its own: train --preset" in text
    assert "\n| DAWN | 2 | " in text and "\n| without PBNet | – | – (15.2) | " in text
    remarks = " ".join(reproduced.differences)
    assert "tiny, 2 clips of split test, 60 frames, 32 px. The paper: HDTF" in remarks
    assert "preset micro on 4 clips of tiny: LFG 4 steps, A2V-FDM (a2v-2) 4 steps, PBNet 4 steps" in remarks
    assert "LFG without VGG-19's weights" in remarks and "logmel features" in remarks and "2 steps" in remarks
    assert "stand-in networks" in remarks
    assert "V100" not in remarks  # nothing is timed here
    stored = json.loads((tmp_path / "table4.json").read_text())
    assert stored["lines"][-1]["label"] == "DAWN" and stored["number"] == 4
    facts = ResultsStore(tmp_path).facts()
    assert facts.title and facts.notes == [f"Table 4, {reproduced.title}: {' '.join(reproduced.differences)}"]
    assert {i.method for i in ResultsStore(tmp_path).gallery()} == {r.method for r in ResultsStore(tmp_path).rows()}
    names = {row.method for row in ResultsStore(tmp_path).rows()}
    assert names == {"dawn-only-stage-1-true-pose", "dawn-true-pose", "dawn"}


def test_a_run_of_an_ablation_is_used(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "lfg").symlink_to(micro_run / "lfg")
    audio_only = ("a2v_1.model.pose_scales=[0,0,0,0,0,0]", "a2v_1.model.eye_scale=0", "pbnet=null", "a2v_2=null")
    micro_train(tiny_cache, run, *audio_only, stage="a2v-1")
    reproduced = _run(4, tiny_cache, None, tmp_path / "out", variants={"no-pbnet": run})
    assert [label for label, ran in _ran(reproduced).items() if ran] == ["without PBNet"]
    assert "needs a trained run" in reproduced.lines[-1].reason


def test_inference_lengths_are_segments_and_longer_ones_than_the_clips_do_not_run(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduced = _run(3, tiny_cache, micro_run, tmp_path)
    assert not any(_ran(reproduced).values()) and "longest: 30" in reproduced.lines[0].reason
    seen: dict[str, list[tuple[str, int]]] = {}

    def noting(method, clips, out, *, seed, **settled):  # type: ignore[no-untyped-def]
        seen[method.name] = [(c.id, c.n_frames) for c in clips]
        return produce(method, clips, out, seed=seed, **settled)

    monkeypatch.setattr(module, "produce", noting)
    rows = tuple(r.__class__(r.label, r.name, length=n) for r, n in zip(ROWS[3], (10, 12, 15, 30, 31), strict=True))
    monkeypatch.setitem(ROWS, 3, rows)
    reproduced = _run(3, tiny_cache, micro_run, tmp_path, max_clips=1)
    ran = _ran(reproduced)
    assert [ran[label] for label in ran if label.startswith("DAWN")] == [True] * 4 + [False]
    assert [label for label in ran if label.startswith("Ground")][:2] == [
        "Ground truth, 10 frames",
        "Ground truth, 12 frames",
    ]
    assert seen["dawn-40-frames"] == [("c4_f00000", 10), ("c4_f00010", 10), ("c4_f00020", 10)]
    assert len(seen["dawn-100-frames"]) == 2 and seen["dawn-400-frames"] == [("c4", 30)]


def test_windows_matter_and_other_methods_state_what_they_lack(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduced = _run(8, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert all(_ran(reproduced).values())
    generated = {p.parent.name: p.read_bytes() for p in (tmp_path / "outputs").rglob("*.mp4")}
    assert len(generated) == 5 and generated["dawn-window-20"] != generated["dawn-no-window"]
    assert generated["dawn-window-80"] == generated["dawn-no-window"]  # 30 frames see each other
    reproduced = _run(1, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert reproduced.dataset == "crema" and _ran(reproduced)["Ground truth"] and _ran(reproduced)["DAWN"]
    assert "SadTalker" in str([line.reason for line in reproduced.lines if line.label == "SadTalker"])
    truth = next(line for line in reproduced.lines if line.label == "Ground truth")
    assert set(truth.ours) == {"lse-c", "lse-d", "bas", "blink"}  # the paper gives it no distance to itself


def test_resolutions_state_which_cache_they_need(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    reproduced = _run(7, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert _ran(reproduced) == {"Ground truth": True, "DAWN, 128 px": False, "DAWN, 256 px": False, "DAWN, 32 px": True}
    assert "cache of 256 px" in reproduced.lines[2].reason


def test_how_the_cache_differs_from_the_training_data_is_printed_before_the_rows(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_cache, tmp_path / "cache")
    file = tmp_path / "cache" / "cache.json"
    facts = {"fingerprints": {"extractor pose-3ddfa": "pose-3ddfa-1-x-y"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    _run(7, tmp_path / "cache", micro_run, tmp_path / "out", max_clips=1)
    printed = " ".join(capsys.readouterr().err.split())
    note = "the extractors of the head pose of the model's training data are not recorded"
    assert printed.count(note) == 1 and printed.index(note) < printed.index("not run:")


def test_strategies_are_timed_over_8_seconds(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, int]] = []

    def noting(method, clips, out, *, seed, **settled):  # type: ignore[no-untyped-def]
        asked.extend((method.name, out.parent.name, c.n_frames) for c in clips)
        generated = produce(method, clips, out, seed=seed, **settled)
        slow = {i: 40.0 if i.endswith("_8s_1") else 30.0 for i in generated}  # the first pass pays what is paid once
        return {i: replace(o, seconds=slow[i], load_seconds=5.0) for i, o in generated.items()}

    monkeypatch.setattr(module, "produce", noting)
    monkeypatch.setattr(module, "TIMED", 50)
    reproduced = _run(2, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert all(_ran(reproduced).values()) and reproduced.columns[-1] == "seconds for 8 s"
    assert [line.ours["seconds for 8 s"] for line in reproduced.lines] == [25.0] * 3
    assert {n for _, room, n in asked if room == "timed"} == {50} and len(asked) == 3 * (1 + 2)
    remarks = " ".join(reproduced.differences)
    assert (
        "Table" not in remarks
        and "not available" in remarks
        and "The paper: CREMA" in remarks
        and "one V100" in remarks
    )
    assert "SAR: no clip is longer than 40 frames, so each is one segment" in remarks
    assert "one model for both resolutions" in reproduced.lines[2].remark
    assert "Ours; the paper's are not available." in reproduced.markdown()


def test_a_coarse_model_may_come_from_a_run_of_its_own(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    shutil.copytree(micro_run, tmp_path / "run")
    (tmp_path / "run" / "a2v-ttr").mkdir()
    shutil.copy(micro_run / "a2v-1" / "model.safetensors", tmp_path / "run" / "a2v-ttr")
    job = Reproduction(
        table=2,
        cache=tiny_cache,
        out=tmp_path,
        checkpoint=micro_run,
        variants={"ttr": tmp_path / "run"},
        options=QUICK | {"segment": 20},
        device="cpu",
    )
    methods = {row.label: module._method(row, job, Cache(tiny_cache)) for row in ROWS[2]}
    coarse = {label: method.generator.coarse is not None for label, (method, _) in methods.items()}  # type: ignore[attr-defined]
    assert coarse == {"NAR (DAWN)": False, "SAR": False, "TTR": True} and methods["TTR"][1] == ""
    assert methods["SAR"][0].options.segment == 20  # type: ignore[attr-defined]


def test_error_accumulation_by_length(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = {200: 10, 400: 20, 600: 40}
    rows = tuple(replace(r, length=lengths[r.length]) for r in ROWS[5] if r.length is not None)
    monkeypatch.setitem(ROWS, 5, rows)
    reproduced = _run(5, tiny_cache, micro_run, tmp_path)
    assert reproduced.columns == ("dr25", "dr50") and list(_ran(reproduced).values()) == [True, True] + [False] * 4
    short, long, missing, *hallo = reproduced.lines
    assert (short.made, short.asked, long.made) == (6, 6, 2) and set(short.ours) == {"dr25", "dr50"}
    assert short.published == {"dr25": 0.253, "dr50": 0.043} and hallo[2].published == {"dr25": 0.422, "dr50": 0.332}
    assert "no chosen clip has 40 frames (longest: 30)" in missing.reason
    reasons = {line.reason for line in hallo}
    assert len(reasons) == 1 and "see dawn-bench methods hallo" in reasons.pop()
    assert "\n* Hallo, 200 frames; Hallo, 400 frames; Hallo, 600 frames: hallo runs in its own" in reproduced.markdown()


def test_rows_of_an_installed_method_run(tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tuple(read_adapter(bundled()["hallo"]).weights.values())
    repo, file = fake_repo(tmp_path, "hallo", weights=weights), tmp_path / "methods.yaml"
    file.write_text(yaml.safe_dump({"hallo": {"python": PYTHON, "repo": str(repo)}}))
    monkeypatch.setitem(ROWS, 5, (replace(ROWS[5][0], length=30), replace(ROWS[5][3], length=30)))
    reproduced = _run(5, tiny_cache, None, tmp_path / "out", max_clips=1, installs=file)
    assert _ran(reproduced) == {"DAWN, 200 frames": False, "Hallo, 200 frames": True}
    assert reproduced.lines[1].made == 1 and reproduced.lines[1].ours["dr25"] is not None, reproduced.lines[1]
    assert {row.method for row in ResultsStore(tmp_path / "out").rows()} == {"hallo-200-frames"}
    assert not [words for words in reproduced.differences if words.startswith("Weights")]  # nothing of DAWN's ran


def test_finished_rows_survive_an_interruption_and_are_not_generated_again(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, generated = Dawn.generate, []

    def noting(self, item):  # type: ignore[no-untyped-def]
        generated.append(self.name)
        if len(generated) == 3:
            raise KeyboardInterrupt
        return real(self, item)

    monkeypatch.setattr(Dawn, "generate", noting)
    with pytest.raises(KeyboardInterrupt):
        _run(8, tiny_cache, micro_run, tmp_path, max_clips=1)
    stopped = (tmp_path / "table8.md").read_text()
    assert "DAWN, window 80; DAWN, window 200; DAWN, no window: stopped before this row" in stopped
    assert "\n| DAWN, window 40 | 1 | " in stopped and len(ResultsStore(tmp_path).rows()) == 2 * 5
    reproduced = _run(8, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert all(_ran(reproduced).values()) and len(generated) == 6 and generated.count("dawn-window-40") == 1
    assert "no clip is longer than 30 frames, so these see all of it: DAWN, window 80; DAWN, window 200." in " ".join(
        reproduced.differences
    )


def test_workers_generate_and_measure_what_one_process_does(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = paper_table(3, (15,))
    rows = tuple(row for row in table.rows if row.method == "dawn")
    monkeypatch.setattr(module, "paper_table", lambda *_: replace(table, rows=rows, metrics=("psnr",)))

    def run(folder: str, **changes: object) -> Reproduced:
        return _run(3, tiny_cache, micro_run, tmp_path / folder, lengths=(15,), **changes)

    def videos(folder: str) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (tmp_path / folder / "outputs" / "dawn-15-frames").glob("*.mp4")}

    alone = run("one")
    monkeypatch.setattr(Dawn, "generate", lambda *_: pytest.fail("the process that scores generates"))
    monkeypatch.setattr(Images, "run", lambda *_: pytest.fail("the process that scores computes a feature"))
    assert run("two", jobs=2).lines == alone.lines and alone.lines[0].ours["psnr"] is not None
    assert videos("two") == videos("one") and len(videos("one")) == 4
    monkeypatch.setattr(executor, "_parallel", lambda *_, **__: pytest.fail("a finished row is filled again"))
    assert run("two", jobs=2).lines == alone.lines


def test_a_piece_on_which_workers_die_fails_alone(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, started = paper_table(3, (15,)), list[FillJob]()
    rows = tuple(row for row in table.rows if row.method == "dawn")
    monkeypatch.setattr(module, "paper_table", lambda *_: replace(table, rows=rows, metrics=("psnr",)))
    monkeypatch.setattr(
        executor, "_parallel", played(lambda job, clip: job.name != "" and "c5_f00015" in clip, started)
    )
    (line,) = _run(3, tiny_cache, micro_run, tmp_path, lengths=(15,), jobs=2).lines
    assert (line.made, line.asked) == (3, 4) and line.remark.startswith("1 clip failed: worker_died")
    assert {job.name for job in started} == {"dawn-15-frames"}


def test_a_rerun_decodes_no_output_again(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def noting(path: Path, **settings: Any) -> np.ndarray:
        decoded.append(path.parent.name)
        return read_film(path, **settings)

    monkeypatch.setattr(formats, "read_film", noting)
    first = _run(4, tiny_cache, micro_run, tmp_path)
    assert decoded.count("dawn") == 2
    decoded.clear()
    again = _run(4, tiny_cache, micro_run, tmp_path)
    assert decoded == [] and again.lines == first.lines


def test_a_row_whose_clips_fail_gives_the_reason(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Dawn.generate

    def failing(self, item):  # type: ignore[no-untyped-def]
        if self.drive == "truth" or item.clip.id == "c4":
            raise ItemError("oom", "lower the length")
        return real(self, item)

    monkeypatch.setattr(Dawn, "generate", failing)
    lines = {line.label: line for line in _run(4, tiny_cache, micro_run, tmp_path).lines}
    assert lines["DAWN, true pose and blink"].reason == "2 clips failed: oom: lower the length"
    assert (lines["DAWN"].made, lines["DAWN"].asked) == (1, 2)
    assert lines["DAWN"].remark == "1 clip failed: oom: lower the length" and lines["DAWN"].ours["fid"] is not None


def test_published_weights_are_stated(tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def released(checkpoint, *, device, stage=None):  # type: ignore[no-untyped-def]
        generator = DawnGenerator.load(checkpoint, device=device)
        generator.facts = {"lfg": {"size": 32}, "a2v": {"audio_encoder": "logmel"}, "pbnet": {}}
        return generator

    monkeypatch.setattr(dawn_methods, "load_generator", released)
    reproduced = _run(7, tiny_cache, micro_run, tmp_path, max_clips=1, split="train")
    weights = "Weights: the published weights by name and layout (no hash is published), 32 px, logmel features."
    assert weights in " ".join(reproduced.differences)


def test_training_clips_are_noted_as_possibly_seen(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    reproduced = _run(7, tiny_cache, micro_run, tmp_path, max_clips=1, split="train")
    assert "may have been trained on them" in " ".join(reproduced.differences)


def test_typing_errors_are_reported_before_work_begins(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for changes, match in (
        ({"checkpoint": gone}, "gone: there is no such run"),
        ({"variants": {"no-pbnet": gone}}, "gone: there is no such run"),
        (
            {"variants": {"no-pbn": micro_run}},
            "no ablation called 'no-pbn'. Did you mean no-pbnet?",
        ),
        ({"options": {"window": 3, "drive": "truth"}}, "no option 'drive' of DAWN's rows. Known: steps, eta"),
        ({"options": {"steps": 0}}, "option 'steps'"),
        ({"installs": gone}, "gone: there is no such file"),
        ({"split": "val"}, "has no split 'val'. Known: test, train"),
    ):
        with pytest.raises(InputError, match=match):
            reproduce(Reproduction(**({"table": 4, "cache": tiny_cache, "out": tmp_path / "out"} | changes)))
    assert not (tmp_path / "out").exists()


def test_a_cache_of_meshes_is_none_of_the_papers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds meshes"):
        reproduce(Reproduction(table=7, cache=write_mesh_cache(tmp_path), out=tmp_path / "out"))


def test_metrics_that_lost_clips_are_named(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap = scoring.score_method

    def short(*arguments, **settings):  # type: ignore[no-untyped-def]
        rows = {r.metric: r for r in cheap(*arguments, **settings)}
        for metric in ("fvd16", "fvd32"):
            rows[metric] = rows[metric].model_copy(update={"n_clips": 1})
        rows["dr50"] = rows["dr50"].model_copy(update={"value": None, "n_clips": 0, "note": "too short"})
        return list(rows.values())

    monkeypatch.setattr(scoring, "score_method", short)
    monkeypatch.setattr(module, "TIMED", 5)
    monkeypatch.setitem(ROWS, 2, ROWS[2][:1])
    (line,) = _run(2, tiny_cache, micro_run, tmp_path).lines
    assert line.remark == "FVD16, FVD32 over 1 of 2 clips; DR50 no score: too short"


def test_a_run_that_does_not_match_its_row_is_not_run(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    wrong = {"no-pbnet": micro_run, "only-stage-2": micro_run}
    reproduced = _run(4, tiny_cache, micro_run, tmp_path, max_clips=1, variants=wrong)
    reasons = {line.label: line.reason for line in reproduced.lines}
    assert "has a PBNet, so it is not this row" in reasons["without PBNet"]
    assert "trained in two stages, so it is not this row" in reasons["only stage 2, true pose and blink"]


def test_a_run_of_another_size_is_not_run(micro_run: Path, tmp_path: Path) -> None:
    reproduced = _run(8, write_tiny_cache(tmp_path / "cache", size=48), micro_run, tmp_path / "out")
    assert all("48 px wide, and this model was trained at 32" in line.reason for line in reproduced.lines)
    assert reproduced.markdown().count("48 px wide") == 1  # what all rows share is stated once


def test_segments_are_clips(tiny_cache: Path) -> None:
    clips = Cache(tiny_cache).clips("test")
    assert [(c.id, c.n_frames) for c in pieces_of(clips, 40, remainder="half")] == [("c4", 30), ("c5", 30)]
    assert pieces_of(clips, 40, remainder="drop") == []
    rest = pieces_of(clips[:1], 20, remainder="half")
    assert [(c.id, c.n_frames) for c in rest] == [("c4_f00000", 20), ("c4_f00020", 10)]
    assert [c.n_frames for c in pieces_of(clips[:1], 20, remainder="drop")] == [20]
    whole, second = clips[0], rest[1]
    for name in whole.arrays:
        values = whole[name][20 * 640 :] if name == "audio" else whole[name][20:]
        np.testing.assert_array_equal(second[name], values)
    assert audio_encoder_of(second) == "logmel" and "hubert" not in second
    assert second.meta["frames_sha256"] not in (whole.meta["frames_sha256"], rest[0].meta["frames_sha256"])


def test_a_clip_is_repeated_to_a_length(tiny_cache: Path) -> None:
    clip = Cache(tiny_cache).clips("test")[0]
    long, short = repeated(clip, 70, name="long"), repeated(clip, 20, name="short")
    assert (long.id, long.n_frames, short.n_frames) == ("long", 70, 20)
    for name in clip.arrays:
        rate = 640 if name == "audio" else 1
        np.testing.assert_array_equal(long[name][30 * rate : 60 * rate], clip[name])
        np.testing.assert_array_equal(long[name][60 * rate :], clip[name][: 10 * rate])
        np.testing.assert_array_equal(short[name], clip[name][: 20 * rate])


def test_the_command_prints_the_table(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    arguments = ["reproduce", "table7", "--cache", str(tiny_cache), "--out", str(tmp_path), "--max-clips", "1"]
    done = CliRunner().invoke(app, [*arguments, "--checkpoint", str(micro_run), "--option", "steps=2"])
    assert done.exit_code == 0 and "# Table 7: Resolution" in done.stdout
    for wrong, match in (("table6", "table 6"), ("seven", "names no table")):
        failed = CliRunner().invoke(app, [arguments[0], wrong, *arguments[2:]])
        assert isinstance(failed.exception, InputError) and match in str(failed.exception)
