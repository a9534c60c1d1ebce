"""The U-Net's attention layers for inference: the numbers of `attention.py`, in time and memory linear in the frames.

The layout is frames, pixels, channels, so that the pixels of a frame and the frames of a pixel are both plain slices.

Shape suffixes: n frames of a chunk, F frames, p pixels of a chunk, P pixels, C channels, N heads, D width of a head,
J = conditions x heads (the gates of one pixel), G = conditions x (1 + heads).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dawn_bench.models.dawn.attention import (
    COSINE_SCALE,
    RelativePositionBias,
    SequenceAttention,
    SpatialLinearAttention,
    TemporalAttention,
)
from dawn_bench.models.dawn.fast.scratch import Scratch
from dawn_bench.models.dawn.unet_blocks import ConditionedBlock, Conditions, Residual

#: Frames per query block; each block attends to the keys within its window.
QUERY_BLOCK = 32
#: Clips of up to this many frames form one block if the window covers most of them.
ONE_BLOCK = 96
#: Keys of a block are padded to a multiple of this within the clip, for which attention kernels are faster.
KEY_MULTIPLE = 16
#: Rows (frames x pixels) per pass of temporal attention, so that queries, keys and values stay in the CPU cache.
ROWS_CPU, ROWS_GPU = 800, 1 << 20
#: Pixels per pass of cross-attention, whose queries are its largest intermediate.
GATED_CPU, GATED_GPU = 4096, 1 << 20


class Bands:
    """Windowed attention without its n² matrix: for each query block of a clip its key range and bias.

    Without a window each block covers all keys, and memory is quadratic in the frames. The first `real` frames do not
    attend to those after, which are padding.
    """

    def __init__(self, bias: RelativePositionBias, frames: int, win_width: int | None, real: int | None = None) -> None:
        reach = frames if win_width is None else win_width
        weight = bias.relative_attention_bias.weight
        known: dict[tuple[int, ...], Tensor] = {}
        self.blocks: list[tuple[slice, slice, Tensor]] = []
        step = frames if frames <= min(2 * reach, ONE_BLOCK) else QUERY_BLOCK
        for start in range(0, frames, step):
            stop = min(start + step, frames)
            low, high = max(0, start - reach), min(frames, stop + reach)
            high = min(frames, high + -(high - low) % KEY_MULTIPLE)
            low = max(0, low - -(high - low) % KEY_MULTIPLE)
            shape: tuple[int, ...] = (start - low, stop - start, high - low)
            if real is not None:
                shape = (start, *shape)  # no sharing: it would depend on `real`, and the compiled graph on the sharing
            if shape not in known:  # all inner blocks share one bias
                query = torch.arange(start, stop, device=weight.device)
                key = torch.arange(low, high, device=weight.device)
                far = (query[:, None] - key[None, :]).abs() > reach
                if real is not None:
                    far |= (query[:, None] < real) & (key[None, :] >= real)
                known[shape] = bias.between(query, key).masked_fill(far, float("-inf")).contiguous()
            self.blocks.append((slice(start, stop), slice(low, high), known[shape]))


def rotate(x_pFK: Tensor, turn_Fk: Tensor) -> Tensor:
    """Rotary embedding of all heads at once by unit complex numbers, k = K/2 pairs; in place for float32 on a CPU."""
    if x_pFK.dtype == torch.float32 and not x_pFK.is_cuda:
        pairs = torch.view_as_complex(x_pFK.unflatten(-1, (-1, 2)))
        pairs *= turn_Fk
        return x_pFK
    cos, sin = turn_Fk.real, turn_Fk.imag
    even, odd = x_pFK.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x_pFK.dtype)


class FastTemporal:
    """x += temporal attention of each pixel over the frames, a few pixels at a time."""

    def __init__(self, residual: Residual, scratch: Scratch | None = None) -> None:
        temporal = residual.fn.fn
        assert isinstance(temporal, TemporalAttention)
        self.attention = temporal.fn
        self.norm = residual.fn.norm
        self.scratch = scratch or Scratch()

    def __call__(self, x_FPC: Tensor, bands: Bands) -> None:
        frames, pixels, _ = x_FPC.shape
        gamma = self.norm.gamma.flatten()
        heads, to_qkv, turn_Fk = self.attention.heads, self.attention.to_qkv.weight, self._rotation(frames)
        step = max(1, (ROWS_GPU if x_FPC.is_cuda else ROWS_CPU) // frames)
        for start in range(0, pixels, step):
            x_pFC = x_FPC[:, start : start + step].transpose(0, 1)
            normed_pFC = layer_norm(x_pFC, gamma, self.norm.eps)
            (qkv,) = self.scratch.products(normed_pFC, to_qkv)
            qk, v = qkv.split([len(to_qkv) * 2 // 3, len(to_qkv) // 3], dim=-1)
            q, k, v = (
                part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (*rotate(qk, turn_Fk).chunk(2, dim=-1), v)
            )
            for queries, keys, bias_NFJ in bands.blocks:
                out_pNnD = F.scaled_dot_product_attention(
                    q[:, :, queries], k[:, :, keys], v[:, :, keys], attn_mask=bias_NFJ[None].to(v.dtype)
                )
                x_pFC[:, queries] += self.attention.to_out(out_pNnD.transpose(1, 2).flatten(-2))

    def _rotation(self, frames: int) -> Tensor:
        """The rotations of queries and keys of all heads, complex (F, k)."""
        assert self.attention.rotary_emb is not None
        freqs = self.attention.rotary_emb.freqs.repeat(2 * self.attention.heads)
        angle = torch.arange(frames, device=freqs.device)[:, None] * freqs
        return torch.polar(torch.ones_like(angle), angle)


def spatial_attention_(x_nPC: Tensor, residual: Residual) -> None:
    """x += full spatial attention within each frame (the U-Net's bottleneck)."""
    attention = residual.fn.fn.fn
    assert isinstance(attention, SequenceAttention)
    heads = (3 * attention.heads, attention.head_dim)
    qkv = attention.to_qkv(_normed(x_nPC, residual)).unflatten(-1, heads).transpose(1, 2)
    out = F.scaled_dot_product_attention(*qkv.chunk(3, dim=1))
    x_nPC += attention.to_out(out.transpose(1, 2).flatten(-2))


def linear_attention_(x_nPC: Tensor, residual: Residual, scratch: Scratch) -> None:
    """x += linear spatial attention within each frame: softmax(q) (softmax(k)ᵀ x W_v) W_o.

    Where pixels outnumber channels, values are not computed per pixel: Kᵀ(x W_v) = (Kᵀ x) W_v, and W_o is applied to
    the D x D context of each head instead of to each pixel.
    """
    attention = residual.fn.fn
    assert isinstance(attention, SpatialLinearAttention)
    heads, head_dim = attention.heads, attention.head_dim
    frames, pixels, width = x_nPC.shape
    normed = _normed(x_nPC, residual)
    to_q, to_k, to_v = attention.to_qkv.weight.flatten(1).chunk(3)
    q_nPK, k_nPK = scratch.products(normed, to_q, to_k)
    q_nPND = q_nPK.unflatten(-1, (heads, head_dim))
    q_nPND, k_nPK = torch.softmax(q_nPND, dim=-1, out=q_nPND), torch.softmax(k_nPK, dim=1, out=k_nPK)
    if pixels > width:
        summary_nNDC = torch.bmm(k_nPK.transpose(1, 2), normed).view(frames, heads, head_dim, width)
        context_nNDD = summary_nNDC @ to_v.view(heads, head_dim, width).transpose(1, 2)
    else:
        v_nPND = F.linear(normed, to_v).unflatten(-1, (heads, head_dim))
        context_nNDD = k_nPK.unflatten(-1, (heads, head_dim)).permute(0, 2, 3, 1) @ v_nPND.transpose(1, 2)
    context_nNDD *= head_dim**-0.5
    assert attention.to_out.bias is not None
    x_nPC += attention.to_out.bias
    out_CK = attention.to_out.weight.flatten(1)
    if pixels > width:
        out_NDC = out_CK.view(width, heads, head_dim).permute(1, 2, 0)
        add_product_(x_nPC, q_nPND.flatten(-2), (context_nNDD @ out_NDC).flatten(1, 2))
    else:
        x_nPC += F.linear((q_nPND.transpose(1, 2) @ context_nNDD).transpose(1, 2).flatten(-2), out_CK)


def add_product_(x: Tensor, a: Tensor, b: Tensor) -> None:
    """x += a b, without a copy where all dtypes are equal (under autocast they differ)."""
    if a.dtype == b.dtype == x.dtype:
        x.baddbmm_(a, b)
    else:
        x += torch.bmm(a, b)


def _normed(x_nPC: Tensor, residual: Residual) -> Tensor:
    norm = residual.fn.norm
    return layer_norm(x_nPC, norm.gamma.flatten(), norm.eps)


def layer_norm(x: Tensor, gamma_C: Tensor, eps: float) -> Tensor:
    """Layer norm over the last axis in the type of x; under autocast it would write float32."""
    if x.dtype == torch.float32:
        return F.layer_norm(x, gamma_C.shape, gamma_C, None, eps)
    with torch.autocast(x.device.type, enabled=False):
        return F.layer_norm(x, gamma_C.shape, gamma_C.to(x.dtype), None, eps)


class CrossKeys:
    """Precomputed from a clip's conditions for the three cross-attentions of a block: keys and values minus those of
    the null, and the Gram matrices from which `FastCross` computes the variance of its outputs."""

    def __init__(self, cross: FastCross, conditions: Conditions) -> None:
        keys, values = [], []
        for attention, context_BFK in cross.block.contexts(conditions):
            split = (attention.heads, attention.head_dim)
            key, value = (part.unflatten(-1, split)[0] for part in attention.to_kv(context_BFK).chunk(2, dim=-1))
            null_key, null_value = attention.null_kv
            scale = attention.q_scale * attention.k_scale * COSINE_SCALE
            keys.append((F.normalize(key, dim=-1) - F.normalize(null_key, dim=-1)) * scale)
            values.append(value - null_value)
        self.keys_FDJ = torch.cat(keys, dim=1).transpose(1, 2).contiguous()
        self.values_FJD = torch.cat(values, dim=1)
        rows_Fcgc = (cross.rows(values_nJD) for values_nJD in self.values_FJD.split(256))
        self.gram_Fcgg = torch.cat([rows @ rows.transpose(2, 3) / rows.shape[-1] for rows in rows_Fcgc])


class FastCross:
    """h += the three cross-attentions of a block, in closed form.

    With one key and the null, the softmax is a gate σ(8 q̂·(k̂ − k̂₀)) per head, and the output before its layer norm
    is W_o v₀ + Σ_h gate_h W_o (v − v₀)_h. Gates are offset by −½, which keeps the sum well conditioned.
    The query's layer norm is folded into W_q: centring W_q removes the mean, and the scale cancels in the L2 norm. The
    output's layer norm needs only a 9 x 9 Gram matrix per frame and condition.
    """

    def __init__(self, block: ConditionedBlock, scratch: Scratch | None = None) -> None:
        self.block = block
        self.scratch = scratch or Scratch()
        attentions = (block.cross_attn_aud, block.cross_attn_pose, block.cross_attn_eye)
        first = attentions[0]
        self.heads, self.head_dim, self.conditions = first.heads, first.head_dim, len(attentions)
        self.eps = first.output()[1].eps
        queries, outputs, bases = [], [], []
        gains: list[Tensor] = []
        for attention in attentions:
            query = _centred(attention.to_q.weight * attention.norm.g, dim=1)
            queries.append(query.unflatten(0, (self.heads, self.head_dim)))
            projection, norm = attention.output()
            output_NDC = _centred(projection.weight, dim=0).T.unflatten(0, (self.heads, self.head_dim))
            outputs.append(output_NDC)
            gains.append(norm.g)
            bases.append(torch.einsum("d,ndc->c", attention.null_kv[1], output_NDC))
        self.query_QC = torch.cat(queries).transpose(0, 1).flatten(0, 1).contiguous()  # rows D-major: see _add
        self.output_JDC = torch.cat(outputs).contiguous()
        self.base_c1C = torch.stack(bases)[:, None]
        self.gain_c1C = torch.stack(gains)[:, None]

    def __call__(self, h_nPC: Tensor, x_nPC: Tensor, clip: CrossKeys, frames: slice) -> None:
        """Add the cross-attentions of `x_nPC` to `h_nPC`, both of the `frames` of the clip."""
        step = max(1, (GATED_GPU if x_nPC.is_cuda else GATED_CPU) // x_nPC.shape[1])
        for i in range(0, len(x_nPC), step):
            these = slice(frames.start + i, min(frames.start + i + step, frames.stop))
            self._add(h_nPC[i : i + step], x_nPC[i : i + step], clip, these)

    def _add(self, h_nPC: Tensor, x_nPC: Tensor, clip: CrossKeys, frames: slice) -> None:
        n, pixels, _ = x_nPC.shape
        gates_nPcg = clip.keys_FDJ.new_ones(n, pixels, self.conditions, 1 + self.heads)
        logits_nPJ = self._logits(x_nPC, clip.keys_FDJ[frames])
        gates_nPcg[..., 1:] = logits_nPJ.sigmoid_().sub_(0.5).unflatten(-1, (self.conditions, self.heads))

        gram_nGG = self._block_diagonal(clip.gram_Fcgg[frames])
        variance_nPc1 = (torch.bmm(gates_nPcg.flatten(2), gram_nGG).view_as(gates_nPcg) * gates_nPcg).sum(-1, True)
        gates_nPcg *= (variance_nPc1 + self.eps).rsqrt_()
        rows_ncgC = self.rows(clip.values_FJD[frames]).mul_(self.gain_c1C)
        h_nPC.baddbmm_(gates_nPcg.flatten(2).to(h_nPC.dtype), rows_ncgC.flatten(1, 2).to(h_nPC.dtype))

    def _logits(self, x_nPC: Tensor, keys_nDJ: Tensor) -> Tensor:
        """The gates' logits in float32, [n, P, J]."""
        if x_nPC.dtype != torch.float32:
            query_JDC = self.query_QC.unflatten(0, (self.head_dim, -1)).transpose(0, 1)
            return cosine_logits(F.linear(x_nPC, query_JDC.flatten(0, 1).to(x_nPC.dtype)), keys_nDJ.transpose(1, 2))
        rows, width = x_nPC.flatten(0, 1), len(self.query_QC)
        queries, products = self.scratch.carve(rows, *2 * [len(rows) * width])
        query_PQ = torch.mm(rows, self.query_QC.t(), out=queries.view(-1, width))
        query_nPDJ = query_PQ.view(*x_nPC.shape[:2], self.head_dim, -1)
        products_nPDJ = torch.mul(query_nPDJ, keys_nDJ[:, None], out=products.view_as(query_nPDJ))
        logits_nPJ = products_nPDJ.sum(dim=2)
        logits_nPJ *= query_nPDJ.square_().sum(dim=2).clamp_(min=1e-24).rsqrt_()
        return logits_nPJ

    def rows(self, values_nJD: Tensor) -> Tensor:
        """The vectors that the gates weight, [n, conditions, 1 + heads, C], before the output's gain: W_o (v₀ + v)/2
        and each W_o (v − v₀)_h, centred over C."""
        heads_nJC = torch.bmm(values_nJD.transpose(0, 1), self.output_JDC).transpose(0, 1)
        heads_ncNC = heads_nJC.unflatten(1, (self.conditions, self.heads))
        base_nc1C = self.base_c1C + heads_ncNC.sum(dim=2, keepdim=True) / 2
        return torch.cat((base_nc1C, heads_ncNC), dim=2)

    def _block_diagonal(self, gram_ncgg: Tensor) -> Tensor:
        """Block-diagonal [n, G, G] of the conditions' Gram matrices, so that one product covers all gates."""
        size = 1 + self.heads
        gram_nGG = gram_ncgg.new_zeros(len(gram_ncgg), self.conditions * size, self.conditions * size)
        for i in range(self.conditions):
            part = slice(i * size, (i + 1) * size)
            gram_nGG[:, part, part] = gram_ncgg[:, i]
        return gram_nGG


def cosine_logits(q_nPQ: Tensor, keys_nJD: Tensor) -> Tensor:
    """Products of normalised queries with a key for each head, [n, P, J] in at least float32, Q = J·D.

    One product with the keys on a diagonal, and no normalised queries: nothing as wide as the queries is written.
    """
    count, width = keys_nJD.shape[1:]
    own = torch.eye(count, dtype=q_nPQ.dtype, device=q_nPQ.device)
    diagonal_nQJ = (keys_nJD.to(q_nPQ.dtype)[..., None] * own[:, None]).flatten(1, 2)
    logits_nPJ = torch.bmm(q_nPQ, diagonal_nQJ)
    logits_nPJ = logits_nPJ.float() if logits_nPJ.dtype in (torch.bfloat16, torch.float16) else logits_nPJ
    norm_nPJ = torch.linalg.vector_norm(q_nPQ.unflatten(-1, (count, width)), dim=-1, dtype=logits_nPJ.dtype)
    return logits_nPJ / norm_nPJ.clamp(min=1e-12)


def _centred(weight: Tensor, dim: int) -> Tensor:
    return weight - weight.mean(dim=dim, keepdim=True)
