"""Means over a mask are those of the whole batch, however it is cut: lips of A2V, valid frames of PBNet."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from micro import micro_settings
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.masks import released_box_area, released_box_mask
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.diffusion import Diffusion
from dawn_bench.models.dawn.pbnet_config import PBNetConfig
from dawn_bench.models.dawn.pbnet_loss import frame_counts, score
from dawn_bench.models.spec import MODELS
from dawn_bench.training.masked_means import HasMaskedMeans, given_denominators, with_denominators
from dawn_bench.training.shares import parts

#: Rows, processes, micro-batches of each: parts of one to four rows, uneven ones, and a process without rows.
CUTS = [(8, 2, 1), (8, 4, 1), (8, 8, 1), (8, 1, 4), (8, 2, 2), (7, 2, 1), (7, 4, 1), (7, 2, 3), (3, 4, 1)]
_SIDE, _FRAMES = 6, 5


def summed(
    batch: dict[str, Tensor], losses: Callable[[dict[str, Tensor]], dict[str, Tensor]], whole: dict[str, float],
    processes: int, accumulate: int,
) -> dict[str, float]:  # fmt: skip
    """The losses that the loop logs: over all parts of all processes."""
    count, totals = len(batch["rows"]), {}
    for process in range(processes):
        for part in parts(count, process=process, processes=processes, accumulate=accumulate):
            cut = {k: v[part.rows] for k, v in batch.items()}
            values = losses(with_denominators(cut, whole, share=len(cut["rows"]) / count))
            for name, value in values.items():
                assert math.isfinite(value)
                totals[name] = totals.get(name, 0) + value.item() / part.divisor / processes
    return totals


def lips(count: int) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], dict[str, Tensor]]]:
    """A batch with lips of other areas in each row, none in some, and its losses."""
    draw = torch.Generator().manual_seed(count)
    mask = torch.rand(count, _FRAMES, _SIDE, _SIDE, generator=draw, dtype=torch.float64)
    mask = (mask < torch.arange(count)[:, None, None, None] / count).double()
    mask[-1:] = 0
    noise = torch.randn(count, 3, _FRAMES, _SIDE, _SIDE, generator=draw, dtype=torch.float64)
    config = A2VConfig(dim=8, dim_mults=(1,), head_dim=2, x0_weight=0.5, lip_weight=2.0)
    diffusion = Diffusion(config).double()

    class Waves(nn.Module):
        def forward(self, x: Tensor, t: Tensor, **_: Tensor) -> Tensor:
            return (3 * x).sin()

    diffusion.denoise_fn = Waves()  # type: ignore[assignment]

    def losses(part: dict[str, Tensor]) -> dict[str, Tensor]:
        z, t = part["noise"].cos(), part["rows"]
        area = given_denominators(part).get("lip")
        return diffusion.losses(
            z, t, part["noise"], source_BCHW=z, mask_BMHW=z, cond_BFD=z, lip_mask_BFHW=part["mask"], lip_area=area
        )._asdict()  # fmt: skip

    return {"rows": torch.arange(count), "mask": mask, "noise": noise}, losses


@pytest.mark.parametrize(("count", "processes", "accumulate"), CUTS)
def test_the_lip_loss_of_parts_is_that_of_the_whole_batch(count: int, processes: int, accumulate: int) -> None:
    batch, losses = lips(count)
    whole = {name: value.item() for name, value in losses(batch).items()}
    denominators = {"lip": float(batch["mask"].sum())}
    assert summed(batch, losses, denominators, processes, accumulate) == pytest.approx(whole, rel=1e-10)
    own = summed(batch, losses, {}, processes, accumulate)["lip"]
    assert abs(own / whole["lip"] - 1) > 0.01, "each part divides by its own lips: the batch would show nothing"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("count", "processes", "accumulate"), CUTS)
def test_pbnet_losses_of_parts_are_those_of_the_whole_batch(
    count: int, processes: int, accumulate: int, masked: bool
) -> None:
    draw = torch.Generator().manual_seed(count)
    config = PBNetConfig(mask_padding=masked, kl_weight=0.5, reg_weight=0.5)
    valid = torch.arange(30) < 2 + torch.arange(count)[:, None] ** 2 % 29
    states, out, mu, logvar = (torch.randn(count, 30, 8, generator=draw, dtype=torch.float64) for _ in range(4))
    batch = {
        "rows": torch.arange(count), "valid": valid, "x": states * valid[..., None], "out": out, "mu": mu, "log": logvar
    }  # fmt: skip

    def losses(part: dict[str, Tensor]) -> dict[str, Tensor]:
        latent = part["mu"].transpose(0, 1), part["log"].transpose(0, 1)
        counts = given_denominators(part)
        return vars(score(config, part["x"], part["out"], *latent, part["valid"], epoch=0, counts=counts))

    whole = {name: value.item() for name, value in losses(batch).items()}
    counts = frame_counts(config, valid)
    assert summed(batch, losses, counts, processes, accumulate) == pytest.approx(whole, rel=1e-10)
    own = summed(batch, losses, {}, processes, accumulate)["rc"]
    assert abs(own / whole["rc"] - 1) > 1e-3, "each part divides by its own frames: the batch would show nothing"


@pytest.mark.parametrize("swap", [False, True])
def test_the_area_of_a_box_is_that_of_its_mask(swap: bool) -> None:
    """Also of boxes that reach beyond the picture, lie outside or are turned."""
    box = torch.rand(40, 3, 4, generator=torch.Generator().manual_seed(0)) * 120 - 40
    given: Any = {"height": 48, "width": 32, "swap_axes": swap}
    masks = released_box_mask(box, 8, **given)
    assert torch.equal(released_box_area(box, 8, **given).float(), masks.sum((-1, -2)))
    assert len(set(masks.sum((-1, -2)).flatten().tolist()) | {0}) > 5


@pytest.mark.parametrize(
    ("stage", "change", "names"),
    [
        ("a2v-1", "a2v_1.model.lip_normalisation=mask", {"lip"}),
        ("a2v-1", "a2v_1.model.lip_normalisation=frame", set()),
        ("a2v-2", "a2v_2.model.lip_weight=0", set()),
        ("pbnet", "pbnet.model.mask_padding=false", {"rc"}),
        ("pbnet", "pbnet.model.mask_padding=true", {"rc", "kl", "reg"}),
    ],
)
def test_a_stage_knows_the_masks_of_its_batch(
    stage: str, change: str, names: set[str], tiny_cache: Path, micro_run: Path
) -> None:
    """On the CPU, before the device has them: the whole batch with them has the losses that it has without."""
    spec, cache = MODELS["dawn"], Cache(tiny_cache)
    settings = spec.fit_to_cache(micro_settings(change, "pbnet.frames=40"), cache)
    built = spec.stages[stage](cache, settings, run=micro_run, seed=0, device="cpu")
    assert isinstance(built, HasMaskedMeans)
    batch = built.batch(0)
    denominators = built.denominators(batch)
    assert set(denominators) == names

    def losses(part: dict[str, Tensor]) -> dict[str, float]:
        torch.manual_seed(0)
        return {k: v.item() for k, v in built.losses(part, torch.Generator().manual_seed(0)).items()}

    own = losses(batch)
    assert losses(with_denominators(batch, denominators, share=1.0)) == pytest.approx(own, rel=1e-5)
    halved = losses(with_denominators(batch, denominators, share=0.5))
    assert {name for name in own if name not in ("total", "mixed") and halved[name] > 1.9 * own[name] > 0} == names
