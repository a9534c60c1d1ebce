"""Micro-batches where the settings leave their number open: as few as fit the free memory of a GPU, and said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pretended.device import pretended_cuda

from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.training import micro_batches as module
from dawn_bench.training.memory import advice, free_bytes
from dawn_bench.training.micro_batches import USABLE, fewest, micro_batches
from dawn_bench.training.resume import CONFIG_FILE, claim
from dawn_bench.training.stage import KnowsItsMemory, LoopConfig

GIB = 2**30


class Heavy:
    """A stage of 3 GiB a row."""

    def __init__(self, **loop: Any) -> None:
        self.name, self.loop = "heavy", LoopConfig(**({"batch_size": 40} | loop))

    def saved_bytes(self, batch: int) -> int | None:
        return 3 * GIB * batch


def chosen(stage: Any, free: float, *, device: str = "cuda:1", optimizers: Any = (), before: Any = None) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "free_bytes", lambda device: free * GIB)
        return micro_batches(stage, optimizers, device=device, before=before)


@pytest.mark.parametrize(
    ("free", "number"),
    [(121 / USABLE, 1), (119 / USABLE, 2), (61 / USABLE, 2), (59 / USABLE, 3), (3.1 / USABLE, 40), (1, 40)],
)
def test_the_fewest_that_fit_are_taken(free: float, number: int) -> None:
    """Two parts have 20 rows, three at most 14, forty one row each: no smaller ones exist."""
    assert chosen(Heavy(), free) == fewest(Heavy(), 40, free=free * GIB) == number


def test_a_number_of_the_settings_wins(capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen(Heavy(accumulate=1), 1) == 1 and chosen(Heavy(accumulate=4), 500) == 4
    assert not capsys.readouterr().err


def test_the_cpu_and_stages_that_do_not_know_take_the_batch_whole() -> None:
    unknown = Heavy()
    unknown.saved_bytes = lambda batch: None  # type: ignore[method-assign]
    assert chosen(Heavy(), 1, device="cpu") == chosen(unknown, 1) == 1
    assert chosen(SimpleNamespace(name="light", loop=LoopConfig()), 1) == 1
    assert isinstance(Heavy(), KnowsItsMemory)


def test_the_choice_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    chosen(Heavy(), 100)
    line = " ".join(capsys.readouterr().err.split())
    assert line.startswith("heavy: 2 micro-batches of up to 20 items a step on cuda:1: a batch of 40 saves 120.0 GiB")
    assert line.endswith("and 100.0 GiB are free")
    assert chosen(Heavy(), 500) == 1 and not capsys.readouterr().err


def test_each_of_several_processes_takes_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """And all the number of the one with the least memory."""
    monkeypatch.setattr(module, "world_size", lambda: 4)
    monkeypatch.setattr(module, "largest", lambda number: max(number, 2))
    assert chosen(Heavy(), 61 / USABLE) == 2 and chosen(Heavy(), 11 / USABLE) == 4


@pytest.mark.parametrize("device", ["cuda:1", "cpu"])
def test_a_run_that_goes_on_keeps_its_number_where_it_fits(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {"processes": 1, "accumulate": 4}
    assert chosen(Heavy(), 500, device=device, before=before) == 4
    assert chosen(Heavy(accumulate=4), 500, device=device, before=before) == 4
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "free", "number", "line"),
    [
        ((1, 4), 16 / USABLE, 8, "1 x 4 before, 1 x 8 now"),  # rows of five fit, of ten do not
        ((8, 1), 500, 1, "8 x 1 before, 1 x 1 now"),
        ((2, 4), 500, 1, "2 x 4 before, 1 x 1 now"),
    ],
)
def test_another_division_of_a_run_that_goes_on_is_said(
    before: tuple[int, int], free: float, number: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chosen(Heavy(), free, before=dict(zip(("processes", "accumulate"), before, strict=True))) == number
    said = " ".join(capsys.readouterr().err.split())
    assert f"heavy: processes x micro-batches: {line}; batch norm and dropout see other parts" in said


def test_gradients_and_moments_to_come_are_set_aside() -> None:
    """2 GiB of weights need 2 of gradients and 4 of moments, which a restored optimiser has already."""
    weights = torch.nn.Parameter(torch.empty(GIB // 2, device="meta"))
    optimizer = torch.optim.AdamW([weights])
    assert chosen(Heavy(), 119.9 / USABLE + 6, optimizers=[optimizer]) == 2
    assert chosen(Heavy(), 120.1 / USABLE + 6, optimizers=[optimizer]) == 1
    optimizer.state[weights] = {"step": torch.zeros(())}
    assert chosen(Heavy(), 120.1 / USABLE + 2, optimizers=[optimizer]) == 1
    assert chosen(Heavy(), 119.9 / USABLE + 2, optimizers=[optimizer]) == 2


def test_free_memory_includes_what_pytorch_keeps() -> None:
    with pretended_cuda(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 80))
        patch.setattr(torch.cuda, "memory_reserved", lambda device: 7)
        patch.setattr(torch.cuda, "memory_allocated", lambda device: 4)
        assert free_bytes("cuda:1") == 13


def test_advice_goes_on_from_the_number_that_was_chosen() -> None:
    stage: Any = SimpleNamespace(loop=LoopConfig(batch_size=40), config=SimpleNamespace())
    assert "accumulate=2 " in advice(stage, key="a", device="cpu")
    assert "accumulate=4 " in advice(stage, key="a", device="cpu", accumulate=3)


class Settings(Config):
    loop: LoopConfig = LoopConfig()


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """It wrote 1 where the settings now leave the number open. Another number is another run."""
    (tmp_path / CONFIG_FILE).write_text("loop:\n  accumulate: 1\n")
    claim(tmp_path, Settings(), resume=True)
    with pytest.raises(InputError, match=r"loop.accumulate 1, not 2"):
        claim(tmp_path, Settings(loop=LoopConfig(accumulate=2)), resume=True)
    (tmp_path / CONFIG_FILE).write_text("loop:\n  accumulate: 2\n")
    with pytest.raises(InputError, match=r"loop.accumulate 2, not None"):
        claim(tmp_path, Settings(), resume=True)
