"""Any batch is shared by any number of processes and micro-batches: together they are the whole batch."""

from __future__ import annotations

import math

import pytest
import torch

from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.training.shares import largest_part, parts

#: Batch sizes of every stage of every preset of every model, with its variants.
BATCHES = sorted(
    {
        getattr(settings, stage_key(stage)).loop.batch_size
        for spec in (MODELS[name] for name in MODELS)
        for preset in spec.presets
        for settings in (spec.preset(preset),)
        for stage in spec.stages
        if getattr(settings, stage_key(stage)) is not None
    }
)


def of_all(batch: int, processes: int, accumulate: int) -> list[list]:  # type: ignore[type-arg]
    return [parts(batch, process=p, processes=processes, accumulate=accumulate) for p in range(processes)]


def test_the_presets_have_batches_that_do_not_divide_evenly() -> None:
    assert {82, 20, 40} <= set(BATCHES)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 7])
@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("batch", BATCHES)
def test_the_parts_of_all_processes_are_the_batch(batch: int, processes: int, accumulate: int) -> None:
    shares = of_all(batch, processes, accumulate)
    real = [part for share in shares for part in share if math.isfinite(part.divisor)]
    rows = [row for part in real for row in range(batch)[part.rows]]
    assert rows == list(range(batch))
    counts = [sum(len(range(batch)[part.rows]) for part in share if math.isfinite(part.divisor)) for share in shares]
    assert max(counts) - min(counts) <= 1 and all(share for share in shares)
    assert max(len(range(batch)[part.rows]) for part in real) == largest_part(
        batch, processes=processes, accumulate=accumulate
    )
    assert len({part.index for share in shares for part in share}) == sum(map(len, shares)), "they share dropout"
    assert all(len(share) <= accumulate for share in shares)
    sizes = [len(range(batch)[part.rows]) for part in real]
    assert all(size > 0 for size in sizes)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize("batch", BATCHES)
def test_loss_and_gradient_are_those_of_the_whole_batch(batch: int, processes: int, accumulate: int) -> None:
    """Summed over the parts of a process, then averaged over processes, as the loop and DistributedDataParallel do."""
    generator = torch.Generator().manual_seed(batch)
    x, weight = torch.randn(batch, 5, generator=generator, dtype=torch.float64), torch.ones(5, dtype=torch.float64)

    def loss(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (rows @ weight).sin().square().mean()

    whole = weight.clone().requires_grad_()
    loss(x, whole).backward()
    value, gradients = 0.0, []
    for share in of_all(batch, processes, accumulate):
        own = weight.clone().requires_grad_()
        for part in share:
            mine = loss(x[part.rows], own) / part.divisor
            mine.backward()
            value += mine.item() / processes
        gradients.append(own.grad)
    assert value == pytest.approx(loss(x, weight).item(), rel=1e-12)
    torch.testing.assert_close(torch.stack(gradients).mean(0), whole.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("batch", "processes", "accumulate"), [(8, 1, 1), (8, 2, 2), (40, 4, 5)])
def test_even_parts_are_divided_by_their_number_alone(batch: int, processes: int, accumulate: int) -> None:
    """No other rounding than that of earlier versions: their runs go on bit by bit."""
    divisors = {part.divisor for share in of_all(batch, processes, accumulate) for part in share}
    assert divisors == {float(accumulate)}


def test_a_process_without_rows_takes_part_with_weight_zero() -> None:
    (idle,) = parts(4, process=5, processes=8, accumulate=2)
    assert (idle.rows, idle.divisor) == (slice(3, 4), math.inf)
