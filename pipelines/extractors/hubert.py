"""HuBERT-large speech features at 25 fps, with the chunking and interpolation of DAWN's data preparation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dawn_bench.clip import SAMPLE_RATE, whole_frames
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.extractors.base import AUDIO, EXTRACTORS, Extractor
from dawn_bench.pipelines.extractors.snapshot import Snapshot
from dawn_bench.provenance import pick_device

if TYPE_CHECKING:
    import torch

#: In samples: a chunk of 1000 steps of 20 ms, the overlap that its last window needs, and the shortest usable sound.
CHUNK, OVERHANG, SHORTEST = 320_000, 80, 400
_STEP = 320
#: The published snapshot `hubert-large-ls960-ft` in the weights folder.
_SNAPSHOT = Snapshot("Hubert", ("hubert-large", "hubert-large-bin"), "hubert-large-config")


@EXTRACTORS.register("hubert")
class Hubert(Extractor):
    """`hubert` float16 (T,1024): facebook/hubert-large-ls960-ft, last hidden state.

    Expects the published files in the weights folder: `hubert-large-ls960-ft/` with `config.json` and
    `model.safetensors` or `pytorch_model.bin`. Raises `InputError` if they are missing. The field is never filled with
    substitute features; `logmel` is the offline substitute, under its own name.
    """

    name = "hubert"
    needs = ("audio",)
    kind = AUDIO
    fallback = None
    weights = _SNAPSHOT.needs
    packages = ("transformers",)

    @classmethod
    def check(cls) -> None:
        """Weights and configuration belong together."""
        _SNAPSHOT.check()

    def fingerprint(self) -> str:
        """Identifies code and weights; part of the cache's extractor fingerprint."""
        return f"hubert-1-{_SNAPSHOT.identity}"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`hubert` (T,1024) from `audio` int16 (n,) at 16 kHz; raises `InputError` without the weights."""
        device = pick_device(self.device)
        model = _SNAPSHOT.load(device)
        steps = partial(hidden_states, model, device=device)
        return {"hubert": chunked(normalise(arrays["audio"]), steps, n_frames=n_frames).astype(np.float16)}


def hidden_states(model: torch.nn.Module, samples: np.ndarray, *, device: str) -> np.ndarray:
    """Last hidden states float32 (steps,C) of the network, one per 20 ms, from normalised samples float32 (n,)."""
    import torch

    from dawn_bench.exact import exact_inference

    with exact_inference():
        hidden = model(torch.from_numpy(samples)[None].to(device)).last_hidden_state
    return hidden[0].float().cpu().numpy()


def normalise(audio: np.ndarray) -> np.ndarray:
    """int16 or float samples (n,) as float32, zero mean and unit variance over the whole sound, as in training."""
    samples = audio.astype(np.float64) / (32768 if audio.dtype == np.int16 else 1)
    return ((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).astype(np.float32)


def chunked(
    audio: np.ndarray, encode: Callable[[np.ndarray], np.ndarray], *, n_frames: int | None = None
) -> np.ndarray:
    """Features float32 (F,C) at 25 fps of 16 kHz sound float32 (n,); `encode` maps samples to (steps,C) at 50 Hz.

    Chunks are samples [320000 i, 320000 i + 320080), encoded without shared context; a remainder of fewer than 400
    samples is dropped. The steps are zero-padded or trimmed to (n - 80) // 320, then resampled linearly with aligned
    ends to F = `n_frames` (default: the number of whole frames in the sound). Raises `ItemError("too_short")` for fewer
    than 400 samples.
    """
    if len(audio) < SHORTEST:
        raise ItemError("too_short", f"{len(audio)} samples of sound; speech features need {SHORTEST}")
    whole = len(audio) // CHUNK
    segments = [encode(audio[i * CHUNK : (i + 1) * CHUNK + OVERHANG]) for i in range(whole)]
    rest = audio[whole * CHUNK :]
    if len(rest) >= SHORTEST:
        segments.append(encode(rest))
    steps = np.concatenate(segments).astype(np.float32)
    expected = (len(audio) - OVERHANG) // _STEP
    steps = np.pad(steps[:expected], ((0, max(0, expected - len(steps))), (0, 0)))
    frames = n_frames if n_frames is not None else whole_frames(len(audio), SAMPLE_RATE)
    return _resample(steps, frames)


def _resample(rows: np.ndarray, count: int) -> np.ndarray:
    """Rows (T,C) interpolated linearly at `count` evenly spaced positions, ends aligned: float32 (count,C)."""
    where = np.linspace(0, len(rows) - 1, count)
    low = np.floor(where).astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (where - low)[:, None].astype(np.float32)
    return rows[low] * (1 - share) + rows[high] * share
