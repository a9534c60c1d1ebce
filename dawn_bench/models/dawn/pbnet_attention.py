"""PBNet's decoder attention: rotary positions, learned relative bias, local window, any length.

Shape letters: B batch, N frames, H heads, E channels per head, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Query block size. With a window, memory is linear in the length, not quadratic.
BLOCK = 512
#: Logit of masked frames, as in the reference; its exp() is exactly 0.
UNSEEN = -1e8


def relative_bucket(offset: Tensor, *, num_buckets: int, max_distance: int) -> Tensor:
    """T5 bucket of key minus query: half per sign, exact when near, then logarithmic up to `max_distance`."""
    half = num_buckets // 2
    exact = half // 2
    distance = offset.abs()
    log = torch.log(distance.clamp_min(exact).float() / exact) / math.log(max_distance / exact)
    far = (exact + (log * (half - exact)).long()).clamp_max(half - 1)
    return torch.where(distance < exact, distance, far) + half * (offset > 0)


class RelativeBias(nn.Module):
    """One learned bias per head and bucket of relative positions.

    It starts at random, or falls by `slope` for each frame of distance (Press et al. 2022), half as steeply from one
    head to the next.
    """

    def __init__(self, heads: int, *, num_buckets: int, max_distance: int, slope: float = 0.0) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(num_buckets, heads)
        self.max_distance = max_distance
        if slope:
            offsets = torch.arange(-max_distance, max_distance + 1)
            buckets = relative_bucket(offsets, num_buckets=num_buckets, max_distance=max_distance)
            steepness = slope * 0.5 ** torch.arange(heads)
            with torch.no_grad():
                self.relative_attention_bias.weight[buckets] = -offsets.abs()[:, None] * steepness

    def forward(self, queries_I: Tensor, keys_J: Tensor, *, window: int | None) -> Tensor:
        """Bias (H, I, J) between query and key frame indices, `UNSEEN` beyond the window."""
        offset_IJ = keys_J[None, :] - queries_I[:, None]
        table = self.relative_attention_bias
        buckets = relative_bucket(offset_IJ, num_buckets=table.num_embeddings, max_distance=self.max_distance)
        bias_HIJ = table(buckets).permute(2, 0, 1)
        if window is None:
            return bias_HIJ
        return bias_HIJ.masked_fill(offset_IJ.abs() > window, UNSEEN)


class Rotary(nn.Module):
    """Rotary position embedding of the first `dim` channels of each head, in interleaved pairs."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Published checkpoints contain the frequencies as a frozen parameter of each attention that shares them.
        self.freqs = nn.Parameter(10000.0 ** (-torch.arange(0, dim, 2).float() / dim), requires_grad=False)

    def forward(self, x_BHNE: Tensor) -> Tensor:
        """Rotate (B, H, N, E) by the frame indices 0 to N - 1."""
        turned = 2 * self.freqs.shape[0]
        frames = torch.arange(x_BHNE.shape[2], device=x_BHNE.device, dtype=self.freqs.dtype)
        angle = frames[:, None] * self.freqs
        cos, sin = angle.cos(), angle.sin()
        even, odd = x_BHNE[..., 0:turned:2], x_BHNE[..., 1:turned:2]
        pairs = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
        return torch.cat([pairs, x_BHNE[..., turned:]], dim=-1)


def attend(
    q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor, bias: RelativeBias, *, window: int | None, valid_BN: Tensor | None
) -> Tensor:
    """Softmax attention with relative bias, computed per block of queries over the keys within their window."""
    length = q_BHNE.shape[2]
    reach = length if window is None else window
    frames = torch.arange(length, device=q_BHNE.device)
    blocks = []
    for start in range(0, length, BLOCK):
        queries = frames[start : start + BLOCK]
        keys = frames[max(0, start - reach) : start + BLOCK + reach]
        mask_HIJ = bias(queries, keys, window=window)
        mask = mask_HIJ[None] if valid_BN is None else mask_HIJ.masked_fill(~valid_BN[:, None, None, keys], UNSEEN)
        blocks.append(
            F.scaled_dot_product_attention(
                q_BHNE[:, :, queries], k_BHNE[:, :, keys], v_BHNE[:, :, keys], attn_mask=mask
            )
        )
    return torch.cat(blocks, dim=2)


def split_heads(x_BNC: Tensor, heads: int) -> Tensor:
    """(B, N, C) to (B, H, N, E)."""
    return x_BNC.unflatten(-1, (heads, -1)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Temporal self-attention; projections without bias."""

    def __init__(self, width: int, rotary: Rotary, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.rotary_emb = rotary
        self.to_qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, width, bias=False)
        self.heads = heads

    def forward(self, x_BNC: Tensor, bias: RelativeBias, *, window: int | None, valid_BN: Tensor | None) -> Tensor:
        """(B, N, C) -> (B, N, C); keys beyond `window` or invalid in `valid_BN` are masked."""
        q, k, v = (split_heads(part, self.heads) for part in self.to_qkv(x_BNC).chunk(3, dim=-1))
        out = attend(self.rotary_emb(q), self.rotary_emb(k), v, bias, window=window, valid_BN=valid_BN)
        return self.to_out(out.transpose(1, 2).flatten(2))


class MemoryAttention(nn.Module):
    """Cross-attention from frames to a memory of the same length; projections without bias."""

    def __init__(self, width: int, rotary: Rotary, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.rotary_emb = rotary
        self.to_q = nn.Linear(width, heads * head_dim, bias=False)
        self.to_k = nn.Linear(width, heads * head_dim, bias=False)
        self.to_v = nn.Linear(width, heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, width, bias=False)
        self.heads = heads

    def forward(
        self, x_BNC: Tensor, memory_BNC: Tensor, bias: RelativeBias, *, window: int | None, valid_BN: Tensor | None
    ) -> Tensor:
        """(B, N, C), memory (B, N, C) -> (B, N, C); masked as in `SelfAttention`."""
        q = self.rotary_emb(split_heads(self.to_q(x_BNC), self.heads))
        k = self.rotary_emb(split_heads(self.to_k(memory_BNC), self.heads))
        v = split_heads(self.to_v(memory_BNC), self.heads)
        out = attend(q, k, v, bias, window=window, valid_BN=valid_BN)
        return self.to_out(out.transpose(1, 2).flatten(2))
