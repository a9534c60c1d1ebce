"""HDTF: about 430 clips of 370 talks, from cut clips or from raw downloads with the published metadata.

(a) Cut clips anywhere below the root, with the usual names: `WDA_KatieHill_000.mp4`.
(b) The published `{RD,WDA,WRA}_{video_url,annotion_time,crop_wh,resolution}.txt` anywhere below the root, and raw
    videos named by the list (`KatieHill.mp4`, `WDA_KatieHill.mp4`) or by their YouTube id (`ID.mp4`, `Talk [ID].mp4`).
    Crop boxes refer to the listed height and are rescaled to the height of the file.

Both are square crops of the face, (a) as published at 512 px, (b) by the published boxes: `--crop auto` takes them
whole. A cut clip that is not square was not cropped, and is.

Splits (`hdtf.json`): `published` is DAWN's list of 41 test clips. `identity` is our own identity-disjoint 9:1 split:
named people in the order of a hash, until a tenth of all clips is reached. The speakers of the radio shows (RD) are not
published, so those clips are always in the training split.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import walk
from dawn_bench.names import name_fault
from dawn_bench.pipelines.datasets.base import DATASETS, Dataset, Source
from dawn_bench.pipelines.datasets.download import Video, once, read_log
from dawn_bench.pipelines.datasets.files import digest, file_problem, find_videos, safe_id
from dawn_bench.pipelines.media.decoding import opened
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.readers import read_text

SUBSETS = ("RD", "WDA", "WRA")
#: Where `dawn-bench download` puts the raw videos.
RAW_FOLDER = "raw"
_CLIP = re.compile(r"(RD|WDA|WRA)_(.+)_(\d{3})")
_YOUTUBE = re.compile(r"(?:v=|youtu\.be/)([\w-]{11})")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """One clip of the published lists: a segment of a talk, and its crop box at `height` (None: not published)."""

    id: str
    talk: str
    youtube: str
    start: float
    stop: float
    box: tuple[int, int, int, int] | None  # x, y, width, height
    height: int


@DATASETS.register("hdtf")
class Hdtf(Dataset):
    """HDTF: cut clips, or raw videos with the published lists."""

    name = "hdtf"

    def sources(self, root: Path, settings: PrepareSettings) -> Iterable[Source]:
        """Sources of the clips below `root`, sorted by id; a cut clip replaces a segment of a raw video."""
        sources, _ = _survey(root, settings)
        if sources and settings.split == "published":
            log.warning("DAWN's HDTF split shares people between train and test; --set split=identity does not")
        return sources

    def missing(self, root: Path, settings: PrepareSettings) -> list[tuple[str, str, str]]:
        """(id, reason, detail) of published clips that cannot be prepared from the files below `root`."""
        return _survey(root, settings)[1]


def raw_videos(root: Path, *, only: Iterable[str] = ()) -> list[Video]:
    """The raw videos of the published lists below `root` (or `only` of the given talks), without duplicate addresses.

    Videos that already exist anywhere below `root` are left out. Raises `InputError` without lists, or for an unknown
    talk.
    """
    if not root.is_dir():
        raise InputError("does not exist.", path=root, hint="Check --root.")
    entries, _ = _read_lists(root)
    if not entries:
        raise InputError(
            "has no *_annotion_time.txt with *_video_url.txt.",
            path=root,
            hint="Clone the published lists first: git clone https://github.com/MRzzm/HDTF",
        )
    talks = {entry.id[:-4]: entry for entry in entries}
    if unknown := sorted(set(only) - set(talks)):
        raise InputError(f"no talk is called {unknown[0]!r}.", path=root, hint="Names look like WDA_KatieHill.")
    wanted = {name: entry for name, entry in talks.items() if not set(only) or name in set(only)}
    elsewhere = _Raw([path for path in find_videos(root) if path.parent != root / RAW_FOLDER])
    return once(
        Video(name, entry.youtube, entry.height or None)
        for name, entry in wanted.items()
        if elsewhere.find(entry) is None
    )


def person(clip_id: str) -> str:
    """The speaker of a clip: the name without number (`WDA_AmyKlobuchar1_001`: AmyKlobuchar); one per radio show."""
    match = _CLIP.fullmatch(clip_id)
    assert match, clip_id
    subset, name, _ = match.groups()
    if subset == "RD":
        return f"RD_{name}"
    name = name.rstrip("0123456789")
    return lists()["aliases"].get(name, name)


def split_of(clip_id: str, which: str) -> str:
    """`train` or `test` for a clip in the `published` or the `identity` split."""
    if which == "identity":
        return "test" if person(clip_id) in lists()["identity_test"] else "train"
    return "test" if clip_id in lists()["dawn_test"] else "train"


def identity_test(clip_ids: Iterable[str], *, seed: int = 0, share: float = 0.1) -> list[str]:
    """The people of the identity-disjoint test split, sorted; generates the list in `hdtf.json`.

    `share` is the fraction of all clips that the test split must reach.
    """
    ids = sorted(clip_ids)
    people: dict[str, int] = {}
    for clip_id in ids:
        if not clip_id.startswith("RD_"):
            people[person(clip_id)] = people.get(person(clip_id), 0) + 1
    chosen: list[str] = []
    for name in sorted(people, key=lambda name: digest(f"{seed}/{name}")):
        if sum(people[n] for n in chosen) >= share * len(ids):
            break
        chosen.append(name)
    return sorted(chosen)


@lru_cache(maxsize=1)
def lists() -> Mapping[str, Any]:
    """The published clip names and the splits of `hdtf.json`."""
    return json.loads(Path(__file__).with_suffix(".json").read_text())


def _survey(root: Path, settings: PrepareSettings) -> tuple[list[Source], list[tuple[str, str, str]]]:
    videos = find_videos(root)
    sources: dict[str, Source] = {}
    for path in videos:
        if (match := _CLIP.fullmatch(path.stem)) and (clip_id := _plain_id(match)) not in sources:
            sources[clip_id] = _source(clip_id, path, settings)
    absent: dict[str, tuple[str, str]] = {}
    entries, unstamped = _read_lists(root)
    for clip_id in unstamped:
        absent[clip_id] = ("no_time_stamps", "the published list has no time stamps for it")
    raw = _Raw(videos)
    refused = {stem[-12:-1]: (reason, detail) for stem, (_, reason, detail) in read_log(root / RAW_FOLDER).items()}
    for entry in entries:
        if entry.id not in sources:
            outcome = _segment(entry, raw, settings)
            if isinstance(outcome, Source):
                sources[entry.id] = outcome
            else:
                tried = outcome[0] == "not_downloaded" and entry.youtube in refused
                absent[entry.id] = refused[entry.youtube] if tried else outcome
    for clip_id in [*lists()["clips"], *lists()["without_crop"]]:
        if clip_id not in sources:
            absent.setdefault(
                clip_id, ("not_downloaded", "neither the clip nor its raw video with the lists exists below the root")
            )
    order = sorted(sources.values(), key=lambda source: source.id)
    return order, [(i, *why) for i, why in sorted(absent.items()) if i not in sources]


def _plain_id(match: re.Match[str]) -> str:
    """The id of a clip by its file name; what no id can have, such as control characters, is replaced in it."""
    if name_fault(f"{match[0]}@000") is None:
        return match[0]
    subset, name, number = match.groups()
    return f"{subset}_{safe_id(name)}_{number}"


def _source(clip_id: str, path: Path, settings: PrepareSettings, **segment: Any) -> Source:
    problem = file_problem(path)
    if problem is None and clip_id in lists()["excluded"]:
        problem = ("excluded", "excluded by DAWN as a bad clip")
    return Source(
        id=clip_id,
        speaker=person(clip_id),
        split=split_of(clip_id, settings.split),
        video=path,
        problem=problem,
        cropped=True,
        meta={"subset": clip_id.split("_")[0]},
        **segment,
    )


def _segment(entry: _Entry, raw: _Raw, settings: PrepareSettings) -> Source | tuple[str, str]:
    """A segment of a raw video as a source, or (reason, detail) why it cannot be used."""
    if entry.box is None:
        return "no_crop", "the published list has no crop for it"
    path = raw.find(entry)
    if path is None:
        return "not_downloaded", f"the raw video of {entry.talk} ({entry.youtube or 'no address'}) is missing"
    if entry.height == 0:
        return "unknown_resolution", "the published list gives no video height for its crop"
    height = raw.height(path)
    crop = scale_box(entry.box, entry.height, height) if height else None  # None: the decoder reports the error
    return _source(entry.id, path, settings, start=entry.start, stop=entry.stop, crop=crop)


def scale_box(box: tuple[int, int, int, int], listed: int, actual: int) -> tuple[int, int, int, int]:
    """Rescale a square box (x, y, width, height) from height `listed` to `actual`; it stays square and in the frame."""
    x, y, width, height = (round(value * actual / listed) for value in box)
    side = min(width, height, actual)
    return max(0, x), min(max(0, y), actual - side), side, side


class _Raw:
    """Index of raw videos by the file names that downloads have."""

    def __init__(self, videos: list[Path]) -> None:
        self._by_name: dict[str, Path] = {}
        for path in videos:
            self._by_name.setdefault(path.stem, path)
            if bracket := re.search(r"\[([\w-]{11})\]$", path.stem):
                self._by_name.setdefault(bracket[1], path)
        self._heights: dict[Path, int | None] = {}

    def find(self, entry: _Entry) -> Path | None:
        subset = entry.id.split("_")[0]
        names = (f"{subset}_{entry.talk}", entry.talk, entry.youtube)
        return next((self._by_name[name] for name in names if name in self._by_name), None)

    def height(self, path: Path) -> int | None:
        """Height of the video in pixels; None if the file cannot be opened."""
        if path not in self._heights:
            try:
                with opened(path) as container:
                    self._heights[path] = container.streams.video[0].height
            except ItemError:
                self._heights[path] = None
        return self._heights[path]


def _read_lists(root: Path) -> tuple[list[_Entry], list[str]]:
    """Entries of the published lists below `root`, and ids of talks with an address but without time stamps."""
    files = {path.name: path for path in walk(root) if path.suffix == ".txt"}
    entries, unstamped = [], []
    for subset in SUBSETS:
        kinds = ("video_url", "annotion_time", "crop_wh", "resolution")
        url, times, crops, heights = (_lines(files.get(f"{subset}_{kind}.txt")) for kind in kinds)
        for talk, stamps in times.items():
            address = " ".join(url.get(talk, []))
            youtube = match[1] if (match := _YOUTUBE.search(address)) else ""
            try:
                height = int(heights.get(talk, ["0"])[0])
                if (fault := name_fault(talk)) is not None:
                    raise ValueError(f"the name {fault}")
                for k, stamp in enumerate(stamps):
                    start, stop = (_seconds(text) for text in stamp.split("-"))
                    box = _box(crops.get(f"{talk}_{k}"))
                    entries.append(_Entry(f"{subset}_{talk}_{k:03d}", talk, youtube, start, stop, box, height))
            except ValueError as error:
                raise InputError(
                    f"the {subset} lists are malformed at {talk} ({error}).",
                    path=files[f"{subset}_annotion_time.txt"].parent,
                    hint="Download the published files again.",
                ) from None
        unstamped += [f"{subset}_{talk}_000" for talk in url if talk not in times]
    return entries, unstamped


def _lines(path: Path | None) -> dict[str, list[str]]:
    """The words of each line, keyed by its first word without `.mp4`; tolerates a byte order mark and blank lines."""
    if path is None:
        return {}
    lines = (line.split() for line in read_text(path, hint="Download the published files again.").splitlines())
    return {words[0].removesuffix(".mp4"): words[1:] for words in lines if words}


def _box(words: list[str] | None) -> tuple[int, int, int, int] | None:
    """x, y, width, height from a line `x width y height`."""
    if words is None:
        return None
    x, width, y, height = (int(word) for word in words[:4])
    return x, y, width, height


def _seconds(text: str) -> float:
    """Seconds from `mm:ss` or `h:mm:ss`."""
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total
