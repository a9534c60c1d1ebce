"""What killed writers left in the folders of a command is removed before it begins and after it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dawn_bench.workflow.folders import RESULTS, STAGE, STAGE_FILES, results_folder, run_folder

#: What the commands write, by name: a folder that is taken off the list of those that are swept is missed here.
IN_RESULTS = {
    "rows", "outputs", "features", "filling", "report", "logs", "gallery", "curves", "timed", "outputs-pieces-60",
}  # fmt: skip
IN_STAGE = {"samples", "tensorboard"}
FILES = {"config.yaml", "held-out.json", "state.pt", "model.safetensors", "best.safetensors", "best.json"}
LEFT = ".x.mp4.000000-1-aaaaaa.tmp"


def _left(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("half")
    os.utime(path, (0, 0))
    return path


@pytest.mark.parametrize(
    ("held", "places"),
    [
        (results_folder, [LEFT, *(f"{name}/a/{LEFT}" for name in sorted(IN_RESULTS | {*RESULTS}))]),
        (
            run_folder,
            [
                LEFT,
                *(f"{name}/a/{LEFT}" for name in sorted(IN_STAGE | {*STAGE})),
                *(f".{name}.tmp" for name in sorted(FILES | {*STAGE_FILES})),
            ],
        ),
    ],
    ids=["results", "stage"],
)
@pytest.mark.parametrize("fails", [False, True])
def test_every_folder_is_swept_before_and_after(
    held: Callable[[Path], AbstractContextManager[None]], places: list[str], fails: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "lfg"
    paths = [_left(folder / place) for place in places]
    mine = [_left(folder / "mine" / LEFT), _left(folder / ".editor.tmp"), _left(tmp_path / LEFT)]

    def work() -> None:
        with held(folder):
            assert [path for path in paths if path.exists()] == []
            for path in paths:
                _left(path)
            if fails:
                raise KeyError("of the work")

    if fails:
        with pytest.raises(KeyError, match="of the work"):
            work()
    else:
        work()
    assert [path for path in paths if path.exists()] == [] and all(path.exists() for path in mine)
