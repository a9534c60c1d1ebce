"""The U-Net for training on a GPU has the numbers and the gradients of the plain one, which a CPU trains."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from small_configs import A2V_CONFIG
from torch import Tensor

from dawn_bench.models.dawn import fused as fused_form
from dawn_bench.models.dawn.fused import attention
from dawn_bench.models.dawn.fused.unet import predict
from dawn_bench.models.dawn.unet import UNet3D

CONFIG = A2V_CONFIG.model_copy(update={"norm_groups": 2, "cross_head_dim": 8})
BATCH, FRAMES, HEIGHT, WIDTH = 2, 5, 8, 4
Form = Callable[[UNet3D], Tensor]


@pytest.fixture(scope="module")
def unet() -> UNet3D:
    """Gains and biases away from one and zero, so that leaving one out shows."""
    torch.manual_seed(0)
    module = UNet3D(CONFIG)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return module


def inputs(unet: UNet3D) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    generator, dtype = torch.Generator().manual_seed(1), unet.init_conv.weight.dtype

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    return (
        draw(BATCH, 3, FRAMES, HEIGHT, WIDTH),
        torch.tensor([3, 500], dtype=dtype),
        {
            "source_BCHW": draw(BATCH, CONFIG.source_dim, HEIGHT, WIDTH),
            "mask_BMHW": draw(BATCH, CONFIG.mask_dims[1], HEIGHT, WIDTH),
            "cond_BFD": draw(BATCH, FRAMES, CONFIG.condition_dim),
        },
    )


def plain(unet: UNet3D) -> Tensor:
    x, t, others = inputs(unet)
    return unet(x, t, **others)


def test_a_cpu_trains_the_fused_form_where_it_is_asked_for(unet: UNet3D, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, calls = plain(unet), []
    monkeypatch.setattr(
        "dawn_bench.models.dawn.fused.unet.predict", lambda *a, **k: calls.append(1) or predict(*a, **k)
    )
    monkeypatch.setattr(unet, "fused", True)
    torch.testing.assert_close(plain(unet), numbers, rtol=1e-4, atol=1e-4)
    assert calls == [1]
    with torch.no_grad():
        plain(unet)
    assert calls == [1]


def fused(unet: UNet3D) -> Tensor:
    x, t, others = inputs(unet)
    return predict(unet, x, t, **others, call=unet._call)


def gradients(unet: UNet3D, form: Form) -> tuple[Tensor, dict[str, Tensor]]:
    """The prediction, and the gradient of a weighted sum of it with respect to every parameter that has one."""
    unet.zero_grad()
    out = form(unet)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out * weight).sum().backward()
    return out.detach(), {name: p.grad.clone() for name, p in unet.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("most", [attention.MOST_SEQUENCES, 7], ids=["one call", "sequences in parts"])
def test_prediction_and_gradients_are_those_of_the_plain_form(
    unet: UNet3D, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, where nothing hides behind rounding."""
    monkeypatch.setattr(attention, "MOST_SEQUENCES", most)
    exact = copy.deepcopy(unet).double()
    out, slopes = gradients(exact, fused)
    expected, reference = gradients(exact, plain)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    assert slopes.keys() == reference.keys()
    for name, slope in slopes.items():
        scale = float(reference[name].abs().max())
        assert scale > 1e-4, f"{name} has no gradient to compare"
        torch.testing.assert_close(slope, reference[name], rtol=0, atol=1e-9 * scale, msg=name)


def test_saturated_gates_have_exact_gradients(unet: UNet3D) -> None:
    """Conditions far from the null, as degrees of head pose: values whose difference would cancel."""
    driven = copy.deepcopy(unet)
    with torch.no_grad():
        for name, parameter in driven.named_parameters():
            if ".to_kv." in name:
                parameter.mul_(100)
            if name.endswith("k_scale"):
                parameter.fill_(3)
    reference, errors = gradients(copy.deepcopy(driven).double(), plain)[1], {}
    for form in (plain, fused):
        slopes = gradients(driven, form)[1]
        errors[form] = max(float((slopes[k] - v).norm() / v.norm()) for k, v in reference.items())
    assert errors[fused] < 10 * errors[plain]


def test_bfloat16_costs_no_more_precision_than_in_the_plain_form(unet: UNet3D) -> None:
    exact, exact_slopes = gradients(unet, plain)
    errors = {}
    for form in (plain, fused):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, slopes = gradients(unet, form)
        off = [(slopes[k].float() - v).norm() / v.norm() for k, v in exact_slopes.items()]
        errors[form] = float((out.float() - exact).abs().mean()), float(torch.stack(off).mean())
    for ours, theirs in zip(errors[fused], errors[plain], strict=True):
        assert 0 < ours < 1.2 * theirs


@pytest.mark.parametrize("form", [plain, fused])
def test_recomputed_blocks_save_less_and_change_no_bit(
    unet: UNet3D, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved_by(module: UNet3D) -> int:
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            form(module)
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}.values())

    whole, (expected, reference) = saved_by(unet), gradients(unet, form)
    monkeypatch.setattr(unet, "recompute", True)
    assert saved_by(unet) < whole / 4
    out, slopes = gradients(unet, form)
    assert torch.equal(out, expected) and slopes.keys() == reference.keys()
    assert all(torch.equal(slopes[name], slope) for name, slope in reference.items())


def test_a_gpu_trains_in_this_form_and_generates_in_another() -> None:
    gpu, cpu = SimpleNamespace(is_cuda=True), torch.zeros(1)
    assert fused_form.suits(gpu) and not fused_form.suits(cpu)  # type: ignore[arg-type]
    with torch.no_grad():
        assert not fused_form.suits(gpu)  # type: ignore[arg-type]


def test_a_window_and_inference_take_the_plain_form(unet: UNet3D, monkeypatch: pytest.MonkeyPatch) -> None:
    """As fused it knows no window; and the plain network is what `fast.disabled()` compares with."""
    chosen = []
    monkeypatch.setattr("dawn_bench.models.dawn.fused.unet.predict", lambda *_, **__: chosen.append("fused"))
    monkeypatch.setattr("dawn_bench.models.dawn.fused.suits", lambda _: torch.is_grad_enabled())
    x, t, others = inputs(unet)
    unet(x, t, **others, win_width=2)
    with torch.no_grad():
        unet(x, t, **others)
    assert not chosen
    unet(x, t, **others)
    assert chosen == ["fused"]
