"""The A2V-FDM as a whole, at tiny widths: inference, training, conditions, checkpoints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dawn_bench.errors import InputError
from dawn_bench.masks import released_box_mask
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.conditions import (
    build_condition,
    drop_conditions,
    head_state,
    identity_grid,
)
from dawn_bench.models.dawn.fast.unet import FastUNet
from dawn_bench.models.dawn.published import load_published_a2v

TINY = {
    "dim": 16,
    "dim_mults": (1, 2),
    "heads": 2,
    "head_dim": 8,
    "cross_heads": 2,
    "cross_head_dim": 4,
    "audio_dim": 10,
    "source_dim": 6,
    "mask_dims": (3, 4),
    "norm_groups": 4,
    "win_width": 7,
}


def tiny(kind: str = "fixed", **changes: object) -> A2VFDM:
    torch.manual_seed(0)
    return A2VFDM(getattr(A2VConfig, kind)(**(TINY | changes)))


def clip_inputs(batch: int, frames: int, side: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(frames)
    features = torch.rand(batch, 6, side, side, generator=generator)
    mask = torch.ones(batch, 1, 4 * side, 4 * side)
    return features, mask, torch.randn(batch, frames, 18, generator=generator)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(("frames", "window", "side"), [(1, 7, 8), (9, 3, 8), (75, 7, 8), (40, None, 4)])
@torch.no_grad()
def test_inference_form_equals_the_plain_unet(frames: int, window: int | None, side: int) -> None:
    unet = tiny().diffusion.denoise_fn
    features, _, cond = clip_inputs(1, frames, side)
    x, mask = torch.randn(1, 3, frames, side, side), torch.rand(1, 4, side, side)
    plain = unet(x, torch.tensor([321]), source_BCHW=features, mask_BMHW=mask, cond_BFD=cond, win_width=window)
    clip = FastUNet(unet).prepare(source_CHW=features[0], mask_MHW=mask[0], cond_FD=cond[0], win_width=window)
    torch.testing.assert_close(clip(x[0], torch.tensor([321])), plain[0], rtol=0, atol=5e-5)


@pytest.mark.parametrize(("kind", "within"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)])
@torch.no_grad()
def test_half_precision_stays_near(kind: torch.dtype, within: float) -> None:
    """Root mean square over the spread of the noise; the result is float32 all the same."""
    unet = tiny().diffusion.denoise_fn
    features, _, cond = clip_inputs(1, 40)
    x, mask, t = torch.randn(3, 40, 8, 8), torch.rand(4, 8, 8), torch.tensor([321])

    def predicted() -> Tensor:
        clip = FastUNet(unet).prepare(source_CHW=features[0], mask_MHW=mask, cond_FD=cond[0], win_width=7)
        return clip(x, t)

    exact = predicted()
    with torch.autocast("cpu", dtype=kind):
        half = predicted()
    assert half.dtype == torch.float32
    assert 0 < (half - exact).square().mean().sqrt() < within * exact.std()


@pytest.mark.slow
@torch.no_grad()
def test_the_compiled_form_is_one_graph_with_the_same_numbers() -> None:
    unet = tiny().diffusion.denoise_fn
    features, _, cond = clip_inputs(1, 20, 4)
    x, mask = torch.randn(3, 20, 4, 4), torch.rand(4, 4, 4)
    clip = FastUNet(unet).prepare(source_CHW=features[0], mask_MHW=mask, cond_FD=cond[0], win_width=7)
    compiled = torch.compile(clip, backend="aot_eager", fullgraph=True, dynamic=False)
    for step in (700, 30):
        t = torch.tensor([step])
        torch.testing.assert_close(compiled(x, t), clip(x, t), rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", ["ddim", "dpm2m"])
def test_a_clip_does_not_depend_on_its_batch(solver: str) -> None:
    model = tiny().eval()
    features, mask, cond = clip_inputs(3, 12)
    together = model.sample(features, mask, cond, steps=3, solver=solver, generator=seeded(1, 2, 3))
    assert together.shape == (3, 3, 12, 8, 8)
    alone = model.sample(features[1:2], mask[1:2], cond[1:2], steps=3, solver=solver, generator=seeded(2))
    assert torch.equal(together[1:2], alone)
    other = model.sample(features[1:2], mask[1:2], cond[1:2], steps=3, solver=solver, generator=seeded(5))
    assert not torch.equal(alone, other)


def test_guidance_moves_the_motion_and_progress_counts_steps() -> None:
    class Count:
        steps = 0.0

        def advance(self, amount: float = 1, *, note: str = "") -> None:
            self.steps += amount

        def say(self, line: str) -> None: ...

    model, count = tiny().eval(), Count()
    features, mask, cond = clip_inputs(1, 5)
    plain = model.sample(features, mask, cond, steps=3, generator=seeded(1), progress=count)
    assert count.steps == 3
    guided = model.sample(features, mask, cond, steps=3, generator=seeded(1), cond_scale=2.0)
    assert (plain - guided).abs().max() > 1e-4


@pytest.mark.slow
def test_a_minute_in_one_pass_needs_bounded_memory() -> None:
    """1,500 frames; the n² attention matrix of one layer alone would be 1.1 GB here."""
    script = f"""
