"""Which extractors computed the fields of a cache: names and versions, as `cache.json` and checkpoints record them.

`cache.json` has them among its `fingerprints`: `face` and `face fingerprint`, `extractor NAME` for every other one. A
checkpoint repeats those of its training data under `extractors` in its provenance::

    {"face": {"name": "dlib", "version": "dlib-19.24-..."}, "pose": {"name": "pose-3ddfa", "version": "..."}, ...}

Several extractors write `pose` (`pose`, `pose-3ddfa`, `pose-NAME`) and `blink`; the key is the field. Caches and
checkpoints that lack an entry do not say how the field was computed: it is then unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: Fields that more than one extractor writes; each of these is called `FIELD` or `FIELD-NAME`.
SHARED_FIELDS = ("pose", "blink")
#: The key of the extractors in a checkpoint's provenance.
KEY = "extractors"
_FACE, _EXTRACTOR = "face", "extractor "


@dataclass(frozen=True)
class Extracted:
    """The extractor of a field: its registered name, and its fingerprint as `version` (empty: not recorded)."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.version})" if self.version else self.name


def field_of(extractor: str) -> str:
    """The field, and key of the record, of the extractor of this name."""
    first = extractor.partition("-")[0]
    return first if first in SHARED_FIELDS else extractor


def of_cache(settings: Mapping[str, Any]) -> dict[str, Extracted]:
    """The extractors of a cache by field, from the content of its `cache.json`; empty where that has none."""
    facts = settings.get("fingerprints", {})
    record = {}
    face, version = facts.get(_FACE), facts.get(f"{_FACE} fingerprint")
    if isinstance(face, str) and isinstance(version, str) and version != "none":  # a mesh has no face back end
        record[_FACE] = Extracted(face, version)
    for key, value in facts.items():
        if key.startswith(_EXTRACTOR) and isinstance(value, str):
            name = key.removeprefix(_EXTRACTOR)
            record[field_of(name)] = Extracted(name, value)
    return record


def to_json(record: Mapping[str, Extracted]) -> dict[str, dict[str, str]]:
    """The record as a checkpoint's provenance holds it."""
    return {field: asdict(extracted) for field, extracted in sorted(record.items())}


def of_provenance(provenance: Mapping[str, Any]) -> dict[str, Extracted]:
    """The extractors of a checkpoint's training data by field; empty for one that does not record them."""
    entries = provenance.get(KEY)
    if not isinstance(entries, Mapping):
        return {}
    return {
        str(field): Extracted(str(entry["name"]), str(entry.get("version", "")))
        for field, entry in entries.items()
        if isinstance(entry, Mapping) and "name" in entry
    }
