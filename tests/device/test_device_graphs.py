"""A short clip's diffusion steps are one start each from the third on, with the numbers of the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended.device import pretended_cuda
from torch import Tensor

from dawn_bench.baselines.methods.dawn import source_of
from dawn_bench.cache import Cache
from dawn_bench.models.dawn.fast import captured as module
from dawn_bench.models.dawn.fast.captured import Captured, captured
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.options import SamplingOptions

DEVICE = "cuda:1"


def talk(run: Path, cache: Path, device: str, **options: Any) -> np.ndarray:
    clip = Cache(cache).clips("test")[0]
    generator = DawnGenerator.load(run, device=device)
    return generator.talk(source_of(clip), clip["logmel"][:6], seed=3, options=SamplingOptions(**options))


@pytest.mark.parametrize("options", [{"cond_scale": 2.0, "solver": "dpm2m"}, {"precision": "bf16"}], ids=str)
def test_a_clip_of_replayed_steps_is_that_of_the_cpu(
    options: dict[str, Any], untrained: Callable[[str], Path], tiny_cache: Path
) -> None:
    run = untrained("dawn")
    theirs = talk(run, tiny_cache, "cpu", steps=5, **options)
    with pretended_cuda() as record:
        ours = talk(run, tiny_cache, DEVICE, steps=5, **options)
    clips = 2 if "cond_scale" in options else 1
    assert record.operations["graph"] == 4 * clips and set(record.devices) == {1}
    between = np.abs(ours.astype(int) - theirs)
    if "precision" in options:  # activations are rounded on CUDA too: within what bfloat16 does to the CPU's clip
        assert between.mean() < np.abs(theirs.astype(int) - talk(run, tiny_cache, "cpu", steps=5)).mean()
    else:
        assert between.max() <= 1


def test_a_replayed_step_starts_few_kernels(untrained: Callable[[str], Path], tiny_cache: Path) -> None:
    launches: list[int] = []
    for steps in (2, 2, 6):  # the first also loads
        with pretended_cuda() as record:
            talk(untrained("dawn"), tiny_cache, DEVICE, steps=steps)
        launches.append(record.launches)
    each = (launches[2] - launches[1]) / 4
    assert launches[1] > 500 and each < 30
    assert record.operations["convolution"] > 40


def on_device(x: Tensor) -> Tensor:
    return x.to(DEVICE)


def test_inputs_are_those_of_the_call_and_results_are_not_overwritten() -> None:
    with pretended_cuda():
        step = Captured(lambda x, t: (x * 2).add_(t))
        inputs = [(on_device(torch.randn(3, 2, 4, 4)), on_device(torch.tensor([n]))) for n in range(5)]
        outputs = [step(x, t) for x, t in inputs]
        for (x, t), out in zip(inputs, outputs, strict=True):
            assert torch.equal(out.cpu(), x.cpu() * 2 + t.cpu())


def test_a_step_that_waits_is_refused_and_runs_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    module._say.cache_clear()

    def waiting(x: Tensor, t: Tensor) -> Tensor:
        return x * int(t)

    with pretended_cuda() as record, caplog.at_level(logging.WARNING, logger=module.__name__):
        for _ in range(2):
            step = Captured(waiting)
            for n in range(4):
                x = torch.randn(3, 2, 4, 4)
                assert torch.equal(step(on_device(x), on_device(torch.tensor([n]))).cpu(), x * n)
    said = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    assert len(said) == 1 and said[0].startswith("the U-Net runs without a CUDA graph (operation not permitted")
    assert not record.operations["graph"]


def test_only_short_clips_on_cuda_are_recorded() -> None:
    def step(x: Tensor, t: Tensor) -> Tensor:
        return x

    cuda, cpu = torch.device("cuda:0"), torch.device("cpu")
    assert captured(step, frames=8, device=cpu) is step
    assert captured(step, frames=module.LONGEST + 1, device=cuda) is step
    assert isinstance(captured(step, frames=module.LONGEST, device=cuda), Captured)


def test_the_harness_keeps_what_the_host_computed_in_the_recording() -> None:
    """A factor of Python stays that of the recording, as on CUDA."""
    factors = iter([1, 2, 3])
    with pretended_cuda():
        step = Captured(lambda x, t: x * next(factors))
        x, t = on_device(torch.ones(3, 1, 1, 1)), on_device(torch.tensor([0]))
        assert [float(step(x, t).cpu()[0, 0, 0, 0]) for _ in range(4)] == [1, 2, 2, 2]
