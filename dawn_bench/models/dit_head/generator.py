"""DiT-Head of a trained run: `dub` repaints a video (the paper's protocol), `portrait` makes a picture talk [ours]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dit_head.dit import DiT
from dawn_bench.models.dit_head.dubbing import DitHead, DubOptions
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.progress import Meter
from dawn_bench.provenance import fingerprint, sha256_file

__all__ = ["RUN_FILES", "DubOptions", "Dubber"]

#: Where `dawn-bench train --model dit-head` leaves each model in a run's folder, and its kind.
RUN_FILES = {
    "vqgan-face": "dit-head-vqgan",
    "vqgan-masked": "dit-head-vqgan",
    "dit": "dit-head-dit",
}


class Dubber(DitHead):
    """DiT-Head with what is known of its training."""

    def __init__(
        self,
        face: VQGAN,
        masked: VQGAN,
        dit: DiT,
        *,
        device: str = "cpu",
        identity: str = "",
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(face, masked, dit, device=device)
        self.identity, self.facts = identity, facts

    @property
    def size(self) -> int:
        """Side of the pictures that it was trained on, pixels."""
        return int(self.facts["size"])

    @property
    def audio_encoder(self) -> str:
        """Name of the sound features that it was trained on."""
        return str(self.facts["audio_encoder"])

    @classmethod
    def load(cls, run: Path, *, device: str = "cpu") -> Dubber:
        """The three models of a run folder; raises `InputError` naming the one that is missing."""
        modules, hashes, facts = [], [], dict[str, Any]()
        for stage, kind in RUN_FILES.items():
            path = run / stage / "model.safetensors"
            if not path.is_file():
                raise InputError(
                    f"holds no trained {stage}.",
                    path=run,
                    hint=f"Train it: dawn-bench train --model dit-head --cache CACHE --out {run}",
                )
            module, facts = load_checkpoint(path, kind)
            modules.append(module)
            hashes.append(sha256_file(path))
        return cls(*modules, device=device, identity=fingerprint(hashes), facts=facts)

    def portrait(
        self,
        frame: np.ndarray,
        landmarks: np.ndarray,
        audio: np.ndarray,
        *,
        seed: int,
        options: DubOptions = DubOptions(),
        progress: Meter | None = None,
    ) -> np.ndarray:
        """`dub` of one picture (S,S,3) with points (68,2): the head stands still, the mouth moves."""
        return self.dub(frame[None], landmarks[None], audio, seed=seed, options=options, progress=progress)
