"""The U-Net's self-attention for training on a GPU, by PyTorch's fused kernels.

Shape suffixes: B batch, F frames, n = B·F pictures, P pixels, b = B·P, C channels, N heads, D width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dawn_bench.models.dawn.attention import (
    ChannelLayerNorm,
    SequenceAttention,
    SpatialAttention,
    SpatialLinearAttention,
    TemporalAttention,
)
from dawn_bench.models.dawn.fast.blocks import in_float32
from dawn_bench.models.dawn.unet_blocks import Residual

#: Sequences of one call: CUDA's grid has no more blocks along the axis on which the kernels place them.
MOST_SEQUENCES = 65_535


def temporal(residual: Residual, x_nPC: Tensor, batch: int, dtype: torch.dtype, bias_NFJ: Tensor) -> Tensor:
    """x plus temporal attention of each pixel over the frames of its clip."""
    attention = residual.fn.fn
    assert isinstance(attention, TemporalAttention)
    normed_BFPC = _normed(x_nPC, residual).unflatten(0, (batch, -1))
    sequences_bFC = normed_BFPC.transpose(1, 2).to(dtype, memory_format=torch.contiguous_format).flatten(0, 1)
    out_BPFC = _attended(attention.fn, sequences_bFC, bias_NFJ).unflatten(0, (batch, -1))
    return (x_nPC.unflatten(0, (batch, -1)) + out_BPFC.transpose(1, 2)).flatten(0, 1)


def spatial(residual: Residual, x_nPC: Tensor, dtype: torch.dtype) -> Tensor:
    """x plus full attention within each picture (the U-Net's bottleneck)."""
    attention = residual.fn.fn
    assert isinstance(attention, SpatialAttention)
    return x_nPC + _attended(attention.fn, _normed(x_nPC, residual).to(dtype), None)


def linear(residual: Residual, x_nPC: Tensor, dtype: torch.dtype) -> Tensor:
    """x plus linear attention within each picture: softmax over features for queries, over pixels for keys."""
    attention = residual.fn.fn
    assert isinstance(attention, SpatialLinearAttention)
    qkv_nPK = F.linear(_normed(x_nPC, residual).to(dtype), attention.to_qkv.weight.flatten(1))
    q, k, v = (part.unflatten(-1, (attention.heads, -1)) for part in qkv_nPK.chunk(3, dim=-1))  # [n, P, N, D]
    with in_float32(qkv_nPK):
        q, k = q.softmax(dim=-1), k.softmax(dim=1)
        context_nNDD = k.permute(0, 2, 3, 1) @ v.transpose(1, 2)
        out_nNPD = q.transpose(1, 2) @ (context_nNDD * attention.head_dim**-0.5)
    out_nPK = out_nNPD.transpose(1, 2).flatten(-2)
    return x_nPC + F.linear(out_nPK, attention.to_out.weight.flatten(1), attention.to_out.bias)


def _attended(attention: SequenceAttention, x_bFC: Tensor, bias_NFJ: Tensor | None) -> Tensor:
    """`SequenceAttention` of sequences; the kernel scales the logits and adds the bias."""
    qkv = attention.to_qkv(x_bFC).unflatten(-1, (3, attention.heads, attention.head_dim))  # [b, F, 3, N, D]
    if attention.rotary_emb is None:
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
    else:
        q, k = (part.transpose(1, 2) for part in rotate(qkv[:, :, :2], attention.rotary_emb.freqs).unbind(2))
        v = qkv[:, :, 2].transpose(1, 2)
    mask = None if bias_NFJ is None else bias_NFJ[None].to(v.dtype)
    parts = zip(q.split(MOST_SEQUENCES), k.split(MOST_SEQUENCES), v.split(MOST_SEQUENCES), strict=True)
    outs = [F.scaled_dot_product_attention(*part, attn_mask=mask) for part in parts]
    out_bNFD = outs[0] if len(outs) == 1 else torch.cat(outs)
    return attention.to_out(out_bNFD.transpose(1, 2).flatten(-2))


def rotate(x_bFiND: Tensor, freqs: Tensor) -> Tensor:
    """Rotary embedding by the position on axis 1, of queries and keys at once, by unit complex numbers in float32."""
    angle = torch.arange(x_bFiND.shape[1], device=freqs.device)[:, None] * freqs
    turn = torch.polar(torch.ones_like(angle), angle)[:, None, None]
    pairs = torch.view_as_complex(x_bFiND.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x_bFiND.dtype)


def _normed(x_nPC: Tensor, residual: Residual) -> Tensor:
    norm = residual.fn.norm
    assert isinstance(norm, ChannelLayerNorm)
    return F.layer_norm(x_nPC, (x_nPC.shape[-1],), norm.gamma.flatten(), None, norm.eps)
