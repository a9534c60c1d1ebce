"""DAWN's inference on CUDA: frames per second, peak memory, and deviation of the faster variants from float32."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

LENGTHS = (200, 400, 600, 1500)
STEPS = 20


def cuda_table(sizes: Sequence[int]) -> None:
    """Print one line per size, length, precision and compilation mode, or that no CUDA device is available."""
    if not torch.cuda.is_available():
        print("cuda: skipped, no CUDA device is available")
        return
    from dawn_bench.models.dawn.a2v import A2VFDM
    from dawn_bench.models.dawn.a2v_config import A2VConfig
    from dawn_bench.models.dawn.generator import DawnGenerator, SamplingOptions
    from dawn_bench.models.dawn.lfg import LFG, LFGConfig
    from dawn_bench.models.dawn.pbnet import PBNet
    from dawn_bench.models.inputs import Portrait
    from dawn_bench.weights import seeded_fill

    networks = LFG(LFGConfig.reference()), A2VFDM(A2VConfig.reference()), PBNet()
    for network in (networks[0], networks[1].diffusion.denoise_fn, networks[2]):
        seeded_fill(network, salt="benchmark/")
    print(f"cuda: {torch.cuda.get_device_name()}, {STEPS} DDIM steps and decoding")
    rng = np.random.default_rng(0)
    for size in sizes:
        generator = DawnGenerator(
            *networks, device="cuda", facts={"lfg": {"size": size}, "a2v": {"audio_encoder": "hubert"}}
        )
        frame = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
        source = Portrait(frame, np.zeros(7), np.full(2, 0.3), np.array([0.25, 0.25, 0.75, 0.8]) * size)
        for frames in LENGTHS:
            sound = rng.standard_normal((frames, 1024)).astype(np.float32)
            exact = None
            for precision in ("fp32", "bf16"):
                for compiled in (False, True):
                    options = SamplingOptions(steps=STEPS, precision=precision, compile=compiled)
                    generator.talk(source, sound, seed=0, options=options)  # warm-up: compiler and allocator
                    torch.cuda.synchronize()
                    torch.cuda.reset_peak_memory_stats()
                    began = time.perf_counter()
                    clip = generator.talk(source, sound, seed=0, options=options)
                    torch.cuda.synchronize()
                    seconds = time.perf_counter() - began
                    peak = torch.cuda.max_memory_allocated() / 2**20
                    exact = clip if exact is None else exact
                    deviation = np.abs(clip.astype(np.int16) - exact).mean()
                    print(
                        f"{size} px {frames:5d} frames {precision} {'compiled' if compiled else 'eager   '}"
                        f" {frames / seconds:8.1f} frames/s  peak {peak:7.0f} MB  {deviation:.3f} levels from float32",
                        flush=True,
                    )
