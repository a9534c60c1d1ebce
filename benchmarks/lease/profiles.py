"""Where the time of a training step and of a sampling step goes: PyTorch's profiler, one step each after a first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile
from world import Lease, build_stage, say, talker

from dawn_bench.exact import float32_products
from dawn_bench.models.dawn.fast.unet import FastUNet


def main(lease: Lease) -> int:
    """Two tables and the number of kernels that each step starts."""
    _table("training step of dawn:a2v-1", _training_step(lease), lease)
    _table(f"sampling step of {_frames(lease)} frames", _sampling_step(lease), lease)
    return 0


def _frames(lease: Lease) -> int:
    return 8 if lease.tiny else 200


def _training_step(lease: Lease) -> Callable[[], object]:
    stage = build_stage(lease, "dawn", "a2v-1")
    module = stage.module.to(lease.device).train()
    batch = {key: value.to(lease.device) for key, value in stage.batch(0).items()}
    generator = torch.Generator(device=lease.device).manual_seed(0)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-4)
    kind = lease.device.partition(":")[0]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=stage.loop.amp):
            losses = stage.losses(batch, generator)
        losses["total"].backward()
        optimizer.step()

    return step


def _sampling_step(lease: Lease) -> Callable[[], object]:
    generator = talker(lease)
    config, frames, latent = generator.a2v.config, _frames(lease), lease.side // 4
    with float32_products("ieee"):
        clip = FastUNet(generator.a2v.diffusion.denoise_fn).prepare(
            source_CHW=torch.zeros(config.source_dim, latent, latent, device=lease.device),
            mask_MHW=torch.zeros(config.mask_dims[1], latent, latent, device=lease.device),
            cond_FD=torch.zeros(frames, config.condition_dim, device=lease.device),
            win_width=config.win_width,
        )
    x = torch.zeros(3, frames, latent, latent, device=lease.device)
    t = torch.full((1,), 500, device=lease.device)
    return float32_products("ieee")(lambda: clip(x, t))


def _table(what: str, step: Callable[[], object], lease: Lease) -> None:
    step()
    torch.cuda.synchronize()
    activities = [ProfilerActivity.CPU, *([] if lease.pretended else [ProfilerActivity.CUDA])]
    with profile(activities=activities) as profiler:
        step()
        torch.cuda.synchronize()
    averages = profiler.key_averages()
    launches = sum(event.count for event in averages if "LaunchKernel" in event.key)
    say(f"{what}: {launches} kernels started")
    by = "self_device_time_total" if ProfilerActivity.CUDA in activities else "self_cpu_time_total"
    say(averages.table(sort_by=by, row_limit=5 if lease.tiny else 18, max_name_column_width=60))
