"""What training saves for the backward pass fits the GPUs that presets are for, counted on tensors without numbers.

Micro-batches are those that the loop chooses: of the settings, else as few as fit the GPU.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from fake_gpu import GIB, Saved, fake_gpu
from fake_stages import FakeStage, preset_of

from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.training.micro_batches import fewest
from dawn_bench.training.stage import KnowsItsMemory

#: Free bytes of GPUs of 80 and of 24 GB, and the most that may be saved there.
LARGE, SMALL = (79 * GIB, 70 * GIB), (23 * GIB, 22 * GIB)


def saved(model: str, preset: str, stage: str, *, free: float) -> tuple[int, int | None]:
    """Bytes that a micro-batch saves: as counted, and as the stage says."""
    size = 256 if "256" in preset or model == "dit-head" else 128
    settings, cache = preset_of(model, preset, size=size)
    with fake_gpu():
        fake = FakeStage(model, settings, cache, stage)
        own, loop = fake.stage, fake.loop
        knows = isinstance(own, KnowsItsMemory)
        parts = loop.accumulate or (fewest(own, loop.batch_size, free=free) if knows else 1)
        rows = math.ceil(loop.batch_size / parts)
        with Saved(fake.module) as count:
            fake.losses(rows)
        return count.bytes, own.saved_bytes(rows) if knows else None


def stages(model: str, preset: str) -> list[str]:
    settings: Any = MODELS[model].preset(preset)
    return [stage for stage in MODELS[model].stages if getattr(settings, stage_key(stage)) is not None]


QUICK = {("dawn", "dawn-256", "a2v-2"), ("dawn", "dawn-128-crema", "lfg"), ("dit-head", "paper", "dit")}
EVERY = [
    pytest.param(model, preset, stage, marks=() if (model, preset, stage) in QUICK else pytest.mark.weekly)
    for model in MODELS
    for preset in MODELS[model].presets
    for stage in stages(model, preset)
]


@pytest.mark.parametrize(("model", "preset", "stage"), EVERY)
def test_a_micro_batch_of_every_preset_saves_at_most_70_gib(model: str, preset: str, stage: str) -> None:
    free, most = LARGE
    counted, stated = saved(model, preset, stage, free=free)
    assert 1 << 20 < counted <= most
    published = preset not in ("tiny", "small")
    if stated is not None and published:
        assert counted <= stated <= 1.15 * counted, "accumulation follows what the stage says"


@pytest.mark.parametrize("stage", ["lfg", "a2v-1", "a2v-2", "pbnet"])
def test_dawn_128_24gb_saves_at_most_22_gib(stage: str) -> None:
    free, most = SMALL
    counted, _ = saved("dawn", "dawn-128-24gb", stage, free=free)
    assert 100 << 20 < counted <= most


def test_the_24gb_variant_has_the_published_batches() -> None:
    published, small = (MODELS["dawn"].preset(name).model_dump() for name in ("dawn-128", "dawn-128-24gb"))
    assert small["a2v_2"]["loop"].pop("accumulate") == 4 and published["a2v_2"]["loop"].pop("accumulate") is None
    for settings in (published, small):
        settings.pop("preset"), settings.pop("note")
    assert small == published


def test_recomputed_blocks_save_a_seventh() -> None:
    """And the stage knows, so that no step is cut that need not be."""
    settings, cache = preset_of("dawn", "dawn-128", size=128)
    settings = settings.model_copy(update={"a2v_2": settings.a2v_2.model_copy(update={"recompute": True})})
    with fake_gpu():
        fake = FakeStage("dawn", settings, cache, "a2v-2")
        with Saved(fake.module) as count:
            fake.losses(fake.loop.batch_size)
        assert count.bytes < 7 * GIB
        assert count.bytes <= fake.stage.saved_bytes(fake.loop.batch_size) <= 1.15 * count.bytes  # type: ignore[attr-defined]
