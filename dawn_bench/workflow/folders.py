"""Folders that a command writes: one command at a time, no link out of them, and no temporary files left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dawn_bench.files import sweep
from dawn_bench.locks import exclusive, shared
from dawn_bench.names import check_links, owned
from dawn_bench.training.board import FOLDER as BOARD
from dawn_bench.training.holdout import HOLDOUT_FILE
from dawn_bench.training.logger import BEST_FILE, BEST_NOTE, LOG_FILE, SAMPLES, VALIDATION_FILE
from dawn_bench.training.resume import CONFIG_FILE, MODEL_FILE, STATE_FILE

#: What the names of further folders of outputs begin with, one for each unusual length of pieces.
OUTPUTS_IN_PIECES = "outputs-pieces-"
#: The folders in a results folder that dawn-bench writes beside those; those of a stage; the files of a stage.
RESULTS = ("rows", "outputs", "features", "filling", "report", "logs", "gallery", "curves", "timed")
STAGE = (SAMPLES, BOARD)
STAGE_FILES = (CONFIG_FILE, HOLDOUT_FILE, STATE_FILE, MODEL_FILE, BEST_FILE, BEST_NOTE)


def results_folder(out: Path) -> AbstractContextManager[None]:
    """Hold the results folder `out`; what writers that were killed left in it is removed before and after.

    Raises `InputError` naming the run that holds it, or a link in it that leads out of it.
    """
    return _written(out, RESULTS, doing="evaluated", prefix=OUTPUTS_IN_PIECES)


@contextmanager
def shared_results(out: Path) -> Iterator[None]:
    """Hold the results folder `out` beside other workers that fill it, as of an array of jobs on a cluster.

    Nothing is removed from it. Raises `InputError` as `results_folder`.
    """
    check_links(out, *RESULTS, *_beginning_with(OUTPUTS_IN_PIECES, out))
    with shared(out, doing="evaluated", hint="Wait for it, or give another --out."):
        yield


def run_folder(stage: Path) -> AbstractContextManager[None]:
    """Hold the folder of one training stage, as `results_folder` does. It is no link out of the run's folder."""
    owned(stage.parent, stage.name)
    for log in (LOG_FILE, VALIDATION_FILE):  # lines are appended to these
        owned(stage, log)
    return _written(stage, STAGE, doing="trained", files=STAGE_FILES)


@contextmanager
def _written(
    folder: Path, names: Collection[str], *, doing: str, files: Collection[str] = (), prefix: str = ""
) -> Iterator[None]:
    """Hold `folder`, and check and sweep `names` in it and the folders whose names begin with `prefix`."""
    check_links(folder, *names, *_beginning_with(prefix, folder))
    with exclusive(folder, doing=doing, hint="Wait for it, or give another --out."):
        sweep(folder, *names, *_beginning_with(prefix, folder), written=files)
        try:
            yield
        finally:
            sweep(folder, *names, *_beginning_with(prefix, folder), written=files)


def _beginning_with(prefix: str, folder: Path) -> list[str]:
    """The names in a folder that begin with `prefix`, also those of links that lead nowhere; none for an empty one."""
    return sorted(path.name for path in folder.glob(f"{prefix}*")) if prefix else []
