"""How an output is kept on disk and read back: one format per modality.

<out>/<method>/<clip>.mp4      a video: lossless H.264 at 25 fps with sound
<out>/<method>/<clip>.npy      a mesh: float32 (takes, T, V, 3), in the units of the dataset's files
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dawn_bench.baselines.base import Generated, Modality, modality_of
from dawn_bench.baselines.mesh_files import read_mesh, write_mesh
from dawn_bench.clip import FPS, Clip
from dawn_bench.errors import ItemError
from dawn_bench.files import ANIMATION_SUFFIXES, VIDEO_SUFFIXES
from dawn_bench.pipelines.media.audio import decode_sound, fit_length
from dawn_bench.pipelines.media.film import read_film, still_at_the_end
from dawn_bench.pipelines.media.video import probe, write_video


class OutputFormat(Protocol):
    """Writing and reading the outputs of one modality.

    `suffix` is that of the files written, `suffixes` are those accepted from a user; `label` names such a file in
    messages; `field` is the field of a true clip whose content outputs depend on, next to the audio.
    """

    suffix: str
    suffixes: frozenset[str]
    label: str
    field: str

    def write(self, path: Path, output: Generated, truth: Clip) -> dict[str, Any]:
        """Write one output and return facts about it; raises `ItemError("bad_output")` for arrays that do not fit."""

    def read(
        self, path: Path, truth: Clip, *, take: int = 0, notes: Sequence[str] = (), start: int | None = None
    ) -> Clip:
        """One output as a clip with the id of the true one; raises `ItemError("bad_output")`.

        `start` is the frame of the file at which it begins, where the file holds the clip that it is a piece of; None
        for a file of its own.
        """

    def check(self, path: Path, truth: Clip) -> None:
        """Raise `ItemError` for a user's file that cannot be scored, as far as that is quick to see."""


class VideoFormat:
    """Outputs as lossless mp4 files; a user's may be of any common container."""

    suffix = ".mp4"
    suffixes = VIDEO_SUFFIXES | ANIMATION_SUFFIXES
    label = "video file"
    field = "frames"

    def write(self, path: Path, output: Generated, truth: Clip) -> dict[str, Any]:
        """Write the mp4; frames must be uint8 (T,H,W,3) with T > 0, sound int16 (n,)."""
        frames = output.frames
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise ItemError("bad_output", f"frames are {frames.dtype} {frames.shape}, not uint8 (T, H, W, 3)")
        if output.audio.dtype != np.int16 or output.audio.ndim != 1:
            raise ItemError("bad_output", f"sound is {output.audio.dtype} {output.audio.shape}, not int16 (n,)")
        write_video(path, frames, audio=output.audio, lossless=True)
        return {}

    def read(
        self, path: Path, truth: Clip, *, take: int = 0, notes: Sequence[str] = (), start: int | None = None
    ) -> Clip:
        """Frames at 25 fps by timestamps. A file without sound gets the true sound where there is any; notes say so.

        Length and size stay as they are: the scorer matches them to the true clip. Of a longer file no more is read
        than a second beyond the true length, and nothing beyond it of one that holds the whole clip of a piece. A file
        whose pictures last longer than a frame of 25 may end up to one of its own pictures early: the last one then
        stays on screen, and a note says so. The frames of a long file are decoded when they are read (`read_film`).
        """
        lines = list(notes)
        begin, spare = (0, FPS) if start is None else (start, 0)
        try:
            frames = read_film(path, begin=begin, most=truth.n_frames + spare if truth.n_frames else None)
        except ItemError as error:
            raise ItemError("bad_output", f"{path}: {error.detail}") from error
        info = probe(path)
        if held := _held(truth.n_frames - len(frames), info.fps):
            frames = still_at_the_end(frames, held)
            lines.append("its last picture stays to the end of the clip, less than one picture later")
        arrays: dict[str, np.ndarray] = {"frames": frames}
        try:
            stop = (begin + len(frames)) / FPS
            sound = decode_sound(path, start=begin / FPS, stop=stop + 1, used=stop)
            arrays["audio"] = fit_length(sound.samples, len(frames))
            lines += sound.notes
        except ItemError as error:
            if error.reason != "no_audio":
                raise ItemError("bad_output", f"{path}: {error.detail}") from error
            if "audio" in truth:
                lines.append("no sound of its own: scored with the true sound")
                arrays["audio"] = fit_length(np.asarray(truth["audio"]), len(frames))
        lines += info.notes
        if abs(info.fps - FPS) > 0.01:
            lines.append(f"{info.fps:.2f} fps, read at {FPS} by timestamps")
        return Clip(truth.id, truth.speaker, truth.split, len(frames), arrays, notes=tuple(lines))

    def check(self, path: Path, truth: Clip) -> None:
        """Raise `ItemError` for a file without a readable video stream; nothing is decoded."""
        probe(path)


def _held(lacking: int, rate: float) -> int:
    """For how many frames of 25 a second the last picture stays: `lacking` where that is less than one picture."""
    return lacking if 0 < lacking < FPS / max(rate, 1.0) else 0


class MeshFormat:
    """Outputs as npy files of one or more takes."""

    suffix = ".npy"
    suffixes = frozenset({".npy"})
    label = "npy file"
    field = "vertices"

    def write(self, path: Path, output: Generated, truth: Clip) -> dict[str, Any]:
        """Write the npy file; vertices must be (takes,T,V,3) with the V of the true clip."""
        write_mesh(path, output.vertices, truth)
        return {"takes": len(output.vertices)}

    def read(
        self, path: Path, truth: Clip, *, take: int = 0, notes: Sequence[str] = (), start: int | None = None
    ) -> Clip:
        """One take, with the true clip's template and vertex regions; the number and name of those are notes."""
        return read_mesh(path, truth, take=take, notes=notes)

    def check(self, path: Path, truth: Clip) -> None:
        """Read the file: it is small next to what scoring takes."""
        read_mesh(path, truth)


FORMATS: Mapping[Modality, OutputFormat] = {"video": VideoFormat(), "mesh": MeshFormat()}


def format_of(clip: Clip) -> OutputFormat:
    """The format of the outputs for a true clip."""
    return FORMATS[modality_of(clip)]


def read_output(path: Path, truth: Clip, *, take: int = 0, notes: Sequence[str] = (), start: int | None = None) -> Clip:
    """A generated file as a clip of the truth's id; its `notes` are those given, then what reading changed.

    With `start` the file holds the clip that this one is a piece of, which begins at that frame of it.
    Raises `ItemError("bad_output")` for a file that cannot be read.
    """
    return format_of(truth).read(path, truth, take=take, notes=notes, start=start)
