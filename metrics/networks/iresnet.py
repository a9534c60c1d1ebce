"""IResNet, the backbone of ArcFace: a 512-dimensional embedding of an aligned 112 x 112 face.

Canonical implementation: deepinsight/insightface, recognition/arcface_torch (`backbones/iresnet.py`); module names
follow its state dict. The ONNX files of insightface's model packs hold the same network with fused layers and other
names, and run through `cv2.dnn` instead (`dawn_bench.metrics.features.identity`).
"""

from __future__ import annotations

from torch import Tensor, nn

SIDE = 112
EMBEDDING = 512
WIDTHS = (64, 128, 256, 512)
DEPTHS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


class _Block(nn.Module):
    """Normalise, convolve, normalise, PReLU, convolve (strided), normalise; added to the input."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inside != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.bn1(x))
        h = self.conv2(self.prelu(self.bn2(h)))
        return self.bn3(h).add_(self.downsample(x))


class IResNet(nn.Module):
    """IResNet50 or IResNet100, by `depth`."""

    def __init__(self, depth: int = 50) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        inside = WIDTHS[0]
        for number, (width, blocks) in enumerate(zip(WIDTHS, DEPTHS[depth], strict=True), start=1):
            layers = [_Block(inside if i == 0 else width, width, stride=2 if i == 0 else 1) for i in range(blocks)]
            self.add_module(f"layer{number}", nn.Sequential(*layers))
            inside = width
        self.bn2 = nn.BatchNorm2d(inside)
        self.fc = nn.Linear(inside * (SIDE // 16) ** 2, EMBEDDING)
        self.features = nn.BatchNorm1d(EMBEDDING)

    def forward(self, faces: Tensor) -> Tensor:
        """float32 (B,3,112,112) RGB in -1..1 (`(x - 127.5) / 127.5`) to float32 (B,512), not normalised."""
        h = self.prelu(self.bn1(self.conv1(faces)))
        for number in range(1, len(WIDTHS) + 1):
            h = getattr(self, f"layer{number}")(h)
        return self.features(self.fc(self.bn2(h).flatten(1)))
