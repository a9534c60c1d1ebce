"""The diffusion transformer (paper, Section 3): cross-attention from latents to audio and time.

Shape letters: B frames (each one sample), Z latent channels, h latent side, N image tokens, D width, M condition
tokens, W audio window, A audio features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.models.diffusion.levels import scaled_linear_levels
from dawn_bench.models.dit_head.config import DiTConfig

#: Width of the sinusoidal timestep features.
TIME_FEATURES = 256


class Attention(nn.Module):
    """Multi-head attention from tokens to a context: cross-attention, or self-attention for the tokens themselves."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x_BND: Tensor, context_BMD: Tensor) -> Tensor:
        """Tokens (B,N,D) attend to a context (B,M,D) -> (B,N,D)."""
        query, key, value = self._split(x_BND, context_BMD)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))

    def weights(self, x_BND: Tensor, context_BMD: Tensor) -> Tensor:
        """Attention weights (B,N,M), averaged over heads; rows sum to 1."""
        query, key, _ = self._split(x_BND, context_BMD)
        return (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(dim=-1).mean(dim=1)

    def _split(self, x_BND: Tensor, context_BMD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key, value = self.key_value(context_BMD).chunk(2, dim=-1)
        query, key, value = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (self.query(x_BND), key, value))
        return query, key, value


class Block(nn.Module):
    """Pre-norm transformer block as in DiT: self-attention, cross-attention, feed-forward."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.self_attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2, self.cross_attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm3 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))

    def forward(self, x_BND: Tensor, condition_BMD: Tensor) -> Tensor:
        """Image tokens (B,N,D), condition tokens (B,M,D) -> (B,N,D)."""
        normed = self.norm1(x_BND)
        x_BND = x_BND + self.self_attention(normed, normed)
        x_BND = x_BND + self.cross_attention(self.norm2(x_BND), condition_BMD)
        return x_BND + self.mlp(self.norm3(x_BND))


class DiT(nn.Module):
    """Denoiser of a frame's latent. Buffers hold the noise schedule and the scales of both kinds of latents.

    `set_scales` is called once, before training, so that latents have zero mean and unit variance on the training set.
    """

    levels: Tensor
    face_mean: Tensor
    face_std: Tensor
    masked_mean: Tensor
    masked_std: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        dim, patch = config.dim, config.patch
        self.register_buffer("levels", scaled_linear_levels(config.timesteps, config.betas))
        for name, channels in (("face", config.latent_channels), ("masked", config.masked_channels)):
            self.register_buffer(f"{name}_mean", torch.zeros(channels))
            self.register_buffer(f"{name}_std", torch.ones(channels))
        channels = 2 * config.latent_channels + config.masked_channels
        self.patchify = nn.Conv2d(channels, dim, patch, stride=patch)
        audio_width = config.audio_dim * (1 if config.audio_tokens == "each" else config.n_audio)
        self.audio = nn.Sequential(nn.Linear(audio_width, dim), nn.SiLU(), nn.Linear(dim, dim))
        count = config.n_audio if config.audio_tokens == "each" else 1
        self.offsets = nn.Parameter(0.02 * torch.randn(count, dim))
        self.silence = nn.Parameter(0.02 * torch.randn(count, dim))
        self.time = nn.Sequential(nn.Linear(TIME_FEATURES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList(Block(dim, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, patch * patch * config.latent_channels)
        self._places: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def set_scales(self, face_BZhh: Tensor, masked_BZhh: Tensor) -> None:
        """Set mean and standard deviation of each channel from latents of the training set."""
        for name, z in (("face", face_BZhh), ("masked", masked_BZhh)):
            getattr(self, f"{name}_mean").copy_(z.mean(dim=(0, 2, 3)))
            getattr(self, f"{name}_std").copy_(z.std(dim=(0, 2, 3)).clamp(min=1e-3))

    def scale_face(self, z_BZhh: Tensor) -> Tensor:
        """Scale latents of the face VQGAN to the diffusion's units."""
        return (z_BZhh - self.face_mean[:, None, None]) / self.face_std[:, None, None]

    def unscale_face(self, z_BZhh: Tensor) -> Tensor:
        """The inverse of `scale_face`."""
        return z_BZhh * self.face_std[:, None, None] + self.face_mean[:, None, None]

    def scale_masked(self, z_BZhh: Tensor) -> Tensor:
        """Scale latents of the masked VQGAN to the diffusion's units."""
        return (z_BZhh - self.masked_mean[:, None, None]) / self.masked_std[:, None, None]

    def condition(self, audio_BWA: Tensor, kept_B: Tensor, t_B: Tensor) -> Tensor:
        """Condition tokens (B,M,D): the audio window (learned null tokens where `kept_B` is False) and the timestep."""
        audio = audio_BWA if self.config.audio_tokens == "each" else audio_BWA.flatten(1)[:, None]
        tokens = self.audio(audio) + self.offsets
        tokens = torch.where(kept_B[:, None, None], tokens, self.silence)
        return torch.cat([tokens, self.time(time_features(t_B))[:, None]], dim=1)

    def tokens(self, x_BZhh: Tensor, reference_BZhh: Tensor, masked_BZhh: Tensor) -> Tensor:
        """Image tokens (B,N,D) of the three aligned latents, with positional encoding."""
        grid_BDnn = self.patchify(torch.cat([x_BZhh, reference_BZhh, masked_BZhh], dim=1))
        return grid_BDnn.flatten(2).transpose(1, 2) + self._places_like(grid_BDnn.shape[-1], x_BZhh)

    def _places_like(self, side: int, like: Tensor) -> Tensor:
        """`places` with the type of `like`; computed once for each size and device, not in every step."""
        key = (side, like.device, like.dtype)
        if key not in self._places:
            with torch.inference_mode(False):
                self._places[key] = places(side, self.config.dim).to(like)
        return self._places[key]

    def forward(
        self,
        x_BZhh: Tensor,
        t_B: Tensor,
        *,
        reference_BZhh: Tensor,
        masked_BZhh: Tensor,
        audio_BWA: Tensor,
        kept_B: Tensor,
    ) -> Tensor:
        """The predicted noise or velocity (B,Z,h,h) for noisy latents at timesteps `t_B`, all in scaled units."""
        condition_BMD = self.condition(audio_BWA, kept_B, t_B)
        hidden_BND = self.tokens(x_BZhh, reference_BZhh, masked_BZhh)
        for block in self.blocks:
            hidden_BND = block(hidden_BND, condition_BMD)
        patches = self.out(self.norm(hidden_BND)).transpose(1, 2)
        side, patch = x_BZhh.shape[-1], self.config.patch
        return F.fold(patches, (side, side), kernel_size=patch, stride=patch)

    def attention_maps(
        self,
        x_BZhh: Tensor,
        t_B: Tensor,
        *,
        reference_BZhh: Tensor,
        masked_BZhh: Tensor,
        audio_BWA: Tensor,
    ) -> Tensor:
        """Attention of each position to the audio rather than to the timestep: (B, blocks, n, n), 0–1."""
        condition_BMD = self.condition(audio_BWA, torch.ones_like(t_B, dtype=torch.bool), t_B)
        hidden_BND = self.tokens(x_BZhh, reference_BZhh, masked_BZhh)
        maps = []
        for block in self.blocks:
            assert isinstance(block, Block)
            normed = block.norm1(hidden_BND)
            queries = block.norm2(hidden_BND + block.self_attention(normed, normed))
            maps.append(block.cross_attention.weights(queries, condition_BMD)[..., :-1].sum(dim=-1))
            hidden_BND = block(hidden_BND, condition_BMD)
        side = math.isqrt(hidden_BND.shape[1])
        return torch.stack(maps, dim=1).unflatten(2, (side, side))


def time_features(t_B: Tensor) -> Tensor:
    """Timestep features (B,256): cosines and sines with wavelengths from 2π to 20,000π (DiT)."""
    half = TIME_FEATURES // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=t_B.device) / half)
    angles = t_B.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def places(side: int, dim: int) -> Tensor:
    """Fixed 2-D positional encoding (side², dim): half of the channels each for columns and rows (DiT)."""
    rates = 10_000 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, dim / 2)
    rows, columns = line[:, None].expand(side, side, -1), line[None].expand(side, side, -1)
    return torch.cat([columns, rows], dim=-1).reshape(side * side, dim).float()
