"""Attention layers of the A2V-FDM's 3D U-Net in their reference form: readable, differentiable, dense.

`fast/attention.py` computes the same numbers for inference; tests compare the two.

Shape suffixes: B batch, F frames (queries), J frames (keys), C channels, H, W latent size, P = H·W pixels, N heads,
D width of a head, K width of a condition.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: T5 buckets of the relative position bias: half per direction, exact up to 8, then logarithmic up to 32.
BUCKETS, MAX_DISTANCE = 32, 32
ROTARY_BASE = 10_000.0
#: Logits of the cosine-similarity cross attention are multiplied by this.
COSINE_SCALE = 8.0


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels at each position of x_BCFHW, with gain and without bias."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(1, dim, 1, 1, 1))

    def forward(self, x_BCFHW: Tensor) -> Tensor:
        """x_BCFHW -> normalised [B, C, F, H, W]."""
        variance, mean = torch.var_mean(x_BCFHW, dim=1, unbiased=False, keepdim=True)
        return (x_BCFHW - mean) * (variance + self.eps).rsqrt() * self.gamma


class GainLayerNorm(nn.Module):
    """Layer norm over the last axis, with gain and without bias."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps
        self.g = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., dim] -> normalised [..., dim]."""
        return F.layer_norm(x, (self.dim,), self.g, None, self.eps)


def relative_buckets(distance: Tensor) -> Tensor:
    """T5 bucket (0…31) of query minus key position, an integer tensor of any shape; future keys use 16…31."""
    half = BUCKETS // 2
    exact = half // 2
    size = distance.abs()
    logarithmic = torch.log(size.clamp(min=1).float() / exact) / math.log(MAX_DISTANCE / exact) * (half - exact)
    bucket = torch.where(size < exact, size, (exact + logarithmic.long()).clamp(max=half - 1))
    return torch.where(distance < 0, bucket + half, bucket)


class RelativePositionBias(nn.Module):
    """One learned bias per head and distance bucket, shared by all temporal attentions (T5; not in the paper)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(BUCKETS, heads)

    def forward(self, frames: int) -> Tensor:
        """The bias of a clip, [N, F, J]."""
        position = torch.arange(frames, device=self.relative_attention_bias.weight.device)
        return self.between(position, position)

    def between(self, query_F: Tensor, key_J: Tensor) -> Tensor:
        """The bias between given query and key positions, [N, F, J]."""
        buckets = relative_buckets(query_F[:, None] - key_J[None, :])
        return self.relative_attention_bias(buckets).permute(2, 0, 1)


