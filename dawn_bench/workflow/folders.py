"""Folders that a command writes: one command at a time, and no temporary files left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dawn_bench.files import sweep
from dawn_bench.locks import exclusive


def results_folder(out: Path) -> AbstractContextManager[None]:
    """Hold the results folder `out`; what writers that were killed left in it is removed before and after.

    Raises `InputError` naming the run that holds it.
    """
    return _written(out, doing="evaluated")


def run_folder(stage: Path) -> AbstractContextManager[None]:
    """Hold the folder of one training stage, as `results_folder` does."""
    return _written(stage, doing="trained")


@contextmanager
def _written(folder: Path, *, doing: str) -> Iterator[None]:
    with exclusive(folder, doing=doing, hint="Wait for it, or give another --out."):
        sweep(folder)
        try:
            yield
        finally:
            sweep(folder)
