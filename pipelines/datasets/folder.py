"""Any folder of video files, at any depth and with any names.

An optional table `clips.csv` in the folder (or `--labels FILE`) has the columns `file` (relative path or bare file
name), `speaker` and `split` (`train`, `val` or `test`); speaker and split may be empty. Without it each file is its
own speaker, and a hash of the speaker determines the split, about 9:1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from dawn_bench.errors import InputError
from dawn_bench.pipelines.datasets.base import DATASETS, Dataset, Source
from dawn_bench.pipelines.datasets.files import digest, file_problem, find_videos, hash_split, safe_id
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.readers import read_csv

LABELS_FILE = "clips.csv"
SPLITS = ("train", "val", "test")
log = logging.getLogger(__name__)


@DATASETS.register("folder")
class Folder(Dataset):
    """Video files with any names, each a clip of its own."""

    name = "folder"

    def sources(self, root: Path, settings: PrepareSettings) -> Iterable[Source]:
        """Sources of all video files below `root`; raises `InputError` for an unusable table."""
        videos = find_videos(root)
        labels = _labels(root, settings.labels, videos)
        ids = _ids(root, videos)
        speakers = {path: labels.get(path, {}).get("speaker") or ids[path] for path in videos}
        unit = speakers if len(set(speakers.values())) > 1 else ids  # a single speaker is split by clip
        split = hash_split(unit.values(), seed=settings.seed)
        for path in videos:
            yield Source(
                id=ids[path],
                speaker=speakers[path],
                split=labels.get(path, {}).get("split") or split[unit[path]],
                video=path,
                problem=file_problem(path),
            )


def _ids(root: Path, videos: list[Path]) -> dict[Path, str]:
    """A unique id for each file; ids that would differ only in suffix or case get a hash of the whole path."""
    ids: dict[Path, str] = {}
    taken: set[str] = set()
    for path in videos:
        relative = path.relative_to(root)
        clip_id = safe_id(relative.with_suffix("").as_posix())
        if clip_id.casefold() in taken:
            clip_id = f"{clip_id}-{digest(relative.as_posix())[:8]}"
        taken.add(clip_id.casefold())
        ids[path] = clip_id
    return ids


def _labels(root: Path, table: Path | None, videos: list[Path]) -> dict[Path, dict[str, str]]:
    """Speaker and split by video, from the table; empty without one."""
    path = table or root / LABELS_FILE
    if table is None and not path.is_file():
        return {}
    rows = read_csv(path, ("file",), hint="Its header must be: file,speaker,split")
    by_name: dict[str, list[Path]] = {}
    for video in videos:
        for name in {video.relative_to(root).as_posix(), video.name}:
            by_name.setdefault(name, []).append(video)
    labels: dict[Path, dict[str, str]] = {}
    absent = []
    for line, row in enumerate(rows, start=2):
        name = (row["file"] or "").strip()
        split = (row.get("split") or "").strip().lower()
        if split and split not in SPLITS:
            raise InputError(f"line {line}: split {split!r} is none of {', '.join(SPLITS)}.", path=path)
        match by_name.get(name, []):
            case []:
                absent.append(name)
            case [video]:
                labels[video] = {"speaker": (row.get("speaker") or "").strip(), "split": split}
            case _:
                raise InputError(f"line {line}: several files are called {name!r}.", path=path, hint="Give the path.")
    if absent:
        log.warning("%s lists %d files that do not exist, the first is %s", path, len(absent), absent[0])
    return labels
