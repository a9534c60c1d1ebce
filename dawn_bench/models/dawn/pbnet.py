"""PBNet: head pose and blinks from speech by a non-autoregressive variational transformer (paper, 3.4, Eq. 8 and 9).

Shape letters: B batch, N frames at 25 fps, D state channels (pose, then eyes), A audio channels, Z latent channels,
C network channels. States are in physical units (degrees, pixels, eye aspect ratios) in `generate`, and normalised
elsewhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.models.dawn.pbnet_attention import MemoryAttention, RelativeBias, Rotary, SelfAttention
from dawn_bench.models.dawn.pbnet_config import PBNetConfig

__all__ = ["PBNet", "PBNetConfig", "SeparatePBNets", "normalise", "restore"]


def normalise(state: Tensor, config: PBNetConfig) -> Tensor:
    """Normalise states (..., D) from physical units by the ranges of pose and eyes."""
    low, span = _range(config, state)
    return (state - low) / span


def restore(state: Tensor, config: PBNetConfig) -> Tensor:
    """The inverse of `normalise`."""
    low, span = _range(config, state)
    return state * span + low


def _range(config: PBNetConfig, like: Tensor) -> tuple[Tensor, Tensor]:
    low = like.new_tensor([*config.pose_min[: config.pos_dim], *[config.eye_range[0]] * config.eye_dim])
    high = like.new_tensor([*config.pose_max[: config.pos_dim], *[config.eye_range[1]] * config.eye_dim])
    return low, high - low


def sinusoids(length: int, channels: int, like: Tensor) -> Tensor:
    """Fixed positional encoding (length, channels): even channels sine, odd channels cosine, base 10000."""
    rate = torch.exp(torch.arange(0, channels, 2, device=like.device).float() * (-math.log(10000.0) / channels))
    angle = torch.arange(length, device=like.device).float()[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)


class PBEncoder(nn.Module):
    """Mean and log variance of the latent code per frame, from initial state, state residual and audio (Eq. 8)."""

    def __init__(self, config: PBNetConfig) -> None:
        super().__init__()
        width = 2 * config.pose_latent_dim + config.audio_latent_dim
        self.poseEmbedding = nn.Linear(config.state_dim, config.pose_latent_dim)
        self.firstposeEmbedding = nn.Linear(config.state_dim, config.pose_latent_dim)
        self.audioEmbedding = nn.Linear(config.audio_dim, config.audio_latent_dim)
        layer = nn.TransformerEncoderLayer(
            width, config.num_heads, dim_feedforward=config.ff_size, dropout=config.dropout, activation="gelu"
        )
        self.seqTransEncoder = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
        self.mu_layer = nn.Linear(width, config.latent_dim)
        self.sigma_layer = nn.Linear(width, config.latent_dim)
        self.dropout = config.dropout

    def forward(self, x_BND: Tensor, audio_BNA: Tensor, valid_BN: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (N, B, Z), time first as published."""
        first = self.firstposeEmbedding(x_BND[:, :1]).expand(-1, x_BND.shape[1], -1)
        change = self.poseEmbedding(x_BND - x_BND[:, :1])
        h_NBC = torch.cat([first, change, self.audioEmbedding(audio_BNA)], dim=-1).transpose(0, 1)
        h_NBC = h_NBC + sinusoids(h_NBC.shape[0], h_NBC.shape[2], h_NBC)[:, None]
        h_NBC = F.dropout(h_NBC, self.dropout, self.training)
        h_NBC = self.seqTransEncoder(h_NBC, src_key_padding_mask=None if valid_BN is None else ~valid_BN)
        return self.mu_layer(h_NBC), self.sigma_layer(h_NBC)


class GainNorm(nn.Module):
    """Layer norm over the channels, with gain and without bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, 1, width))

    def forward(self, x_BNC: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        return F.layer_norm(x_BNC, x_BNC.shape[-1:]) * self.gamma


class NormFirst(nn.Module):
    """fn(norm(x)); this class and `Skip` exist for the published key names."""

    def __init__(self, width: int, fn: SelfAttention) -> None:
        super().__init__()
        self.fn, self.norm = fn, GainNorm(width)


class Skip(nn.Module):
    """x + fn(norm(x))."""

    def __init__(self, fn: NormFirst) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x_BNC: Tensor, bias: RelativeBias, *, window: int | None, valid_BN: Tensor | None) -> Tensor:
        """(B, N, C) -> (B, N, C); `window` and `valid_BN` mask the attention."""
        return x_BNC + self.fn.fn(self.fn.norm(x_BNC), bias, window=window, valid_BN=valid_BN)


class FeedForward(nn.Module):
    """Two linear layers with GELU in between."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        return self.linear2(self.dropout(F.gelu(self.linear1(x_BNC))))


class DecoderLayer(nn.Module):
    """Post-norm decoder layer: self-attention, cross-attention to the memory, feed-forward."""

    def __init__(self, config: PBNetConfig, rotary: Rotary) -> None:
        super().__init__()
        width, heads, size = config.pose_latent_dim, config.num_heads, config.head_dim
        self.self_attn = SelfAttention(width, rotary, heads=heads, head_dim=size)
        self.multihead_attn = MemoryAttention(width, rotary, heads=heads, head_dim=size)
        self.ffn = FeedForward(width, config.ff_size, config.dropout)
        self.layer_norm1 = nn.LayerNorm(width)
        self.layer_norm2 = nn.LayerNorm(width)
        self.layer_norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BNC: Tensor,
        memory_BNC: Tensor,
        bias: tuple[RelativeBias, RelativeBias],
        *,
        window: int | None,
        valid_BN: Tensor | None,
    ) -> Tensor:
        """(B, N, C) -> (B, N, C); `bias` is that of self-attention and of cross-attention."""
        own, cross = bias
        x_BNC = self.layer_norm1(x_BNC + self.dropout(self.self_attn(x_BNC, own, window=window, valid_BN=valid_BN)))
        attended = self.multihead_attn(x_BNC, memory_BNC, cross, window=window, valid_BN=valid_BN)
        x_BNC = self.layer_norm2(x_BNC + self.dropout(attended))
        return self.layer_norm3(x_BNC + self.dropout(self.ffn(x_BNC)))


