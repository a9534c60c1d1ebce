"""Out-of-memory errors as one line that says what to lower."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dawn_bench.errors import DawnBenchError
from dawn_bench.training.processes import world_size
from dawn_bench.training.stage import Stage


class TrainingError(DawnBenchError):
    """Training cannot continue (non-finite loss, out of memory); the message names the step or stage and what to do."""


#: Messages by which PyTorch, the CUDA libraries and the operating system report it without a specific error type.
_MESSAGES = ("out of memory", "allocate memory", "alloc_failed", "worker (pid(s)", "is killed by signal: killed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory, on a GPU, on the CPU or in a loader process."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MESSAGES)


@contextmanager
def explain_out_of_memory(stage: Stage, *, key: str, device: str, accumulate: int | None = None) -> Iterator[None]:
    """Turn out-of-memory errors into a `TrainingError` that says what to lower; `accumulate` as in `advice`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"{stage.name}: out of memory on {device}. {advice(stage, key=key, device=device, accumulate=accumulate)}"
        ) from error


def advice(stage: Stage, *, key: str, device: str, accumulate: int | None = None) -> str:
    """Settings to lower, ordered by how little they change the training.

    `accumulate` is the number of micro-batches that was too low, by default that of the settings.
    """
    loop = stage.loop
    share = math.ceil(loop.batch_size / world_size())
    ways = []
    now = accumulate or loop.accumulate or 1
    finer = next((n for n in range(now + 1, share + 1) if loop.batch_size % n == 0), None)
    if finer is not None:
        ways.append(f"--set {key}.loop.accumulate={finer} (same batch, in smaller micro-batches)")
    if not loop.amp and device.startswith("cuda"):
        ways.append(f"--set {key}.loop.amp=true")
    if loop.batch_size > world_size():
        ways.append(f"--set {key}.loop.batch_size={max(world_size(), loop.batch_size // 2)}")
    frames = getattr(stage.config, "frames", None)
    if frames is not None and frames > 2:
        ways.append(f"--set {key}.frames={max(2, frames // 2)}")
    if loop.workers:
        ways.append(f"--set {key}.loop.workers=0")
    return f"Lower one of: {', '.join(ways)}." if ways else "Use a smaller model or a larger machine."


def free_bytes(device: str) -> int:
    """Bytes of a GPU that this process can still take: what no process uses, and what PyTorch keeps for itself."""
    unused, _ = torch.cuda.mem_get_info(device)
    return unused + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
