"""Folders that a command writes: one command at a time, no link out of them, and no temporary files left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dawn_bench.files import sweep
from dawn_bench.locks import exclusive
from dawn_bench.names import check_links, owned
from dawn_bench.training.board import FOLDER as BOARD
from dawn_bench.training.holdout import HOLDOUT_FILE
from dawn_bench.training.logger import BEST_FILE, BEST_NOTE, LOG_FILE, SAMPLES, VALIDATION_FILE
from dawn_bench.training.resume import CONFIG_FILE, MODEL_FILE, STATE_FILE

#: The folders in a results folder that dawn-bench writes; those of a stage; the files of a stage.
RESULTS = ("rows", "outputs", "features", "report", "logs", "gallery", "curves", "timed")
STAGE = (SAMPLES, BOARD)
STAGE_FILES = (CONFIG_FILE, HOLDOUT_FILE, STATE_FILE, MODEL_FILE, BEST_FILE, BEST_NOTE)


def results_folder(out: Path) -> AbstractContextManager[None]:
    """Hold the results folder `out`; what writers that were killed left in it is removed before and after.

    Raises `InputError` naming the run that holds it, or a link in it that leads out of it.
    """
    return _written(out, RESULTS, doing="evaluated")


def run_folder(stage: Path) -> AbstractContextManager[None]:
    """Hold the folder of one training stage, as `results_folder` does. It is no link out of the run's folder."""
    owned(stage.parent, stage.name)
    for log in (LOG_FILE, VALIDATION_FILE):  # lines are appended to these
        owned(stage, log)
    return _written(stage, STAGE, doing="trained", files=STAGE_FILES)


@contextmanager
def _written(folder: Path, names: Collection[str], *, doing: str, files: Collection[str] = ()) -> Iterator[None]:
    check_links(folder, *names)
    with exclusive(folder, doing=doing, hint="Wait for it, or give another --out."):
        sweep(folder, *names, written=files)
        try:
            yield
        finally:
            sweep(folder, *names, written=files)
