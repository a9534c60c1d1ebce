"""S3FD as used by Wav2Lip and face-alignment (`s3fd-619a316812.pth`).

The same detector as `s3fd` with other names, a padded instead of a dilated `fc6`, pools that round down, and channel
means in the wrong order: blue's is subtracted from red. Wav2Lip detects faces with it before generation; cropping with
it before scoring gives other boxes (`lse_detector=wav2lip`).

Canonical implementation: Rudrabha/Wav2Lip (`face_detection/detection/sfd`). The reference outputs contain maps, not
boxes; `detect` follows the source code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.exact import exact_inference
from dawn_bench.metrics.networks.inference import uploaded
from dawn_bench.metrics.networks.s3fd import L2Norm, decode, suppress

#: Subtracted from red, green, blue: the means of blue, green, red.
MEAN = (104.0, 117.0, 123.0)
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
#: The maps that predict boxes, and their channels.
MAPS = {"conv3_3_norm": 256, "conv4_3_norm": 512, "conv5_3_norm": 512, "fc7": 1024, "conv6_2": 512, "conv7_2": 256}


class S3FDWav2Lip(nn.Module):
    """Raw scores and offsets of six maps; state dict keys are those of `s3fd-619a316812.pth`."""

    def __init__(self) -> None:
        super().__init__()
        inside = 3
        for block, (width, count) in enumerate(_BLOCKS, start=1):
            for k in range(1, count + 1):
                self.add_module(f"conv{block}_{k}", nn.Conv2d(inside, width, 3, padding=1))
                inside = width
        self.fc6, self.fc7 = nn.Conv2d(512, 1024, 3, padding=3), nn.Conv2d(1024, 1024, 1)
        self.conv6_1, self.conv6_2 = nn.Conv2d(1024, 256, 1), nn.Conv2d(256, 512, 3, stride=2, padding=1)
        self.conv7_1, self.conv7_2 = nn.Conv2d(512, 128, 1), nn.Conv2d(128, 256, 3, stride=2, padding=1)
        for block in (3, 4, 5):
            self.add_module(f"conv{block}_3_norm", L2Norm(_BLOCKS[block - 1][0]))
        for i, (name, width) in enumerate(MAPS.items()):
            self.add_module(f"{name}_mbox_conf", nn.Conv2d(width, 2 if i else 4, 3, padding=1))
            self.add_module(f"{name}_mbox_loc", nn.Conv2d(width, 4, 3, padding=1))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Scores (B,2,h,w) of background and face before the softmax and offsets (B,4,h,w), map by map.

        `pictures` float32 (B,3,H,W): red, green, blue 0..255 minus `MEAN`.
        """
        h, maps = pictures, []
        for block, (_, count) in enumerate(_BLOCKS, start=1):
            for k in range(1, count + 1):
                h = F.relu(self.get_submodule(f"conv{block}_{k}")(h))
            if block >= 3:
                maps.append(self.get_submodule(f"conv{block}_3_norm")(h))
            h = F.max_pool2d(h, 2)
        h = F.relu(self.fc7(F.relu(self.fc6(h))))
        maps.append(h)
        for first, second in ((self.conv6_1, self.conv6_2), (self.conv7_1, self.conv7_2)):
            h = F.relu(second(F.relu(first(h))))
            maps.append(h)
        out = []
        for i, (name, features) in enumerate(zip(MAPS, maps, strict=True)):
            score = self.get_submodule(f"{name}_mbox_conf")(features)
            if i == 0:  # three background classes; the most likely one counts
                score = torch.cat([score[:, :3].amax(dim=1, keepdim=True), score[:, 3:]], dim=1)
            out += [score, self.get_submodule(f"{name}_mbox_loc")(features)]
        return out


def detect(network: S3FDWav2Lip, frame: np.ndarray, *, confidence: float = 0.5) -> np.ndarray:
    """Faces of one frame uint8 (H,W,3) RGB: float64 (n,5) x0, y0, x1, y1 and the probability, highest first."""
    return detect_batch(network, frame[None], confidence=confidence)[0]


def detect_batch(network: S3FDWav2Lip, frames: np.ndarray, *, confidence: float = 0.5) -> list[np.ndarray]:
    """`detect` of each of the frames uint8 (N,H,W,3), in one pass of the network."""
    device = next(network.parameters()).device
    pictures = uploaded(frames, device).float().sub(torch.tensor(MEAN, device=device)).permute(0, 3, 1, 2)
    with exact_inference():
        maps = network(pictures)
        parts = [
            _boxes(score, offsets, step=4 * 2**i)
            for i, (score, offsets) in enumerate(zip(maps[0::2], maps[1::2], strict=True))
        ]
        scored = torch.cat(parts, dim=1).cpu().double().numpy()
    faces = []
    for rows in scored:
        rows = rows[rows[:, 4] > 0.05]
        rows = rows[suppress(rows, 0.3, pixel=1.0)]
        faces.append(rows[rows[:, 4] > confidence])
    return faces


def _boxes(score: Tensor, offsets: Tensor, *, step: int) -> Tensor:
    """Boxes in pixels and their probabilities (B,h*w,5) of one map: scores (B,2,h,w), offsets (B,4,h,w)."""
    probability = score.softmax(dim=1)[:, 1].flatten(1)
    rows, columns = score.shape[2:]
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centres = (torch.stack([x, y], dim=-1).flatten(0, 1).to(score) + 0.5) * step
    priors = torch.cat([centres, torch.full_like(centres, 4 * step)], dim=1)
    return torch.cat([decode(offsets.flatten(2).transpose(1, 2), priors), probability[..., None]], dim=2)
