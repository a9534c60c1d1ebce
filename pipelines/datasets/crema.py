"""CREMA-D: 91 actors, 12 sentences, 6 emotions; 7,442 clips named ACTOR_SENTENCE_EMOTION_LEVEL.

Accepts the published repository (`VideoFlash/*.flv`, `AudioWAV/*.wav`, `VideoDemographics.csv`), re-encoded or
pre-aligned mp4 files in any folders, or a subset of clips. Pre-aligned files are square, and `--crop auto` takes them
whole; the published ones are 480x360. The test split is the ten actors of Diffused Heads'
published list (`file_list_crema_test.txt`), as in DAWN; all other actors are in the training split.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from dawn_bench.errors import InputError
from dawn_bench.files import walk
from dawn_bench.lists import read_list
from dawn_bench.pipelines.datasets.base import DATASETS, Dataset, Source
from dawn_bench.pipelines.datasets.files import file_problem, find_videos
from dawn_bench.pipelines.settings import PrepareSettings

TEST_ACTORS = frozenset({1015, 1020, 1021, 1030, 1033, 1052, 1062, 1081, 1082, 1089})
SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
#: Intensity levels of the first sentence, except for the neutral emotion.
LEVELS = ("LO", "MD", "HI")
#: Clips that are broken in the published set.
BROKEN = {
    "1064_IEO_DIS_MD": "one minute long, with all emotions in it",
    "1064_TIE_SAD_XX": "the video has no duration",
    "1076_MTI_NEU_XX": "the video is truncated and has no sound",
    "1076_MTI_SAD_XX": "an error picture without sound",
}
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{2})")
_ORIGINAL = "Use the original file of the dataset."
log = logging.getLogger(__name__)


@DATASETS.register("crema")
class Crema(Dataset):
    """CREMA-D: the published files, re-encoded ones, or a part of them."""

    name = "crema"

    def sources(self, root: Path, settings: PrepareSettings) -> Iterable[Source]:
        """Sources of all clips below `root` with CREMA-D file names, sorted by clip id."""
        videos: dict[str, Path] = {}
        # the published flv takes precedence over re-encoded copies
        for path in sorted(find_videos(root), key=lambda p: (p.suffix.lower() != ".flv", p)):
            if _NAME.fullmatch(path.stem.upper()):
                videos.setdefault(path.stem.upper(), path)
        sounds: dict[str, Path] = {}
        people: dict[str, dict[str, str]] = {}
        for path in walk(root):
            if path.suffix.lower() == ".wav":
                sounds.setdefault(path.stem.upper(), path)
            elif path.name == "VideoDemographics.csv":
                people = _demographics(path)
        if videos and not any(int(name[:4]) in TEST_ACTORS for name in videos):
            log.warning("%s: has none of the ten test actors, so there is no test split", root)
        for name, path in sorted(videos.items()):
            actor, sentence, emotion, level = name.split("_")
            problem = file_problem(path)
            if problem is None and name in BROKEN:
                problem = ("known_broken", BROKEN[name])
            sound = sounds.get(name)
            yield Source(
                id=name,
                speaker=actor,
                split="test" if int(actor) in TEST_ACTORS else "train",
                video=path,
                audio=sound if sound is not None and file_problem(sound) is None else None,
                problem=problem,
                cropped=True,
                meta={"sentence": sentence, "emotion": emotion, "level": level, **people.get(actor, {})},
            )

    def missing(self, root: Path, settings: PrepareSettings) -> list[tuple[str, str, str]]:
        """(id, reason, detail) of published clips that are missing below `root`.

        The published list is `SentenceFilenames.csv` if present; otherwise all combinations, 20 of which were never
        recorded.
        """
        present = {source.id for source in self.sources(root, settings)}
        table = next((path for path in walk(root) if path.name == "SentenceFilenames.csv"), None)
        if table is not None:
            names = [Path(row["Filename"]).stem for row in read_list(table, ("Filename",), hint=_ORIGINAL)]
        else:
            names = [f"{actor}_{rest}" for actor in range(1001, 1092) for rest in _combinations()]
        absent = sorted(set(names) - {"", *present})
        return [(name, "not_downloaded", "the video is not below the root") for name in absent]


def _combinations() -> list[str]:
    first, *others = SENTENCES
    levels = [f"{first}_{emotion}_{level}" for emotion in EMOTIONS if emotion != "NEU" for level in LEVELS]
    return [*levels, f"{first}_NEU_XX", *(f"{sentence}_{emotion}_XX" for sentence in others for emotion in EMOTIONS)]


def _demographics(path: Path) -> dict[str, dict[str, str]]:
    """Age, sex, race and ethnicity by actor; empty where the table is a Git LFS pointer or cannot be read."""
    if (problem := file_problem(path)) is not None and problem[0] == "lfs_pointer":
        return {}
    columns = ("Age", "Sex", "Race", "Ethnicity")
    try:
        rows = read_list(path, ("ActorID",), optional=columns, hint=_ORIGINAL)
    except InputError as error:
        log.warning("%s The clips go without age, sex, race and ethnicity.", error)
        return {}
    return {row["ActorID"]: {column.lower(): row[column] for column in columns} for row in rows}
