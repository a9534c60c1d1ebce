"""Wav2Vec2 speech features at 25 fps, the audio input of DiT-Head (arXiv 2312.06400, Section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from dawn_bench.pipelines.extractors.base import AUDIO, EXTRACTORS, Extractor
from dawn_bench.pipelines.extractors.hubert import chunked, hidden_states, normalise
from dawn_bench.pipelines.extractors.snapshot import Snapshot
from dawn_bench.provenance import pick_device

#: The published snapshot `wav2vec2-base-960h` in the weights folder.
_SNAPSHOT = Snapshot("Wav2Vec2", ("wav2vec2-base", "wav2vec2-base-bin"), "wav2vec2-base-config")


@EXTRACTORS.register("wav2vec2")
class Wav2Vec2(Extractor):
    """`wav2vec2` float16 (T,768): facebook/wav2vec2-base-960h, last hidden state at 50 Hz, resampled to 25 fps.

    Sound is encoded in the 20 s chunks of `hubert`. Raises `InputError` if the weights are missing. The field is never
    filled with substitute features; `logmel` is the offline substitute, under its own name.
    """

    name = "wav2vec2"
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
        return f"wav2vec2-1-{_SNAPSHOT.identity}"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`wav2vec2` (T,768) from `audio` int16 (n,) at 16 kHz; raises `InputError` without the weights."""
        device = pick_device(self.device)
        steps = partial(hidden_states, _SNAPSHOT.load(device), device=device)
        return {"wav2vec2": chunked(normalise(arrays["audio"]), steps, n_frames=n_frames).astype(np.float16)}
