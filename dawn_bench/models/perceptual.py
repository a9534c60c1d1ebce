"""Perceptual losses of images: VGG-19 features, and a substitute where its weights are absent.

Shape letters: B batch, C channels, H height, W width. Images are RGB in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench import weights


class VGGLoss(nn.Module):
    """Perceptual loss: L1 distances of VGG-19 features at relu1_1, 2_1, 3_1, 4_1 and 5_1, summed."""

    #: Convolutions per block, and their channels; features are taken after the first ReLU of each block.
    BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (1, 512))
    mean: Tensor
    std: Tensor

    def __init__(self, *, identity: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.read: list[int] = []
        c_in = 3
        for block, (count, c_out) in enumerate(self.BLOCKS):
            if block:
                layers.append(nn.MaxPool2d(2))
            for i in range(count):
                layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU()]
                c_in = c_out
                if i == 0:
                    self.read.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        self.identity = identity
        self.requires_grad_(False)

    def levels(self, picture_BCHW: Tensor) -> list[Tensor]:
        """The five feature maps; images too small for the coarse ones yield fewer."""
        x = (picture_BCHW - self.mean) / self.std
        features = []
        for i, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool2d) and min(x.shape[2:]) < 2:
                break
            x = layer(x)
            if i in self.read:
                features.append(x)
        return features

    def forward(self, prediction_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        """Scalar loss of images (B, 3, H, W) in [0, 1]; no gradient reaches `truth_BCHW`."""
        with torch.no_grad():
            truth = self.levels(truth_BCHW)
        pairs = zip(self.levels(prediction_BCHW), truth, strict=True)
        return torch.stack([F.l1_loss(ours, theirs) for ours, theirs in pairs]).sum()


class PixelLoss(nn.Module):
    """Substitute for the perceptual loss without VGG-19 weights: L1 distance of pixels and of their gradients.

    Applied at each scale it is a pyramid loss. It trains a small LFG well, but gives blurrier detail than the
    perceptual loss; results trained with it must be labelled.
    """

    identity = "pyramid of pixel and slope differences (substitute for VGG-19)"

    def forward(self, prediction_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        """Scalar loss of images (B, 3, H, W) in [0, 1]; no gradient reaches `truth_BCHW`."""
        off = prediction_BCHW - truth_BCHW.detach()
        return off.abs().mean() + off.diff(dim=2).abs().mean() + off.diff(dim=3).abs().mean()


def picture_loss(policy: weights.Policy = "auto") -> VGGLoss | PixelLoss:
    """The VGG-19 loss if its file is in the weights folder, else the substitute; `seeded` always gives the substitute.

    Raises `InputError` if `policy` is `files` and the file is missing.
    """
    resolved = weights.resolve("vgg19", policy)
    if resolved.path is None:
        return PixelLoss()
    loss = VGGLoss(identity=resolved.identity)
    kept = set(loss.state_dict())
    weights.load_into(loss, resolved, adapt=lambda state: {k: t for k, t in state.items() if k in kept})
    return loss
