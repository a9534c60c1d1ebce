"""Folders that a command writes: one command at a time, and no temporary files left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dawn_bench.files import sweep
from dawn_bench.locks import exclusive


@contextmanager
def results_folder(out: Path) -> Iterator[None]:
    """Hold the results folder `out`; what writers that were killed left in it is removed before and after.

    Raises `InputError` naming the run that holds it.
    """
    with exclusive(out, doing="evaluated", hint="Wait for it, or give another --out."):
        sweep(out)
        try:
            yield
        finally:
            sweep(out)


@contextmanager
def run_folder(stage: Path) -> Iterator[None]:
    """Hold the folder of one training stage, as `results_folder` does."""
    with exclusive(stage, doing="trained", hint="Wait for it, or give another --out."):
        sweep(stage)
        try:
            yield
        finally:
            sweep(stage)
