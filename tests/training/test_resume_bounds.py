"""Where a run continues: at the saved step exactly, with the log up to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dawn_bench.errors import InputError
from dawn_bench.training.logger import drop_after
from dawn_bench.training.resume import MODEL_FILE, STATE_FILE, restore, save_state, saved_division, saved_step

ORIGIN = {"seed": 3, "cache": "x"}


@pytest.mark.parametrize("step", [0, 1, 4, 7, 8, 9])
def test_the_log_is_kept_up_to_the_saved_step(step: int, tmp_path: Path) -> None:
    lines = [f'{{"step": {k}, "loss": 0.5}}' for k in range(1, 9)]
    (tmp_path / "log").write_text("\n".join([*lines, '{"step": 2, "lo']))
    drop_after(tmp_path / "log", step)
    assert (tmp_path / "log").read_text().splitlines() == lines[:step]


def test_a_state_goes_on_at_its_step_and_not_past_the_steps_asked_for(tmp_path: Path) -> None:
    trained = torch.nn.Linear(2, 2)
    rates = torch.optim.AdamW(trained.parameters(), lr=0.5)
    trained(torch.ones(1, 2)).sum().backward()
    rates.step()
    save_state(tmp_path / STATE_FILE, 6, trained, [rates], None, ORIGIN)
    assert saved_step(tmp_path / STATE_FILE) == 6

    def at(steps: int, **origin: object) -> tuple[int, torch.nn.Linear, torch.optim.Optimizer]:
        module = torch.nn.Linear(2, 2)
        own = torch.optim.AdamW(module.parameters(), lr=0.25)
        step = restore(tmp_path, module, [own], None, origin=ORIGIN | origin, steps=steps)
        return step, module, own

    for steps in (6, 7):
        step, module, own = at(steps)
        assert step == 6 and torch.equal(module.weight, trained.weight)
        moments = own.state[module.weight]
        assert moments["step"] == 1 and torch.equal(moments["exp_avg"], rates.state[trained.weight]["exp_avg"])
        assert own.param_groups[0]["lr"] == 0.25  # that of the settings
    with pytest.raises(InputError, match="at step 6 already, past the 5 asked for"):
        at(5)
    for name in ORIGIN:
        with pytest.raises(InputError, match=f"was started with {name} {ORIGIN[name]}, not 4"):
            at(6, **{name: 4})


def test_a_state_knows_how_batches_were_divided(tmp_path: Path) -> None:
    file, module = tmp_path / STATE_FILE, torch.nn.Linear(1, 1)
    assert saved_division(file) == {}
    save_state(file, 1, module, [], None, ORIGIN, {"processes": 2, "accumulate": 4})
    assert saved_division(file) == {"processes": 2, "accumulate": 4}
    state = torch.load(file, weights_only=True)
    for other in ({}, {"processes": 2}, {"processes": 2, "accumulate": 0}, 4):
        torch.save(state | {"division": other}, file)
        assert saved_division(file) == {}
    del state["division"]  # as earlier versions wrote it
    torch.save(state, file)
    assert saved_division(file) == {} and restore(tmp_path, module, [], None, origin=ORIGIN, steps=1) == 1


@pytest.mark.parametrize("model", [False, True])
def test_a_run_without_a_state_begins_unless_there_is_a_model(model: bool, tmp_path: Path) -> None:
    if model:
        (tmp_path / MODEL_FILE).touch()
    try:
        assert restore(tmp_path, torch.nn.Linear(1, 1), [], None, origin={}, steps=1) == 0 and not model
    except InputError as error:
        assert model and "holds a trained model" in str(error)
