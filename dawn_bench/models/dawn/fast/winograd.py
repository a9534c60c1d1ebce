"""3x3 convolutions by Winograd's minimal filtering: a quarter of the multiplications, for inference on a CPU.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3): 4 x 4 output pixels are computed
from 6 x 6 input pixels, whose transform is multiplied by that of the kernel at 36 points. The interpolation points are
0, +-3/4, +-3/2 and infinity instead of the paper's 0, +-1, +-2: in float32 this reduces the error from four times that
of the direct convolution to less than twice.

Shape suffixes: n images, H, W size, I, O channels in and out, h, w tile rows and columns, 36 points of a tile.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dawn_bench.models.dawn import fast
from dawn_bench.models.dawn.fast.scratch import Scratch

#: Side of a tile in output pixels, and in input pixels.
TILE, REACH = 4, 6
#: The interpolation points are 0, infinity, +-NEAR and +-FAR; all factors are exact in binary.
NEAR, FAR = 0.75, 1.5
_A, _B = NEAR**2, FAR**2
#: Below this many channels, or tiles over all images, the transforms cost more than they save (measured).
LEAST_CHANNELS, LEAST_TILES = 64, 64


def supports(weight: Tensor, images: int, hw: tuple[int, int]) -> bool:
    """Whether Winograd is faster for a convolution (stride 1, padding 1) over `images` images of size `hw`.

    Requires float32 on a CPU without autocast, gradients or compiler (each pass would break the graph), sizes that are
    multiples of the tile, and enough channels and tiles.
    """
    size = weight.shape
    return (
        size[-2:] == (3, 3)
        and min(size[:2]) >= LEAST_CHANNELS
        and hw[0] % TILE == 0
        and hw[1] % TILE == 0
        and images * (hw[0] // TILE) * (hw[1] // TILE) >= LEAST_TILES
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and fast.enabled()
    )


class Winograd:
    """A 3x3 convolution with stride 1 and padding 1; the transformed kernel takes four times the memory of the kernel.

    The kernel transform is cheap compared with 64 tiles, so it is not cached. The transformed kernel is stored in
    `memory` and valid until the next use of `memory`; temporaries of a call are stored in `scratch`.
    """

    def __init__(
        self,
        weight_OI33: Tensor,
        bias_O: Tensor | None,
        *,
        memory: Scratch | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        near, far = NEAR / (2 * _A * (_A - _B)), _B / (2 * _B * (_B - _A))
        rows = [(1 / (_A * _B), 0.0, 0.0)]
        rows += [(near, sign * NEAR * near, _A * near) for sign in (1, -1)]
        rows += [(far, sign * FAR * far, _B * far) for sign in (1, -1)]
        side = weight_OI33.new_tensor([*rows, (0, 0, 1)])
        kernel_O9I = weight_OI33.permute(0, 2, 3, 1).flatten(1, 2)
        size = (len(kernel_O9I), REACH**2, kernel_O9I.shape[2])
        out = (memory or Scratch()).carve(weight_OI33, math.prod(size))[0].view(size)
        torch.bmm(torch.kron(side, side).expand(len(kernel_O9I), -1, -1), kernel_O9I, out=out)
        self.kernel_36IO = out.permute(1, 2, 0)
        self.bias = bias_O
        self.scratch = scratch or Scratch()

    def __call__(self, x_nHWI: Tensor, out_nHWO: Tensor | None = None) -> Tensor:
        """[n, H, W, I] -> [n, H, W, O], with H and W multiples of 4; written to `out_nHWO` if given."""
        n, height, width, inside = x_nHWI.shape
        h, w, outside = height // TILE, width // TILE, self.kernel_36IO.shape[2]
        tiles = n * h * w
        # The product reuses the memory of the first transform, and its inverse transform that of the second.
        first, second = self.scratch.carve(
            x_nHWI,
            tiles * REACH * max(TILE * inside, REACH * outside),
            tiles * REACH * max(REACH * inside, TILE * outside),
        )
        down = _part(first, REACH, n, h, width, inside)
        _transform(x_nHWI.unflatten(1, (h, TILE)).movedim((1, 2), (0, 1)), down.transpose(1, 2))
        across = _part(second, REACH, REACH, n, h, w, inside)
        _transform(down.unflatten(3, (w, TILE)).movedim((3, 4), (0, 1)), across.movedim((1, 4), (0, 1)))
        product = _part(first, REACH**2, tiles, outside)
        torch.bmm(across.view(REACH**2, tiles, inside), self.kernel_36IO, out=product)
        rows = _part(second, REACH, n, h, w, TILE, outside)
        _gather(product.view(REACH, REACH, n, h, w, outside).transpose(0, 1), rows.movedim(4, 0))
        y = x_nHWI.new_empty(n, height, width, outside) if out_nHWO is None else out_nHWO
        _gather(rows.flatten(3, 4), y.unflatten(1, (h, TILE)).movedim(2, 0))
        return y if self.bias is None else y.add_(self.bias)


def _part(memory: Tensor, *size: int) -> Tensor:
    return memory[: math.prod(size)].view(size)


def _transform(x_t4: Tensor, out_6t: Tensor) -> None:
    """Input transform along one axis (Bᵀ d of the paper): [t, 4, ...] -> [6, t, ...].

    The six samples of a tile are its own four and one from each neighbouring tile, with zero padding at both ends.
    """
    a, b, c, d = x_t4.unbind(1)
    start, near, near_too, far, far_too, end = out_6t.unbind()
    odd = start  # temporary, until `start` itself is computed
    torch.sub(c, a, alpha=_B, out=odd)
    torch.sub(d, b, alpha=_B, out=near)
    torch.sub(near, odd, alpha=NEAR, out=near_too)
    near.add_(odd, alpha=NEAR)
    torch.sub(c, a, alpha=_A, out=odd)
    torch.sub(d, b, alpha=_A, out=far)
    torch.sub(far, odd, alpha=FAR, out=far_too)
    far.add_(odd, alpha=FAR)
    torch.sub(d, b, alpha=_A + _B, out=start)
    start[1:].add_(d[:-1], alpha=_A * _B)
    torch.mul(c, -(_A + _B), out=end)
    end[:-1].add_(a[1:])
    end.add_(a, alpha=_A * _B)


def _gather(m_6t: Tensor, out_4t: Tensor) -> None:
    """Output transform along one axis (Aᵀ m of the paper): products [6, t, ...] -> outputs [4, t, ...].

    The products are overwritten. The kernel transform includes a factor NEAR at the near points and FAR² at the far
    points, which saves passes here.
    """
    start, near, near_too, far, far_too, end = m_6t.unbind()
    first, odd_near, third, fourth = out_4t.unbind()
    torch.sub(near, near_too, out=odd_near)
    even_near = near.add_(near_too)
    odd_far = torch.sub(far, far_too, out=near_too)
    even_far = far.add_(far_too)
    torch.add(end, odd_near, alpha=_A, out=fourth).add_(odd_far, alpha=FAR)
    odd_near.add_(odd_far, alpha=1 / FAR)  # the second output
    torch.add(start, even_near, alpha=1 / NEAR, out=first).add_(even_far, alpha=1 / _B)
    torch.add(even_far, even_near, alpha=NEAR, out=third)
