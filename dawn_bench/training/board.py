"""TensorBoard logs in addition to the plain logs, if it is installed (`pip install 'dawn-bench[train]'`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.progress import console
from dawn_bench.utf8 import escape_invalid

FOLDER = "tensorboard"


class Board:
    """Scalars, images and videos of one stage, in `<stage>/tensorboard`; does nothing without TensorBoard.

    A resumed run hides events after `start`, the step from which it continues.
    """

    def __init__(self, folder: Path, *, start: int) -> None:
        self._writer: Any = None
        if _installed() and _is_utf8(folder):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / FOLDER), purge_step=start + 1 if start else None)

    def scalars(self, values: Mapping[str, float], step: int, *, under: str) -> None:
        """Log each value as `under/name`."""
        for name, value in values.items() if self._writer is not None else ():
            self._writer.add_scalar(f"{under}/{name}", value, step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """Log an image, uint8 RGB (H,W,3)."""
        if self._writer is not None:
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def video(self, name: str, frames: np.ndarray, step: int, *, file: Path) -> None:
        """Log a video, uint8 RGB (T,H,W,3), as an animated GIF at 25 fps; its `file` is not used."""
        if self._writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        # TensorBoard plays animated GIFs as images; its own `add_video` needs another package to write them.
        height, width = frames.shape[1:3]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=_gif(frames))
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def flush(self) -> None:
        """Write buffered events to the file."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


@cache
def _installed() -> bool:
    """Whether TensorBoard is installed; if not, a note is printed once per process."""
    if find_spec("tensorboard") is not None:
        return True
    console().print(
        "TensorBoard is not installed: logging to metrics.jsonl only (pip install 'dawn-bench[train]')", markup=False
    )
    return False


def _is_utf8(folder: Path) -> bool:
    """Whether TensorBoard, which encodes names as UTF-8, can write in a folder; if not, a note is printed."""
    if escape_invalid(str(folder)) == str(folder):
        return True
    console().print(f"{folder}: is not UTF-8, so TensorBoard logs are left out; metrics.jsonl has all values")
    return False


def _gif(frames: np.ndarray) -> bytes:
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    file = BytesIO()
    pictures[0].save(file, format="GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / FPS), loop=0)
    return file.getvalue()
