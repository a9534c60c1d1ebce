"""The training loop of every stage, on the CPU, one GPU, or several GPUs with `torchrun`.

The data and random numbers of a step are functions of (seed, step). On one CPU process a resumed run therefore has
bit-identical losses, and the number of loader workers changes nothing. Several processes or micro-batches share the
batch and noise of a step, evenly or not, and their mean loss, weighted by rows, is that of the whole batch, means over
masks included. Exceptions: batch norm, dropout and the adaptive weight of VQGAN's adversarial loss see micro-batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dawn_bench.errors import DawnBenchError
from dawn_bench.exact import float32_products
from dawn_bench.files import replacing
from dawn_bench.progress import meter
from dawn_bench.provenance import device_name, versions
from dawn_bench.stopping import deferred
from dawn_bench.training.data import Batch, batches
from dawn_bench.training.logger import LOG_FILE, TrainingLogger
from dawn_bench.training.masked_means import HasMaskedMeans, with_denominators
from dawn_bench.training.memory import TrainingError, explain_out_of_memory
from dawn_bench.training.micro_batches import micro_batches
from dawn_bench.training.processes import (
    Losses,
    average,
    barrier,
    distributed,
    parallel,
    rank,
    without_exchange,
    world_size,
)
from dawn_bench.training.resume import (
    CONFIG_FILE,
    MODEL_FILE,
    STATE_FILE,
    claim,
    restore,
    save_state,
    saved_division,
    write_model,
)
from dawn_bench.training.schedule import learning_rate
from dawn_bench.training.shares import parts
from dawn_bench.training.stage import LoopConfig, Stage
from dawn_bench.training.trackers import DEFAULT, TrackerName
from dawn_bench.training.validation import due

__all__ = [
    "CONFIG_FILE",
    "LOG_FILE",
    "MODEL_FILE",
    "STATE_FILE",
    "TrainingError",
    "claim",
    "distributed",
    "fit",
    "learning_rate",
    "rank",
]


def fit(
    stage: Stage,
    *,
    out: Path,
    seed: int,
    device: str,
    resume: bool,
    provenance: dict[str, Any],
    validation_split: str | None = None,
    track: Sequence[TrackerName] = DEFAULT,
) -> Path:
    """Train `stage` into the folder `out`; returns the checkpoint's path.

    The best checkpoint is chosen on clips of `validation_split` of the stage's cache, by default as `held_out` does.
    `track` names services that show the training besides its own logs (`dawn_bench.training.trackers`).

    Writes `config.yaml`, the logs and samples of `dawn_bench.training.logger`, `state.pt` (to resume) and
    `model.safetensors`. A finished stage is not trained again when `resume` is set; with more steps it is extended.
    Ctrl-C, SIGTERM and SIGHUP stop it after the current step, whose state is saved; a second one stops it at once.

    Raises `InputError` when `out` holds another run and `resume` is not set, or was made with other settings, another
    seed or another cache; `TrainingError` when a loss or a gradient becomes NaN or infinite, or memory runs out.
    """
    loop: LoopConfig = stage.loop
    claim(out, stage.config, resume=resume)
    origin = {"seed": seed, "cache": provenance.get("cache"), **getattr(stage, "origin", {})}
    facts = {"stage": stage.name, "seed": seed, "device": device_name(device), "versions": versions()}

    def save(path: Path, trained: nn.Module, step: int) -> None:
        training, stage.module = stage.module, trained
        stage.save(path, provenance | facts | {"steps": step})
        stage.module = training

    with explain_out_of_memory(stage, key=_key(stage), device=device):
        module = stage.module.to(device).train()
        optimizers = _optimizers(stage, device)
        mean = (
            AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(loop.ema), use_buffers=True) if loop.ema else None
        )
        start, before = 0, {}
        if resume:
            start = restore(out, module, optimizers, mean, origin=origin, steps=loop.steps)
            before = saved_division(out / STATE_FILE)
        barrier()  # all have read what rank 0 writes from here on
        if rank() == 0:
            _write_folder(stage, out)
        barrier()
        accumulate = loop.accumulate or before.get("accumulate", 1)
        if start < loop.steps:
            accumulate = micro_batches(stage, optimizers, device=device, before=before)
    division = {"processes": world_size(), "accumulate": accumulate}
    facts |= division
    with explain_out_of_memory(stage, key=_key(stage), device=device, accumulate=accumulate):
        if start < loop.steps:
            watch = None
            if rank() == 0:
                watch = TrainingLogger(stage, out, start=start, save=save, split=validation_split, track=track)
            # the whole of it: the backward pass and validation round as the forward pass does
            with (
                closing(watch) if watch is not None else nullcontext(),
                float32_products("tf32" if loop.tf32 else "ieee"),
            ):
                _steps(
                    stage, module, optimizers, mean, watch,
                    start=start, out=out, seed=seed, device=device, origin=origin, division=division,
                )  # fmt: skip
    if rank() == 0:
        result = mean.module if mean is not None else module
        finished = start == loop.steps
        write_model(out / MODEL_FILE, lambda path: save(path, result, loop.steps), steps=loop.steps, finished=finished)
    barrier()  # the next stage may read what rank 0 has just written
    return out / MODEL_FILE


def _steps(
    stage: Stage,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    mean: AveragedModel | None,
    watch: TrainingLogger | None,
    *,
    start: int,
    out: Path,
    seed: int,
    device: str,
    origin: dict[str, Any],
    division: dict[str, int],
) -> None:
    loop = stage.loop
    cuda = device.startswith("cuda")
    losses = parallel(stage)
    loader = batches(stage.batch, start=start, stop=loop.steps, workers=loop.workers, pin=cuda)
    waiting = time.perf_counter()
    spent = {"data": 0.0, "total": 0.0}
    done = saved = start
    # Only rank 0 shows progress. A process group stops at once: processes that stop after different steps would wait
    # for each other.
    with (
        deferred(enabled=world_size() == 1) as request,
        meter(f"train {stage.name}", total=loop.steps, unit="steps", done=start)
        if rank() == 0
        else nullcontext() as progress,
    ):
        iterator = iter(loader)
        for step in range(start, loop.steps):
            try:
                batch = next(iterator)
            except RuntimeError:
                if request.pending:  # the loader's processes got the signal too
                    break
                raise
            if isinstance(batch, DawnBenchError):
                raise batch
            began = time.perf_counter()
            spent["data"] += began - waiting
            values = _one_step(
                stage, module, optimizers, batch,
                losses=losses, accumulate=division["accumulate"], step=step, seed=seed, device=device,
            )  # fmt: skip
            if mean is not None:
                mean.update_parameters(module)
            spent["total"] += time.perf_counter() - waiting
            done = step + 1
            if watch is not None:
                if done % loop.log_every == 0 or done == loop.steps or step == 0:
                    watch.step(done, values, data_share=spent["data"] / spent["total"])
                if due(stage, done):
                    watch.validate(mean.module if mean is not None else module, done, device=device)
                if done % loop.save_every == 0 or done == loop.steps:
                    save_state(out / STATE_FILE, done, module, optimizers, mean, origin, division)
                    saved = done
            if due(stage, done) or done % loop.save_every == 0:
                barrier()  # while rank 0 validates and saves, the others do not wait in an exchange with a time-out
            if request.pending:
                break
            waiting = time.perf_counter()
            if progress is not None:
                progress.advance(note=f"loss {values['total']:.4g}")
        if watch is not None and request.pending and saved < done:
            save_state(out / STATE_FILE, done, module, optimizers, mean, origin, division)
        request.stop()


def _one_step(
    stage: Stage,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    batch: Batch,
    *,
    losses: Losses | nn.parallel.DistributedDataParallel,
    accumulate: int,
    step: int,
    seed: int,
    device: str,
) -> dict[str, float]:
    """One optimiser step over this process's parts of the batch; returns the mean of each loss and the gradient norm.

    The host waits for the device once, when it reads them.
    """
    loop = stage.loop
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(loop, step)
    totals: dict[str, Tensor] = {}
    count = len(batch["clip"])
    mine = parts(count, process=rank(), processes=world_size(), accumulate=accumulate)
    cut = world_size() > 1 or len(mine) > 1
    whole = stage.denominators(batch) if cut and isinstance(stage, HasMaskedMeans) else {}
    for part in mine:
        torch.manual_seed(_mix(seed + part.index, step))  # dropout draws from the global generator
        generator = torch.Generator(device=device).manual_seed(_mix(seed + 1, step))
        on_device = {k: v[part.rows].to(device, non_blocking=True) for k, v in batch.items()}
        on_device = with_denominators(on_device, whole, share=(part.rows.stop - part.rows.start) / count)
        with nullcontext() if part is mine[-1] else without_exchange(losses):
            with _precision(loop, device):
                values = losses(on_device, generator)
            (values["total"] / part.divisor).backward()
        for name, value in values.items():
            totals[name] = totals.get(name, 0.0) + value.detach().float() / part.divisor
    numbers = torch.stack(list(totals.values()))
    average(numbers)
    norms = {}
    for number, parameters in enumerate(stage.parameter_groups()):
        limit = loop.clip_norm if loop.clip_norm is not None and number == 0 else math.inf
        norms["grad_norm" if number == 0 else f"grad_norm_{number}"] = _clipped(parameters, limit, like=numbers)
    logged = dict(zip([*totals, *norms], torch.cat([numbers, torch.stack(list(norms.values()))]).tolist(), strict=True))
    bad = [name for name, value in logged.items() if not math.isfinite(value)]
    if bad:
        clips = ", ".join(dict.fromkeys(stage.ids[i] for i in batch["clip"].tolist()))
        raise TrainingError(
            f"{stage.name}, step {step + 1}: {', '.join(bad)} not finite, in a batch of {clips}. Start again in "
            f"another --out with a lower rate: --set {_key(stage)}.loop.learning_rate={loop.learning_rate / 4:g}"
        )
    for optimizer in optimizers:
        optimizer.step()
    return logged


def _clipped(parameters: list[nn.Parameter], limit: float, *, like: Tensor) -> Tensor:
    """Limit the norm of gradients; returns the norm before, on the device, 0 where there is no gradient."""
    if all(parameter.grad is None for parameter in parameters):
        return like.new_zeros(())  # PyTorch's is on the CPU
    return nn.utils.clip_grad_norm_(parameters, limit)


def _key(stage: Stage) -> str:
    """The key of this stage in `--set`."""
    return stage.name.replace("-", "_")


def _optimizers(stage: Stage, device: str) -> list[torch.optim.Optimizer]:
    """AdamW for each group of parameters: on CUDA in one kernel, which keeps its step counters on the GPU."""
    loop, fused = stage.loop, True if device.startswith("cuda") else None
    return [
        torch.optim.AdamW(p, lr=loop.learning_rate, betas=loop.betas, weight_decay=loop.weight_decay, fused=fused)
        for p in stage.parameter_groups()
    ]


def _precision(loop: LoopConfig, device: str) -> AbstractContextManager[None]:
    """bfloat16 where `amp` is set; it has the range of float32, so no loss scaling is needed."""
    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=loop.amp)


def _write_folder(stage: Stage, out: Path) -> None:
    """Create the folder and write the stage's settings."""
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / CONFIG_FILE) as temporary:
        stage.config.to_yaml(temporary)


def _mix(seed: int, step: int) -> int:
    """A seed for one step; neighbouring seeds and steps do not collide."""
    return (seed * 1_000_003 + step * 7_919 + 12_345) % (2**63)
