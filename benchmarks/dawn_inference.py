"""Time and memory of DAWN's inference: U-Net step, decoding, solvers, whole clip; optionally against the released code.

    python benchmarks/dawn_inference.py --reference DAWN-pytorch --sections step decode
    python benchmarks/dawn_inference.py --sections solver --checkpoint RUN --cache CACHE

Sections: `step` (one A2V-FDM step at several lengths), `decode` (motion to images), `clip` (8 seconds through the
generator, with the time of each part), `solver` (quality against steps), `cuda` (frames per second on CUDA). Without
`--reference` the baseline is the dense U-Net of `models/dawn/unet.py`.

Each measurement runs in a process of its own, so that peaks are independent. Time is CPU time, the best of `--repeats`.
Ratios are computed within each of `--rounds` rounds, since the speed of a shared machine varies. Memory is the peak
above idle, that is above the resident memory with weights and inputs loaded. Networks have seeded random weights: only
cost, and agreement of the versions, are measured. `solver` needs a trained run and its cache.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECTIONS = ("step", "decode", "clip", "solver", "cuda")


def resident_mb() -> float:
    """Current resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """Peak resident memory of the process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def best_of(repeats: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of the fastest of `repeats` calls, and the result of the last."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        out = work()
        seconds.append(time.process_time() - started)
    return min(seconds), out


def gemm_rate() -> float:
    """Measured GFLOP/s of large float32 matrix products: the ceiling for a lower bound on time."""
    import torch

    a = torch.randn(1024, 1024)
    seconds, _ = best_of(8, lambda: a @ a)
    return 2 * 1024**3 / seconds / 1e9


def count_gflop(work: Callable[[], Any]) -> float:
    """GFLOP of the convolutions and matrix products in a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def step(version: str, frames: int, size: int, repeats: int, reference: str | None) -> dict[str, float]:
    """Measure one U-Net step: `ours`, `plain` (our dense form) or `reference` (the released code)."""
    import torch
    from dawn_reference import unet, unet_step

    from dawn_bench.models.dawn.a2v_config import A2VConfig
    from dawn_bench.models.dawn.fast.unet import FastUNet
    from dawn_bench.models.dawn.unet import UNet3D
    from dawn_bench.weights import seeded_fill

    config, latent = A2VConfig.reference(), size // 4
    window = config.win_width or frames
    torch.manual_seed(0)
    x, source = torch.randn(3, frames, latent, latent), torch.randn(config.source_dim, latent, latent)
    mask, cond = torch.randn(config.mask_dims[1], latent, latent), torch.randn(frames, config.condition_dim)
    t, prepared = torch.tensor([500]), 0.0
    network = unet(Path(reference), frames, window) if version == "reference" and reference else UNet3D(config)
    seeded_fill(network, salt="benchmark/")
    if version == "plain":
        for module in network.modules():
            if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
                module.to(memory_format=torch.contiguous_format)
    idle = resident_mb()
    if version == "reference":
        work = unet_step(network, x, source, mask, cond)
    elif version == "plain":
        more = {"source_BCHW": source[None], "mask_BMHW": mask[None], "cond_BFD": cond[None]}
        work = lambda: network(x[None], t, win_width=window, **more)[0]  # noqa: E731
    else:
        prepared, clip = best_of(
            1, lambda: FastUNet(network).prepare(source_CHW=source, mask_MHW=mask, cond_FD=cond, win_width=window)
        )
        work = lambda: clip(x, t)  # noqa: E731
    seconds, out = best_of(repeats, work)
    probe = float(out[1, frames // 2, latent // 2, latent // 3])
    facts = {"cpu_s": seconds, "prepare_s": prepared, "peak_mb": peak_mb() - idle, "probe": probe}
    if version == "ours" and frames <= 40:
        facts |= {"gflop_a_frame": count_gflop(work) / frames, "gflops": gemm_rate()}
    return facts


def decode(version: str, frames: int, size: int, repeats: int, reference: str | None) -> dict[str, float]:
    """Measure decoding, CPU seconds per frame: `ours`, `bf16` (with its PSNR to float32) or `reference`."""
    import torch
    from dawn_reference import generator

    from dawn_bench.models.dawn.lfg import LFG, LFGConfig
    from dawn_bench.weights import seeded_fill

    torch.manual_seed(0)
    lfg = LFG(LFGConfig.reference()).eval()
    seeded_fill(lfg, salt="benchmark/")
    picture, latent = torch.rand(1, 3, size, size), size // 4
    axis = torch.linspace(-1, 1, latent)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    flow = grid + 0.1 * torch.randn(frames, latent, latent, 2)
    occlusion = torch.rand(frames, 1, latent, latent)

    def ours() -> torch.Tensor:
        return lfg.decode_clip(lfg.encode(picture), flow, occlusion)

    if version == "ours":
        seconds, out = best_of(repeats, ours)
        return {
            "cpu_s": seconds / frames,
            "gflop_a_frame": count_gflop(ours) / frames,
            "gflops": gemm_rate(),
            "probe": float(out[0, 0, 5, 5]),
        }
    if version == "bf16":
        exact = ours()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seconds, out = best_of(repeats, ours)
        psnr = -10 * math.log10(float((out.float() - exact).square().mean()))
        return {"cpu_s": seconds / frames, "psnr_db": psnr}
    assert reference is not None
    network = generator(Path(reference))
    network.load_state_dict(lfg.generator.state_dict())

    def theirs() -> torch.Tensor:
        pairs = zip(flow.split(1), occlusion.split(1), strict=True)
        return torch.cat([network.forward_with_flow(picture, f, o)["prediction"] for f, o in pairs])

    seconds, out = best_of(repeats, theirs)
    return {"cpu_s": seconds / frames, "probe": float(out[0, 0, 5, 5])}


def clip(frames: int, size: int, steps: int) -> dict[str, float]:
    """Measure a whole clip with networks of the released widths: wall seconds in total and by part, peak memory."""
    import numpy as np
    import torch

    from dawn_bench.models.dawn.a2v import A2VFDM
    from dawn_bench.models.dawn.a2v_config import A2VConfig
    from dawn_bench.models.dawn.generator import DawnGenerator, SamplingOptions
    from dawn_bench.models.dawn.lfg import LFG, LFGConfig
    from dawn_bench.models.dawn.passes import stream
    from dawn_bench.models.dawn.pbnet import PBNet
    from dawn_bench.models.inputs import Portrait
    from dawn_bench.pipelines.media.video import write_video
    from dawn_bench.weights import seeded_fill

    torch.manual_seed(0)
    networks = LFG(LFGConfig.reference()), A2VFDM(A2VConfig.reference()), PBNet()
    for network in (networks[0], networks[1].diffusion.denoise_fn, networks[2]):
        seeded_fill(network, salt="benchmark/")
    generator = DawnGenerator(*networks, facts={"lfg": {"size": size}, "a2v": {"audio_encoder": "hubert"}})
    frame = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    source = Portrait(frame, np.zeros(7), np.full(2, 0.3), np.array([0.25, 0.25, 0.75, 0.8]) * size)
    sound = np.random.default_rng(1).standard_normal((frames, 1024)).astype(np.float32)
    spent: dict[str, float] = {}

    def part(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **more: Any) -> Any:
            started = time.perf_counter()
            out = work(*arguments, **more)
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
            return out

        return timed

    began = time.perf_counter()
    scene = part("encode and PBNet", generator.scene)(source, sound, seed=0)
    generator.sample = part("sample", generator.sample)  # type: ignore[method-assign]
    generator.show = part("decode", generator.show)  # type: ignore[method-assign]
    out = Path(os.environ.get("TMPDIR", "/tmp")) / f"dawn-bench-{os.getpid()}.mp4"
    options = SamplingOptions(steps=steps)
    segments = stream(generator, scene, options)
    write_video(out, (frame for segment in segments for frame in segment), audio=np.zeros(frames * 640, np.int16))
    out.unlink()
    total = time.perf_counter() - began
    shares = {f"{name}, s": seconds for name, seconds in spent.items()}
    return {"total_s": total, **shares, "video file, s": total - sum(spent.values()), "peak_mb": peak_mb()}


def solver(run: Path, cache: Path, frames: int) -> list[tuple[str, int, float, float]]:
    """(solver, calls, distance to converged deterministic DDIM, PSNR to ground truth in dB), from the same noise.

    Uses the first frames of the first held-out clip, driven by its own pose and blinks. The distance is the root mean
    square error relative to the standard deviation of the motion from 300 calls of DDIM.
    """
    import numpy as np

    from dawn_bench.cache import Cache
    from dawn_bench.models.dawn.generator import SamplingOptions
    from dawn_bench.models.dawn.released import load_generator
    from dawn_bench.models.inputs import Portrait
    from dawn_bench.pipelines.extractors.base import audio_encoder_of

    generator, held_out = load_generator(run), Cache(cache)
    clip = held_out.clips("test")[0]
    sound, pose, blink, reference = (
        np.asarray(clip[field][:frames]) for field in (audio_encoder_of(clip), "pose", "blink", "frames")
    )
    source = Portrait(reference[0], pose[0], blink[0], np.asarray(clip["bbox"][0]))

    def drawn(name: str, steps: int) -> tuple[Any, float]:
        scene = generator.scene(source, sound, seed=0, pose=pose, blink=blink)
        z = generator.sample(scene, SamplingOptions(solver=name, steps=steps, eta=0))  # type: ignore[arg-type]
        error = (generator.show(scene, z) / 255.0 - reference / 255.0) ** 2
        return z, -10 * math.log10(float(error.mean()))

    exact, _ = drawn("ddim", 300)
    rows = []
    for steps in (5, 10, 20, 50, 100):
        for name in ("ddim", "dpm2m"):
            z, psnr = drawn(name, steps)
            rows.append((name, steps, float((z - exact).square().mean().sqrt() / exact.std()), psnr))
    return rows


def worker(job: dict[str, Any]) -> None:
    """Run one measurement in this process and print it as JSON."""
    import torch

    torch.set_num_threads(job.pop("threads"))
    torch.set_grad_enabled(False)
    print(json.dumps({"step": step, "decode": decode, "clip": clip}[job.pop("section")](**job)))


def measure(**job: Any) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, "--worker", json.dumps(job)]
    environment = os.environ | {"OMP_NUM_THREADS": str(job["threads"])}
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(process.stdout)


#: Measurements by job: one row of figures per round.
Rounds = dict[Any, list[dict[str, float]]]


def in_rounds(jobs: dict[Any, dict[str, Any]], rounds: int, common: dict[str, Any]) -> Rounds:
    """Run each job once per round, so that compared figures are measured within the same minutes."""
    measurements: Rounds = {key: [] for key in jobs}
    for k in range(rounds):
        for key, job in jobs.items():
            row = measure(**job, **common)
            measurements[key].append(row)
            print(
                f"round {k + 1}: {job['section']} {key[0]} {key[1]} {row['cpu_s']:.3f} s", file=sys.stderr, flush=True
            )
    return measurements


def show(label: str, measurements: Rounds, before: Any, *versions: Any) -> None:
    """Print the median figures of each version, and the speed-up of each over the first."""
    for key in (before, *versions):
        if rows := measurements.get(key):
            figures = "  ".join(f"{name} {statistics.median(row[name] for row in rows):.4g}" for name in rows[0])
            print(f"{label + ', ' + key[1]:34s} {figures}", flush=True)
    for key in versions:
        if before in measurements:
            ratios(f"{label}, {before[1]} over {key[1]}", measurements, before, key)


def ratios(label: str, measurements: Rounds, above: Any, below: Any) -> None:
    """Print the ratio of the times of two jobs in each round, and its median."""
    each = [a["cpu_s"] / b["cpu_s"] for a, b in zip(measurements[above], measurements[below], strict=True)]
    print(f"{label:44s} {statistics.median(each):.2f}  of {' '.join(f'{r:.2f}' for r in each)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--reference", help="checkout of the released code")
    parser.add_argument("--checkpoint", type=Path, help="trained run, for `solver`")
    parser.add_argument("--cache", type=Path, help="its cache, for `solver`")
    parser.add_argument("--frames", type=int, nargs="+", default=[40, 80, 200, 400, 1500])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="of `decode` and `cuda`")
    parser.add_argument("--dense-up-to", type=int, default=200, help="longest clip of the dense versions")
    parser.add_argument("--steps", type=int, default=20, help="of `clip`")
    parser.add_argument("--repeats", type=int, default=2, help="calls per process, of which the fastest counts")
    parser.add_argument("--rounds", type=int, default=3, help="of `step` and `decode`; ratios are computed per round")
    parser.add_argument("--threads", type=int, default=1, help="of `step` and `decode`")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(json.loads(options.worker))
        return
    common = {"repeats": options.repeats, "threads": options.threads, "reference": options.reference}
    dense = "reference" if options.reference else "plain"
    if "step" in options.sections:
        jobs = {}
        for frames in options.frames:
            versions = (dense, "ours") if frames <= options.dense_up_to else ("ours",)
            jobs |= {(frames, v): {"section": "step", "frames": frames, "size": 128, "version": v} for v in versions}
        measurements = in_rounds(jobs, options.rounds, common)
        for frames in options.frames:
            show(f"step, {frames} frames", measurements, (frames, dense), (frames, "ours"))
            if (2 * frames, "ours") in measurements:
                label = f"step, {2 * frames} over {frames} frames"
                ratios(label, measurements, (2 * frames, "ours"), (frames, "ours"))
    if "decode" in options.sections:
        first = ("reference",) if options.reference else ()
        jobs = {
            (size, v): {"section": "decode", "frames": 8, "size": size, "version": v}
            for size in options.sizes
            for v in (*first, "ours", "bf16")
        }
        measurements = in_rounds(jobs, options.rounds, common)
        for size in options.sizes:
            show(f"decode, {size} px", measurements, (size, dense), (size, "ours"), (size, "bf16"))
    if "clip" in options.sections:
        row = measure(section="clip", frames=200, size=128, steps=options.steps, threads=2)
        figures = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        print(f"clip, 8 s, {options.steps} steps, 2 threads: {figures}", flush=True)
    if "solver" in options.sections:
        if options.checkpoint is None or options.cache is None:
            print("solver: skipped, it needs a trained run and its cache: --checkpoint RUN --cache CACHE")
        else:
            for name, steps, error, psnr in solver(options.checkpoint, options.cache, 40):
                print(f"solver {name:6s} {steps:3d} calls: distance {error:.3f}, {psnr:.2f} dB", flush=True)
    if "cuda" in options.sections:
        from dawn_cuda import cuda_table

        cuda_table(options.sizes)


if __name__ == "__main__":
    main()
