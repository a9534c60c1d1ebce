"""The paper's tables on the micro models: which rows run, what stands beside them, what is said of the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from micro import micro_train
from typer.testing import CliRunner

from dawn_bench.baselines.outputs import produce
from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.errors import InputError
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow import reproduce as module
from dawn_bench.workflow.paper_rows import NO_WINDOW, ROWS, paper_table
from dawn_bench.workflow.pieces import pieces
from dawn_bench.workflow.reproduce import Reproduced, Reproduction, reproduce

QUICK = {"steps": 2}


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of the two metrics that need no network, under the names that the tables have."""
    real = module.score_method

    def scored(*arguments, metrics, **settings):  # type: ignore[no-untyped-def]
        rows = real(*arguments, metrics=["psnr"], **settings)
        return [r.model_copy(update={"metric": m, "weights_state": "seeded"}) for r in rows for m in metrics]

    monkeypatch.setattr(module, "score_method", scored)


def _run(table: int, cache: Path, run: Path | None, out: Path, **changes: object) -> Reproduced:
    return reproduce(Reproduction(table, cache, out, run, options=QUICK, **changes))  # type: ignore[arg-type]


def _ran(found: Reproduced) -> dict[str, bool]:
    return {line.label: not line.reason for line in found.lines}


def test_every_published_row_has_something_to_run() -> None:
    for number in ROWS:
        table = paper_table(number)
        labels = {label for lines in table.published.values() for label in lines}
        assert labels <= {row.label for row in table.rows}, number
    windows = {row.label: row.options["window"] for row in ROWS[8]}
    assert windows["DAWN, window 80"] == 40 and windows["DAWN, no window"] == NO_WINDOW
    with pytest.raises(InputError, match="table 6"):
        paper_table(6)


