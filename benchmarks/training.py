"""Throughput, data-loading share and peak memory of each training stage.

    python benchmarks/training.py --preset tiny --cache CACHE --run RUN
    python benchmarks/training.py --preset dawn-128 --stage a2v-1 --stage a2v-2 --cache CACHE --device cuda --profile

Each stage is trained for a few steps by the ordinary loop, without validation or checkpoints, after a few warm-up steps
that do not count. `--run` is a run with a trained LFG, which the A2V-FDM needs; without it an LFG is trained for one
step. On CUDA both precisions are measured, on the CPU that of the preset; the precision is in the first column after
the stage.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from dawn_bench.cache import Cache
from dawn_bench.config import resolve_config
from dawn_bench.models.dawn.presets import fit_to_cache, preset
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.provenance import device_name, pick_device
from dawn_bench.training import loop as loop_module
from dawn_bench.training.loop import fit


def main() -> None:
    arguments = _arguments()
    cache, device = Cache(arguments.cache), pick_device(arguments.device)
    print(f"{device_name(device)}; cache of {len(cache)} clips, {cache.size} px; preset {arguments.preset}")
    print("stage    precision  workers  steps/s  waiting for data  peak memory")
    # One process per measurement, so that peaks are independent.
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory() as folder, executor as pool:
        run = Path(folder)
        if arguments.run is not None:
            shutil.copytree(arguments.run / "lfg", run / "lfg")
        elif any(s.startswith("a2v") for s in arguments.stage):
            pool.submit(_measure, "lfg", run, arguments, device=device, steps=1, amp=None).result()
        for stage in arguments.stage:
            for amp in (False, True) if device.startswith("cuda") and stage.startswith("a2v") else (None,):
                job = pool.submit(_measure, stage, run, arguments, device=device, steps=arguments.steps, amp=amp)
                result = job.result()
                print(
                    f"{stage:8} {result['precision']:9}  {result['workers']:7}  {result['rate']:7.2f}  "
                    f"{100 * result['share']:15.2f}%  {result['memory'] / 2**20:7.0f} MiB"
                )
                if arguments.profile:
                    print(result["profile"])


def _measure(
    stage: str, run: Path, arguments: argparse.Namespace, *, device: str, steps: int, amp: bool | None
) -> dict[str, Any]:
    cache, key, warm = Cache(arguments.cache), stage_key(stage), min(steps, arguments.warm_up)
    changes = [f"{key}.loop.steps={steps + warm}", f"{key}.loop.log_every=1", f"{key}.loop.validate_every=null"]
    changes += [f"{key}.loop.save_every={10 * (steps + warm)}"]
    changes += [f"{key}.loop.workers={arguments.workers}"] if arguments.workers is not None else []
    changes += [f"{key}.loop.amp={str(amp).lower()}"] if amp is not None else []
    changes += [f"{key}.{text}" for text in arguments.set]
    settings = fit_to_cache(resolve_config(preset(arguments.preset), overrides=changes), cache)
    built = MODELS["dawn"].stage(stage)(cache, settings, run=run, seed=0, device=device)
    out = run / (stage if stage == "lfg" else f"{stage}-{amp}")
    if stage == "lfg" and out.exists():
        out = run / "lfg-measured"
    began: dict[int, float] = {}
    with _record_starts(began), _profiler(arguments.profile, device) as profiler:
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        fit(built, out=out, seed=0, device=device, resume=False, provenance={})
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    times = [began[k] for k in sorted(began)]
    spent = times[-1] - times[warm]  # the time of the last step itself is excluded
    cuda = device.startswith("cuda")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    by = "self_device_time_total" if cuda else "self_cpu_time_total"
    return {
        "precision": "bfloat16" if built.loop.amp else "float32",
        "workers": built.loop.workers,
        "rate": (len(times) - 1 - warm) / spent if spent > 0 else float("nan"),
        "share": lines[-1]["data_share"],
        "memory": torch.cuda.max_memory_allocated() if cuda else peak,
        "profile": profiler.key_averages().table(sort_by=by, row_limit=15) if profiler else "",
    }


@contextmanager
def _record_starts(began: dict[int, float]) -> Iterator[None]:
    """Record when each step begins; CUDA has finished the previous step by then, since its losses were read."""
    original = loop_module._one_step

    def recording(*positional: Any, step: int, **named: Any) -> Any:
        began[step] = time.perf_counter()
        return original(*positional, step=step, **named)

    loop_module._one_step = recording
    try:
        yield
    finally:
        loop_module._one_step = original


@contextmanager
def _profiler(wanted: bool, device: str) -> Iterator[Any]:
    """PyTorch's profiler, or None."""
    if not wanted:
        yield None
        return
    kinds = torch.profiler.ProfilerActivity
    activities = [kinds.CPU, kinds.CUDA] if device.startswith("cuda") else [kinds.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        yield profiler


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="a run with a trained LFG")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument(
        "--stage", action="append", help="lfg, a2v-1, a2v-2, pbnet; repeatable; default: lfg a2v-1 pbnet"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--workers", type=int, help="loader processes; default: the preset's")
    parser.add_argument("--set", action="append", default=[], help="a setting of the stage: loop.batch_size=8")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--profile", action="store_true", help="print the time by operator")
    arguments = parser.parse_args()
    arguments.stage = arguments.stage or ["lfg", "a2v-1", "pbnet"]
    return arguments


if __name__ == "__main__":
    main()
