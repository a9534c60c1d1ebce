"""DiffSpeaker's denoiser: a transformer decoder with two condition tokens and attention biased towards near frames.

B items, T frames, V vertex coordinates (vertices · 3), D latent size, H heads, L layers. Module names are those of
the released checkpoints. Bias and positions are computed for the given length, which is not limited.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.models.diffspeaker.config import DiffSpeakerConfig

#: Length of the stored positional table, rounded up to whole periods; only its first period is read.
_TABLE = 5000
#: Number of condition tokens per layer: style and diffusion step.
CONDITIONS = 2


class PeriodicPositions(nn.Module):
    """Sinusoidal positions that repeat every `period` frames. Released files contain the buffer `pe`."""

    def __init__(self, latent: int, period: int, dropout: float) -> None:
        super().__init__()
        self.period, self.dropout = period, nn.Dropout(dropout)
        angle = torch.arange(period)[:, None] * torch.exp(-math.log(10_000.0) / latent * torch.arange(0, latent, 2))
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        self.pe: Tensor
        self.register_buffer("pe", table.repeat(_TABLE // period + 1, 1)[None])

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Add positions to (B,T,D), with dropout."""
        place = torch.arange(x_BTD.shape[1], device=x_BTD.device) % self.period
        return self.dropout(x_BTD + self.pe[:, place])