def test_ours_stand_beside_the_published(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    found = _run(4, tiny_cache, micro_run, tmp_path)
    assert _ran(found) == {
        "only stage 1, true pose and blink": True,
        "only stage 2, true pose and blink": False,
        "DAWN, true pose and blink": True,
        "without PBNet": False,
        "DAWN": True,
    }
    lines = {line.label: line for line in found.lines}
    assert lines["DAWN"].published["fid"] == 9.6 and lines["DAWN"].ours["fid"] is not None
    assert "not trained for longer" in lines["only stage 1, true pose and blink"].remark
    assert "--preset NAME+no-pbnet" in lines["without PBNet"].reason
    text = (tmp_path / "table4.md").read_text()
    assert text == found.markdown() and "(9.6)" in text and "* without PBNet: not run: needs a run" in text
    said = " ".join(found.differences)
    assert "tiny, 2 clips of split test, 60 frames, 32 px. The paper: HDTF" in said
    assert "preset micro on 4 clips of tiny: LFG 4 steps, A2V-FDM (a2v-2) 4 steps, PBNet 4 steps" in said
    assert "LFG without VGG-19's weights" in said and "logmel features" in said and "2 steps" in said
    assert "stand-in networks" in said
    held = json.loads((tmp_path / "table4.json").read_text())
    assert held["lines"][-1]["label"] == "DAWN" and held["number"] == 4
    names = {row.method for row in ResultsStore(tmp_path).rows()}
    assert names == {"dawn-only-stage-1-true-pose", "dawn-true-pose", "dawn"}


def test_a_run_of_an_ablation_is_used(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "lfg").symlink_to(micro_run / "lfg")
    deaf = ("a2v_1.model.pose_scales=[0,0,0,0,0,0]", "a2v_1.model.eye_scale=0", "pbnet=null", "a2v_2=null")
    micro_train(tiny_cache, run, *deaf, stage="a2v-1")
    found = _run(4, tiny_cache, None, tmp_path / "out", variants={"no-pbnet": run})
    assert [label for label, ran in _ran(found).items() if ran] == ["without PBNet"]
    assert "needs a trained run" in found.lines[-1].reason


def test_inference_lengths_are_pieces_and_longer_ones_than_the_clips_do_not_run(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _run(3, tiny_cache, micro_run, tmp_path)
    assert not any(_ran(found).values()) and "longest: 30" in found.lines[0].reason
    seen: dict[str, list[tuple[str, int]]] = {}

    def noting(method, clips, out, *, seed):  # type: ignore[no-untyped-def]
        seen[method.name] = [(c.id, c.n_frames) for c in clips]
        return produce(method, clips, out, seed=seed)

    monkeypatch.setattr(module, "produce", noting)
    rows = tuple(r.__class__(r.label, r.name, length=n) for r, n in zip(ROWS[3], (10, 12, 15, 30, 31), strict=True))
    monkeypatch.setitem(ROWS, 3, rows)
    found = _run(3, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert list(_ran(found).values()) == [True] * 4 + [False]
    assert seen["dawn-40-frames"] == [("c4_f00000", 10), ("c4_f00010", 10), ("c4_f00020", 10)]
    assert len(seen["dawn-100-frames"]) == 2 and seen["dawn-400-frames"] == [("c4", 30)]


def test_windows_matter_and_other_methods_say_what_they_lack(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _run(8, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert all(_ran(found).values())
    made = {p.parent.name: p.read_bytes() for p in (tmp_path / "outputs").rglob("*.mp4")}
    assert len(made) == 5 and made["dawn-window-20"] != made["dawn-no-window"]
    assert made["dawn-window-80"] == made["dawn-no-window"]  # 30 frames see each other
    found = _run(1, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert found.dataset == "crema" and _ran(found)["Ground truth"] and _ran(found)["DAWN"]
    assert "SadTalker" in str([line.reason for line in found.lines if line.label == "SadTalker"])
    truth = next(line for line in found.lines if line.label == "Ground truth")
    assert set(truth.ours) == {"lse-c", "lse-d", "bas", "blinks"}  # the paper gives it no distance to itself


def test_resolutions_say_which_cache_they_need(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    found = _run(7, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert _ran(found) == {"Ground truth": True, "DAWN, 128 px": False, "DAWN, 256 px": False, "DAWN, 32 px": True}
    assert "cache of 256 px" in found.lines[2].reason


def test_strategies_are_timed(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    found = _run(2, tiny_cache, micro_run, tmp_path, max_clips=1)
    assert all(_ran(found).values()) and found.columns[-1] == "seconds for 8 s"
    assert all(line.ours["seconds for 8 s"] > 0 for line in found.lines)  # type: ignore[operator]
    said = " ".join(found.differences)
    assert "not at hand" in said and "one model for both resolutions" in said


def test_a_run_of_another_size_or_encoder_is_not_run(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_cache, tmp_path / "cache")
    settings = tmp_path / "cache" / "cache.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"size": 128}))
    found = _run(8, tmp_path / "cache", micro_run, tmp_path / "out")
    assert all("trained at 32 px, the cache has 128 px" in line.reason for line in found.lines)


def test_pieces_are_clips(tiny_cache: Path) -> None:
    clips = Cache(tiny_cache).clips("test")
    assert [(c.id, c.n_frames) for c in pieces(clips, 40, exact=False)] == [("c4", 30), ("c5", 30)]
    assert pieces(clips, 40, exact=True) == []
    rest = pieces(clips[:1], 20, exact=False)
    assert [(c.id, c.n_frames) for c in rest] == [("c4_f00000", 20), ("c4_f00020", 10)]
    assert [c.n_frames for c in pieces(clips[:1], 20, exact=True)] == [20]
    whole, second = clips[0], rest[1]
    for name in whole.arrays:
        values = whole[name][20 * 640 :] if name == "audio" else whole[name][20:]
        np.testing.assert_array_equal(second[name], values)
    assert second.audio_encoder == "logmel" and "hubert" not in second
    assert second.meta["frames_sha256"] not in (whole.meta["frames_sha256"], rest[0].meta["frames_sha256"])


def test_the_command_prints_the_table(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    arguments = ["reproduce", "table7", "--cache", str(tiny_cache), "--out", str(tmp_path), "--max-clips", "1"]
    done = CliRunner().invoke(app, [*arguments, "--checkpoint", str(micro_run), "--option", "steps=2"])
    assert done.exit_code == 0 and "# Table 7: Resolution" in done.stdout
    for wrong, match in (("table6", "table 6"), ("seven", "names no table")):
        failed = CliRunner().invoke(app, [arguments[0], wrong, *arguments[2:]])
        assert isinstance(failed.exception, InputError) and match in str(failed.exception)
