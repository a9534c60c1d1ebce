"""Where a method comes from: its paper and its code, stored in sources.json, for links of the page.

Only these addresses become links: a results folder may come from anybody, and no address in it is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("sources.json")


@dataclass(frozen=True)
class Source:
    """Addresses of a method's paper and code; empty where there is none."""

    paper: str
    code: str


@cache
def sources() -> Mapping[str, Source]:
    """The known methods by name."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: Source(paper, code) for name, (paper, code) in data.items()}


def source(method: str) -> Source | None:
    """The source of a method, of a variant of it (`dawn-sar`), or of a published row (`DAWN, 400 frames`)."""
    name = re.sub(r"[^a-z0-9]+", "-", re.split(r"[,(]", method.lower())[0]).strip("-")
    while name:
        if name in sources():
            return sources()[name]
        name = name.rpartition("-")[0]
    return None
