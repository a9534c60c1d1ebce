"""The gallery: for a few clips the videos of all methods next to the true one, in a format that browsers play.

Stored videos may be lossless RGB, which browsers cannot show; the page contains small H.264 copies of the same size as
data URIs.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.progress import track
from dawn_bench.reports.leaderboard import GROUND_TRUTH
from dawn_bench.reports.mouth import mouth_box
from dawn_bench.reports.store import GalleryItem

#: Quality of the copies (H.264 constant rate factor): hardly distinguishable from the original at these sizes.
CRF = 20


@dataclass(frozen=True)
class Player:
    """One video of the page: `uri` is a data URI, or None where it cannot be shown; `note` then gives the reason."""

    method: str
    uri: str | None
    width: int
    height: int
    note: str = ""


@dataclass(frozen=True)
class ClipRow:
    """The players of one clip, which play in sync.

    `mouth` is the close-up (`reports.mouth`), None where it is not known; `caption` says why the clip is shown.
    """

    clip_id: str
    players: tuple[Player, ...]
    mouth: tuple[float, float, float, float] | None = None
    caption: str = ""


def clip_rows(items: Sequence[GalleryItem], *, clips: int = 3, first: Mapping[str, str] | None = None) -> list[ClipRow]:
    """`clips` clips with their players, the true video first, transcoded for browsers.

    `first` are the clips that come before the others, in this order, with their captions.
    """
    captions = dict(first or {})
    places = {name: k for k, name in enumerate(captions)}
    known: dict[str, set[str]] = {}
    for item in items:
        known.setdefault(item.clip_id, set()).update([item.data] if item.data else [])

    def clip(item: GalleryItem) -> tuple[str, str]:
        """Two datasets may both have a clip of this name; items of earlier versions name none."""
        only = next(iter(known[item.clip_id])) if len(known[item.clip_id]) == 1 else item.data
        return item.clip_id, item.data or only

    listed = sorted(dict.fromkeys(map(clip, items)), key=lambda key: places.get(key[0], len(places)))
    chosen = listed[:clips]
    wanted = [item for item in items if clip(item) in chosen]
    wanted.sort(key=lambda item: (chosen.index(clip(item)), item.method != GROUND_TRUTH))
    players: dict[tuple[str, str], list[Player]] = {key: [] for key in chosen}
    for item in track(wanted, "gallery", unit="videos"):
        players[clip(item)].append(player(item))
    mouths = {key: _mouth([item for item in wanted if clip(item) == key]) for key in chosen}
    return [ClipRow(key[0], tuple(own), mouths[key], captions.get(key[0], "")) for key, own in players.items()]


def _mouth(items: Sequence[GalleryItem]) -> tuple[float, float, float, float] | None:
    """The close-up of a clip, from its first video that can be read: the true one where there is one."""
    from dawn_bench.pipelines.media.film import read_film

    for item in items:
        try:
            return mouth_box(even(read_film(item.file())))
        except ItemError:
            continue
    return None


def player(item: GalleryItem) -> Player:
    """Transcode one item; the player of a video that is missing, damaged or outside the folder has a note instead."""
    try:
        path = item.file()
    except ItemError as error:
        return Player(item.method, None, 0, 0, error.detail)
    try:
        data, height, width = browser_copy(path)
    except ItemError as error:
        return Player(item.method, None, 0, 0, str(error))
    uri = f"data:video/mp4;base64,{base64.b64encode(data).decode()}"
    return Player(item.method, uri, width, height, item.note)


def browser_copy(path: Path) -> tuple[bytes, int, int]:
    """The video as H.264 yuv420p with AAC sound in mp4, and its height and width in pixels.

    Raises `ItemError` when it cannot be read.
    """
    from dawn_bench.pipelines.media.audio import read_audio
    from dawn_bench.pipelines.media.film import read_film
    from dawn_bench.pipelines.media.video import write_video

    frames = even(read_film(path))
    try:
        audio = read_audio(path)
    except ItemError:
        audio = None  # no sound of its own: the page plays that of another player
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.mp4"
        write_video(copy, frames, audio=audio, crf=CRF)
        return copy.read_bytes(), frames.shape[1], frames.shape[2]


def even(frames: np.ndarray) -> np.ndarray:
    """uint8 (T,H,W,3) with the last row and column repeated where H or W is odd: yuv420p needs even sizes."""
    if not (frames.shape[1] % 2 or frames.shape[2] % 2):
        return frames
    return np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
