"""S3FD, the face detector of SyncNet's crop pipeline: boxes from six feature maps over a VGG-16.

Canonical implementation: joonson/syncnet_python (`detectors/s3fd`), weights `sfd_face.pth`; module names follow its
state dict. `s3fd_wav2lip` is Wav2Lip's copy (`s3fd-619a316812.pth`), with other names, a padded instead of a dilated
`fc6`, other pools, and the blue and red means swapped.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.exact import exact_inference
from dawn_bench.metrics.networks.inference import uploaded

#: Subtracted from red, green, blue.
MEAN = (123.0, 117.0, 104.0)
STEPS = (4, 8, 16, 32, 64, 128)  # pixels between the priors of each map
SIZES = (16, 32, 64, 128, 256, 512)  # side of the priors of each map, pixels
VARIANCES = (0.1, 0.2)
#: Layers of the VGG list whose outputs are maps, and the end of the list.
TAPS, END = (16, 23, 30), 35


class L2Norm(nn.Module):
    """Channels scaled to unit length, then by a weight each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B,C,H,W) -> the same shape."""
        return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) * self.weight[:, None, None]


class S3FD(nn.Module):
    """Raw offsets and face probabilities, which `decode` turns into boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = nn.ModuleList(_vgg())
        self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3 = L2Norm(256), L2Norm(512), L2Norm(512)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1), nn.Conv2d(256, 512, 3, stride=2, padding=1),
                nn.Conv2d(512, 128, 1), nn.Conv2d(128, 256, 3, stride=2, padding=1),
            ]
        )  # fmt: skip
        widths = (256, 512, 512, 1024, 512, 256)
        self.loc = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for width in widths)
        self.conf = nn.ModuleList(nn.Conv2d(w, 4 if i == 0 else 2, 3, padding=1) for i, w in enumerate(widths))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets, probabilities and priors.

        Args:
            pictures: float32 (B,3,H,W), red, green, blue 0..255 minus `MEAN`.

        Returns:
            offsets float32 (B,P,4); probabilities float32 (B,P,2) of background and face; priors float32 (P,4) centre
            x, centre y, width, height as shares of the picture.
        """
        maps, h = [], pictures
        norms = (self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3)
        for start, stop, norm in zip((0, *TAPS[:-1]), TAPS, norms, strict=True):
            for layer in self.vgg[start:stop]:
                h = layer(h)
            maps.append(norm(h))
        for layer in self.vgg[TAPS[-1] : END]:
            h = layer(h)
        maps.append(h)
        for k in (0, 2):
            h = F.relu(self.extras[k + 1](F.relu(self.extras[k](h))))
            maps.append(h)
        offsets, scores = [], []
        for k, features in enumerate(maps):
            score = self.conf[k](features)
            if k == 0:  # the smallest faces have three background classes; the most likely one counts
                score = torch.cat([score[:, :3].amax(dim=1, keepdim=True), score[:, 3:]], dim=1)
            offsets.append(self.loc[k](features).permute(0, 2, 3, 1).flatten(1, 2))
            scores.append(score.permute(0, 2, 3, 1).flatten(1, 2))
        priors = _priors(pictures.shape[2:], [m.shape[2:] for m in maps])
        return torch.cat(offsets, 1), torch.cat(scores, 1).softmax(dim=2), priors.to(pictures.device)


def detect(network: S3FD, frame: np.ndarray, *, scale: float = 0.25, confidence: float = 0.9) -> np.ndarray:
    """Faces of one frame, as the canonical `detect_faces`.

    Args:
        frame: uint8 (H,W,3) RGB.
        scale: the frame is resized by this factor first. Faces should have at least 32 px afterwards.
        confidence: the minimum probability.

    Returns:
        float64 (n,5): x0, y0, x1, y1 in pixels of the frame, and the probability; the most probable first.
    """
    return detect_batch(network, frame[None], scale=scale, confidence=confidence)[0]


def detect_batch(
    network: S3FD, frames: np.ndarray, *, scale: float = 0.25, confidence: float = 0.9
) -> list[np.ndarray]:
    """`detect` of each of the frames uint8 (N,H,W,3), in one pass of the network."""
    small = [cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) for frame in frames]
    device = next(network.parameters()).device
    pictures = uploaded(np.stack(small), device).float().sub(torch.tensor(MEAN, device=device)).permute(0, 3, 1, 2)
    with exact_inference():
        offsets, probability, priors = network(pictures)
        scored = torch.cat([decode(offsets, priors), probability[..., 1:]], dim=-1).cpu().numpy()
    return [_faces(rows, frames.shape[1:3], confidence) for rows in scored]


def _faces(scored: np.ndarray, size: tuple[int, ...], confidence: float) -> np.ndarray:
    """What remains of the boxes of one frame and their probabilities, float32 (P,5); `size` is its height and width."""
    scored = scored[scored[:, 4] > 0.05]
    scored = scored[suppress(scored, 0.3, at_most=5000)[:750]]
    scored = scored[scored[:, 4] > confidence].astype(np.float64)
    height, width = size
    scored[:, :4] *= (width, height, width, height)
    return scored[suppress(scored, 0.1)]


def decode(offsets: Tensor, priors: Tensor) -> Tensor:
    """Boxes (...,P,4) x0, y0, x1, y1 as fractions of the frame, from offsets (...,P,4) and priors (P,4)."""
    centre = priors[:, :2] + offsets[..., :2] * VARIANCES[0] * priors[:, 2:]
    half = priors[:, 2:] * torch.exp(offsets[..., 2:] * VARIANCES[1]) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def suppress(boxes: np.ndarray, overlap: float, *, at_most: int | None = None, pixel: float = 0.0) -> np.ndarray:
    """Non-maximum suppression: indices of the boxes (n,5) that remain, where of two with an overlap above `overlap` the
    less probable is dropped.

    `pixel` is added to every side: 1 where the last pixel is inside the box.
    """
    order = np.argsort(-boxes[:, 4], kind="stable")[:at_most]
    area = (boxes[:, 2] - boxes[:, 0] + pixel) * (boxes[:, 3] - boxes[:, 1] + pixel)
    keep = []
    while order.size:
        best, order = order[0], order[1:]
        keep.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:4], boxes[order, 2:4])
        shared = np.maximum(0, high - low + pixel).prod(axis=1)
        order = order[shared / (area[best] + area[order] - shared) <= overlap]
    return np.array(keep, dtype=np.intp)


def _vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inside = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU(inplace=True)]
            inside = width
        layers.append(nn.MaxPool2d(2, ceil_mode=width == 256))
    layers += [nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(inplace=True)]
    return [*layers, nn.Conv2d(1024, 1024, 1), nn.ReLU(inplace=True)]


def _priors(picture: tuple[int, ...], maps: list[tuple[int, ...]]) -> Tensor:
    """One square prior (P,4) per position of every map."""
    height, width = picture
    parts = []
    for (rows, columns), step, size in zip(maps, STEPS, SIZES, strict=True):
        y, x = torch.meshgrid(
            (torch.arange(rows, dtype=torch.float64) + 0.5) * step / height,
            (torch.arange(columns, dtype=torch.float64) + 0.5) * step / width,
            indexing="ij",
        )
        parts.append(torch.stack([x, y, torch.full_like(x, size / width), torch.full_like(y, size / height)], dim=-1))
    return torch.cat([p.flatten(0, 1) for p in parts]).float()
