"""Notes on a trained run that the reports of all models share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import provenance_of, read_metadata
from dawn_bench.models.substitutes import picture_note
from dawn_bench.text import counted
from dawn_bench.training.holdout import HELD_OUT, Holdout, parse_holdout
from dawn_bench.training.logger import BEST_NOTE, read_best
from dawn_bench.training.loop import MODEL_FILE

#: Keys of a checkpoint's provenance: the report's sentences on its stage's substitutes, and the clips that chose the
#: best checkpoint. Checkpoints of earlier versions lack both.
SUBSTITUTES_KEY, VALIDATION = "substitutes", "validation"


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
    """Preset and clips of the stage `main`; then, for each of `stages`, substitutes and our own choices.

    `more` returns further sentences from a stage's name and provenance. No sentence comes twice.
    """
    notes: list[str] = []
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
        if loss := picture_note(stage, str(provenance.get("perceptual_loss", ""))):
            notes.append(loss)
        notes += more(stage, provenance)
        stored = provenance.get(SUBSTITUTES_KEY)  # absent from checkpoints of earlier versions
        notes += map(str, stored) if isinstance(stored, list) else []
        if ours := provenance.get("ours"):
            listed = ", ".join(f"{name}={value}" for name, value in _flat(ours))
            notes.append(f"Stage {stage}, choices that are ours and not the paper's: {listed}.")
    return list(dict.fromkeys(notes))


def validation_notes(run: Path) -> list[str]:
    """How the best checkpoints of a run's stages were chosen, of any model, where its cache had no validation split."""
    stages: dict[str, list[str]] = {}
    for path in sorted(run.glob(f"*/{BEST_NOTE}")):
        model = path.with_name(MODEL_FILE)
        provenance = _provenance(model) if model.is_file() else {}
        holdout = parse_holdout(provenance.get(VALIDATION))
        if holdout is None:  # of an earlier version, which chose on `test` where there was no `val`
            holdout = Holdout(split=_best_split(path))
        if sentence := holdout.sentence():
            stages.setdefault(sentence, []).append(path.parent.name)
    label = {sentence: "Stage" if len(names) == 1 else "Stages" for sentence, names in stages.items()}
    return [f"{label[sentence]} {', '.join(names)}: {sentence}." for sentence, names in stages.items()]


def _best_split(path: Path) -> str:
    """The split on which the checkpoint of a `best.json` was chosen; a damaged one says nothing."""
    try:
        return str((read_best(path) or {}).get("split", HELD_OUT))
    except InputError:
        return HELD_OUT


def _provenance(path: Path) -> dict[str, Any]:
    return provenance_of(read_metadata(path), path)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Settings as dotted names and values."""
    pairs: list[tuple[str, Any]] = []
    for name, value in settings.items():
        nested = isinstance(value, Mapping)
        pairs += _flat(value, f"{prefix}{name}.") if nested else [(prefix + name, value)]
    return pairs
