"""File layout of the mesh datasets, and their published splits.

    wav/<name>.wav               16 kHz
    vertices_npy/<name>.npy      (frames, 3 vertices); name = <subject>_<anything ending in two digits>
    templates.pkl                subject -> (vertices, 3), the neutral face
    regions/lve.txt, fdd.txt     vertex indices of lips and upper face (BIWI, from CodeTalker), where the user has them
    FLAME_masks.pkl              the same for VOCASET, from the FLAME site (its licence forbids bundling)
    *.ply                        triangles, to draw the mesh

Sequences of BIWI and VOCASET outside the published split are left out, as in the released loaders.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from dawn_bench.errors import InputError
from dawn_bench.files import walk
from dawn_bench.pipelines.datasets.base import Dataset, Source
from dawn_bench.pipelines.datasets.files import file_problem, safe_id
from dawn_bench.pipelines.settings import PrepareSettings

TEMPLATES = "templates.pkl"
_NAME = re.compile(r"(?P<subject>.+)_(?P<rest>[^_]*?(?P<sentence>\d\d))")


class MeshDataset(Dataset):
    """A dataset in this layout."""

    #: Frames per second after taking every `stride`-th stored frame.
    fps: ClassVar[int]
    stride: ClassVar[int] = 1

    @abstractmethod
    def split(self, subject: str, sentence: int) -> str | None:
        """The published split of a sequence: train, val, test, ...; None outside the published splits."""

    def sources(self, root: Path, settings: PrepareSettings) -> Iterable[Source]:
        """Sources of the published sequences below `root`, with the sound of the same name.

        Raises `InputError` when there is no `vertices_npy` folder or no `templates.pkl`.
        """
        files = list(walk(root))
        templates_file(root, dataset=self.name, files=files)
        arrays = [p for p in files if p.suffix == ".npy" and p.parent.name == "vertices_npy"]
        if not arrays:
            raise InputError("has no vertices_npy/*.npy.", path=root, hint=f"Give {self.name}'s folder as --root.")
        sounds = {p.stem: p for p in files if p.suffix.lower() == ".wav"}
        for path in arrays:
            match = _NAME.fullmatch(path.stem)
            split = self.split(match["subject"], int(match["sentence"])) if match else None
            if match is None or split is None:
                continue
            problem = file_problem(path)
            if problem is None and path.stem not in sounds:
                problem = ("no_audio", f"there is no wav/{path.stem}.wav")
            yield Source(
                id=safe_id(path.stem),
                speaker=match["subject"],
                split=split,
                video=path,
                audio=sounds.get(path.stem),
                problem=problem,
                meta={"sentence": match["sentence"], "fps": self.fps},
            )


def templates_file(root: Path, *, dataset: str, files: Iterable[Path] | None = None) -> Path:
    """The dataset's `templates.pkl`; raises `InputError` where there is none."""
    candidates = [p for p in (files or walk(root)) if p.name == TEMPLATES]
    if not candidates:
        raise InputError(
            f"has no {TEMPLATES}, the neutral faces.",
            path=root,
            hint=f"Put {dataset}'s {TEMPLATES} next to its wav folder.",
        )
    return candidates[0]
