"""The weights that the A2V-FDM's loss gives to lips and to the predicted motion, by preset."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.diffusion import Diffusion
from dawn_bench.models.dawn.presets import preset

SIDE = 32
#: A lip box of 9 × 5 of 32 × 32 pixels: 4.4 % of the frame.
BOX = (slice(20, 25), slice(12, 21))


class Fixed(nn.Module):
    """In place of the U-Net: a prediction that is a parameter."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.predicted = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor, t: Tensor, **_: Tensor) -> Tensor:
        return self.predicted


def gradient(config: A2VConfig, *, lips: bool = True) -> tuple[Tensor, Tensor]:
    """The gradient of the loss with respect to the prediction, over the prediction's error; and the lip mask."""
    shape = (2, 3, 4, SIDE, SIDE)
    diffusion = Diffusion(config.model_copy(update={"dim": 8, "dim_mults": (1,), "head_dim": 2}))
    diffusion.denoise_fn = Fixed(shape)  # type: ignore[assignment]
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(2, 4, SIDE, SIDE)
    mask[..., BOX[0], BOX[1]] = 1
    nothing = torch.zeros(2, 1, 1, 1)
    losses = diffusion.losses(
        torch.zeros(shape), torch.zeros(2, dtype=torch.long), noise,
        source_BCHW=nothing, mask_BMHW=nothing, cond_BFD=nothing, lip_mask_BFHW=mask if lips else None,
    )  # fmt: skip
    losses.total.backward()
    error = diffusion.denoise_fn.predicted - noise
    return diffusion.denoise_fn.predicted.grad / error, mask[:, None].expand(shape).bool()


@pytest.mark.parametrize(
    ("name", "changes", "ratio"),
    [
        ("dawn-128-paper", {}, 2.0),  # Eq. 7 as printed, w_lip = 1
        ("dawn-128-paper", {"lip_normalisation": "mask"}, 1 + 3 * SIDE**2 / 45),  # 69
        ("dawn-128", {"x0_weight": 0.0}, 1 + 0.15 * 3 * SIDE**2 / 45),  # 11.2, as released
        ("dawn-128-fixed", {"x0_weight": 0.0}, 1 + 0.15 * 3 * SIDE**2 / 45),
    ],
)
def test_how_much_more_an_error_of_the_lips_weighs(name: str, changes: dict[str, object], ratio: float) -> None:
    weights, inside = gradient(preset(name).a2v_1.model.model_copy(update=changes))
    seen = weights[inside].mean() / weights[~inside].mean()
    assert seen.item() == pytest.approx(ratio, rel=1e-3)


def test_configurations_without_the_field_are_normalised_as_before() -> None:
    assert A2VConfig.model_validate({"dim": 8}).lip_normalisation == "mask"
    assert preset("tiny").a2v_1.model.lip_normalisation == "mask"


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_motion_term_does_not_depend_on_the_scale_of_the_flow(scale: float) -> None:
    """Half an image width off in x and y, and half of the range of the occlusion map: 1/4 + 1/4 in both channels."""
    diffusion = Diffusion(A2VConfig.fixed(dim=8, dim_mults=(1,), flow_scale=scale))
    off = torch.tensor([0.5 * scale, -0.5 * scale, 1.0]).view(1, 3, 1, 1, 1).expand(1, 3, 2, 4, 4)
    error = diffusion.motion_error(torch.zeros(1, 3, 2, 4, 4), off)
    assert error.shape == (1, 2, 2, 4, 4)
    torch.testing.assert_close(error, torch.full_like(error, 0.5))
