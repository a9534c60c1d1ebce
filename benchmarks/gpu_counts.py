"""What a training step of each stage and a sampling step cost on a GPU, counted without one.

    python benchmarks/gpu_counts.py
    python benchmarks/gpu_counts.py --preset dawn-256 --size 256 --stage a2v-2 --rows 10 --by-name
    python benchmarks/gpu_counts.py --sampling 40 200 --size 128

Per line: operations of the device (about one kernel launch each), floating-point operations, and bytes that the
operations read and write if nothing stays in a cache, of the forward and the backward pass; and the bytes that autograd
keeps between them. Seconds for any size: see `fake_gpu.py`.
"""

from __future__ import annotations

import argparse

import torch
from fake_gpu import GIB, Counts, Saved, backward, fake_gpu
from fake_stages import FakeStage, preset_of

from dawn_bench.models.spec import MODELS, stage_key

#: Kinds of operations that `--by-name` lists.
LISTED = 15


def main() -> None:
    arguments = _arguments()
    if arguments.sampling:
        for frames in arguments.sampling:
            for precision in ("fp32", "bf16"):
                with fake_gpu():
                    counts = sampling_step(frames, size=arguments.size, precision=precision)
                _line(f"sampling step, {frames} frames, {precision}", counts, by_name=arguments.by_name)
        return
    settings, cache = preset_of(arguments.model, arguments.preset, size=arguments.size)
    stages = arguments.stage or MODELS[arguments.model].stages
    for name in stages:
        if getattr(settings, stage_key(name)) is None:
            continue
        with fake_gpu():
            stage = FakeStage(arguments.model, settings, cache, name)
            rows = arguments.rows or stage.loop.batch_size // (stage.loop.accumulate or 1)
            with Saved(stage.module) as saved, Counts() as forward:
                loss = stage.losses(rows)["total"]
            _line(f"{arguments.preset} {name}, {rows} items, forward", forward, by_name=arguments.by_name)
            with Counts() as back:
                backward(loss)
            _line(f"{arguments.preset} {name}, {rows} items, backward", back, by_name=arguments.by_name)
            print(f"{arguments.preset} {name}, {rows} items: {saved.bytes / GIB:.1f} GiB saved for backward")


def sampling_step(frames: int, *, size: int, precision: str = "fp32") -> Counts:
    """The counts of one call of the U-Net for inference at the released widths, on a `fake_gpu`."""
    from dawn_bench.models.dawn.a2v_config import A2VConfig
    from dawn_bench.models.dawn.fast.unet import FastUNet
    from dawn_bench.models.dawn.unet import MOTION_CHANNELS, UNet3D

    config = A2VConfig.reference()
    unet = UNet3D(config).to("cuda")
    side = size // 4
    clip = {
        "source_CHW": torch.empty(config.source_dim, side, side, device="cuda"),
        "mask_MHW": torch.empty(config.mask_dims[1], side, side, device="cuda"),
        "cond_FD": torch.empty(frames, config.condition_dim, device="cuda"),
    }
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16"):
        network = FastUNet(unet).prepare(**clip, win_width=config.win_width)
        with Counts() as counts:
            noisy = torch.empty(MOTION_CHANNELS, frames, side, side, device="cuda")
            network(noisy, torch.zeros(1, dtype=torch.int64, device="cuda"))
    return counts


def _line(what: str, counts: Counts, *, by_name: bool) -> None:
    print(f"{what}: {counts.launches:,} launches, {counts.flops / 1e12:.2f} TFLOP, {counts.bytes / GIB:.1f} GiB moved")
    for name, moved in counts.by_name.most_common(LISTED if by_name else 0):
        print(f"    {name:32} {counts.launches_by_name[name]:6,} launches {moved / GIB:8.1f} GiB")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dawn", choices=list(MODELS))
    parser.add_argument("--preset", default="dawn-128")
    parser.add_argument("--size", type=int, default=128, help="side of the frames in pixels")
    parser.add_argument("--stage", action="append", help="may be given several times; default: all")
    parser.add_argument("--rows", type=int, help="items of a micro-batch; default: that of the preset")
    parser.add_argument("--sampling", type=int, nargs="+", metavar="FRAMES", help="count sampling steps instead")
    parser.add_argument("--by-name", action="store_true", help="list the kinds of operations that move most")
    return parser.parse_args()


if __name__ == "__main__":
    main()
