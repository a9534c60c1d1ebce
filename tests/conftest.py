"""Fixtures that every test folder shares."""

from __future__ import annotations

from pathlib import Path

import pytest
from goldens import SHARED


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
