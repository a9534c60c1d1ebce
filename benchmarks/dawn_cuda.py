"""DAWN's inference on CUDA: frames per second, peak memory, and deviation of the faster variants from float32.

A row is printed as soon as it is measured. A row that would go beyond the budget is left out, with a line that says so.
A row says `compiled` only where every step of it ran in a compiled graph.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.fast import compiled as compiled_steps
from dawn_bench.models.dawn.generator import DawnGenerator, SamplingOptions
from dawn_bench.models.dawn.lfg import LFG, LFGConfig
from dawn_bench.models.dawn.options import Precision
from dawn_bench.models.dawn.pbnet import PBNet
from dawn_bench.models.inputs import Portrait
from dawn_bench.weights import seeded_fill

LENGTHS = (40, 200, 600, 1500)
#: Lengths that are compiled, and the seconds that must be left for one: the compiler takes a minute or two.
COMPILED_LENGTHS, COMPILING = (200,), 150.0
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
STEPS = 20


@dataclass(frozen=True)
class Budget:
    """Seconds until `end`, a time of `time.monotonic`."""

    end: float

    @classmethod
    def of(cls, seconds: float) -> Budget:
        """A budget that begins now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()


def cuda_table(sizes: Sequence[int], *, budget: float = 840) -> None:
    """Print the rows of every size: all lengths eager, then the compiled ones. Says where there is no CUDA device."""
    if not torch.cuda.is_available():
        print("cuda: skipped, no CUDA device is available", flush=True)
        return
    print(f"cuda: {torch.cuda.get_device_name()}, {STEPS} DDIM steps and decoding", flush=True)
    until = Budget.of(budget)
    for size in sizes:
        generator = released_widths(size, device="cuda")
        eager_rows(generator, LENGTHS, PRECISIONS, budget=until)
        compiled_rows(generator, COMPILED_LENGTHS, ("fp32", "bf16"), budget=until)


def released_widths(size: int, *, device: str) -> DawnGenerator:
    """DAWN at the released widths with seeded weights."""
    return seeded(LFG(LFGConfig.reference()), A2VFDM(A2VConfig.reference()), PBNet(), size=size, device=device)


def seeded(lfg: LFG, a2v: A2VFDM, pbnet: PBNet, *, size: int, device: str) -> DawnGenerator:
    """A generator of these networks with seeded weights."""
    for network in (lfg, a2v.diffusion.denoise_fn, pbnet):
        seeded_fill(network, salt="benchmark/")
    facts = {"lfg": {"size": size}, "a2v": {"audio_encoder": "hubert"}}
    return DawnGenerator(lfg, a2v, pbnet, device=device, facts=facts)


def eager_rows(
    generator: DawnGenerator,
    lengths: Iterable[int],
    precisions: Iterable[Precision],
    *,
    budget: Budget,
    steps: int = STEPS,
) -> None:
    """Print a row for each length and precision without the compiler, shortest clips first."""
    slowest = 0.0  # seconds a frame of the rows so far
    for frames in lengths:
        exact = None
        for precision in precisions:
            what = f"{generator.size} px {frames:5d} frames {precision} eager   "
            if slowest * frames * 1.5 > budget.left:
                print(f"{what} left out: {budget.left:.0f} s are left", flush=True)
                continue
            options = SamplingOptions(steps=steps, precision=precision)
            exact, seconds = _row(generator, frames, options, what, exact)
            slowest = max(slowest, seconds / frames)


def compiled_rows(
    generator: DawnGenerator,
    lengths: Iterable[int],
    precisions: Iterable[Precision],
    *,
    budget: Budget,
    steps: int = STEPS,
    least: float = COMPILING,
) -> bool:
    """Print a row for each length and precision through the compiler, and how long compiling took or that it failed.

    Whether all rows are there and compiled.
    """
    complete = True
    for frames in lengths:
        exact = None
        for precision in precisions:
            what = f"{generator.size} px {frames:5d} frames {precision}"
            if budget.left < least:
                print(f"{what} compiled left out: {budget.left:.0f} s are left", flush=True)
                complete = False
                continue
            if exact is None:
                exact = _talk(generator, frames, SamplingOptions(steps=steps))[0]
            options = SamplingOptions(steps=steps, precision=precision, compile=True)
            compiled_steps.STEPS.clear()
            seconds = _talk(generator, frames, options.model_copy(update={"steps": 1}))[1]
            print(f"{what} first step, with the compiler: {seconds:.1f} s", flush=True)
            counts = dict(compiled_steps.STEPS)
            if counts.get("eager") or not counts.get("compiled"):
                print(f"{what} did not compile: {counts}", flush=True)
                complete = False
                continue
            _row(generator, frames, options, f"{what} compiled", exact)
            if compiled_steps.STEPS["eager"]:
                print(f"{what} the row above is not compiled: {dict(compiled_steps.STEPS)}", flush=True)
                complete = False
    return complete


def _row(
    generator: DawnGenerator, frames: int, options: SamplingOptions, what: str, exact: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """Print one row; the clip that others are compared with, `exact` or this one, and the seconds it took."""
    _talk(generator, frames, options.model_copy(update={"steps": 1}))  # allocator and libraries
    torch.cuda.reset_peak_memory_stats()
    clip, seconds = _talk(generator, frames, options)
    peak = torch.cuda.max_memory_allocated() / 2**20
    exact = clip if exact is None else exact
    deviation = np.abs(clip.astype(np.int16) - exact).mean()
    rate = f"{frames / seconds:8.1f} frames/s  peak {peak:7.0f} MB"
    print(f"{what} {rate}  {deviation:.3f} levels from float32", flush=True)
    return exact, seconds


def _talk(generator: DawnGenerator, frames: int, options: SamplingOptions) -> tuple[np.ndarray, float]:
    """A clip of seeded noise for sound, and the seconds that it took."""
    rng, size = np.random.default_rng(0), generator.size
    frame = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
    source = Portrait(frame, np.zeros(7), np.full(2, 0.3), np.array([0.25, 0.25, 0.75, 0.8]) * size)
    width = generator.a2v.config.audio_dim
    sound = rng.standard_normal((frames, width)).astype(np.float32)
    torch.cuda.synchronize()
    began = time.perf_counter()
    clip = generator.talk(source, sound, seed=0, options=options)
    torch.cuda.synchronize()
    return clip, time.perf_counter() - began
