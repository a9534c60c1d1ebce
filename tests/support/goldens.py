"""Where the reference outputs are, for parity tests: cases are listed, never named in code."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


def goldens_roots() -> list[Path]:
    """Folders of reference outputs: the one next to the checkout and the one that `DAWN_BENCH_GOLDENS` names."""
    named = os.environ.get("DAWN_BENCH_GOLDENS")
    return [root for root in (SHARED / "goldens", *([Path(named)] if named else [])) if root.is_dir()]


def golden_cases(folder: str, pattern: str) -> list[Path]:
    """Every golden of one kind in every root, for `pytest.mark.parametrize`."""
    return [path for root in goldens_roots() for path in sorted((root / folder).glob(pattern))]
