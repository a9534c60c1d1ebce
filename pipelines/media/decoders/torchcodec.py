"""torchcodec: PyTorch's decoder, with the FFmpeg libraries of the system."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dawn_bench.pipelines.media.decoders.base import DECODERS


@DECODERS.register("torchcodec")
class TorchCodec:
    """Its `VideoDecoder` on one thread, seeking by an index that it makes of the whole file."""

    @staticmethod
    def missing() -> str | None:
        """Why the decoder cannot run here; None if it can."""
        if find_spec("torchcodec") is None:
            return "the package torchcodec is not installed (pip install 'dawn-bench[torchcodec]')"
        try:
            from torchcodec.decoders import VideoDecoder

            VideoDecoder(b"")  # from version 0.17 on FFmpeg is loaded here, not with the import
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            if isinstance(error, ImportError | OSError) or "libtorchcodec" in str(error):
                return "torchcodec does not load: it needs FFmpeg's shared libraries and the PyTorch it was built for"
        return None

    @staticmethod
    def version() -> str:
        """Version of the package."""
        return version("torchcodec")

    def __init__(self, path: Path, *, stream: int) -> None:
        from torchcodec.decoders import VideoDecoder

        self._decoder = VideoDecoder(str(path.absolute()), stream_index=stream, seek_mode="exact", num_ffmpeg_threads=1)

    def count(self) -> int:
        """How many pictures are shown."""
        return len(self._decoder)

    def picture(self, number: int) -> tuple[float, np.ndarray]:
        """The second at which the picture appears, and uint8 RGB (H,W,3)."""
        frame = self._decoder.get_frame_at(number)
        pixels: np.ndarray = frame.data.permute(1, 2, 0).numpy()
        return frame.pts_seconds, pixels
