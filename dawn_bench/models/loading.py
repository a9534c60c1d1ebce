"""Load a generator from the checkpoint of any model, and collect the report's notes on a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dawn_bench.errors import InputError
from dawn_bench.files import user_path
from dawn_bench.models.generator import Generator
from dawn_bench.models.notes import validation_notes
from dawn_bench.models.spec import MODELS, ModelSpec
from dawn_bench.provenance import pick_device
from dawn_bench.training.loop import MODEL_FILE

log = logging.getLogger(__name__)


def load_model(checkpoint: str | Path, *, device: str = "auto", model: str | None = None) -> Generator:
    """The generator of a trained run's folder, of released files, or of a released name such as `released-128`.

    `model` names the model where several are possible. Raises `InputError` when the checkpoint is absent,
    damaged, incomplete or of no known model.
    """
    spec = find_model(checkpoint) if model is None else MODELS[model]
    return spec.load(run_folder(user_path(checkpoint)), device=pick_device(device))


def find_model(checkpoint: str | Path) -> ModelSpec:
    """The model that a checkpoint belongs to: by the kinds of a run's checkpoints, or as one of its released files.

    Raises `InputError` when no model recognises it, or more than one does.
    """
    path = run_folder(user_path(checkpoint))
    names = [name for name in MODELS if _recognises(name, path)]
    if len(names) > 1:
        hint = f"Choose one: --model {names[0]}, or in Python model={names[0]!r}."
        raise InputError(f"holds several models: {', '.join(names)}.", path=path, hint=hint)
    if not names:
        what = "is not a checkpoint of a known model." if path.exists() else "there is no such checkpoint."
        released = [name for model in MODELS for name in MODELS[model].released_weights]
        hint = (
            f"Give the folder that `dawn-bench train` wrote, or released files ({', '.join(released)}). "
            f"Known models: {', '.join(MODELS)}."
        )
        raise InputError(what, path=path, hint=hint)
    return MODELS[names[0]]


def report_notes(run: Path) -> list[str]:
    """Notes for the report on the models trained in a run folder."""
    notes: list[str] = []
    for name in MODELS:
        with _importable(name):
            notes += MODELS[name].report_notes(run)
    return [*notes, *validation_notes(run)]


def _recognises(name: str, path: Path) -> bool:
    """Whether a model recognises a checkpoint; a plug-in whose code cannot be imported recognises none."""
    with _importable(name):
        return MODELS[name].recognises(path)
    return False


@contextmanager
def _importable(name: str) -> Iterator[None]:
    """Name a model whose code cannot be imported in a warning: it must not cost the others."""
    try:
        yield
    except ImportError as error:
        log.warning("the model %s cannot be imported: %s", name, error)


def run_folder(path: Path) -> Path:
    """The run folder of a checkpoint file; other paths are returned unchanged."""
    return path.parent.parent if path.name == MODEL_FILE and path.is_file() else path
