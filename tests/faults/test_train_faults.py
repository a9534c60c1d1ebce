"""Training when things go wrong: killed, refused, diverged; each in one line, nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import losses, micro_settings, micro_train
from safetensors.torch import load_file
from tiny_cache import tiny_clip, write_tiny_cache

from dawn_bench.errors import InputError
from dawn_bench.models.dawn.stages.pbnet import PBNetStage
from dawn_bench.training.loop import MODEL_FILE, STATE_FILE, TrainingError

SUPPORT = Path(__file__).parents[1] / "support"


def test_kill_9_and_resume_give_the_uninterrupted_run(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, SUPPORT / "train_child.py", tiny_cache, tmp_path, "pbnet"],
        env=os.environ | {"DIE_AT": "3", "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert not (tmp_path / "pbnet" / MODEL_FILE).exists()
    with (tmp_path / "pbnet" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 4, "tot')  # a line cut short
    micro_train(tiny_cache, tmp_path, stage="pbnet", resume=True)
    assert losses(tmp_path, "pbnet") == losses(micro_run, "pbnet")
    ours, theirs = (load_file(run / "pbnet" / MODEL_FILE) for run in (tmp_path, micro_run))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.parametrize(("name", "before"), [("lfg", []), ("a2v-1", ["lfg"]), ("a2v-2", ["lfg", "a2v-1"])])
def test_a_kill_in_any_stage_gives_the_uninterrupted_run(
    name: str, before: list[str], tiny_cache: Path, micro_run: Path, tmp_path: Path
) -> None:
    for stage in before:
        shutil.copytree(micro_run / stage, tmp_path / stage)
    child = subprocess.run(
        [sys.executable, SUPPORT / "train_child.py", tiny_cache, tmp_path, name],
        env=os.environ | {"DIE_AT": "3", "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert (tmp_path / name / STATE_FILE).exists() and not (tmp_path / name / MODEL_FILE).exists()
    (tmp_path / name / ".state.pt.0123456789ab.tmp").write_bytes(b"half a state")
    micro_train(tiny_cache, tmp_path, stage=name, resume=True)
    assert losses(tmp_path, name) == losses(micro_run, name)
    ours, theirs = (load_file(run / name / MODEL_FILE) for run in (tmp_path, micro_run))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_run_killed_before_its_first_save_starts_again(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pbnet"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"step": 1, "total": 99}\n[]\n')
    micro_train(tiny_cache, tmp_path, stage="pbnet", resume=True)
    assert losses(tmp_path, "pbnet") == losses(micro_run, "pbnet")


def test_a_second_run_into_the_same_folder_is_refused_and_changes_nothing(tiny_cache: Path, tmp_path: Path) -> None:
    micro_train(tiny_cache, tmp_path, stage="pbnet")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=r"already holds a training run.*--resume"):
        micro_train(tiny_cache, tmp_path, "pbnet.loop.steps=9", stage="pbnet")
    with pytest.raises(InputError, match="already holds"):  # `all` finds out before it trains the LFG
        micro_train(tiny_cache, tmp_path)
    with pytest.raises(InputError, match="other settings"):
        micro_train(tiny_cache, tmp_path, "pbnet.loop.steps=9", stage="pbnet", resume=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_another_seed_or_cache_is_refused_on_resume(tiny_cache: Path, tmp_path: Path) -> None:
    micro_train(tiny_cache, tmp_path / "run", stage="pbnet")
    with pytest.raises(InputError, match="started with seed 0, not 1"):
        micro_train(tiny_cache, tmp_path / "run", stage="pbnet", resume=True, seed=1)
    other = write_tiny_cache(tmp_path / "cache", size=48)
    with pytest.raises(InputError, match="started with cache"):
        micro_train(other, tmp_path / "run", stage="pbnet", resume=True)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_number_that_is_none_is_named_with_step_and_clips(
    where: str, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A square root's gradient at 0 is infinite while its value is fine."""
    real = PBNetStage.losses

    def bad(self, batch, generator):  # type: ignore[no-untyped-def]
        terms = real(self, batch, generator)
        if int(batch["step"][0]) == 2:
            poison = torch.nan if where == "loss" else (terms["rc"] * 0).sqrt()
            terms = terms | {
                "total": terms["total"] + poison,
                "rc": terms["rc"] * (poison if where == "loss" else 1),
            }
        return terms

    batch = PBNetStage.batch
    monkeypatch.setattr(PBNetStage, "batch", lambda self, step: batch(self, step) | {"step": torch.full((4,), step)})
    monkeypatch.setattr(PBNetStage, "losses", bad)
    with pytest.raises(TrainingError) as caught:
        micro_train(tiny_cache, tmp_path, stage="pbnet")
    text = str(caught.value)
    assert text.startswith("pbnet, step 3: ") and "\n" not in text
    assert ("total, rc not finite" if where == "loss" else ": grad_norm not finite") in text
    assert "batch of c" in text and "--set pbnet.loop.learning_rate=" in text
    state = torch.load(tmp_path / "pbnet" / STATE_FILE, weights_only=True)
    assert state["step"] == 2 and all(v.isfinite().all() for v in state["module"].values())


