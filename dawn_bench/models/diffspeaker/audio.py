"""Audio encoders: sound (B,n) at 16 kHz -> features (B,S,C) at about 50 Hz, resampled to the mesh frame rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.clip import SAMPLE_RATE, whole_frames
from dawn_bench.models.diffspeaker.config import AudioConfig

#: Output rate of all encoders in Hz.
RATE = 50


def build_encoder(config: AudioConfig) -> nn.Module:
    """A module (waveform_BN, attention_mask) -> features_BSC; transformers' Wav2Vec2Model under `wav2vec2`, `hubert`.

    As in the released code HuBERT uses the same class: the keys are identical.
    """
    if config.encoder == "logmel":
        return LogMelEncoder(config)
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    model = Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.ff,
            conv_dim=(config.conv,) * 7,
            num_conv_pos_embeddings=config.position_kernel,
            num_conv_pos_embedding_groups=config.position_groups,
            mask_time_prob=0.0,
            apply_spec_augment=False,
        )
    )
    model.feature_extractor._freeze_parameters()  # its convolutions stay frozen, as in the released code
    return model


def encode(encoder: nn.Module, waveform_BN: Tensor, mask_BN: Tensor | None) -> Tensor:
    """Features (B,S,C) of normalised sound; `mask_BN` is 1 for valid samples and 0 for padding."""
    if isinstance(encoder, LogMelEncoder):
        return encoder(waveform_BN)
    return encoder(waveform_BN, attention_mask=None if mask_BN is None else mask_BN.long()).last_hidden_state


def normalise(waveform_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
    """Normalise each item to zero mean and unit variance over its valid samples, as in the encoders' training."""
    mask = torch.ones_like(waveform_BN) if mask_BN is None else mask_BN.to(waveform_BN)
    count = mask.sum(dim=1, keepdim=True).clamp_min(1)
    mean = (waveform_BN * mask).sum(dim=1, keepdim=True) / count
    variance = ((waveform_BN - mean).square() * mask).sum(dim=1, keepdim=True) / count
    return (waveform_BN - mean) / (variance + 1e-7).sqrt() * mask


def resample(features_BSC: Tensor, frames: int) -> Tensor:
    """Linear interpolation to `frames` evenly spaced positions, ends aligned: (B,frames,C)."""
    return F.interpolate(features_BSC.transpose(1, 2), size=frames, mode="linear", align_corners=True).transpose(1, 2)


def frames_of(steps: int, fps: int) -> int:
    """Number of mesh frames for `steps` encoder steps, where no ground truth gives the length."""
    return whole_frames(steps, RATE, fps=fps)


class LogMelEncoder(nn.Module):
    """Our encoder for tiny models: 40 log-mel energies at 50 Hz and two temporal convolutions (0.26 s of context)."""

    BANDS, WINDOW, FFT = 40, 512, 512

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.filters: Tensor
        self.register_buffer("filters", _mel_filters(self.BANDS, self.FFT), persistent=False)
        self.conv1 = nn.Conv1d(self.BANDS, config.hidden, 7, padding=3)
        self.conv2 = nn.Conv1d(config.hidden, config.hidden, 7, padding=3)

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """Normalised sound (B,n) at 16 kHz -> features (B,n // 320,hidden)."""
        hop = SAMPLE_RATE // RATE
        padded = F.pad(waveform_BN, (self.WINDOW // 2 - hop // 2, self.WINDOW))
        windows = padded.unfold(1, self.WINDOW, hop)[:, : waveform_BN.shape[1] // hop]
        power = torch.fft.rfft(windows * torch.hann_window(self.WINDOW, device=waveform_BN.device)).abs().square()
        mel_BSM = (power @ self.filters / self.WINDOW).clamp_min(1e-5).log() / 4
        return self.conv2(F.gelu(self.conv1(mel_BSM.transpose(1, 2)))).transpose(1, 2)


def _mel_filters(bands: int, fft: int) -> Tensor:
    """Triangles (fft/2+1, bands), equally spaced in mel = 2595 log10(1 + f/700) from 0 to 8 kHz."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2) / 2595) - 1)
    hertz = torch.linspace(0, SAMPLE_RATE / 2, fft // 2 + 1)[:, None]
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp_min(0)
