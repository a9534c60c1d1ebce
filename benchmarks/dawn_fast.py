"""What each piece of DAWN's fast path gains: the table of dawn_bench/models/dawn/fast/README.md.

    python benchmarks/dawn_fast.py

CPU seconds on one thread, float32, released widths; the versions of a row alternate in one process, medians count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F

from dawn_bench.models.dawn.a2v import plain_clip
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.fast import winograd
from dawn_bench.models.dawn.fast.scratch import Scratch
from dawn_bench.models.dawn.fast.unet import FastUNet
from dawn_bench.models.dawn.unet import UNet3D
from dawn_bench.weights import seeded_fill

#: Pictures, channels in and out, and side of the convolutions that are compared.
CONVOLUTIONS = ((8, 64, 32), (8, 128, 16), (40, 128, 16), (40, 256, 8), (2, 256, 32))
FRAMES = (8, 40)
LATENT = 32  # of pictures of 128 px


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="calls of each version")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for size in CONVOLUTIONS:
        convolution(*size, rounds=rounds)
    for frames in FRAMES:
        unet(frames, rounds=rounds)


def convolution(pictures: int, channels: int, side: int, *, rounds: int) -> None:
    """A 3x3 convolution by PyTorch and by Winograd's way, which transforms its kernel at every call."""
    torch.manual_seed(0)
    x = torch.randn(pictures, channels, side, side).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
    bias, memory, scratch = torch.randn(channels), Scratch(largest=float("inf")), Scratch()
    x_nHWI = x.permute(0, 2, 3, 1)
    spent = alternating(
        {
            "conv2d": lambda: F.conv2d(x, weight, bias, padding=1),
            "Winograd": lambda: winograd.Winograd(weight, bias, memory=memory, scratch=scratch)(x_nHWI),
        },
        rounds,
    )
    show(f"convolution, {pictures} x {channels} channels x {side}x{side}", spent, "conv2d")


def unet(frames: int, *, rounds: int) -> None:
    """One step of the U-Net: plain, fast, and fast without one of its pieces."""
    config, g = A2VConfig.reference(), torch.Generator().manual_seed(0)
    network = UNet3D(config).eval()
    seeded_fill(network, salt="benchmark/")
    clip: dict[str, Any] = {
        "source_CHW": torch.randn(config.source_dim, LATENT, LATENT, generator=g),
        "mask_MHW": torch.randn(config.mask_dims[1], LATENT, LATENT, generator=g),
        "cond_FD": torch.randn(frames, config.condition_dim, generator=g),
        "win_width": config.win_width,
    }
    x, t = torch.randn(3, frames, LATENT, LATENT, generator=g), torch.tensor([500])
    plain, fast = plain_clip(network, **clip), FastUNet(network).prepare(**clip)

    def step(block: AbstractContextManager[None]) -> torch.Tensor:
        with block:
            return fast(x, t)

    spent = alternating(
        {
            "plain": lambda: plain(x, t),
            "fast": lambda: step(nullcontext()),
            "fast without Winograd": lambda: step(replaced(winograd, "supports", lambda *_: False)),
            "fast without scratch memory": lambda: step(replaced(Scratch, "carve", fresh)),
        },
        rounds,
    )
    show(f"U-Net step, {frames} frames", spent, "plain")
    print(f"  largest difference of plain and fast: {float((plain(x, t) - fast(x, t)).abs().max()):.1e}")


def fresh(scratch: Scratch, like: torch.Tensor, *sizes: int) -> list[torch.Tensor]:
    """`Scratch.carve` that keeps nothing."""
    return [like.new_empty(size) for size in sizes]


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """A block in which an attribute has another value."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def alternating(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each, called in turns after a call that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for k in range(rounds + 1):
        for name, work in works.items():
            began = time.process_time()
            work()
            if k:
                spent[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def show(label: str, spent: dict[str, float], before: str) -> None:
    """Milliseconds of each version, and how many times faster than `before` it is."""
    figures = ", ".join(f"{name} {1e3 * s:.1f} ms ({spent[before] / s:.2f}x)" for name, s in spent.items())
    print(f"{label}: {figures}", flush=True)


if __name__ == "__main__":
    main()
