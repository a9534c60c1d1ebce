"""HuBERT-large speech features at 25 fps, by the chunking and interpolation of DAWN's data preparation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from dawn_bench import weights
from dawn_bench.clip import FPS, SAMPLE_RATE
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.features.base import EXTRACTORS
from dawn_bench.provenance import pick_device

if TYPE_CHECKING:
    import torch

#: Samples of a chunk's 1000 steps of 20 ms, the overhang that its last window needs, and the shortest usable sound.
CHUNK, OVERHANG, SHORTEST = 320_000, 80, 400
_STEP = 320
_WEIGHTS = "hubert-large"


@EXTRACTORS.register("hubert")
class Hubert:
    """`hubert` float16 (T,1024): facebook/hubert-large-ls960-ft, last hidden state.

    Raises `InputError` when the weights are not in the weights folder; it is never filled with a stand-in, which
    would look like speech features and be none (`logmel` is the honest stand-in).
    """

    name = "hubert"
    needs: tuple[str, ...] = ("audio",)

    @staticmethod
    def missing() -> str | None:
        """What keeps it from running here, in words, or None."""
        if find_spec("transformers") is None:
            return "the package transformers is not installed"
        resolved = weights.resolve(_WEIGHTS)
        return None if resolved.path else f"{weights.folder() / resolved.weight.file} is not there"

    def fingerprint(self) -> str:
        return f"hubert-1-{weights.resolve(_WEIGHTS).identity}"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        device = pick_device()
        model = network(_file(), device, family="hubert")
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


def _file() -> Path:
    """The weights; raises `InputError` saying where to put them."""
    path = weights.resolve(_WEIGHTS, "files").path
    assert path is not None  # that is what the policy means
    return path


@lru_cache(maxsize=1)
def network(path: Path, device: str, *, family: Literal["hubert", "wav2vec2"]) -> torch.nn.Module:
    """A speech encoder from its published file and the `config.json` beside it, loaded once a process.

    Raises `InputError` when the configuration is missing or the file does not fit.
    """
    import torch
    import transformers

    config_file = path.parent / "config.json"
    if not config_file.is_file():
        raise InputError("the model's config.json is missing.", path=config_file, mend="Put it beside the weights.")
    name = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2"}[family]
    config = getattr(transformers, f"{name}Config").from_json_file(config_file)
    model: torch.nn.Module = getattr(transformers, f"{name}Model")(config)
    state = {key.removeprefix(f"{family}."): value for key, value in weights.read_state_dict(path).items()}
    wanted = model.state_dict().keys()
    state = {_modern(key): value for key, value in state.items()}
    absent = wanted - state.keys() - {"masked_spec_embed"}
    if absent:
        raise InputError(f"does not fit {name}: {sorted(absent)[0]} is missing.", path=path)
    model.load_state_dict({key: value for key, value in state.items() if key in wanted}, strict=False)
    return model.eval().to(torch.device(device))


def _modern(key: str) -> str:
    """Weight-normalised convolutions changed their keys in torch 2: old checkpoints have the old ones."""
    return key.replace("conv.weight_g", "conv.parametrizations.weight.original0").replace(
        "conv.weight_v", "conv.parametrizations.weight.original1"
    )