class RotaryEmbedding(nn.Module):
    """Rotary position embedding (Su et al. 2023) over interleaved pairs of a head's features."""

    freqs: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        exponent = torch.arange(0, head_dim, 2)[: head_dim // 2].float() / head_dim
        self.register_buffer("freqs", ROTARY_BASE**-exponent)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate x [..., F, D] by the positions 0…F−1."""
        angle = torch.arange(x.shape[-2], device=x.device)[:, None] * self.freqs
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class SequenceAttention(nn.Module):
    """Multi-head self-attention over the second-to-last axis; `rotary` adds rotary positions (temporal attention)."""

    def __init__(self, dim: int, *, heads: int, head_dim: int, rotary: bool) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.rotary_emb = RotaryEmbedding(head_dim) if rotary else None
        self.to_qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, x: Tensor, bias_NFJ: Tensor | None = None) -> Tensor:
        """x [..., F, C] -> [..., F, C]; `bias_NFJ` is added to the logits."""
        q, k, v = (
            part.unflatten(-1, (self.heads, self.head_dim)).transpose(-3, -2)
            for part in self.to_qkv(x).chunk(3, dim=-1)
        )
        q = q * self.head_dim**-0.5
        if self.rotary_emb is not None:
            q, k = self.rotary_emb(q), self.rotary_emb(k)
        logits = q @ k.transpose(-2, -1)
        if bias_NFJ is not None:
            logits = logits + bias_NFJ
        return self.to_out((logits.softmax(dim=-1) @ v).transpose(-3, -2).flatten(-2))


class TemporalAttention(nn.Module):
    """Temporal self-attention: each pixel of x_BCFHW attends over the frames."""

    def __init__(self, dim: int, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.fn = SequenceAttention(dim, heads=heads, head_dim=head_dim, rotary=True)

    def forward(self, x_BCFHW: Tensor, bias_NFJ: Tensor) -> Tensor:
        """x_BCFHW -> [B, C, F, H, W]; `bias_NFJ` is added to the logits."""
        B, C, T, H, W = x_BCFHW.shape
        out = self.fn(x_BCFHW.permute(0, 3, 4, 2, 1).reshape(B, H * W, T, C), bias_NFJ)
        return out.reshape(B, H, W, T, C).permute(0, 4, 3, 1, 2)


class SpatialAttention(nn.Module):
    """Spatial self-attention within each frame of x_BCFHW (the U-Net's bottleneck)."""

    def __init__(self, dim: int, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.fn = SequenceAttention(dim, heads=heads, head_dim=head_dim, rotary=False)

    def forward(self, x_BCFHW: Tensor) -> Tensor:
        """x_BCFHW -> [B, C, F, H, W]."""
        H, W = x_BCFHW.shape[-2:]
        return self.fn(x_BCFHW.permute(0, 2, 3, 4, 1).flatten(2, 3)).unflatten(2, (H, W)).permute(0, 4, 1, 2, 3)


class SpatialLinearAttention(nn.Module):
    """Linear attention (softmax over features for queries, over pixels for keys) within each frame of x_BCFHW."""

    def __init__(self, dim: int, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.to_qkv = nn.Conv2d(dim, 3 * heads * head_dim, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_dim, dim, 1)

    def forward(self, x_BCFHW: Tensor) -> Tensor:
        """x_BCFHW -> [B, C, F, H, W]."""
        B, _, _, H, W = x_BCFHW.shape
        x_bCHW = x_BCFHW.transpose(1, 2).flatten(0, 1)
        q, k, v = (
            part.unflatten(1, (self.heads, self.head_dim)).flatten(3) for part in self.to_qkv(x_bCHW).chunk(3, dim=1)
        )  # [b, N, D, P] with b = B·F
        q = q.softmax(dim=-2) * self.head_dim**-0.5
        context = k.softmax(dim=-1) @ v.transpose(-2, -1)
        out = self.to_out((context.transpose(-2, -1) @ q).flatten(1, 2).unflatten(-1, (H, W)))
        return out.unflatten(0, (B, -1)).transpose(1, 2)


class CrossAttention(nn.Module):
    """Cosine-similarity cross-attention from pixels to their frame's single condition vector and a learned null.

    With two keys the softmax reduces to a gate, which `fast/attention.py` exploits; here it is computed in full.
    """

    def __init__(self, dim: int, *, context_dim: int, out_dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.null_kv = nn.Parameter(torch.randn(2, head_dim))
        self.q_scale = nn.Parameter(torch.ones(head_dim))
        self.k_scale = nn.Parameter(torch.ones(head_dim))
        self.norm = GainLayerNorm(dim)
        self.to_q = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_kv = nn.Linear(context_dim, 2 * heads * head_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_dim, out_dim, bias=False), GainLayerNorm(out_dim))

    def output(self) -> tuple[nn.Linear, GainLayerNorm]:
        """The output projection and the norm after it."""
        projection, norm = self.to_out
        assert isinstance(projection, nn.Linear) and isinstance(norm, GainLayerNorm)
        return projection, norm

    def forward(self, x_BCFHW: Tensor, context_BFK: Tensor) -> Tensor:
        """x_BCFHW, one context vector [K] per frame -> [B, out_dim, F, H, W]."""
        H, W = x_BCFHW.shape[-2:]
        split = (self.heads, self.head_dim)
        q_BFPND = self.to_q(self.norm(x_BCFHW.permute(0, 2, 3, 4, 1).flatten(2, 3))).unflatten(-1, split)
        key_BFND, value_BFND = (part.unflatten(-1, split) for part in self.to_kv(context_BFK).chunk(2, dim=-1))
        null_key, null_value = (part.expand_as(key_BFND) for part in self.null_kv)
        keys = F.normalize(torch.stack((null_key, key_BFND), dim=-2), dim=-1) * self.k_scale  # [B, F, N, 2, D]
        values = torch.stack((null_value, value_BFND), dim=-2)
        q = F.normalize(q_BFPND, dim=-1) * self.q_scale
        weights = (torch.einsum("bfpnd,bfnkd->bfpnk", q, keys) * COSINE_SCALE).softmax(dim=-1)
        out = self.to_out(torch.einsum("bfpnk,bfnkd->bfpnd", weights, values).flatten(-2))
        return out.unflatten(2, (H, W)).permute(0, 4, 1, 2, 3)
