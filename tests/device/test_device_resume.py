"""A stage that goes on on another GPU, or that moves from the CPU to a GPU: same numbers, no waits, its own device."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pretended.budget import STEP_WAITS, of_steps
from pretended.device import DeviceMismatch, pretended_cuda
from pretended.smallest import STAGES, log, train_stage

from dawn_bench.readers import read_torch
from dawn_bench.training.loop import MODEL_FILE, STATE_FILE, distributed

LOOP = (
    "loop.decay_steps=2", "loop.warmup=0", "loop.batch_size=2", "loop.log_every=1", "loop.save_every=1",
    "loop.validate_every=null",
)  # fmt: skip
ONE, TWO = (*LOOP, "loop.steps=1"), (*LOOP, "loop.steps=2")
#: Stages that share all their code with another one, or are resumed in test_device_training.py.
ALIKE = {"a2v-1", "a2v-2", "a2v-ttr", "vqgan-masked"}
Folder = Callable[[str], Path]


@pytest.mark.parametrize(
    ("model", "stage"), [pytest.param(*each, marks=[pytest.mark.slow] if each[1] in ALIKE else []) for each in STAGES]
)
def test_a_stage_goes_on_on_another_device(
    model: str, stage: str, cache_of: Folder, untrained: Folder, tmp_path: Path
) -> None:
    """From the first GPU to the second: nothing is put on the first, and no counter of AdamW is read by the host."""
    cache, before = cache_of(model), untrained(model)
    expected = train_stage(model, stage, cache, tmp_path / "cpu", *TWO, before=before, device="cpu")
    with pretended_cuda() as record:
        train_stage(model, stage, cache, tmp_path / "gpu", *ONE, before=before, device="cuda:0")
        saved = torch.load(tmp_path / "gpu" / stage / STATE_FILE, weights_only=True)["optimizers"]
        counters = {state["step"].device for each in saved for state in each["state"].values()}
        assert counters == {torch.device("cuda:0")}, "a fused optimiser counts on its device"
        del saved, counters
        record.clear()
        ours = train_stage(model, stage, cache, tmp_path / "gpu", *TWO, before=before, device="cuda:1", resume=True)
        assert set(record.devices) == {1}
        assert of_steps(record.blocking(), steps=1) == STEP_WAITS[f"{model} {stage}"], "waits more after --resume"
    assert_same(ours, expected)
    assert log(tmp_path / "gpu", stage)[-1]["total"] == pytest.approx(
        log(tmp_path / "cpu", stage)[-1]["total"], rel=1e-4
    )


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda:1"), ("cuda:1", "cpu")])
def test_a_run_moves_between_processor_and_gpu(
    first: str, second: str, cache_of: Folder, untrained: Folder, tmp_path: Path
) -> None:
    """The counters of AdamW go where the optimiser of the device wants them: two optimisers, PBNet's."""
    cache, before = cache_of("dawn"), untrained("dawn")
    expected = train_stage("dawn", "pbnet", cache, tmp_path / "one", *TWO, before=before, device="cpu")
    run = tmp_path / "run"
    with pretended_cuda() as record:
        train_stage("dawn", "pbnet", cache, run, *ONE, before=before, device=first)
        record.clear()
        ours = train_stage("dawn", "pbnet", cache, run, *TWO, before=before, device=second, resume=True)
        assert set(record.devices) == ({1} if second == "cuda:1" else set())
        if second == "cuda:1":
            assert of_steps(record.blocking(), steps=1) == STEP_WAITS["dawn pbnet"]
        saved = torch.load(run / "pbnet" / STATE_FILE, weights_only=True)["optimizers"]
    assert {group["fused"] for each in saved for group in each["param_groups"]} == {True if second != "cpu" else None}
    counters = {str(state["step"].device) for each in saved for state in each["state"].values()}
    assert len(saved) == 2 and counters == {second}
    assert_same(ours, expected)


def test_a_rank_of_several_goes_on_on_its_own_device(
    cache_of: Folder, untrained: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is that of rank 0 on the first GPU; rank 1 puts all of it on the second."""
    cache, before, run = cache_of("dawn"), untrained("dawn"), tmp_path / "run"
    with pretended_cuda() as record:
        train_stage("dawn", "pbnet", cache, run, *ONE, before=before, device="cuda:0")
        record.clear()
        for name in ("init_process_group", "barrier", "destroy_process_group"):
            monkeypatch.setattr(f"torch.distributed.{name}", lambda *_, **__: None)
        monkeypatch.setattr("torch.distributed.new_group", lambda **_: None)
        monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor, **_: tensor.mul_(2))
        monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
        for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
            monkeypatch.setenv(name, value)
        shutil.copytree(run, tmp_path / "other", symlinks=True)
        train_stage("dawn", "pbnet", cache, tmp_path / "other", *TWO, before=before, device="cuda", resume=True)
        assert set(record.devices) == {1} and record.reduced["gradient", "training/loop.py:_one_step"] > 10


def test_the_device_of_a_single_process_is_the_current_one_while_it_trains() -> None:
    """Memory is pinned for the current device, and cuDNN's handles belong to it."""
    with pretended_cuda():
        for device, index in (("cuda:1", 1), ("cuda", 0), ("cpu", 0)):
            with distributed(device) as own:
                assert (own, torch.cuda.current_device()) == (device, index)
            assert torch.cuda.current_device() == 0


def test_a_counter_that_stays_on_the_cpu_is_refused() -> None:
    """As the fused kernel refuses it."""
    with pretended_cuda():
        weights = torch.nn.Parameter(torch.ones(3, device="cuda:1"))
        optimizer = torch.optim.AdamW([weights], fused=True)
        weights.grad = torch.ones(3, device="cuda:1")
        optimizer.step()
        optimizer.state[weights]["step"] = torch.ones(())
        with pytest.raises(DeviceMismatch, match="_fused_adamw_"):
            optimizer.step()


def assert_same(ours: Path, expected: Path) -> None:
    """The weights of two checkpoints agree."""
    assert ours.name == MODEL_FILE
    tensors, others = read_torch(ours), read_torch(expected)
    assert tensors.keys() == others.keys()
    for name, value in tensors.items():
        torch.testing.assert_close(value, others[name], rtol=1e-4, atol=1e-6)
