"""A method driven by silence: what its lips do when nobody speaks.

`<method>+silence` generates every clip once more, from the same portrait, with silence of the clip's length in place of
the speech. Audio features are those that the cache's own encoders give for it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from dawn_bench.baselines.base import Generated, Item, Method, MethodClass
from dawn_bench.clip import Clip, LazyArrays
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.extractors.base import EXTRACTORS, audio_encoders

_SUFFIX = "+silence"


def silent_name(method: str) -> str:
    """The name of the outputs of `method` driven by silence."""
    return f"{method}{_SUFFIX}"


def spoken_name(name: str) -> str:
    """The method behind `silent_name`; any other name itself."""
    return name.removesuffix(_SUFFIX)


def why_no_silence(method: Method) -> str:
    """Why a method cannot be driven by silence, as a clause; empty where it can."""
    if "others" in method.uses:
        return "it takes the sound of other clips"
    if "audio" not in method.uses:
        return "it takes no sound"
    return ""


class Silent:
    """`method` driven by silence; its outputs depend on nothing else than those of the method do."""

    def __init__(self, method: Method) -> None:
        self.spoken = method
        self.name = silent_name(method.name)
        self.method_class: MethodClass = method.method_class
        self.licence, self.uses = method.licence, method.uses
        self.fingerprint = f"silence/1/{method.fingerprint}"

    def __getattr__(self, name: str) -> Any:
        """The optional members that say what outputs depend on, as the method has them."""
        if name in ("reads", "further_inputs", "source_key", "has_source"):
            return getattr(self.spoken, name)
        raise AttributeError(name)

    def generate(self, item: Item) -> Generated:
        """The method's output for silence; raises `ItemError` as the method, or without the encoder of a feature."""
        return self.spoken.generate(replace(item, clip=silent(item.clip)))


def silent(clip: Clip) -> Clip:
    """The clip with silence as its sound. Audio features are computed when they are read; see `features_of_silence`."""
    encoders = [name for name in audio_encoders() if name in clip]

    def read(name: str) -> np.ndarray:
        if name == "audio":
            return np.zeros(len(clip["audio"]), np.int16)
        if name in encoders:
            return features_of_silence(clip, name)
        return clip[name]

    meta = {key: value for key, value in clip.meta.items() if key not in ("audio_sha256", *encoders)}
    return replace(clip, arrays=LazyArrays(clip.arrays, read), meta=meta)


def features_of_silence(clip: Clip, encoder: str) -> np.ndarray:
    """What the encoder of a clip's audio features gives for silence of the same length, float16 (T,C).

    Raises `ItemError` where the encoder on this machine is another version than the cache's, or cannot run.
    """
    extractor = EXTRACTORS[encoder]
    if (why := extractor.missing()) is not None:
        raise ItemError("no_encoder", f"{encoder} features of silence: {why}")
    recorded = clip.extractors.get(encoder)
    if recorded is not None and recorded.version not in ("", extractor().fingerprint()):
        raise ItemError("no_encoder", f"the cache's {encoder} features are of another version: {recorded.version}")
    return _features(encoder, len(clip["audio"]), clip["frames"].shape[1], clip.n_frames)


@lru_cache(maxsize=8)
def _features(encoder: str, n_samples: int, size: int, n_frames: int) -> np.ndarray:
    sound = {"audio": np.zeros(n_samples, np.int16)}
    return EXTRACTORS[encoder]().run(sound, size=size, n_frames=n_frames)[encoder]
