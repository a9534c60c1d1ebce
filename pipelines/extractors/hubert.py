"""HuBERT-large speech features at 25 fps, by the chunking and interpolation of DAWN's data preparation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dawn_bench.clip import FPS, SAMPLE_RATE
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.extractors.snapshot import Snapshot
from dawn_bench.provenance import pick_device

if TYPE_CHECKING:
    import torch

#: Samples of a chunk's 1000 steps of 20 ms, the overhang that its last window needs, and the shortest usable sound.
CHUNK, OVERHANG, SHORTEST = 320_000, 80, 400
_STEP = 320
#: The published folder `hubert-large-ls960-ft` in the weights folder.
_SNAPSHOT = Snapshot("Hubert", ("hubert-large", "hubert-large-bin"), "hubert-large-config")


@EXTRACTORS.register("hubert")
class Hubert:
    """`hubert` float16 (T,1024): facebook/hubert-large-ls960-ft, last hidden state.

    Its files lie in the weights folder as published: `hubert-large-ls960-ft/` with `config.json` and
    `model.safetensors` or `pytorch_model.bin`. Raises `InputError` when they do not; it is never filled with a
    stand-in, which would look like speech features and be none (`logmel` is the honest stand-in).
    """

    name = "hubert"
    needs: tuple[str, ...] = ("audio",)

    @staticmethod
    def missing() -> str | None:
        """What keeps it from running here, in words, or None."""
        return _SNAPSHOT.missing()

    def fingerprint(self) -> str:
        return f"hubert-1-{_SNAPSHOT.identity}"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        device = pick_device()
        model = _SNAPSHOT.load(device)
        steps = partial(hidden_states, model, device=device)
        return {"hubert": chunked(normalise(arrays["audio"]), steps, n_frames=n_frames).astype(np.float16)}


def hidden_states(model: torch.nn.Module, samples: np.ndarray, *, device: str) -> np.ndarray:
    """The network's last hidden states float32 (steps,C), one every 20 ms, of normalised samples (n,)."""
    import torch

    with torch.inference_mode():
        hidden = model(torch.from_numpy(samples)[None].to(device)).last_hidden_state
    return hidden[0].float().cpu().numpy()


def normalise(audio: np.ndarray) -> np.ndarray:
    """int16 or float (n,) as float32 of zero mean and unit variance over the whole sound, as the model was trained."""
    samples = audio.astype(np.float64) / (32768 if audio.dtype == np.int16 else 1)
    return ((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).astype(np.float32)


def chunked(
    audio: np.ndarray, encode: Callable[[np.ndarray], np.ndarray], *, n_frames: int | None = None
) -> np.ndarray:
    """Features float32 (F,C) at 25 fps of float32 (n,) 16 kHz sound, `encode` taking samples to (steps,C) at 50 Hz.

    Chunks are samples [320000 i, 320000 i + 320080), without shared context; a rest under 400 samples is left out. The
    steps are padded with zeros or trimmed to (n - 80) // 320, and resampled linearly with both ends aligned to
    F = `n_frames`, by default the whole frames of the sound. Raises `ItemError("too_short")` under 400 samples.
    """
    if len(audio) < SHORTEST:
        raise ItemError("too_short", f"{len(audio)} samples of sound; speech features need {SHORTEST}")
    whole = len(audio) // CHUNK
    pieces = [encode(audio[i * CHUNK : (i + 1) * CHUNK + OVERHANG]) for i in range(whole)]
    rest = audio[whole * CHUNK :]
    if len(rest) >= SHORTEST:
        pieces.append(encode(rest))
    steps = np.concatenate(pieces).astype(np.float32)
    expected = (len(audio) - OVERHANG) // _STEP
    steps = np.pad(steps[:expected], ((0, max(0, expected - len(steps))), (0, 0)))
    frames = n_frames if n_frames is not None else int(len(audio) / SAMPLE_RATE * FPS)
    return _resample(steps, frames)


def _resample(rows: np.ndarray, count: int) -> np.ndarray:
    """Rows (T,C) read linearly at `count` evenly spaced places from the first to the last, float32 (count,C)."""
    where = np.linspace(0, len(rows) - 1, count)
    low = np.floor(where).astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (where - low)[:, None].astype(np.float32)
    return rows[low] * (1 - share) + rows[high] * share
