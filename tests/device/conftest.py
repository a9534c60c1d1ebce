"""Small caches and untrained runs for the tests on the pretended device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from micro_mesh import write_mesh_cache
from pretended.smallest import smallest, write_untrained


@pytest.fixture(scope="session")
def tiny_meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of short mesh sequences of two subjects."""
    return write_mesh_cache(tmp_path_factory.mktemp("meshes"))


@pytest.fixture(scope="session")
def cache_of(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """The cache that a model trains on."""
    return lambda model: request.getfixturevalue(smallest(model).cache)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory, cache_of: Callable[[str], Path]) -> Callable[[str], Path]:
    """A run of a model with the first weights of every stage; tests must not change it."""
    runs: dict[str, Path] = {}

    def run_of(model: str) -> Path:
        if model not in runs:
            runs[model] = write_untrained(model, cache_of(model), tmp_path_factory.mktemp("untrained") / model)
        return runs[model]

    return run_of


@pytest.fixture(autouse=True)
def fused_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's runs train DAWN's U-Net in the GPU's form too: `test_fused_unet.py` compares the two forms."""
    monkeypatch.setattr("dawn_bench.models.dawn.fused.suits", lambda _: torch.is_grad_enabled())
