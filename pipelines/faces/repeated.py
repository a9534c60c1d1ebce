"""A face back end that searches a picture once where the same one comes several times in a row, as in a still clip."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import numpy as np

from dawn_bench.pipelines.faces.base import FaceBackend


class OncePerPicture:
    """`backend` with the answers about the last picture remembered: they depend on nothing else."""

    def __init__(self, backend: FaceBackend) -> None:
        self._backend, self._picture = backend, b""
        self._answers: dict[tuple[Any, ...], np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._backend, name)
        if name not in ("detect", "landmarks", "detect_near", "search"):
            return value

        def answer(frame: np.ndarray, *given: Any, **named: Any) -> np.ndarray:
            picture = hashlib.sha256(np.ascontiguousarray(frame).data).digest()
            if picture != self._picture:
                self._picture = picture
                self._answers.clear()
            key = (name, frame.shape, *map(_fixed, given), *((k, _fixed(v)) for k, v in sorted(named.items())))
            if key not in self._answers:
                self._answers[key] = value(frame, *given, **named)
            return self._answers[key].copy()

        return answer


def once_per_picture(backend: FaceBackend) -> FaceBackend:
    """The back end for one walk over a clip."""
    return cast(FaceBackend, OncePerPicture(backend))


def _fixed(value: Any) -> Any:
    """An argument as part of a key."""
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
