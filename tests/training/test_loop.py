"""The training loop: same numbers after a stop, with loader workers, in parts and in several processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from micro import losses, micro_settings, micro_train
from ranks import train_in_group
from safetensors.torch import load_file

from dawn_bench.cache import Cache
from dawn_bench.models.spec import MODELS
from dawn_bench.training import loop as loop_module
from dawn_bench.training.loop import MODEL_FILE, STATE_FILE, learning_rate
from dawn_bench.training.stage import LoopConfig


def _weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(run / stage / MODEL_FILE)


def _same(first: Path, second: Path, stage: str) -> None:
    """Bit-identical logs and checkpoints."""
    assert losses(first, stage) == losses(second, stage)
    ours, theirs = _weights(first, stage), _weights(second, stage)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.fixture
def with_lfg(micro_run: Path, tmp_path: Path) -> Path:
    """A run folder that holds only the trained LFG."""
    shutil.copytree(micro_run / "lfg", tmp_path / "run" / "lfg")
    return tmp_path / "run"


class _Stop(Exception):
    pass


@pytest.mark.parametrize("stage", ["lfg", "a2v-2", "pbnet"])
def test_an_interrupted_run_resumes_with_bit_identical_losses(
    stage: str, tiny_cache: Path, micro_run: Path, with_lfg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage == "lfg":
        shutil.rmtree(with_lfg / "lfg")
    if stage == "a2v-2":
        shutil.copytree(micro_run / "a2v-1", with_lfg / "a2v-1")
    real = loop_module._one_step

    def stopping(*arguments, step: int, **named):  # type: ignore[no-untyped-def]
        if step == 3:
            raise _Stop
        return real(*arguments, step=step, **named)

    monkeypatch.setattr(loop_module, "_one_step", stopping)
    with pytest.raises(_Stop):
        micro_train(tiny_cache, with_lfg, stage=stage)
    monkeypatch.undo()
    assert [line["step"] for line in losses(with_lfg, stage)] == [1, 2, 3]  # one more than the saved state has
    assert not (with_lfg / stage / MODEL_FILE).exists()
    micro_train(tiny_cache, with_lfg, stage=stage, resume=True)
    assert len(losses(micro_run, stage)) == 4
    _same(micro_run, with_lfg, stage)


def test_resuming_a_finished_run_changes_nothing(tiny_cache: Path, tmp_path: Path) -> None:
    micro_train(tiny_cache, tmp_path, stage="pbnet")
    log, before = losses(tmp_path, "pbnet"), _weights(tmp_path, "pbnet")
    micro_train(tiny_cache, tmp_path, stage="pbnet", resume=True)
    assert losses(tmp_path, "pbnet") == log
    assert all(torch.equal(before[k], v) for k, v in _weights(tmp_path, "pbnet").items())


def test_loader_workers_change_no_loss(tiny_cache: Path, micro_run: Path, with_lfg: Path) -> None:
    micro_train(tiny_cache, with_lfg, "a2v_1.loop.workers=2", stage="a2v-1")
    _same(micro_run, with_lfg, "a2v-1")


def test_another_seed_is_another_run(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    micro_train(tiny_cache, tmp_path, stage="pbnet", seed=1)
    assert losses(tmp_path, "pbnet")[0]["total"] != losses(micro_run, "pbnet")[0]["total"]


#: The rate is small because Adam turns the last bits of gradients near 0 into whole steps.
EXACT = ("a2v_1.loop.learning_rate=0.00001", "pbnet.loop.learning_rate=0.00001")


def _near(first: Path, second: Path, stage: str) -> None:
    """Losses of every step to float32's last digits, and the gradient's norm where both start from the same weights:
    later, Adam has turned the order of sums in near-zero gradients into different whole steps."""
    for step, (ours, theirs) in enumerate(zip(losses(first, stage), losses(second, stage), strict=True)):
        norms = ours.pop("grad_norm"), theirs.pop("grad_norm")
        if step == 0:
            assert norms[0] == pytest.approx(norms[1], rel=2e-4)
        assert ours == pytest.approx(theirs, rel=2e-4)
        assert ours["total"] == pytest.approx(theirs["total"], rel=1e-5)


def test_accumulated_parts_are_the_whole_batch(tiny_cache: Path, with_lfg: Path, tmp_path: Path) -> None:
    """Noise, timesteps, dropped conditions and colours are those of the whole batch."""
    other = tmp_path / "parts"
    shutil.copytree(with_lfg, other)
    micro_train(tiny_cache, with_lfg, *EXACT, stage="a2v-1")
    micro_train(tiny_cache, other, *EXACT, "a2v_1.loop.accumulate=2", stage="a2v-1")
    _near(with_lfg, other, "a2v-1")


def test_two_processes_are_one_with_the_whole_batch(tiny_cache: Path, with_lfg: Path, tmp_path: Path) -> None:
    """gloo on the CPU: A2V-FDM like one batch; PBNet, whose dropout and batch norm see parts, like two parts."""
    two = tmp_path / "two"
    shutil.copytree(with_lfg, two)
    train_in_group(2, "dawn", tiny_cache, two, ["a2v-1", "pbnet"], *EXACT)
    micro_train(tiny_cache, with_lfg, *EXACT, stage="a2v-1")
    micro_train(tiny_cache, with_lfg, *EXACT, "pbnet.loop.accumulate=2", stage="pbnet")
    _near(with_lfg, two, "a2v-1")
    _near(with_lfg, two, "pbnet")


def test_the_moving_average_is_what_is_saved(tiny_cache: Path, with_lfg: Path) -> None:
    """With decay 0.5 after four steps, by hand: w1, then halfway to each next one."""
    seen = []
    build = MODELS["dawn"].stages["a2v-1"]
    stage = build(Cache(tiny_cache), _fitted(tiny_cache), run=with_lfg, seed=0, device="cpu")
    name = "diffusion.denoise_fn.init_conv.weight"
    real = loop_module._one_step

    def noting(stage, module, *arguments, **named):  # type: ignore[no-untyped-def]
        values = real(stage, module, *arguments, **named)
        seen.append(module.state_dict()[name].clone())
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "_one_step", noting)
        loop_module.fit(stage, out=with_lfg / "a2v-1", seed=0, device="cpu", resume=False, provenance={})
    average = seen[0]
    for weights in seen[1:]:
        average = (average + weights) / 2
    saved = _weights(with_lfg, "a2v-1")[name]
    torch.testing.assert_close(saved, average)
    assert not torch.equal(saved, seen[-1])


def _fitted(cache: Path):  # type: ignore[no-untyped-def]
    from dawn_bench.models.dawn.presets import fit_to_cache

    return fit_to_cache(micro_settings(), Cache(cache))


def test_the_log_gives_the_share_of_time_spent_waiting(micro_run: Path) -> None:
    lines = [json.loads(line) for line in (micro_run / "lfg" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["data_share"] < 1 for line in lines)
    assert {"step", "total", "picture", "grad_norm"} <= lines[0].keys()


def test_the_learning_rate_warms_up_and_falls_to_its_floor() -> None:
    loop = LoopConfig(steps=110, warmup=10, learning_rate=1.0, final_learning_rate=0.1)
    rates = [learning_rate(loop, step) for step in range(111)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55) and rates[110] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_state_is_written_whole(micro_run: Path) -> None:
    state = torch.load(micro_run / "lfg" / STATE_FILE, weights_only=True)
    assert state["step"] == 4 and state["origin"]["seed"] == 0
    assert not list(micro_run.rglob("*.part"))
