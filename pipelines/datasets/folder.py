"""Any folder of video files, at any depth and with any names.

An optional table `clips.csv` in the folder (or `--labels FILE`) has the columns `file` (relative path or bare file
name), `speaker` and `split` (`train`, `val` or `test`); speaker and split may be empty. Clips of a person without a
split are in the one that the other rows of the person state. Without a table each file is its own speaker, and a hash
of the speaker determines the split, about 9:1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from dawn_bench.pipelines.datasets.base import DATASETS, Dataset, Source
from dawn_bench.pipelines.datasets.files import digest, file_problem, find_videos, hash_split, safe_id
from dawn_bench.pipelines.datasets.labels import read_labels, stated_splits
from dawn_bench.pipelines.settings import PrepareSettings

LABELS_FILE = "clips.csv"
log = logging.getLogger(__name__)


@DATASETS.register("folder")
class Folder(Dataset):
    """Video files with any names, each a clip of its own."""

    name, labelled = "folder", True

    def sources(self, root: Path, settings: PrepareSettings) -> Iterable[Source]:
        """Sources of all video files below `root`; raises `InputError` for an unusable table."""
        videos = find_videos(root)
        table = settings.labels or root / LABELS_FILE
        labels = read_labels(root, table, videos) if settings.labels or table.is_file() else {}
        ids = _ids(root, videos)
        speakers = {path: labels[path].speaker if path in labels else "" for path in videos}
        speakers = {path: speakers[path] or ids[path] for path in videos}
        several = len(set(speakers.values())) > 1
        unit = speakers if several else ids  # a single speaker is split by clip
        split = hash_split(unit.values(), seed=settings.seed) | (stated_splits(labels) if several else {})
        final = {path: (labels[path].split if path in labels else "") or split[unit[path]] for path in videos}
        if not several and {"train", "test"} <= set(final.values()):
            log.warning("%s: its only person, %s, is in train and in test", table, *set(speakers.values()))
        for path in videos:
            yield Source(
                id=ids[path],
                speaker=speakers[path],
                split=final[path],
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
