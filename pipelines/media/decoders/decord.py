"""decord 0.6: widely used in research code. It hides where a stream starts, so files that start late are refused."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dawn_bench.pipelines.media.decoders.base import DECODERS


@DECODERS.register("decord")
class Decord:
    """Its `VideoReader` on one thread."""

    @staticmethod
    def missing() -> str | None:
        """Why the decoder cannot run here; None if it can."""
        if find_spec("decord") is None:
            return "the package decord is not installed (pip install 'dawn-bench[decord]')"
        return None

    @staticmethod
    def version() -> str:
        """Version of the package."""
        return version("decord")

    def __init__(self, path: Path, *, stream: int) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self._reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)

    def count(self) -> int:
        """How many pictures there are; some that are not shown are counted too."""
        return len(self._reader)

    def picture(self, number: int) -> tuple[float, np.ndarray]:
        """The second at which the picture appears, and uint8 RGB (H,W,3)."""
        pixels: np.ndarray = self._reader[number].asnumpy()
        return float(self._reader.get_frame_timestamp(number)[0]), pixels