class DecoderStack(nn.Module):
    """The decoder layers, which share their rotary frequencies."""

    def __init__(self, config: PBNetConfig) -> None:
        super().__init__()
        rotary = Rotary(config.rotary_dim)
        self.decoder_layers = nn.ModuleList(DecoderLayer(config, rotary) for _ in range(config.num_layers))


class PBDecoder(nn.Module):
    """Change from the initial state, decoded from latent code, audio and initial state (Eq. 9)."""

    def __init__(self, config: PBNetConfig) -> None:
        super().__init__()
        width, heads = config.pose_latent_dim, config.num_heads
        self.firstposeEmbedding = nn.Linear(config.state_dim, width)
        self.audioEmbedding = nn.Linear(config.audio_dim, config.audio_latent_dim)
        self.ztimelinear = nn.Linear(width + config.latent_dim + config.audio_latent_dim, width)
        self.init_proj = nn.Linear(width, width)

        def bias() -> RelativeBias:
            buckets, reach = config.num_buckets, config.max_distance
            return RelativeBias(heads, num_buckets=buckets, max_distance=reach, slope=config.bias_slope)

        self.time_rel_pos_bias_tgt, self.time_rel_pos_bias_mem = bias(), bias()
        first = SelfAttention(width, Rotary(config.rotary_dim), heads=heads, head_dim=config.head_dim)
        self.init_temporal_attn = Skip(NormFirst(width, first))
        self.seqTransDecoder = DecoderStack(config)
        self.finallayer = nn.Linear(width, config.state_dim)
        self.window, self.mask_padding = config.window, config.mask_padding

    def forward(self, first_BD: Tensor, z_NBZ: Tensor, audio_BNA: Tensor, valid_BN: Tensor | None = None) -> Tensor:
        """The change (B, N, D), normalised; 0 in padded frames.

        The attention window applies in evaluation only, as in the reference: training attends to whole clips.
        """
        window = None if self.training else self.window
        seen = valid_BN if self.mask_padding else None
        first = self.firstposeEmbedding(first_BD)[:, None].expand(-1, audio_BNA.shape[1], -1)
        memory = self.ztimelinear(torch.cat([first, z_NBZ.transpose(0, 1), self.audioEmbedding(audio_BNA)], dim=-1))
        # All queries start as the same vector; time enters through the cross-attention to the memory.
        x_BNC = self.init_proj(torch.zeros_like(memory))
        own = self.time_rel_pos_bias_tgt
        x_BNC = self.init_temporal_attn(x_BNC, own, window=window, valid_BN=seen)
        for layer in self.seqTransDecoder.decoder_layers:
            x_BNC = layer(x_BNC, memory, (own, self.time_rel_pos_bias_mem), window=window, valid_BN=seen)
        out = self.finallayer(x_BNC)
        return out if valid_BN is None else out * valid_BN[..., None]


class PBNet(nn.Module):
    """Encoder and decoder with the published names (without the two constant tables of sinusoids)."""

    def __init__(self, config: PBNetConfig | None = None) -> None:
        super().__init__()
        config = config or PBNetConfig()
        self.config = config
        self.encoder = PBEncoder(config)
        self.decoder = PBDecoder(config)

    def encode(self, x_BND: Tensor, audio_BNA: Tensor, valid_BN: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance (N, B, Z) of the latent code from normalised states; `valid_BN` is False at padding."""
        return self.encoder(x_BND, audio_BNA, valid_BN)

    def decode(self, first_BD: Tensor, z_NBZ: Tensor, audio_BNA: Tensor, valid_BN: Tensor | None = None) -> Tensor:
        """The change from the first state (B, N, D), normalised."""
        return self.decoder(first_BD, z_NBZ, audio_BNA, valid_BN)

    @torch.no_grad()
    def generate(self, initial_state_BD: Tensor, audio_BNA: Tensor, *, generator: torch.Generator) -> Tensor:
        """Generate states (B, N, D) in physical units for speech of any length, from an initial state in those units.

        The latent code of each frame is drawn from a standard normal on the generator's device. Call in eval mode.
        """
        batch, length = audio_BNA.shape[:2]
        z = torch.randn(length, batch, self.config.latent_dim, generator=generator, device=generator.device).to(
            audio_BNA
        )
        first = normalise(initial_state_BD, self.config)
        return restore(self.decode(first, z, audio_BNA) + first[:, None], self.config)


class SeparatePBNets(nn.Module):
    """The released pair of networks: head pose and blinks, sampled in this order."""

    def __init__(self, pose: PBNet, blink: PBNet) -> None:
        super().__init__()
        self.pose, self.blink = pose, blink

    @torch.no_grad()
    def generate(self, initial_state_BD: Tensor, audio_BNA: Tensor, *, generator: torch.Generator) -> Tensor:
        """States (B, N, D), pose then blinks, as in `PBNet.generate`."""
        pose, blink = initial_state_BD.split([self.pose.config.state_dim, self.blink.config.state_dim], dim=1)
        drawn = self.pose.generate(pose, audio_BNA, generator=generator)
        return torch.cat([drawn, self.blink.generate(blink, audio_BNA, generator=generator)], dim=-1)
