"""3x3 convolutions by Winograd's minimal filtering: a quarter of the multiplications, for inference on a processor.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3): 4 x 4 pixels of output come
from 6 x 6 of input, whose transform is multiplied by the kernel's at 36 places. The interpolation points are 0, +-3/4,
+-3/2 and infinity instead of the paper's 0, +-1, +-2: in float32 that brings the error from four times that of the
direct convolution to less than twice.

Shape suffixes: n pictures, H, W size, I, O channels in and out, h, w tiles down and across, 36 places of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dawn_bench.models.dawn.scratch import Scratch

#: Output pixels of a tile each way, and input pixels.
TILE, REACH = 4, 6
#: The points of interpolation beside 0 and infinity are +-NEAR and +-FAR; all factors are exact in binary.
NEAR, FAR = 0.75, 1.5
_A, _B = NEAR**2, FAR**2
#: Below this many channels, or tiles of all pictures together, transforming costs more than it saves (measured).
LEAST_CHANNELS, LEAST_TILES = 64, 64


def serves(weight: Tensor, pictures: int, hw: tuple[int, int]) -> bool:
    """Whether a convolution (stride 1, padding 1) of `weight` over `pictures` of size `hw` is faster this way.

    Only in float32 on a processor without autocast and without gradients, for sizes that tiles divide, and where
    channels and tiles are many.
    """
    size = weight.shape
    return (
        size[-2:] == (3, 3)
        and min(size[:2]) >= LEAST_CHANNELS
        and hw[0] % TILE == 0
        and hw[1] % TILE == 0
        and pictures * (hw[0] // TILE) * (hw[1] // TILE) >= LEAST_TILES
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


class Winograd:
    """A 3x3 convolution with stride 1 and padding 1, its kernel transformed: four times the kernel's memory.

    The transform costs little beside 64 tiles, so nothing is kept between uses. The kernel lies in `room` and stays
    valid until the next use of that room; what a call makes on its way lies in `scratch`.
    """

    def __init__(
        self,
        weight_OI33: Tensor,
        bias_O: Tensor | None,
        *,
        room: Scratch | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        near, far = NEAR / (2 * _A * (_A - _B)), _B / (2 * _B * (_B - _A))
        rows = [(1 / (_A * _B), 0.0, 0.0)]
        rows += [(near, sign * NEAR * near, _A * near) for sign in (1, -1)]
        rows += [(far, sign * FAR * far, _B * far) for sign in (1, -1)]
        side = weight_OI33.new_tensor([*rows, (0, 0, 1)])
        kernel_O9I = weight_OI33.permute(0, 2, 3, 1).flatten(1, 2)
        size = (len(kernel_O9I), REACH**2, kernel_O9I.shape[2])
        out = (room or Scratch()).carve(weight_OI33, math.prod(size))[0].view(size)
        torch.bmm(torch.kron(side, side).expand(len(kernel_O9I), -1, -1), kernel_O9I, out=out)
        self.kernel_36IO = out.permute(1, 2, 0)
        self.bias = bias_O
        self.scratch = scratch or Scratch()

    def __call__(self, x_nHWI: Tensor, out_nHWO: Tensor | None = None) -> Tensor:
        """[n, H, W, I] -> [n, H, W, O], H and W multiples of 4; in `out_nHWO` where it is given."""
        n, height, width, inside = x_nHWI.shape
        h, w, outside = height // TILE, width // TILE, self.kernel_36IO.shape[2]
        sizes = n * (height + 2) * (width + 2) * inside, REACH * n * h * (width + 2) * inside
        tiled, multiplied = (REACH**2 * n * h * w * channels for channels in (inside, outside))
        # The product lies where the input and its first transform were, and what is gathered where the tiles were.
        first, second = self.scratch.carve(
            x_nHWI, max(sum(sizes), multiplied), max(tiled, TILE * REACH * n * h * w * outside)
        )
        padded, down = first[: sum(sizes)].split(sizes)
        padded, down = padded.view(n, height + 2, width + 2, inside), down.view(REACH, n, h, width + 2, inside)
        for edge in (padded[:, 0], padded[:, -1], padded[:, :, 0], padded[:, :, -1]):
            edge.zero_()
        padded[:, 1:-1, 1:-1] = x_nHWI
        _transform([padded[:, i : i + height - 3 : TILE] for i in range(REACH)], down.unbind())
        tiles = second[:tiled].view(REACH, REACH, n, h, w, inside)
        _transform([down[..., i : i + width - 3 : TILE, :] for i in range(REACH)], tiles.unbind(1))
        product = first[:multiplied].view(REACH**2, n * h * w, outside)
        torch.bmm(tiles.flatten(2, 4).flatten(0, 1), self.kernel_36IO, out=product)
        rows = second[: TILE * REACH * n * h * w * outside].view(TILE, REACH, n, h, w, outside)
        _gather(product.view(REACH, REACH, n, h, w, outside).unbind(), rows.unbind())
        y = x_nHWI.new_empty(n, height, width, outside) if out_nHWO is None else out_nHWO
        _gather(rows.permute(1, 2, 3, 0, 4, 5).unbind(), y.view(n, h, TILE, w, TILE, outside).unbind(4))
        return y if self.bias is None else y.add_(self.bias)


def _transform(d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """The six input samples of a tile, in one direction, at the six points (Bᵀ d of the paper)."""
    torch.sub(d[4], d[2], alpha=_A + _B, out=out[0]).add_(d[0], alpha=_A * _B)
    odd = torch.sub(d[3], d[1], alpha=_B)
    torch.sub(d[4], d[2], alpha=_B, out=out[1])
    torch.sub(out[1], odd, alpha=NEAR, out=out[2])
    out[1].add_(odd, alpha=NEAR)
    torch.sub(d[3], d[1], alpha=_A, out=odd)
    torch.sub(d[4], d[2], alpha=_A, out=out[3])
    torch.sub(out[3], odd, alpha=FAR, out=out[4])
    out[3].add_(odd, alpha=FAR)
    torch.sub(d[5], d[3], alpha=_A + _B, out=out[5]).add_(d[1], alpha=_A * _B)


def _gather(m: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """The four outputs of a tile, in one direction, from the products at the six points (Aᵀ m of the paper).

    The kernel's transform holds a factor NEAR at the near points and FAR² at the far ones, which saves passes here.
    """
    even_near, odd_near = m[1] + m[2], m[1] - m[2]
    even_far, odd_far = m[3] + m[4], m[3] - m[4]
    torch.add(m[0], even_near, alpha=1 / NEAR, out=out[0]).add_(even_far, alpha=1 / _B)
    torch.add(odd_near, odd_far, alpha=1 / FAR, out=out[1])
    torch.add(even_far, even_near, alpha=NEAR, out=out[2])
    torch.add(m[5], odd_near, alpha=_A, out=out[3]).add_(odd_far, alpha=FAR)
