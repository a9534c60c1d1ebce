"""Adapter from a checkout of DAWN's released code to the calls that `dawn_inference.py` times.

Get the checkout with `git clone https://github.com/Hanbo-Cheng/DAWN-pytorch`. Besides torch it requires einops,
einops-exts, rotary-embedding-torch 0.3.5, matplotlib and scikit-image.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

UNET = "DM_3.modules.video_flow_diffusion_multiGPU_v0_crema_plus_faceemb_ca_multi_test"


def _module(checkout: Path, name: str) -> Any:
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f"{checkout}: cannot be run here ({error})") from error


def unet(checkout: Path, frames: int, window: int) -> nn.Module:
    """The dense U-Net of the released unified inference script."""
    network = _module(checkout, UNET).DynamicNfUnet3D(
        default_num_frames=frames,
        dim=64,
        cond_dim=1032,
        cond_aud=1024,
        cond_pose=6,
        cond_eye=2,
        num_frames=frames,
        channels=275,
        out_grid_dim=2,
        out_conf_dim=1,
        dim_mults=(1, 2, 4, 8),
        use_hubert_audio_cond=True,
        learn_null_cond=False,
        use_final_activation=False,
        use_deconv=True,
        padding_mode="zeros",
        win_width=window,
    )
    network.update_num_frames(frames)
    return network.eval()


def unet_step(network: nn.Module, x: Tensor, source: Tensor, mask: Tensor, cond: Tensor) -> Callable[[], Tensor]:
    """One step as released: source and mask repeated over the frames and concatenated with the motion."""
    frames = x.shape[1]
    static = [part[None, :, None].expand(-1, -1, frames, -1, -1) for part in (source, mask)]
    joined = torch.cat([x[None], *static], dim=1)
    return lambda: network.forward_with_cond_scale(joined, torch.tensor([500]), cond=cond[None], cond_scale=1.0)[0]


def generator(checkout: Path) -> nn.Module:
    """The LFG's generator with the released widths."""
    settings = yaml.safe_load((checkout / "config" / "hdtf128.yaml").read_text())["model_params"]
    network = _module(checkout, "LFG.modules.generator").Generator(
        num_regions=settings["num_regions"],
        num_channels=settings["num_channels"],
        revert_axis_swap=settings["revert_axis_swap"],
        **settings["generator_params"],
    )
    return network.eval()
