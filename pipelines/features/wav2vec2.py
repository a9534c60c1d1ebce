"""Wav2Vec2 speech features at 25 fps, which DiT-Head hears (arXiv 2312.06400, Section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec

import numpy as np

from dawn_bench import weights
from dawn_bench.pipelines.features.base import EXTRACTORS
from dawn_bench.pipelines.features.hubert import chunked, hidden_states, network, normalise
from dawn_bench.provenance import pick_device

_WEIGHTS = "wav2vec2-base"


@EXTRACTORS.register("wav2vec2")
class Wav2Vec2:
    """`wav2vec2` float16 (T,768): facebook/wav2vec2-base-960h, last hidden state, 50 Hz brought to the frames linearly.

    Sound is read in the chunks of `hubert`, 20 s each. Raises `InputError` when the weights are not in the weights
    folder; nothing else is ever put under this name (`logmel` is the honest stand-in).
    """

    name = "wav2vec2"
    needs: tuple[str, ...] = ("audio",)

    @staticmethod
    def missing() -> str | None:
        """What keeps it from running here, in words, or None."""
        if find_spec("transformers") is None:
            return "the package transformers is not installed"
        resolved = weights.resolve(_WEIGHTS)
        return None if resolved.path else f"{weights.folder() / resolved.weight.file} is not there"

    def fingerprint(self) -> str:
        return f"wav2vec2-1-{weights.resolve(_WEIGHTS).identity}"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        path = weights.resolve(_WEIGHTS, "files").path
        assert path is not None  # that is what the policy means
        device = pick_device()
        steps = partial(hidden_states, network(path, device, family="wav2vec2"), device=device)
        return {"wav2vec2": chunked(normalise(arrays["audio"]), steps, n_frames=n_frames).astype(np.float16)}
