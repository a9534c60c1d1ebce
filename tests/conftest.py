"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; the test skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the reference material beside the checkout is absent")
    return SHARED


@pytest.fixture(scope="session")
def clips_dir(shared: Path) -> Path:
    """Real talking-head clips."""
    return shared / "data" / "clips"


def goldens_roots() -> list[Path]:
    """Folders of reference outputs: the one beside the checkout and the one that `DAWN_BENCH_GOLDENS` names."""
    named = os.environ.get("DAWN_BENCH_GOLDENS")
    roots = [SHARED / "goldens", *([Path(named)] if named else [])]
    return [root for root in roots if root.is_dir()]


def golden_cases(folder: str, pattern: str) -> list[Path]:
    """Every golden of one kind in every root, for `pytest.mark.parametrize`; found by listing, never by fixed names."""
    return [path for root in goldens_roots() for path in sorted((root / folder).glob(pattern))]
