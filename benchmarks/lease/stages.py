"""Steps per second and peak memory of one training stage, from the start and after it is resumed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from world import Lease, build_stage, say

from dawn_bench.training.loop import fit

#: Steps of each half, and those of them that do not count.
STEPS, WARM = 6, 2


def main(lease: Lease, stage: str) -> int:
    """Two lines; 1 where the stage does not train."""
    model, name = stage.split(":")
    out = lease.folder / "stages" / name
    shutil.rmtree(out, ignore_errors=True)
    half, warm = (3, 1) if lease.tiny else (STEPS, WARM)
    for resume, steps in ((False, half), (True, 2 * half)):
        built = build_stage(lease, model, name, *_loop(steps, tiny=lease.tiny))
        torch.cuda.reset_peak_memory_stats()
        with _times() as times:
            fit(built, out=out, seed=0, device=lease.device, resume=resume, provenance={})
        torch.cuda.synchronize()
        rate = (len(times) - 1 - warm) / max(times[-1] - times[warm], 1e-9)
        peak = torch.cuda.max_memory_allocated() / 2**30
        loop = built.loop
        say(
            f"{stage:22} {'resumed' if resume else 'started'}  {rate:7.2f} steps/s of {loop.batch_size}"
            f"  peak {peak:6.1f} GiB  {'bfloat16' if loop.amp else 'float32'}"
        )
    return 0


def _loop(steps: int, *, tiny: bool) -> list[str]:
    plain = [f"loop.steps={steps}", "loop.decay_steps=1000", "loop.warmup=0", "loop.save_every=1000"]
    return [*plain, "loop.log_every=1", "loop.validate_every=null", f"loop.workers={0 if tiny else 4}"]


@contextmanager
def _times() -> Iterator[list[float]]:
    """When each step of the first optimiser ended, on the device too."""
    times: list[float] = []
    first: list[Any] = []

    def note(optimizer: Any, *_: Any) -> None:
        first[:] = first or [optimizer]
        if optimizer is first[0]:
            torch.cuda.synchronize()
            times.append(time.perf_counter())

    handle = register_optimizer_step_post_hook(note)
    try:
        yield times
    finally:
        handle.remove()
