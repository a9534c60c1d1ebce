"""Time and memory of one A2V-FDM step: the inference path beside the plain dense U-Net, same weights, same run.

    python benchmarks/dawn_inference.py --frames 40 80 200 --size 128

Every measurement is a process of its own with one thread (`--threads`), so that peaks do not mix. Time is CPU time, the
best of `--repeats` steps; memory is the peak above idle: above what is resident once weights and inputs are there.
The plain version keeps its weights in PyTorch's usual order and gets the window as a mask, as the released code does.
The network is filled with seeded noise: only cost is measured, and that both give the same numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path


def resident_mb() -> float:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """Largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(version: str, frames: int, size: int, repeats: int, threads: int) -> dict[str, float]:
    """One step of one version, in this process: CPU seconds, peak above idle in MB, and a checksum of the output."""
    import torch

    from dawn_bench.models.dawn.a2v_config import A2VConfig
    from dawn_bench.models.dawn.fast_unet import FastUNet
    from dawn_bench.models.dawn.unet import UNet3D
    from dawn_bench.weights import seeded_fill

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    config = A2VConfig.reference()
    unet = UNet3D(config)
    seeded_fill(unet, salt="benchmark/")
    latent = size // 4
    x = torch.randn(3, frames, latent, latent)
    source = torch.randn(config.source_dim, latent, latent)
    mask = torch.randn(config.mask_dims[1], latent, latent)
    cond = torch.randn(frames, config.condition_dim)
    window = config.win_width
    if version == "plain":
        for module in unet.modules():
            if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
                module.to(memory_format=torch.contiguous_format)
    idle = resident_mb()

    started = time.process_time()
    if version == "fast":
        clip = FastUNet(unet).prepare(source_CHW=source, mask_MHW=mask, cond_FD=cond, win_width=window)
    prepared = time.process_time() - started

    def step() -> torch.Tensor:
        if version == "fast":
            return clip(x, torch.tensor([500]))
        more = {"source_BCHW": source[None], "mask_BMHW": mask[None], "cond_BFD": cond[None]}
        return unet(x[None], torch.tensor([500]), win_width=window, **more)[0]

    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        out = step()
        seconds.append(time.process_time() - started)
    return {
        "cpu_s": min(seconds),
        "prepare_s": prepared,
        "peak_mb": peak_mb() - idle,
        "idle_mb": idle,
        "std": float(out.std()),
        "probe": float(out[1, frames // 2, latent // 2, latent // 3]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[40, 80, 200])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["plain", "fast"], help="measure one version, for lengths the other cannot")
    parser.add_argument("--worker", nargs=2, metavar=("VERSION", "FRAMES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        version, frames = options.worker
        print(json.dumps(measure(version, int(frames), options.size, options.repeats, options.threads)))
        return
    print("frames  version  CPU s/step  prepare s  peak above idle MB  idle MB  ratio  probe")
    for frames in options.frames:
        plain_seconds = None
        for version in [options.only] if options.only else ["plain", "fast"]:
            command = [sys.executable, __file__, "--size", str(options.size), "--threads", str(options.threads)]
            command += ["--repeats", str(options.repeats), "--worker", version, str(frames)]
            environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
            row = json.loads(done.stdout)
            ratio = f"{plain_seconds / row['cpu_s']:5.2f}" if plain_seconds else "    -"
            plain_seconds = plain_seconds or row["cpu_s"]
            print(
                f"{frames:6d}  {version:7s}  {row['cpu_s']:10.2f}  {row['prepare_s']:9.2f}  {row['peak_mb']:18.0f}"
                f"  {row['idle_mb']:7.0f}  {ratio}  {row['probe']:.5f} of {row['std']:.3f}"
            )


if __name__ == "__main__":
    main()
