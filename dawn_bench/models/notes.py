"""Notes on a trained run that the reports of all models share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from dawn_bench.models.checkpoint import provenance_of, read_metadata
from dawn_bench.text import counted
from dawn_bench.training.loop import MODEL_FILE


def _nothing(stage: str, provenance: Mapping[str, Any]) -> list[str]:
    return []


def training_notes(
    run: Path,
    *,
    title: str,
    main: str,
    stages: Collection[str],
    more: Callable[[str, Mapping[str, Any]], list[str]] = _nothing,
) -> list[str]:
    """Preset and clips of the stage `main`; then, for each of `stages`, substituted losses and our own choices.

    `more` returns further sentences from a stage's name and provenance.
    """
    notes = []
    if (path := run / main / MODEL_FILE).is_file():
        provenance = _provenance(path)
        notes.append(
            f"{title} trained with preset {provenance.get('preset')} on {counted(provenance.get('clips', 0), 'clip')}."
        )
    for path in sorted(run.glob(f"*/{MODEL_FILE}")):
        stage = path.parent.name
        if stage not in stages:
            continue
        provenance = _provenance(path)
        loss = str(provenance.get("perceptual_loss", ""))
        if "substitute" in loss:
            notes.append(f"Stage {stage} was trained without VGG-19's weights, on a {loss}.")
        notes += more(stage, provenance)
        if ours := provenance.get("ours"):
            listed = ", ".join(f"{name}={value}" for name, value in _flat(ours))
            notes.append(f"Stage {stage}, choices that are ours and not the paper's: {listed}.")
    return notes


def _provenance(path: Path) -> dict[str, Any]:
    return provenance_of(read_metadata(path), path)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Settings as dotted names and values."""
    pairs: list[tuple[str, Any]] = []
    for name, value in settings.items():
        nested = isinstance(value, Mapping)
        pairs += _flat(value, f"{prefix}{name}.") if nested else [(prefix + name, value)]
    return pairs
