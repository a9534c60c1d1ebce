"""The files of one item for an external command: names that every repository can handle, and a working copy.

<item>/in/portrait.png  in/sound.wav     one dot and no space in the name, for any clip id
<item>/in/…                              files and tracks of the adapter
<item>/out/                              {out}
<item>/work/                             {work}: the repository as links, with real, empty scratch folders
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from dawn_bench.baselines.base import Item
from dawn_bench.baselines.external.adapter import Adapter, Install, MatlabTrack
from dawn_bench.baselines.external.matlab import read_matlab
from dawn_bench.baselines.external.process import removed_with_us
from dawn_bench.clip import FPS
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.audio import write_wav


@dataclass(frozen=True)
class Staged:
    """The files of an item: the values that templates may use, and the folder in which the command runs."""

    work: Path
    values: Mapping[str, Any]

    def fill(self, template: str, *, what: str) -> str:
        """Fill a template with this item's values. Raises `InputError` for an unknown name."""
        try:
            return template.format_map(self.values)
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise InputError(f"{what} {template!r} names {error}.", hint=f"Known: {', '.join(self.values)}.") from error


@contextmanager
def staged(adapter: Adapter, install: Install, item: Item, portrait: np.ndarray) -> Iterator[Staged]:
    """Write an item's files, among them its `portrait` uint8 RGB (S,S,3), to a temporary folder.

    Raises `ItemError` for an item beyond the adapter's limits.
    """
    clip = item.clip
    audio = np.asarray(clip["audio"])
    _within_limits(adapter, clip.n_frames / FPS, audio)
    with (
        tempfile.TemporaryDirectory(prefix="dawnbench", dir=_plain_root(), ignore_cleanup_errors=True) as folder,
        removed_with_us(Path(folder)),
    ):
        root = Path(folder)
        inputs, out, work = root / "in", root / "out", root / "work"
        for directory in (inputs, out):
            directory.mkdir()
        image, sound = inputs / "portrait.png", inputs / "sound.wav"
        encoded = cv2.imencode(".png", cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR))[1]
        image.write_bytes(encoded.tobytes())  # unlike imwrite it raises when the disk is full
        write_wav(sound, audio, durable=False)
        overlay(install.repo, work, adapter.scratch)
        values: dict[str, Any] = {
            "image": image,
            "audio": sound,
            "out": out,
            "work": work,
            "seed": item.seed % 2**31,
            "frames": clip.n_frames,
            "seconds": clip.n_frames / FPS,
            "size": portrait.shape[0],
            "weights": install.weights,
            "options": install.options,
        }
        paths = Staged(work, values)
        values["tracks"] = {
            name: _extended(track, Path(paths.fill(track.path, what="track")), inputs / f"{name}.mat", clip.n_frames)
            for name, track in adapter.tracks.items()
        }
        values["files"] = {name: inputs / name for name in adapter.files}
        item_files = Staged(work, values)
        for name, text in adapter.files.items():
            values["files"][name].write_text(item_files.fill(text, what="file"))
        yield item_files


def overlay(repo: Path, work: Path, scratch: tuple[str, ...]) -> None:
    """Fill `work` with links to the contents of `repo`, and with real, empty folders `scratch`.

    A repository that writes to fixed relative names (`temp/result.avi`) then writes into this item's own copy, so items
    cannot overwrite each other's files, while imports still come from the repository.
    """
    work.mkdir(parents=True)
    heads = {PurePosixPath(name).parts[0] for name in scratch}
    for entry in repo.iterdir():
        if entry.name not in heads and entry.name != ".git":
            (work / entry.name).symlink_to(entry.absolute())
    for head in heads:
        parts = [PurePosixPath(name).parts for name in scratch]
        deeper = tuple(str(PurePosixPath(*p[1:])) for p in parts if p[0] == head and len(p) > 1)
        if deeper and head not in scratch and (repo / head).is_dir():
            overlay(repo / head, work / head, deeper)
        else:
            (work / head).mkdir()


def _within_limits(adapter: Adapter, seconds: float, audio: np.ndarray) -> None:
    limits = adapter.limits
    if limits.max_seconds is not None and seconds > limits.max_seconds:
        detail = f"not run: {seconds:.2f} s are more than the {limits.max_seconds:g} s that {adapter.name} takes"
        raise ItemError("bad_output", detail)
    if seconds < limits.min_seconds:
        detail = f"not run: {seconds:.2f} s are less than the {limits.min_seconds:g} s that {adapter.name} needs"
        raise ItemError("bad_output", detail)
    if not limits.silent and not np.any(audio):
        raise ItemError("bad_output", f"not run: {adapter.name} cannot take silent sound")


def _plain_root() -> str | None:
    """A folder for temporary files without dot or space in its path; None for the default one where that has none."""
    default = tempfile.gettempdir()
    if not any(c in default for c in ". "):
        return default
    if Path("/tmp").is_dir():
        return "/tmp"
    problem = "has a dot or a space in its path, which external methods cannot handle."
    raise InputError(problem, path=default, hint="Set TMPDIR to another folder.")


def _extended(track: MatlabTrack, path: Path, target: Path, n_frames: int) -> Path:
    """Write a track of at least `n_frames` frames: the given one, extended by ping-pong where it is shorter."""
    from scipy.io import savemat

    arrays = read_matlab(path, track.keys)
    for key, rows in arrays.items():
        if len(rows) < n_frames:
            forth = np.arange(len(rows))
            loop = np.concatenate([forth, forth[-2:0:-1]]) if len(rows) > 2 else forth
            arrays[key] = rows[np.resize(loop, n_frames)]
    savemat(target, arrays)
    return target
