"""Cross-attention of pixels to their frame's conditions in closed form, differentiable.

With one key and the null, the softmax is a gate σ(8 q̂·(k̂ − k̂₀)) per head, and the query's layer norm and the variance
of the outputs fold into products of small matrices: `fast.attention.FastCross` has the derivation. Nothing as wide as
the output is written but the output. Both gates of a head, that of the condition and that of the null, are rows here:
as one and its difference from a half, gradients of saturated gates lost three digits in float32.

Shape suffixes: n pictures, P pixels, C channels, N heads, D width of a head, c conditions,
r = 2 N rows (condition and null of each head), J = c·N, R = c·r, Q = c·N·D, K = N·D or the width of a context.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dawn_bench.models.dawn.attention import COSINE_SCALE, CrossAttention
from dawn_bench.models.dawn.fast.attention import cosine_logits
from dawn_bench.models.dawn.fast.blocks import in_float32
from dawn_bench.models.dawn.fused import widened


def add_cross_attention(h_nPC: Tensor, x_nPC: Tensor, contexts: Sequence[tuple[CrossAttention, Tensor]]) -> Tensor:
    """`h_nPC` plus all cross-attentions of `x_nPC`, each to its context vectors [B, F, K] with n = B·F."""
    attentions = [attention for attention, _ in contexts]
    heads, head_dim = attentions[0].heads, attentions[0].head_dim
    queries_cQC = torch.stack([attention.to_q.weight for attention in attentions])
    gains_c1C = torch.stack([attention.norm.g for attention in attentions])[:, None]
    q_nPQ = F.linear(x_nPC, _centred(queries_cQC * gains_c1C, dim=2).flatten(0, 1))
    kv = torch.stack([attention.to_kv(context_BFK) for attention, context_BFK in contexts], dim=2).flatten(0, 1)
    with in_float32(q_nPQ):
        key_ncND, value_ncND = widened(kv).unflatten(-1, (2, heads, head_dim)).unbind(2)
        null_key_cD, null_value_cD = torch.stack([attention.null_kv for attention in attentions]).unbind(1)
        q_scale_cD, k_scale_cD = (
            torch.stack([getattr(a, name) for a in attentions]) for name in ("q_scale", "k_scale")
        )
        scale_c1D = (q_scale_cD * k_scale_cD * COSINE_SCALE)[:, None]
        keys_ncND = (F.normalize(key_ncND, dim=-1) - F.normalize(null_key_cD, dim=-1)[:, None]) * scale_c1D
        ends = [attention.output() for attention in attentions]
        output_cCK = _centred(torch.stack([projection.weight for projection, _ in ends]), dim=1)
        output_cNDC = output_cCK.transpose(1, 2).unflatten(1, (heads, head_dim))
        own_ncNC = torch.einsum("nchd,chdk->nchk", value_ncND, output_cNDC)
        null_cNC = torch.einsum("cd,chdk->chk", null_value_cD, output_cNDC)
        rows_ncrC = torch.cat((own_ncNC, null_cNC.expand_as(own_ncNC)), dim=2)
        gram_ncrr = rows_ncrC @ rows_ncrC.transpose(2, 3) / rows_ncrC.shape[-1]
        logits_nPcN = cosine_logits(q_nPQ, keys_ncND.flatten(1, 2)).unflatten(-1, (-1, heads))
        gates_nPcr = torch.cat((logits_nPcN, -logits_nPcN), dim=-1).sigmoid()
        spread_nPcr = torch.einsum("npcr,ncrs->npcs", gates_nPcr, gram_ncrr)
        variance_nPc1 = (spread_nPcr * gates_nPcr).sum(dim=-1, keepdim=True)
        weights_nPR = (gates_nPcr * (variance_nPc1 + ends[0][1].eps).rsqrt()).flatten(2)
        rows_nRC = (rows_ncrC * torch.stack([norm.g for _, norm in ends])[:, None]).flatten(1, 2)
        return torch.baddbmm(h_nPC, weights_nPR.to(h_nPC.dtype), rows_nRC.to(h_nPC.dtype))


def _centred(weight: Tensor, dim: int) -> Tensor:
    return weight - weight.mean(dim=dim, keepdim=True)