import resource, torch
from dawn_bench.models.dawn.a2v import A2VFDM, A2VConfig
torch.set_num_threads(1)
model = A2VFDM(A2VConfig.fixed(**{TINY!r})).eval()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
z = model.sample(torch.rand(1, 6, 8, 8), torch.ones(1, 1, 32, 32), torch.randn(1, 1500, 18), steps=1)
assert z.shape == (1, 3, 1500, 8, 8) and z.isfinite().all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 250, f"{done.stdout.strip()} MB"


def test_every_trained_parameter_of_the_fixed_model_gets_a_gradient() -> None:
    model = tiny()
    features, mask, cond = clip_inputs(2, 6)
    losses = model.loss(
        torch.rand(2, 3, 6, 8, 8), features, mask, cond, torch.ones(2, 6, 8, 8), generator=torch.Generator()
    )
    torch.testing.assert_close(losses.total, losses.eps + losses.lip)
    losses.total.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert model.face_loc_emb.conv1.weight.grad is not None


def test_the_released_mask_encoder_is_not_trained() -> None:
    model = tiny("reference")
    assert not any(p.requires_grad for p in model.face_loc_emb.parameters())
    assert torch.equal(model.face_loc_emb.conv1.weight, tiny("reference").face_loc_emb.conv1.weight)


