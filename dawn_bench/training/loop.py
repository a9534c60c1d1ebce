"""The training loop: one for every stage, on the CPU, one GPU, or several by `torchrun`.

Every step's data and random numbers are functions of (seed, step), so a run that is killed and resumed goes on with
bit-identical losses on one CPU process, and the number of loader workers changes nothing. Several processes, or
several micro-batches, share one step's batch and its noise: their mean is the whole batch's loss. What cannot be cut
is said: batch norm and dropout see each part for itself, and so do means over a mask (the lips, padded frames).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dawn_bench.config import Config
from dawn_bench.errors import DawnBenchError, InputError
from dawn_bench.progress import meter
from dawn_bench.provenance import device_name, versions
from dawn_bench.training.data import Batch, batches
from dawn_bench.training.stage import LoopConfig, Stage

STATE_FILE, MODEL_FILE, LOG_FILE, CONFIG_FILE = "state.pt", "model.safetensors", "metrics.jsonl", "config.yaml"


class TrainingError(DawnBenchError):
    """Training cannot go on (a loss that is no number); names the step, its clips and what to do."""


def fit(stage: Stage, *, out: Path, seed: int, device: str, resume: bool, provenance: dict[str, Any]) -> Path:
    """Train `stage` into the folder `out`; returns the checkpoint's path.

    Writes `config.yaml`, `metrics.jsonl` (a line every `log_every` steps), `state.pt` (to resume) and
    `model.safetensors`. A finished stage is not trained again when `resume` is set.

    Raises `InputError` when `out` holds another run and `resume` is not set, or was made with other settings, another
    seed or another cache; `TrainingError` when a loss or a gradient becomes NaN or infinite.
    """
    loop: LoopConfig = stage.loop
    if loop.batch_size % (world_size() * loop.accumulate):
        raise InputError(
            f"batch_size {loop.batch_size} cannot be shared by {world_size()} processes of {loop.accumulate} parts.",
            mend=f"Set it with --set {_key(stage)}.loop.batch_size=…",
        )
    claim(out, stage.config, resume=resume)
    origin = {"seed": seed, "cache": provenance.get("cache")}
    if rank() == 0:
        _write_folder(stage, out)
    _together()
    module = stage.module.to(device).train()
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(p, lr=loop.learning_rate, betas=loop.betas, weight_decay=loop.weight_decay)
        for p in stage.parameter_groups()
    ]
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(loop.ema), use_buffers=True) if loop.ema else None
    start = _restore(out / STATE_FILE, module, optimizers, average, device, origin=origin) if resume else 0
    if start == loop.steps and (out / MODEL_FILE).is_file():
        return out / MODEL_FILE  # finished: written again, its bytes (not its tensors) would differ
    if start < loop.steps:
        _steps(stage, module, optimizers, average, start=start, out=out, seed=seed, device=device, origin=origin)
    final = average.module if average is not None else module
    if rank() == 0:
        trained = stage.module
        stage.module = final
        facts = {"stage": stage.name, "steps": loop.steps, "seed": seed, "device": device_name(device)}
        stage.save(out / MODEL_FILE, provenance | facts | {"versions": versions()})
        stage.module = trained
    _together()  # the next stage may read what rank 0 has just written
    return out / MODEL_FILE


def _steps(
    stage: Stage,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    average: AveragedModel | None,
    *,
    start: int,
    out: Path,
    seed: int,
    device: str,
    origin: dict[str, Any],
) -> None:
    loop = stage.loop
    cuda = device.startswith("cuda")
    loader = batches(stage.batch, start=start, stop=loop.steps, workers=loop.workers, pin=cuda)
    waiting = time.perf_counter()
    spent = {"data": 0.0, "total": 0.0}
    with meter(f"train {stage.name}", total=loop.steps, unit="steps") as progress, (out / LOG_FILE).open("a") as log:
        progress.advance(start)
        for step, batch in zip(range(start, loop.steps), loader, strict=True):
            began = time.perf_counter()
            spent["data"] += began - waiting
            values = _one_step(stage, module, optimizers, batch, step=step, seed=seed, device=device)
            if average is not None:
                average.update_parameters(module)
            now = time.perf_counter()
            spent["total"] += now - waiting
            waiting = now
            done = step + 1
            if rank() == 0 and (done % loop.log_every == 0 or done == loop.steps or step == 0):
                line = {"step": done, **values, "data_share": round(spent["data"] / spent["total"], 4)}
                log.write(json.dumps(line) + "\n")
                log.flush()
            if rank() == 0 and (done % loop.save_every == 0 or done == loop.steps):
                _save_state(out / STATE_FILE, done, module, optimizers, average, origin)
            progress.advance(note=f"loss {values['total']:.4f}")


def _one_step(
    stage: Stage,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    batch: Batch,
    *,
    step: int,
    seed: int,
    device: str,
) -> dict[str, float]:
    """One optimiser step over `accumulate` micro-batches; returns the mean of each loss and the gradient norm."""
    loop = stage.loop
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(loop, step)
    totals: dict[str, Tensor] = {}
    for index, part in _parts(batch, loop.accumulate):
        torch.manual_seed(_mix(seed + index, step))  # dropout draws from the global generator
        generator = torch.Generator(device=device).manual_seed(_mix(seed + 1, step))
        on_device = {k: v.to(device, non_blocking=True) for k, v in part.items()}
        with _precision(loop, device):
            losses = stage.losses(on_device, generator)
        (losses["total"] / loop.accumulate).backward()
        for name, value in losses.items():
            totals[name] = totals.get(name, torch.zeros((), device=device)) + value.detach() / loop.accumulate
    _average(totals)
    _average_gradients(module)
    for number, parameters in enumerate(stage.parameter_groups()):
        limit = loop.clip_norm if loop.clip_norm is not None and number == 0 else math.inf
        totals["grad_norm" if number == 0 else f"grad_norm_{number}"] = nn.utils.clip_grad_norm_(parameters, limit)
    values = {name: float(value) for name, value in totals.items()}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        clips = ", ".join(dict.fromkeys(stage.ids[i] for i in batch["clip"].tolist()))
        raise TrainingError(
            f"{stage.name}, step {step + 1}: {', '.join(bad)} not finite, in a batch of {clips}. Start again in "
            f"another --out with a lower rate: --set {_key(stage)}.loop.learning_rate={loop.learning_rate / 4:g}"
        )
    for optimizer in optimizers:
        optimizer.step()
    return values


def learning_rate(loop: LoopConfig, step: int) -> float:
    """Linear warm-up, then cosine from `learning_rate` down to `final_learning_rate`."""
    if step < loop.warmup:
        return loop.learning_rate * (step + 1) / loop.warmup
    share = (step - loop.warmup) / max(1, loop.steps - loop.warmup)
    low = min(loop.final_learning_rate, loop.learning_rate)
    return low + (loop.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * share))


def rank() -> int:
    """This process's number among those that train together; 0 when there is one."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def distributed(device: str) -> Iterator[str]:
    """Join the processes that `torchrun` started (gloo on the CPU, nccl on CUDA); yields this process's device."""
    if world_size() == 1:
        yield device
        return
    cuda = device.startswith("cuda")
    if cuda:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        torch.distributed.destroy_process_group()


