"""Where the arrays of a clip go while it is processed."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class ClipSink(Protocol):
    """Takes the arrays of one clip in parts, first axis time."""

    def append(self, field: str, rows: np.ndarray) -> None:
        """Add `rows` (n, ...) to `field`; the first call for a field sets its dtype and row shape."""

    def restart(self) -> None:
        """Drop all rows of this clip; it is processed again from its first frame."""


class MemorySink:
    """Collects one clip's arrays in memory: `parts` as they came, by field, and `arrays`."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {}

    def append(self, field: str, rows: np.ndarray) -> None:
        """Add `rows` (n, ...) to `field`."""
        self.parts.setdefault(field, []).append(rows)

    def restart(self) -> None:
        """Drop all rows."""
        self.parts.clear()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Each field's rows as one array."""
        return {field: np.concatenate(parts) for field, parts in self.parts.items()}
