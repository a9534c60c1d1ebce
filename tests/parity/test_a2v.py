"""The A2V-FDM with the LFG: a training step and a whole clip from picture to pictures, against the reference."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from dawn_goldens import assert_near, assert_ratio, fill, load_case
from goldens import golden_cases

from dawn_bench.masks import released_box_mask, released_lip_mask
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.conditions import build_condition, head_state
from dawn_bench.models.dawn.lfg import LFG, LFGConfig


@cache
def filled(folder: Path) -> tuple[LFG, A2VFDM]:
    lfg, model = LFG(LFGConfig.reference()).eval(), A2VFDM(A2VConfig.reference()).eval()
    for part in (lfg.generator, lfg.region_predictor, lfg.bg_predictor, model.diffusion):
        fill(part, folder)
    fill(model.face_loc_emb, folder, prefix="face_loc_emb.")
    return lfg, model


def face_mask(box: torch.Tensor, size: int, model: A2VFDM) -> torch.Tensor:
    """The mask of boxes x_min, x_max, y_min, y_max, height, width (B,6), as the released code keeps them."""
    corners, swap = box[:, [0, 2, 1, 3]], model.config.swap_mask_axes
    return released_box_mask(corners, size, height=box[:, 4], width=box[:, 5], swap_axes=swap)[:, None]


@pytest.mark.parametrize("path", golden_cases("dawn", "e2e*.npz"), ids=lambda path: path.stem)
@torch.no_grad()
def test_picture_to_pictures(path: Path) -> None:
    case, (lfg, model) = load_case(path), filled(path.parent)
    size = case["image"].shape[-1]
    box = case["bbox"][:, :, 0]
    mask = face_mask(box, size, model)
    assert_near(mask, case["face_mask"], within=0, what="face mask")
    assert_near(model.face_loc_emb(mask), case["face_emb"], within=1e-5, what="encoded mask")
    head = head_state(case["pose"].transpose(1, 2), case["eye"].transpose(1, 2))
    cond = build_condition(case["hubert"], head, head_state(case["init_pose"], case["init_eye"]))
    encoded = lfg.encode(case["image"])
    z = model.sample(
        encoded.features_BChh,
        mask,
        cond,
        steps=int(case["steps"]),
        cond_scale=float(case["cond_scale"]),
        win_width=int(case["win_width"]),
        noise=case["noise"],
    )
    flow, occlusion = model.unpack_motion(z)
    assert_near(flow.permute(0, 4, 1, 2, 3), case["sample_vid_grid"], within=1e-4, what="flow")
    assert_near(occlusion.transpose(1, 2), case["sample_vid_conf"], within=1e-4, what="occlusion")
    pictures = lfg.decode_clip(encoded, flow[0], occlusion[0])
    assert_near(pictures.transpose(0, 1)[None], case["sample_out_vid"], within=2e-4, what="pictures")


@pytest.mark.parametrize("path", golden_cases("dawn", "train_s2*.npz"), ids=lambda path: path.stem)
@torch.no_grad()
def test_training_step(path: Path) -> None:
    case, (lfg, model) = load_case(path), filled(path.parent)
    video = case["video"].float() / 255
    size = video.shape[-1]
    source, frames = video[:, :, 0], video[:, :, 1:]
    motions = [lfg.motion(picture[None], clip.transpose(0, 1)) for picture, clip in zip(source, frames, strict=True)]
    flow, occlusion = (torch.stack(part) for part in zip(*motions, strict=True))
    assert_near(flow.permute(0, 4, 1, 2, 3), case["real_vid_grid"], within=1e-5, what="flow")
    assert_near(occlusion.transpose(1, 2), case["real_vid_conf"], within=1e-5, what="occlusion")

    box = case["bbox"][:, :, 0]
    mask = face_mask(box, size, model)
    assert_near(mask, case["face_mask"], within=0, what="face mask")
    lips = torch.stack(
        [
            torch.from_numpy(released_lip_mask(points, *hw, size // 4))
            for points, hw in zip(case["mouth_lmk"].numpy(), box[:, 4:].tolist(), strict=True)
        ]
    ).float()
    assert_near(lips, case["mouth_mask"], within=0, what="lip mask")
    head = head_state(case["pose"].transpose(1, 2), case["eye"].transpose(1, 2))
    cond = build_condition(case["hubert"][:, 1:], head[:, 1:], head[:, 0])
    losses = model.diffusion.losses(
        model.pack_motion(flow, occlusion),
        case["t"],
        case["noise"],
        source_BCHW=lfg.encode(source).features_BChh,
        mask_BMHW=model.face_loc_emb(mask),
        cond_BFD=cond,
        lip_mask_BFHW=lips,
    )
    assert_ratio(losses.eps.item(), case["loss"].mean().item(), within=1e-4, what="noise")
    assert_ratio(losses.x0.item(), case["floss"].mean().item(), within=1e-4, what="motion")
    assert_ratio(losses.lip.item(), float(case["mouth_loss"]), within=1e-4, what="lips")
    assert_ratio(losses.total.item(), float(case["total"]), within=1e-4, what="total")
