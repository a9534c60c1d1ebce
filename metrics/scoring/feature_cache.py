"""Features on disk, by the hash of their input and the fingerprint of their extractor.

    <folder>/<feature>-<fingerprint>/<clip hash>.safetensors    the arrays
    <folder>/<feature>-<fingerprint>/<clip hash>.json           why there are none (`reason`, `detail`)

Equal frames have equal hashes, so methods share the features of true clips and sanity rows are not computed twice.
Arrays are views of memory-mapped files: a metric may keep those of all clips.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from dawn_bench.cache import open_shard
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import write_atomic
from dawn_bench.readers import read_json


def content_sha256(array: np.ndarray) -> str:
    """The sha256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def content_hash(clip: Clip, field: str) -> str:
    """The sha256 of the bytes of one field (taken from `meta` where present) and the number of frames."""
    known = clip.meta.get(f"{field}_sha256")
    return f"{known if isinstance(known, str) else content_sha256(clip[field])}-{clip.n_frames}"


class FeatureCache:
    """Arrays by (feature, fingerprint, hash of the clip)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, fingerprint: str, key: str) -> dict[str, np.ndarray] | None:
        """The arrays, or None; raises a stored `ItemError`. A damaged file counts as absent."""
        path = self._path(name, fingerprint, key)
        try:
            if path.is_file():
                return open_shard(path)
            failure = path.with_suffix(".json")
            stored = read_json(failure, dict) if failure.is_file() else {}
        except InputError:
            return None
        if {"reason", "detail"} <= set(stored):
            raise ItemError(str(stored["reason"]), str(stored["detail"]))
        return None

    def put(self, name: str, fingerprint: str, key: str, arrays: dict[str, np.ndarray]) -> None:
        """Store arrays atomically."""
        from safetensors.numpy import save

        self._write(self._path(name, fingerprint, key), save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))

    def put_failure(self, name: str, fingerprint: str, key: str, error: ItemError) -> None:
        """Store the reason why this clip has no such feature."""
        text = json.dumps({"reason": error.reason, "detail": error.detail})
        self._write(self._path(name, fingerprint, key).with_suffix(".json"), text.encode())

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data, durable=False)  # a damaged file counts as absent

    def _path(self, name: str, fingerprint: str, key: str) -> Path:
        return self.folder / f"{name}-{fingerprint}" / f"{key}.safetensors"
