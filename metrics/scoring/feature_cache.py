"""Features on disk, by the hash of their input and the fingerprint of their extractor.

    <folder>/<feature>-<fingerprint>/<clip hash>.safetensors    the arrays
    <folder>/<feature>-<fingerprint>/<clip hash>.json           why there are none (`reason`, `detail`)

Both carry a hash of their content: a file that was damaged since counts as absent, and is computed again. So does one
that other libraries or another kind of device computed: a row states those in use. Equal frames have equal hashes, so
methods share the features of true clips and sanity rows are not computed twice.
Arrays are views of memory-mapped files: a metric may keep those of all clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dawn_bench.cache import open_shard, shard_facts
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.files import sealed, unsealed, write_atomic
from dawn_bench.lazy import MOST_ROWS, row_blocks
from dawn_bench.names import name_fault, owned
from dawn_bench.readers import read_json


def content_sha256(array: np.ndarray) -> str:
    """The sha256 of an array's bytes."""
    digest = hashlib.sha256()
    for rows in row_blocks(array, most=MOST_ROWS):
        digest.update(rows.data)
    return digest.hexdigest()


def content_hash(clip: Clip, field: str) -> str:
    """The sha256 of the bytes of one field (taken from `meta` where present) and the number of frames.

    It becomes the name of a file, and `meta` may come from anybody's cache.
    """
    known = clip.meta.get(f"{field}_sha256")
    return f"{known if name_fault(known) is None else content_sha256(clip[field])}-{clip.n_frames}"


#: Key of the seal in a feature file's metadata; files of earlier versions have none.
SEAL = "seal"
#: Key of what computed a feature, in its file's metadata or record; files of earlier versions have none and count.
COMPUTED_BY = "computed_by"


def arrays_seal(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of the names, types, shapes and bytes of some arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


class FeatureCache:
    """Arrays by (feature, fingerprint, hash of the clip).

    `computed_by` stands for libraries and device; files of others count as absent, and so do files of earlier versions,
    which do not state it, unless they are `trusted`.
    """

    def __init__(self, folder: Path, computed_by: str = "", *, trusted: bool = True) -> None:
        self.folder, self.computed_by = folder, computed_by
        self.unstated = computed_by if trusted else None

    def get(self, name: str, fingerprint: str, key: str) -> dict[str, np.ndarray] | None:
        """The arrays, or None; raises a stored `ItemError`. A damaged file counts as absent."""
        path = self._path(name, fingerprint, key)
        try:
            if path.is_file():
                arrays, facts = open_shard(path), shard_facts(path)
                if facts.get(COMPUTED_BY, self.unstated) != self.computed_by:
                    return None
                return arrays if facts.get(SEAL) in (None, arrays_seal(arrays)) else None
            failure = path.with_suffix(".json")
            if not failure.is_file():
                return None
            stored = unsealed(read_json(failure, dict))
            if stored.get(COMPUTED_BY, self.unstated) != self.computed_by:
                return None
            error = ItemError(str(stored["reason"]), str(stored["detail"]))
        except (OSError, ValueError, KeyError):  # InputError is a ValueError
            return None
        raise error

    def put(self, name: str, fingerprint: str, key: str, arrays: dict[str, np.ndarray]) -> None:
        """Store arrays atomically."""
        from safetensors.numpy import save

        whole = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
        facts = {SEAL: arrays_seal(whole), COMPUTED_BY: self.computed_by}
        self._write(self._path(name, fingerprint, key), save(whole, metadata=facts))

    def put_failure(self, name: str, fingerprint: str, key: str, error: ItemError) -> None:
        """Store the reason why this clip has no such feature."""
        facts = {"reason": error.reason, "detail": error.detail, COMPUTED_BY: self.computed_by}
        text = json.dumps(sealed(facts))
        self._write(self._path(name, fingerprint, key).with_suffix(".json"), text.encode())

    def _write(self, path: Path, data: bytes) -> None:
        owned(self.folder, path.parent.name).mkdir(parents=True, exist_ok=True)
        write_atomic(path, data, durable=False)  # a damaged file counts as absent

    def _path(self, name: str, fingerprint: str, key: str) -> Path:
        return self.folder / f"{name}-{fingerprint}" / f"{key}.safetensors"
