"""Numbers of a GPU against those of the CPU, which the same code wrote to a small file before the lease."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scoring import Build, networks, tensors
from torch import Tensor
from world import STAGES, Lease, build_stage, say, talker

from dawn_bench.exact import float32_products
from dawn_bench.models.dawn.fast.unet import FastUNet
from dawn_bench.weights import seeded_fill

#: Largest difference from the CPU, as a share of what `scale_of` gives: float32 differs by the order of its sums.
TOLERANCE = {"fp32": 2e-3, "tf32": 0.05, "bf16": 0.15}
#: Values that are stored of an array: every n-th.
STORED = 20_000

#: Computes on a device; the result is compared.
Case = Callable[[Lease], Tensor]


def normals(lease: Lease, *, seed: int) -> Callable[..., Tensor]:
    """Draws normal numbers of a shape, float32 on the device; equal for all devices."""
    draw = np.random.default_rng(seed)
    return lambda *shape: torch.from_numpy(draw.standard_normal(shape, dtype=np.float32)).to(lease.device)


def unet_step(lease: Lease) -> Tensor:
    """One step of the fast U-Net: eight frames."""
    generator = talker(lease)
    config, frames, latent = generator.a2v.config, 8, lease.side // 4
    normal = normals(lease, seed=1)

    clip = FastUNet(generator.a2v.diffusion.denoise_fn).prepare(
        source_CHW=normal(config.source_dim, latent, latent),
        mask_MHW=normal(config.mask_dims[1], latent, latent),
        cond_FD=normal(frames, config.condition_dim),
        win_width=config.win_width,
    )
    return clip(normal(3, frames, latent, latent), torch.full((1,), 30, device=lease.device))


def sampler(lease: Lease) -> Tensor:
    """Four DDIM steps of eight frames with given noise: on CUDA two of them replay a graph."""
    generator = talker(lease)
    config, frames, latent = generator.a2v.config, 8, lease.side // 4
    normal = normals(lease, seed=4)

    return generator.a2v.sample(
        normal(1, config.source_dim, latent, latent),
        torch.ones(1, 1, lease.side, lease.side, device=lease.device),
        normal(1, frames, config.condition_dim),
        steps=4,
        noise=normal(5, 1, 3, frames, latent, latent),
    )


def decode(lease: Lease) -> Tensor:
    """Four frames from one source picture."""
    generator, latent = talker(lease), lease.side // 4
    draw = np.random.default_rng(2)
    picture = torch.from_numpy(draw.random((1, 3, lease.side, lease.side), dtype=np.float32)).to(lease.device)
    flow = torch.from_numpy(draw.uniform(-1, 1, (4, latent, latent, 2)).astype(np.float32)).to(lease.device)
    occlusion = torch.from_numpy(draw.random((4, 1, latent, latent), dtype=np.float32)).to(lease.device)
    return generator.lfg.decode(generator.lfg.encode(picture), flow, occlusion)


def head(lease: Lease) -> Tensor:
    """Head pose and blinks of 48 frames."""
    pbnet = talker(lease).pbnet
    assert pbnet is not None
    config, draw = pbnet.config, np.random.default_rng(3)
    arrays = (draw.standard_normal((1, config.state_dim)), draw.standard_normal((48, 1, config.latent_dim)))
    first, code = (torch.from_numpy(a.astype(np.float32)).to(lease.device) for a in arrays)
    sound = torch.from_numpy(draw.standard_normal((1, 48, config.audio_dim)).astype(np.float32)).to(lease.device)
    return pbnet.decode(first, code, sound)


def losses(model: str, name: str) -> Case:
    """The losses of a stage's first batch of two, in evaluation mode: without dropout."""

    def compute(lease: Lease) -> Tensor:
        small = () if lease.tiny else ("loop.batch_size=2", *(("scale_frames=4",) if name == "dit" else ()))
        stage = build_stage(lease, model, name, *small)
        buffers = {key: value.clone() for key, value in stage.module.named_buffers()}
        seeded_fill(stage.module, salt=f"{name}/")
        for key, value in stage.module.named_buffers():  # schedules, scales and statistics are no weights
            value.copy_(buffers[key])
        stage.module.to(lease.device).eval()
        batch = {key: value.to(lease.device) for key, value in stage.batch(0).items()}
        values = stage.losses(batch, torch.Generator(device=lease.device).manual_seed(0))
        return torch.stack([values[key].float() for key in sorted(values)])

    return compute


def scoring(build: Build) -> Case:
    """A scoring network on noise."""

    def compute(lease: Lease) -> Tensor:
        network, inputs = build(lease)
        return torch.cat([values.float().flatten() for values in tensors(network(*inputs))])

    return compute


def cases(lease: Lease) -> dict[str, Case]:
    """Every case by name."""
    stages = {f"losses of {stage}": losses(*stage.split(":")) for stage in STAGES}
    return {
        "U-Net step": unet_step,
        "sampler": sampler,
        "LFG decoding": decode,
        "PBNet": head,
        **{name: scoring(build) for name, build in networks(lease).items()},
        **stages,
    }


def numbers(case: Case, lease: Lease, precision: str = "fp32") -> np.ndarray:
    """What a case gives, thinned to what is stored."""
    half = torch.autocast(lease.device.partition(":")[0], dtype=torch.bfloat16, enabled=precision == "bf16")
    with torch.no_grad(), float32_products("tf32" if precision == "tf32" else "ieee"), half:
        values = case(lease).detach().flatten().float()
    return values[:: max(1, len(values) // STORED)].cpu().numpy()


def scale_of(name: str, theirs: np.ndarray) -> np.ndarray:
    """What differences are divided by: the spread of an array's values; of losses, which are unlike, each itself."""
    if name.startswith("losses"):
        return np.maximum(np.abs(theirs), 0.01)
    return np.full(theirs.shape, max(theirs.std(), 1e-3 * np.abs(theirs).max(), 1e-12))


def make(lease: Lease) -> None:
    """Write the CPU's numbers."""
    stored = {}
    for name, case in cases(lease).items():
        stored[name] = numbers(case, lease)
        if not np.isfinite(stored[name]).all():
            raise ValueError(f"{name} gives numbers that are not finite")
        say(f"made {name}: {len(stored[name])} numbers")
    lease.reference.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(lease.reference, **stored)  # type: ignore[arg-type]
    say(f"wrote {lease.reference}: {lease.reference.stat().st_size / 1024:.0f} KB")


def main(lease: Lease) -> int:
    """Compare; the number of cases that differ by more than the tolerance or fail."""
    wrong = 0
    with np.load(lease.reference) as stored:
        for name, case in cases(lease).items():
            for precision in TOLERANCE if name in ("U-Net step", "LFG decoding") else ("fp32",):
                try:
                    ours, theirs = numbers(case, lease, precision), stored[name]
                    off = float((np.abs(ours - theirs) / scale_of(name, theirs)).max())
                    fits = ours.shape == theirs.shape and off <= TOLERANCE[precision]
                    bound = f"(at most {TOLERANCE[precision]:.0e})"
                    say(f"{'ok   ' if fits else 'WRONG'} {name:32} {precision} {off:.1e} {bound}")
                except Exception as error:  # the other cases must still be seen
                    fits = False
                    say(f"WRONG {name:32} {precision} {type(error).__name__}: {str(error).splitlines()[0][:200]}")
                wrong += not fits
    say(f"{wrong} differ")
    return wrong
