"""Training logs.

<stage>/metrics.jsonl      losses, a line every `log_every` steps
<stage>/validation.jsonl   values on held-out clips, a line every `validate_every` steps
<stage>/samples/           sample videos, ground truth on the left
<stage>/best.safetensors   the best checkpoint by validation; best.json has its step (the stage's result is the last)
<stage>/tensorboard/       the same for TensorBoard, if it is installed; see `dawn_bench.training.trackers` for others
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dawn_bench.files import write_atomic
from dawn_bench.names import owned
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.readers import DamageError, finite, parse_json, read_json
from dawn_bench.storage import writing
from dawn_bench.training.board import FOLDER
from dawn_bench.training.stage import Stage
from dawn_bench.training.trackers import DEFAULT, TrackerName, Trackers
from dawn_bench.training.validation import Validates, held_out

LOG_FILE, VALIDATION_FILE, BEST_FILE, BEST_NOTE = "metrics.jsonl", "validation.jsonl", "best.safetensors", "best.json"
SAMPLES = "samples"


class TrainingLogger:
    """The logs of one stage in `out`, from step `start` on. Only the process of rank 0 writes logs.

    `save(path, module, step)` writes a checkpoint. Validation reads clips of `split`, see `held_out`. `track` names
    the services that show the same. Raises `InputError` where a log is a link out of `out`.
    """

    def __init__(
        self,
        stage: Stage,
        out: Path,
        *,
        start: int,
        save: Callable[[Path, nn.Module, int], None],
        split: str | None = None,
        track: Sequence[TrackerName] = DEFAULT,
    ) -> None:
        self.stage, self.out, self.save, self.split = stage, out, save, split
        for name in (LOG_FILE, VALIDATION_FILE, SAMPLES, FOLDER):
            owned(out, name)
        for name in (LOG_FILE, VALIDATION_FILE):
            drop_after(out / name, start)
        self.trackers = Trackers(track, stage, out, start=start)
        if start == 0:  # what an abandoned run left behind is not this run's best
            for name in (BEST_NOTE, BEST_FILE):
                (out / name).unlink(missing_ok=True)
        self.best = read_best(out / BEST_NOTE)

    def step(self, step: int, values: dict[str, float], *, data_share: float) -> None:
        """Log a step's losses and the share of time spent waiting for data."""
        self._append(LOG_FILE, {"step": step, **values, "data_share": round(data_share, 4)})
        self.trackers.scalars(values | {"data_share": data_share}, step, under="train")

    def validate(self, module: nn.Module, step: int, *, device: str) -> None:
        """Validate on held-out clips; logs values, images and videos, and keeps the best checkpoint so far."""
        stage = self.stage
        assert isinstance(stage, Validates)
        split, clips = held_out(stage.cache, stage.loop.validation_clips, split=self.split)
        training = module.training
        module.eval()
        validation = stage.validate(module, clips, device=device)
        module.train(training)
        values = {name: round(float(value), 5) for name, value in validation.values.items()}
        self._append(VALIDATION_FILE, {"step": step, "split": split, **values})
        self.trackers.scalars(values, step, under="validation")
        for name, picture in validation.pictures.items():
            self.trackers.picture(f"validation/{name}", picture, step)
        if validation.videos:
            (self.out / SAMPLES).mkdir(exist_ok=True)
        for name, frames in validation.videos.items():
            file = self.out / SAMPLES / f"step-{step:07d}-{name}.mp4"
            write_video(file, frames)
            self.trackers.video(f"validation/{name}", frames, step, file=file)
        self.trackers.flush()
        self._note_best(module, step, validation.best, values, split=split, smaller=validation.smaller_is_better)

    def close(self) -> None:
        """End the logs of all trackers."""
        self.trackers.close()

    def _note_best(
        self, module: nn.Module, step: int, name: str, values: dict[str, float], *, split: str, smaller: bool
    ) -> None:
        sign = -1 if smaller else 1
        best = self.best["value"] if self.best is not None and self.best["measure"] == name else -sign * math.inf
        if sign * values[name] > sign * best:
            self.save(self.out / BEST_FILE, module, step)
            self.best = {"step": step, "measure": name, "value": values[name], "split": split}
            write_atomic(self.out / BEST_NOTE, json.dumps(self.best).encode())

    def _append(self, name: str, line: dict[str, object]) -> None:
        with writing(self.out / name), (self.out / name).open("a") as file:
            file.write(json.dumps(line) + "\n")


def read_best(path: Path) -> dict[str, Any] | None:
    """The content of `best.json`, None without one; raises `InputError` where it is damaged."""
    if not path.exists():
        return None
    hint = "Delete it: the best checkpoint is then chosen among the steps to come."
    note = read_json(path, dict, hint=hint)
    if not finite(note.get("value")) or not isinstance(note.get("measure"), str):
        raise DamageError("has no finite `value` of a `measure`.", path=path, hint=hint)
    return note


def drop_after(log: Path, step: int) -> None:
    """Drop lines after `step` and truncated lines; the resumed run writes them again."""
    if log.exists():
        kept = [line for line in log.read_text(errors="replace").splitlines() if _step_of(line) <= step]
        write_atomic(log, "".join(f"{line}\n" for line in kept).encode())


def _step_of(line: str) -> float:
    try:
        step = parse_json(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
    return step if finite(step) else math.inf