class StepEmbedding(nn.Module):
    """Embedding of a diffusion step: sinusoids [cos, sin] of size `width`, then two linear layers with SiLU."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.width = width
        self.linear_1, self.linear_2 = nn.Linear(width, out), nn.Linear(out, out)

    def forward(self, step_B: Tensor) -> Tensor:
        """Diffusion steps (B,) -> (B,out)."""
        return self.linear_2(F.silu(self.linear_1(step_sinusoids(step_B, self.width))))


def step_sinusoids(step_B: Tensor, width: int) -> Tensor:
    """Sinusoids float32 (B,width) of the step: cosines, then sines, at frequencies 10000^(-k / (width/2))."""
    half = width // 2
    frequency = torch.exp(-math.log(10_000.0) * torch.arange(half, dtype=torch.float32, device=step_B.device) / half)
    angle = step_B[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class MotionDecoderLayer(nn.Module):
    """Pre-norm decoder layer: self-attention, then cross-attention to the audio. The un-normalised condition tokens are
    prepended to the keys and values of both."""

    def __init__(self, config: DiffSpeakerConfig) -> None:
        super().__init__()
        size, dropout = config.latent, config.dropout
        self.self_attn = nn.MultiheadAttention(size, config.heads, dropout=dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(size, config.heads, dropout=dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(size, config.ff), nn.Linear(config.ff, size)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(size) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x_BTD: Tensor, memory_BTD: Tensor, tokens_B2D: Tensor, self_bias: Tensor, cross_bias: Tensor
    ) -> Tensor:
        """(B,T,D), audio memory (B,T,D), condition tokens (B,2,D), attention masks (B·H,T,2+T) -> (B,T,D)."""
        own = self.norm1(x_BTD)
        context = torch.cat([tokens_B2D, own], dim=1)
        x_BTD = x_BTD + self.dropout(self.self_attn(own, context, context, attn_mask=self_bias, need_weights=False)[0])
        audio = torch.cat([tokens_B2D, memory_BTD], dim=1)
        x_BTD = x_BTD + self.dropout(
            self.multihead_attn(self.norm2(x_BTD), audio, audio, attn_mask=cross_bias, need_weights=False)[0]
        )
        return x_BTD + self.dropout(self.linear2(self.dropout(F.gelu(self.linear1(self.norm3(x_BTD))))))


class MotionDecoder(nn.Module):
    """The decoder layers, under their published name."""

    def __init__(self, config: DiffSpeakerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([MotionDecoderLayer(config) for _ in range(config.layers)])


class Denoiser(nn.Module):
    """Predicts clean offsets from noisy ones, audio, diffusion step and style. The last layer is zero-initialised."""

    def __init__(self, config: DiffSpeakerConfig) -> None:
        super().__init__()
        self.config = config
        size, coordinates = config.latent, config.vertices * 3
        self.audio_feature_map = nn.Linear(config.audio.hidden, size)
        self.vertice_map = nn.Linear(coordinates, size)
        self.PPE = PeriodicPositions(size, config.period, config.dropout)
        self.transformer_decoder = MotionDecoder(config)
        self.time_embedding = StepEmbedding(config.audio.hidden, size * config.layers)
        self.motion_decoder = nn.Linear(size, coordinates)
        nn.init.zeros_(self.motion_decoder.weight)
        nn.init.zeros_(self.motion_decoder.bias)
        self.obj_vector = nn.Embedding(len(config.subjects), size * config.layers)

    def forward(
        self, x_BTV: Tensor, memory_BTD: Tensor, step_B: Tensor, style_B: Tensor, valid_BT: Tensor | None = None
    ) -> Tensor:
        """The predicted clean offsets (B,T,V) for offsets at the noise level of `step_B`.

        `memory_BTD` is the output of `audio_feature_map`, one row per frame; `style_B` indexes the subjects; frames
        where `valid_BT` is False are masked.
        """
        tokens_B2 = torch.stack([self.obj_vector(style_B), self.time_embedding(step_B)], dim=1)
        self_bias, cross_bias = self._biases(x_BTV, valid_BT)
        h_BTD = self.PPE(self.vertice_map(x_BTV))
        for layer, tokens_B2D in zip(
            self.transformer_decoder.layers, tokens_B2.split(self.config.latent, -1), strict=True
        ):
            h_BTD = layer(h_BTD, memory_BTD, tokens_B2D, self_bias, cross_bias)
        return self.motion_decoder(h_BTD)

    def _biases(self, x_BTV: Tensor, valid_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        """Additive attention masks of self- and cross-attention, (B·H,T,2+T) each."""
        batch, frames = x_BTV.shape[:2]
        both = []
        for bias_HTC in _fixed_biases(frames, self.config.heads, self.config.period, x_BTV.device, x_BTV.dtype):
            bias = bias_HTC.expand(batch, *bias_HTC.shape)
            if valid_BT is not None:
                hidden = F.pad(~valid_BT.bool(), (CONDITIONS, 0))
                bias = bias.masked_fill(hidden[:, None, None, :], -math.inf)
            both.append(bias.flatten(0, 1))
        return both[0], both[1]


@lru_cache(maxsize=4)
def _fixed_biases(
    frames: int, heads: int, period: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What the masks of clips of one length share, (H,T,2+T) each: every layer, step and clip of that length has them.

    They are computed on the device, without waiting for it, and must not be changed.
    """
    with torch.inference_mode(False), torch.no_grad():
        own = near_bias(frames, heads, period, device=device).to(dtype)
        other = torch.full((frames, frames), -math.inf, device=device, dtype=dtype).fill_diagonal_(0)
        return F.pad(own, (CONDITIONS, 0)), F.pad(other, (CONDITIONS, 0)).expand(heads, -1, -1)


def near_bias(frames: int, heads: int, period: int, *, device: torch.device | None = None) -> Tensor:
    """Attention bias float32 (H,T,T): minus each head's slope times the whole periods between query and key; distances
    to future keys count one frame less."""
    place = torch.arange(frames, device=device)
    gap = place[:, None] - place[None, :]
    periods = torch.where(gap >= 0, gap, -gap - 1) // period
    return torch.stack([periods * -slope for slope in slopes(heads)])


def slopes(heads: int) -> list[float]:
    """ALiBi's slopes: 2^(-8(h+1)/H) for H a power of two, else those of the power below and every other of twice it."""
    power = 2 ** math.floor(math.log2(heads))
    regular = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    return regular if power == heads else regular + slopes(2 * power)[0::2][: heads - power]