def test_loss_is_drawn_from_the_generator_alone() -> None:
    model = tiny()
    features, mask, cond = clip_inputs(2, 4)
    z, lips = torch.rand(2, 3, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    first, again, other = (
        model.loss(z, features, mask, cond, lips, generator=torch.Generator().manual_seed(seed)).total.item()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_short_training_lowers_the_loss() -> None:
    model = tiny(prediction="velocity", null_probability=0.0)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    features, mask, cond = clip_inputs(4, 5, 4)
    z = torch.rand(1, 3, 1, 1, 1).expand(4, 3, 5, 4, 4)

    def error() -> float:
        with torch.no_grad():
            return sum(model.loss(z, features, mask, cond, None, generator=g).total.item() for g in seeded(*range(6)))

    before = error()
    for generator in seeded(*range(100, 130)):
        optimizer.zero_grad()
        model.loss(z, features, mask, cond, None, generator=generator).total.backward()
        optimizer.step()
    assert error() < 0.7 * before


@pytest.mark.parametrize("kind", ["reference", "fixed"])
def test_motion_is_unpacked_as_it_was_packed(kind: str) -> None:
    model = tiny(kind)
    flow, occlusion = torch.rand(2, 3, 4, 4, 2) * 2 - 1, torch.rand(2, 3, 1, 4, 4)
    z = model.pack_motion(flow, occlusion)
    assert z.shape == (2, 3, 3, 4, 4)
    for got, want in zip(model.unpack_motion(z), (flow, occlusion), strict=True):
        torch.testing.assert_close(got, want)
    still = model.pack_motion(identity_grid(4, 4).permute(1, 2, 0).expand(2, 3, 4, 4, 2), occlusion)
    assert (still[:, :2].abs().max() == 0) == (kind == "fixed")


def test_condition_is_sound_then_differences_to_the_source() -> None:
    pose = torch.arange(14.0).view(1, 2, 7)
    head = head_state(pose, torch.zeros(1, 2, 2))
    cond = build_condition(torch.ones(1, 2, 3), head, head_state(pose[:, 0], torch.full((1, 2), 0.3)))
    assert cond.shape == (1, 2, 11)
    assert cond[0, 0].tolist() == pytest.approx([1, 1, 1, 0, 0, 0, 0, 0, 0, -0.3, -0.3])
    assert cond[0, 1, 3:9].tolist() == [7.0] * 6


def test_conditions_are_dropped_by_clip_or_by_frame() -> None:
    cond = torch.ones(64, 10, 3)
    by_clip = drop_conditions(cond, 0.5, per_frame=False, generator=torch.Generator().manual_seed(0))
    by_frame = drop_conditions(cond, 0.5, per_frame=True, generator=torch.Generator().manual_seed(0))
    assert set(by_clip.sum(dim=(1, 2)).tolist()) == {0.0, 30.0}
    assert set(by_frame.sum(dim=2).flatten().tolist()) == {0.0, 3.0}
    assert by_frame.sum(dim=(1, 2)).unique().numel() > 3


def test_swapped_mask_axes_show_only_where_a_picture_is_not_square() -> None:
    box = torch.tensor([20.0, 10.0, 39.0, 29.0])
    fixed, swapped = (released_box_mask(box, 50, height=50, width=100, swap_axes=swap) for swap in (False, True))
    assert fixed.any(0).nonzero().flatten().tolist() == list(range(10, 21))
    assert fixed.any(1).nonzero().flatten().tolist() == list(range(10, 31))
    assert swapped.any(0).nonzero().flatten().tolist() == list(range(20, 41))
    square = [released_box_mask(box, 50, height=50, width=50, swap_axes=swap) for swap in (False, True)]
    assert torch.equal(*square)


def test_published_files_load_or_are_refused_in_one_line(tmp_path: Path) -> None:
    model, path = tiny("reference"), tmp_path / "DAWN_128.pth"
    state = model.diffusion.state_dict()
    torch.save({"example": 5, "diffusion": state, "optimizer_diff": {}}, path)
    loaded = load_published_a2v(path, model.config)
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.diffusion.state_dict().items())

    lacking = {k: v for k, v in state.items() if k != "denoise_fn.init_conv.bias"} | {"foreign": torch.ones(1)}
    for content, message in (
        ({"diffusion": lacking}, "denoise_fn.init_conv.bias"),
        ({"generator": {"first.weight": torch.ones(1)}}, "DAWN_128.pth"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message) as refused:
            load_published_a2v(path, model.config)
        assert "\n" not in str(refused.value)
    torch.save({"diffusion": state, "hook": print}, path)  # an object of the training, which is passed over
    loaded = load_published_a2v(path, model.config)
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.diffusion.state_dict().items())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged"):
        load_published_a2v(path, model.config)


def test_every_quirk_is_a_named_setting_that_the_fixed_preset_turns_off() -> None:
    from dawn_bench.models import dawn
    from dawn_bench.models.dawn.lfg import LFGConfig
    from dawn_bench.models.dawn.pbnet import PBNetConfig

    for config in (LFGConfig, A2VConfig, PBNetConfig):
        released, fixed = config.reference(), config.fixed()
        mended = {name for name in config.model_fields if getattr(released, name) != getattr(fixed, name)}
        documented = {
            name for name in config.model_fields if f"`{name}`" in dawn.__doc__ or f".{name}`" in dawn.__doc__
        }
        assert mended - documented <= {
            "flow_scale",
            "kl_weight",
            "gan_weight",
        }  # the paper's values and a unit, no quirks
        assert documented <= mended
        assert all(config.model_fields[name].description for name in documented)
