"""Real processes of a group as `torchrun` starts them, gloo on the CPU; forked from a server that has the imports."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

#: What the server imports, once for all processes of a session.
_PRELOADED = ["torch", "ranks", "micro", "micro_dit_head", "micro_mesh", "dawn_bench.training.loop"]
#: The module of the smallest settings of a model.
_MICRO = {"dawn": "micro", "dit-head": "micro_dit_head", "diffspeaker": "micro_mesh"}


def settings_of(model: str, overrides: tuple[str, ...]) -> Any:
    """The smallest settings of a model."""
    module = importlib.import_module(_MICRO[model])
    return (module.micro_mesh_settings if model == "diffspeaker" else module.micro_settings)(*overrides)


def train_stages(model: str, cache: Path, run: Path, stages: list[str], *overrides: str) -> None:
    """Train stages of a model into a run folder, as the process or group of processes that the environment says."""
    from dawn_bench.cache import Cache
    from dawn_bench.workflow.train import train

    train(Cache(cache), settings_of(model, overrides), out=run, stages=stages, seed=0, device="cpu", model=model)


def train_in_group(processes: int, model: str, cache: Path, run: Path, stages: list[str], *overrides: str) -> None:
    """Train with several processes; fails where one of them does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = [
        context.Process(target=_member, args=(rank, processes, port, model, cache, run, stages, *overrides))
        for rank in range(processes)
    ]
    for process in group:
        process.start()
    for process in group:
        process.join(timeout=240)
    codes = [process.exitcode for process in group]
    for process in group:
        process.kill()
    assert codes == [0] * processes


def _member(rank: int, processes: int, port: int, *training: Any) -> None:
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    train_stages(*training)