def _key(stage: Stage) -> str:
    """What `--set` calls this stage."""
    return stage.name.replace("-", "_")


def _parts(batch: Batch, accumulate: int) -> Iterator[tuple[int, Batch]]:
    """This process's share of a step's batch, cut into numbered micro-batches."""
    count = world_size() * accumulate
    for index in range(rank() * accumulate, (rank() + 1) * accumulate):
        yield index, {k: v.chunk(count)[index] for k, v in batch.items()}


def _together() -> None:
    """Wait for the other processes."""
    if world_size() > 1:
        torch.distributed.barrier()


def _average(values: dict[str, Tensor]) -> None:
    """Mean over processes, in place."""
    if world_size() > 1:
        for value in values.values():
            torch.distributed.all_reduce(value)
            value /= world_size()


def _average_gradients(module: nn.Module) -> None:
    """Mean of the gradients over processes: plain data parallelism for models that fit one device many times over."""
    if world_size() == 1:
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world_size()


@contextmanager
def _precision(loop: LoopConfig, device: str) -> Iterator[None]:
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=loop.amp and device.startswith("cuda")):
        yield


def claim(out: Path, config: Config, *, resume: bool) -> None:
    """Raise `InputError` where `out` holds a run that this one may not go on with; changes nothing."""
    if (out / STATE_FILE).exists() and not resume:
        raise InputError(
            "already holds a training run.", path=out, mend="Continue it with --resume, or choose another --out."
        )
    held = out / CONFIG_FILE
    if resume and held.exists() and yaml.safe_load(held.read_text()) != config.model_dump(mode="json"):
        raise InputError(
            "was started with other settings.", path=held, mend="Use the same preset and --set, or another --out."
        )


def _write_folder(stage: Stage, out: Path) -> None:
    """The folder with its settings; log lines after the last saved state, or cut short, are dropped."""
    out.mkdir(parents=True, exist_ok=True)
    fresh = out / (CONFIG_FILE + ".new")
    stage.config.to_yaml(fresh)
    fresh.replace(out / CONFIG_FILE)
    log = out / LOG_FILE
    if log.exists():
        reached = torch.load(out / STATE_FILE, weights_only=True)["step"] if (out / STATE_FILE).exists() else 0
        kept = [line for line in log.read_text(errors="replace").splitlines() if _step_of(line) <= reached]
        log.write_text("".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line cut short by a kill


def _save_state(
    path: Path,
    step: int,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    average: AveragedModel | None,
    origin: dict[str, Any],
) -> None:
    partial = path.with_suffix(".part")
    state = {
        "step": step,
        "origin": origin,
        "module": module.state_dict(),
        "optimizers": [o.state_dict() for o in optimizers],
        "average": average.state_dict() if average is not None else None,
    }
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _restore(
    path: Path,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    average: AveragedModel | None,
    device: str,
    *,
    origin: dict[str, Any],
) -> int:
    """The step to go on from: 0 when nothing was saved."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    for what, value in state["origin"].items():
        if value != origin[what]:
            raise InputError(
                f"was started with {what} {value}, not {origin[what]}.", path=path, mend=f"Use the same {what}."
            )
    module.load_state_dict(state["module"])
    for optimizer, held in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(held)
    if average is not None:
        average.load_state_dict(state["average"])
    return int(state["step"])


def _mix(seed: int, step: int) -> int:
    """A seed for one step that does not collide between neighbouring seeds."""
    return (seed * 1_000_003 + step * 7_919 + 12_345) % (2**63)
