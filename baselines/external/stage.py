"""One item laid out for an external command: names that no repository trips over, and a working copy of its own.

<item>/in/portrait.png  in/sound.wav     no dot but the suffix's, no space, whatever the clip is called
<item>/in/…                              files and tracks that the adapter asks for
<item>/out/                              {out}
<item>/work/                             {work}: the repository by links, its scratch folders real and empty
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
from dawn_bench.baselines.external.adapter import Adapter, Install, Track
from dawn_bench.clip import FPS
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.audio import write_wav


@dataclass(frozen=True)
class Staged:
    """A laid-out item: what templates may name, and the folder in which the command runs."""

    work: Path
    values: Mapping[str, Any]

    def fill(self, template: str, *, what: str) -> str:
        """A template with this item's values. Raises `InputError` for a name that there is not."""
        try:
            return template.format_map(self.values)
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise InputError(f"{what} {template!r} names {error}.", hint=f"Known: {', '.join(self.values)}.") from error


@contextmanager
def staged(adapter: Adapter, install: Install, item: Item) -> Iterator[Staged]:
    """Lay an item out in a private folder that is gone afterwards. Raises `ItemError` beyond the adapter's limits."""
    clip = item.clip
    audio = np.asarray(clip["audio"])
    _within_limits(adapter, clip.n_frames / FPS, audio)
    with tempfile.TemporaryDirectory(prefix="dawnbench", dir=_plain_root()) as folder:
        root = Path(folder)
        inputs, out, work = root / "in", root / "out", root / "work"
        for made in (inputs, out):
            made.mkdir()
        portrait = np.asarray(clip["frames"][0])
        side = adapter.portrait_size or portrait.shape[0]
        if side != portrait.shape[0]:
            how = cv2.INTER_AREA if side < portrait.shape[0] else cv2.INTER_CUBIC
            portrait = cv2.resize(portrait, (side, side), interpolation=how)
        image, sound = inputs / "portrait.png", inputs / "sound.wav"
        cv2.imwrite(str(image), cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR))
        write_wav(sound, audio)
        overlay(install.repo, work, adapter.scratch)
        values: dict[str, Any] = {
            "image": image,
            "audio": sound,
            "out": out,
            "work": work,
            "seed": item.seed % 2**31,
            "frames": clip.n_frames,
            "seconds": clip.n_frames / FPS,
            "size": side,
            "weights": install.weights,
            "options": install.options,
        }
        tracks = Staged(work, values)
        values["tracks"] = {
            name: _lengthened(track, Path(tracks.fill(track.path, what="track")), inputs / f"{name}.mat", clip.n_frames)
            for name, track in adapter.tracks.items()
        }
        values["files"] = {name: inputs / name for name in adapter.files}
        whole = Staged(work, values)
        for name, text in adapter.files.items():
            values["files"][name].write_text(whole.fill(text, what="file"))
        yield whole


def overlay(repo: Path, work: Path, scratch: tuple[str, ...]) -> None:
    """Make `work` look like `repo` through links, with the folders `scratch` real and empty.

    A repository that writes to fixed relative names (`temp/result.avi`) then writes into this item's own copy, so that
    items cannot spoil each other, and imports come from the repository as ever.
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
    """A folder for temporary files whose path holds no dot and no space; the usual one where that is so."""
    usual = tempfile.gettempdir()
    if not any(c in usual for c in ". "):
        return usual
    if Path("/tmp").is_dir():
        return "/tmp"
    raise InputError("holds a dot or a space, which external methods cannot take.", path=usual, hint="Set TMPDIR.")


def _lengthened(track: Track, path: Path, target: Path, n_frames: int) -> Path:
    """Write a track of at least `n_frames` frames: the given one, played back and forth where it is shorter."""
    from scipy.io import loadmat, savemat

    try:
        held = loadmat(path)
        arrays = {key: np.asarray(held[key]) for key in track.keys if key in held}
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"cannot be read as a MATLAB file ({error}).", path=path) from error
    if not arrays:
        raise InputError(f"holds none of {', '.join(track.keys)}.", path=path)
    for key, rows in arrays.items():
        if len(rows) < n_frames:
            there = np.arange(len(rows))
            loop = np.concatenate([there, there[-2:0:-1]]) if len(rows) > 2 else there
            arrays[key] = rows[np.resize(loop, n_frames)]
    savemat(target, arrays)
    return target