@pytest.mark.parametrize(
    ("field", "stage", "workers"),
    [("landmarks", "a2v-1", 0), ("pose", "a2v-1", 1), ("blink", "pbnet", 0), ("logmel", "pbnet", 1)],
)
def test_a_clip_whose_numbers_are_none_is_named_also_from_a_loaders_process(
    field: str, stage: str, workers: int, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mask of NaN is empty and a loss without it finite: training would go on without the lips."""

    def poisoned(number: int, **kinds: int) -> dict[str, np.ndarray]:
        clip = tiny_clip(number, **kinds)
        clip[field][:] = np.nan
        return clip

    monkeypatch.setattr("tiny_cache.tiny_clip", poisoned)
    cache = write_tiny_cache(tmp_path / "cache")
    shutil.copytree(micro_run / "lfg", tmp_path / "run" / "lfg")
    key = stage.replace("-", "_")
    with pytest.raises(InputError, match=rf"^clip c\d: {field} has values that are not finite\. Prepare.*[^\n]$"):
        micro_train(cache, tmp_path / "run", f"{key}.loop.workers={workers}", stage=stage)


def test_a_diverging_run_stops_instead_of_training_on_nothing(tiny_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not finite"):
        micro_train(tiny_cache, tmp_path, "pbnet.loop.learning_rate=1e30", stage="pbnet")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("lfg.loop.steps=0", "lfg.loop.steps"),
        ("lfg.loop.learning_rate=-1", "lfg.loop.learning_rate"),
        ("lfg.loop.learning_rate=.inf", "lfg.loop.learning_rate"),
        ("lfg.loop.learning_rate=.nan", "lfg.loop.learning_rate"),
        ("pbnet.loop.betas=[0.9, 1.5]", "pbnet.loop.betas.1"),
        ("a2v_1.loop.ema=1", "a2v_1.loop.ema"),
        ("a2v_1.loop.accumulate=3", "a2v_1.loop"),
        ("a2v_2.min_frames=9", "a2v_2"),
        ("a2v_1.model.dim=10", "a2v_1.model"),
        ("a2v_1.model.head_dim=5", "a2v_1.model"),
        ("a2v_1.model.null_probability=2", "a2v_1.model.null_probability"),
        ("pbnet.frames=5", "pbnet.frames"),
        ("lfg.jitter.hue=0.9", "lfg.jitter.hue"),
        ("lfg.lop.steps=3", "lfg.lop"),
        ("lfg.loop.steps=many", "lfg.loop.steps"),
        ("lfg=3", "lfg"),
        ("lfg.loop.steps=[1", "lfg.loop.steps"),
        ("steps", "steps"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_in_one_line_that_names_it(text: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        micro_settings(text)
    assert key in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_cache_is_refused(tmp_path: Path) -> None:
    import pandas as pd

    cache = write_tiny_cache(tmp_path / "cache")
    index = pd.read_parquet(cache / "index.parquet")
    index["status"] = "quarantined"
    index.to_parquet(cache / "index.parquet")
    with pytest.raises(InputError, match="no usable clip"):
        micro_train(cache, tmp_path / "run")
