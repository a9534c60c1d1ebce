"""Services that show a training besides its own logs: TensorBoard, Weights & Biases, MLflow.

Their own packages are imported when they are asked for. A tracker that cannot start or that fails is left out from then
on, with one line: it never stops a training. A resumed stage continues its run; `trackers.json` has the ids.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from dawn_bench.files import write_atomic
from dawn_bench.progress import console
from dawn_bench.readers import DamageError, read_json
from dawn_bench.training.board import Board
from dawn_bench.training.stage import Stage

TrackerName = Literal["tensorboard", "wandb", "mlflow"]
#: The trackers of a training that names none.
DEFAULT: tuple[TrackerName, ...] = ("tensorboard",)
#: Run ids of services, in the folder of a stage.
IDS_FILE = "trackers.json"
#: Project (Weights & Biases) and experiment (MLflow), where their environment variables name none.
PROJECT = "dawn-bench"


class Tracker(Protocol):
    """Where the values of one stage are shown."""

    def scalars(self, values: Mapping[str, float], step: int, *, under: str) -> None:
        """Log each value as `under/name`."""

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """Log an image, uint8 RGB (H,W,3)."""

    def video(self, name: str, frames: np.ndarray, step: int, *, file: Path) -> None:
        """Log a video, uint8 RGB (T,H,W,3), which is also in `file`."""

    def flush(self) -> None:
        """Write what is buffered."""

    def close(self) -> None:
        """End the log."""


class WandB:
    """A run of Weights & Biases; `WANDB_PROJECT`, `WANDB_MODE` and the other variables of its client apply."""

    def __init__(self, stage: Stage, out: Path, *, run_id: str | None) -> None:
        import wandb

        self._wandb: Any = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=_title(out),
            group=out.resolve().parent.name,
            dir=str(out),
            config=stage.config.model_dump(mode="json"),
            id=run_id,
            resume="allow" if run_id else None,
        )
        self._run.define_metric("*", step_metric="step")  # a resumed run logs some steps again
        self.run_id: str = self._run.id

    def scalars(self, values: Mapping[str, float], step: int, *, under: str) -> None:
        """See `Tracker`."""
        self._run.log({f"{under}/{name}": value for name, value in values.items()} | {"step": step})

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """See `Tracker`."""
        self._run.log({name: self._wandb.Image(picture), "step": step})

    def video(self, name: str, frames: np.ndarray, step: int, *, file: Path) -> None:
        """See `Tracker`."""
        self._run.log({name: self._wandb.Video(str(file), format="mp4"), "step": step})

    def flush(self) -> None:
        """Nothing: its client sends in the background."""

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


class MLflow:
    """A run of MLflow; `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` apply."""

    def __init__(self, stage: Stage, out: Path, *, run_id: str | None) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        run = mlflow.start_run(run_id=run_id, run_name=None if run_id else _title(out))
        mlflow.log_dict(stage.config.model_dump(mode="json"), "config.yaml")
        self.run_id: str = run.info.run_id

    def scalars(self, values: Mapping[str, float], step: int, *, under: str) -> None:
        """See `Tracker`."""
        named = {f"{under}/{name}": value for name, value in values.items()}
        self._mlflow.log_metrics(named, step=step, synchronous=False)  # a slow server does not slow the training

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """See `Tracker`."""
        self._mlflow.log_image(picture, artifact_file=f"{name}-{step:07d}.png")

    def video(self, name: str, frames: np.ndarray, step: int, *, file: Path) -> None:
        """See `Tracker`."""
        self._mlflow.log_artifact(str(file), artifact_path="samples")

    def flush(self) -> None:
        """Nothing: its client sends in the background."""

    def close(self) -> None:
        """See `Tracker`."""
        self._mlflow.end_run()


class Trackers:
    """Several trackers of one stage as one, from step `start` on. Errors of one concern neither the others nor it."""

    def __init__(self, names: Iterable[TrackerName], stage: Stage, out: Path, *, start: int) -> None:
        self._open: dict[str, Tracker] = {}
        if start == 0:  # what an abandoned run left behind is not continued
            (out / IDS_FILE).unlink(missing_ok=True)
        for name in dict.fromkeys(names):
            self._guarded(name, lambda: self._open.update({name: _start(name, stage, out, start=start)}))  # noqa: B023

    def scalars(self, values: Mapping[str, float], step: int, *, under: str) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.scalars(values, step, under=under))

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.picture(name, picture, step))

    def video(self, name: str, frames: np.ndarray, step: int, *, file: Path) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.video(name, frames, step, file=file))

    def flush(self) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.flush())

    def close(self) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.close())
        self._open.clear()

    def _each(self, use: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            self._guarded(name, lambda: use(tracker))  # noqa: B023

    def _guarded(self, name: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            self._open.pop(name, None)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            console().print(f"note: no {name} from here on, training continues: {reason}", markup=False)


def _start(name: TrackerName, stage: Stage, out: Path, *, start: int) -> Tracker:
    """Start a tracker; a resumed stage continues the run of its service."""
    if name == "tensorboard":
        return Board(out, start=start)
    path = out / IDS_FILE
    ids = _ids(path)
    service = WandB if name == "wandb" else MLflow
    tracker = service(stage, out, run_id=ids.get(name))
    write_atomic(path, json.dumps({**ids, name: tracker.run_id}).encode())
    return tracker


def _ids(path: Path) -> dict[str, Any]:
    """The run ids of a stage by tracker; a stage whose record is absent or damaged gets new runs."""
    try:
        return read_json(path, dict) if path.exists() else {}
    except DamageError:
        return {}


def _title(out: Path) -> str:
    """`RUN/STAGE`, the last two folders."""
    return "/".join(out.resolve().parts[-2:])
