"""Preparation of one mesh sequence: the counterpart of `ClipTools` for mesh datasets.

Fields of a prepared sequence: `vertices` float32 (T,V,3), `template` float32 (1,V,3), `audio` int16 (n,) as stored in
the file, and where the user's folder has them `lips`, `upper` int32 (1,n) and `triangles` int32 (1,F,3). Units are
those of the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import walk
from dawn_bench.pickles import read_arrays
from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.media.audio import decode_sound
from dawn_bench.pipelines.media.limits import SPARE_SOUND
from dawn_bench.pipelines.meshes.checks import check_length, check_template, check_triangles
from dawn_bench.pipelines.meshes.files import (
    HINT,
    checked_indices,
    read_indices,
    read_templates,
    read_triangles,
    read_vertices,
)
from dawn_bench.pipelines.meshes.layout import MeshDataset, templates_file
from dawn_bench.pipelines.preparation.sinks import ClipSink
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.text import counted

#: Lengths of a sequence that are read of its sound.
_MOST_SOUND = 5
#: CodeTalker's index files by the cache field read from them.
_REGION_FILES = {"lips": "lve.txt", "upper": "fdd.txt"}
#: FLAME's masks by the cache field read from them.
_FLAME_MASKS = "FLAME_masks.pkl"
_FLAME_REGIONS = {"lips": ("lips",), "upper": ("forehead", "eye_region")}


@dataclass(frozen=True)
class Region:
    """Vertex indices int32 (n,) and the name of the set in reports."""

    indices: np.ndarray
    name: str


@dataclass(frozen=True)
class MeshTools:
    """Data shared by all sequences of a dataset."""

    fps: int
    stride: int
    templates: Mapping[str, np.ndarray]
    regions: Mapping[str, Region]
    triangles: np.ndarray | None

    @staticmethod
    def of(root: Path, dataset: MeshDataset) -> MeshTools:
        """Read templates, regions and triangles below `root`; raises `InputError` where there are no templates."""
        templates = read_templates(templates_file(root, dataset=dataset.name))
        vertices = len(next(iter(templates.values())))
        files = {p.name: p for p in walk(root)}
        ply = next((p for name, p in sorted(files.items()) if p.suffix.lower() == ".ply"), None)
        triangles = read_triangles(ply, vertices=vertices) if ply is not None else None
        if ply is not None and triangles is not None:
            check_triangles(triangles, next(iter(templates.values())), path=ply)
        return MeshTools(dataset.fps, dataset.stride, templates, find_regions(files, vertices=vertices), triangles)

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        """Facts for `cache.json`: no face back end, and a hash of the shared data, so caches never mix versions."""
        shared = hashlib.sha256()
        for name, array in sorted(self.templates.items()):
            shared.update(name.encode("utf-8", "surrogatepass") + array.tobytes())
        for name, region in sorted(self.regions.items()):
            shared.update(name.encode() + region.indices.tobytes())
        shared.update(b"" if self.triangles is None else self.triangles.tobytes())
        return {
            "face": settings.face,
            "face fingerprint": "none",
            "meshes": shared.hexdigest()[:16],
            "fps": str(self.fps),
        }

    def scenes(self, source: Source, settings: PrepareSettings) -> list[Source]:
        """A sequence is one clip."""
        return [source]

    def process(self, source: Source, settings: PrepareSettings, sink: ClipSink) -> dict[str, Any]:
        """Write one sequence; raises `ItemError` (no_template, template_mismatch, length_mismatch, too_short, …)."""
        template = self.templates.get(source.speaker)
        if template is None:
            raise ItemError("no_template", f"templates.pkl has no face of subject {source.speaker}")
        assert source.audio is not None
        whole = read_vertices(source.video, vertices=len(template))[:: self.stride]
        vertices = whole[: settings.max_frames]
        if len(vertices) < settings.min_frames:
            raise ItemError(
                "too_short", f"{counted(len(vertices), 'frame')}; at least {settings.min_frames} are required"
            )
        check_template(vertices, template, subject=source.speaker)
        # a multiple of the sequence: enough to see at which rate it was stored
        sound = decode_sound(
            source.audio,
            stop=_MOST_SOUND * len(whole) / self.fps + SPARE_SOUND,
            track=settings.audio_track,
            used=len(vertices) / self.fps,
        )
        audio = sound.samples
        check_length(len(whole), len(audio), fps=self.fps, stored=self.fps * self.stride)
        sink.append("vertices", vertices)
        sink.append("audio", audio)
        sink.append("template", template[None])
        for name, region in self.regions.items():
            sink.append(name, region.indices[None])
        if self.triangles is not None:
            sink.append("triangles", self.triangles[None])
        named = {f"{name}_set": f"{r.name}, {len(r.indices)} vertices" for name, r in self.regions.items()}
        return {"fps": self.fps, "n_vertices": len(template), "notes": "; ".join(sound.notes), **named}

    def afterwards(self, settings: PrepareSettings) -> list[str]:
        """No extractor runs on meshes."""
        return []

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        """Raises `InputError`: extractors need frames."""
        raise InputError(f"the extractor {name!r} needs videos, and this dataset has meshes.")


def mesh_tools(root: Path, settings: PrepareSettings) -> MeshTools | None:
    """The tools of a mesh dataset, None for a dataset of videos."""
    dataset = DATASETS[settings.dataset]()
    return MeshTools.of(root, dataset) if isinstance(dataset, MeshDataset) else None


def find_regions(files: Mapping[str, Path], *, vertices: int) -> dict[str, Region]:
    """Lips and upper face from the user's index files: CodeTalker's lists, else FLAME's masks; maybe neither."""
    regions = {}
    for field, name in _REGION_FILES.items():
        if name in files:
            indices = checked_indices(read_indices(files[name]), vertices=vertices, path=files[name])
            digest = hashlib.sha256(files[name].read_bytes()).hexdigest()[:8]
            regions[field] = Region(indices, f"{name} {digest}")
    if _FLAME_MASKS in files:
        path = files[_FLAME_MASKS]
        masks = read_arrays(path, hint=HINT)
        for field, names in _FLAME_REGIONS.items():
            missing = [n for n in names if n not in masks]
            if missing:
                raise InputError(f"has no mask {missing[0]!r}.", path=path, hint="Get it from the FLAME site.")
            joined = np.concatenate([masks[n].reshape(-1) for n in names])
            indices = checked_indices(joined, vertices=vertices, path=path)
            regions.setdefault(field, Region(indices, f"FLAME {'+'.join(names)}"))
    return regions
