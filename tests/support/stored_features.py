"""What the shards of a folder hold, read from their headers."""

from __future__ import annotations

import json
from pathlib import Path

from dawn_bench.metrics.scoring.shards import SUFFIX
from dawn_bench.readers import read_shard_header


def stored_keys(folder: Path) -> list[str]:
    """The keys of all entries in the shards below a folder, sorted."""
    headers = [read_shard_header(path)[0] for path in folder.rglob(f"*{SUFFIX}")]
    return sorted(key for header in headers for key in json.loads(header["__metadata__"]["index"]))
