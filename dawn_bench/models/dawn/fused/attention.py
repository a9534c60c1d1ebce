"""The U-Net's self-attention for training on a GPU, by PyTorch's fused kernels.

Shape suffixes: B batch, F frames, n = B·F pictures, P pixels, b = B·P, C channels, N heads, D width of
a head (E where there are two), K = N·D.
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
    """x plus linear attention within each picture: softmax over features for queries, over pixels for keys.

    Where pixels outnumber channels, neither values nor outputs of heads are computed per pixel, as in
    `fast.attention.linear_attention_`.
    """
    attention = residual.fn.fn
    assert isinstance(attention, SpatialLinearAttention)
    heads, head_dim = attention.heads, attention.head_dim
    pixels, width = x_nPC.shape[1:]
    normed = _normed(x_nPC, residual).to(dtype)
    to_q, to_k, to_v = attention.to_qkv.weight.flatten(1).chunk(3)
    q, k = (F.linear(normed, weight).unflatten(-1, (heads, head_dim)) for weight in (to_q, to_k))  # [n, P, N, D]
    with in_float32(q):
        q, k = q.softmax(dim=-1), k.softmax(dim=1)
    assert attention.to_out.bias is not None
    out_CK, bias = attention.to_out.weight.flatten(1), attention.to_out.bias
    if pixels > width:
        summary_nNDC = torch.bmm(k.flatten(-2).transpose(1, 2), normed).unflatten(1, (heads, head_dim))
        context_nNDE = torch.einsum("nhdc,hec->nhde", summary_nNDC, to_v.unflatten(0, (heads, head_dim)))
        context_nNDE = context_nNDE * head_dim**-0.5
        mixed_nNDC = torch.einsum("nhde,che->nhdc", context_nNDE, out_CK.unflatten(1, (heads, head_dim)))
        return x_nPC + torch.bmm(q.flatten(-2), mixed_nNDC.flatten(1, 2)) + bias
    v = F.linear(normed, to_v).unflatten(-1, (heads, head_dim))
    context_nNDE = k.permute(0, 2, 3, 1) @ v.transpose(1, 2) * head_dim**-0.5
    return x_nPC + F.linear((q.transpose(1, 2) @ context_nNDE).transpose(1, 2).flatten(-2), out_CK, bias)


def _attended(attention: SequenceAttention, x_bFC: Tensor, bias_NFJ: Tensor | None) -> Tensor:
    """`SequenceAttention` of sequences; the kernel scales the logits and adds the bias."""
    heads, weight = (attention.heads, attention.head_dim), attention.to_qkv.weight
    # Values have memory of their own: backward keeps them, and not the queries and keys before their rotation.
    to_qk, to_v = weight.split([len(weight) * 2 // 3, len(weight) // 3])
    qk_bFiND, v_bFND = F.linear(x_bFC, to_qk).unflatten(-1, (2, *heads)), F.linear(x_bFC, to_v).unflatten(-1, heads)
    if attention.rotary_emb is not None:
        qk_bFiND = rotate(qk_bFiND, attention.rotary_emb.freqs)
    q, k, v = (part.transpose(1, 2) for part in (*qk_bFiND.unbind(2), v_bFND))
    mask = None if bias_NFJ is None else bias_NFJ[None].to(v.dtype)
    parts = zip(q.split(MOST_SEQUENCES), k.split(MOST_SEQUENCES), v.split(MOST_SEQUENCES), strict=True)
    outs = [F.scaled_dot_product_attention(*part, attn_mask=mask) for part in parts]
    out_bNFD = outs[0] if len(outs) == 1 else torch.cat(outs)
    return attention.to_out(out_bNFD.transpose(1, 2).flatten(-2))


def rotate(x_bFiND: Tensor, freqs: Tensor) -> Tensor:
    """Rotary embedding by the position on axis 1, of queries and keys at once; as `RotaryEmbedding`."""
    angle = (torch.arange(x_bFiND.shape[1], device=freqs.device)[:, None] * freqs)[:, None, None]
    cos, sin = angle.cos().to(x_bFiND.dtype), angle.sin().to(x_bFiND.dtype)
    even, odd = x_bFiND.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.addcmul(even * cos, odd, -sin), torch.addcmul(even * sin, odd, cos)
    return torch.stack(pairs, dim=-1).flatten(-2)


def _normed(x_nPC: Tensor, residual: Residual) -> Tensor:
    norm = residual.fn.norm
    assert isinstance(norm, ChannelLayerNorm)
    return F.layer_norm(x_nPC, (x_nPC.shape[-1],), norm.gamma.flatten(), None, norm.eps)
