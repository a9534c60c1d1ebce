"""The method contract: something that generates one clip from one item.

A method receives a true clip of the test set and may use only what it declares in `uses`: `source` (the first frame, or
the face at rest of a mesh), `audio` (sound and audio features), `pose` (the true head pose and blinks), `truth`
(everything: sanity rows), `masked-truth` (the true frames without the lower face), `others` (other clips of the set;
its outputs are generated again when the set changes).

A method generates video or meshes. What it generates is declared on its builder, so that a method that does not fit the
cache is refused before anything is loaded:

    @METHODS.register("mine")
    @serves("mesh")
    def build(context: Context) -> Method: ...

A builder without `serves` generates video. One that serves both reads `context.modality`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.extractor_record import Extracted
from dawn_bench.pipelines.extractors.compatibility import check_extractors
from dawn_bench.registry import Registry

MethodClass = Literal["portrait", "dub", "static-lips", "mesh", "reference", "sanity"]
Modality = Literal["video", "mesh"]

#: Plural nouns for messages.
NOUNS: Mapping[Modality, str] = {"video": "videos", "mesh": "meshes"}


def modality_of(clip: Clip) -> Modality:
    """What a clip of a cache is: a mesh where it has `vertices`, else a video."""
    return "mesh" if "vertices" in clip else "video"


@dataclass(frozen=True)
class Item:
    """One clip to generate: the true clip, all clips of the test set (for shuffled sound), and the seed of the run."""

    clip: Clip
    others: Sequence[Clip]
    seed: int

    @property
    def own_seed(self) -> int:
        """A seed that differs between clips and does not depend on their order."""
        return (self.seed * 1_000_003 + zlib.crc32(self.clip.id.encode())) % 2**63


@dataclass(frozen=True)
class Context:
    """What a method is built from.

    `checkpoint` is a run folder or a released file, `options` come from the command line, `modality` is that of the
    cache. External methods also read `installs`, the YAML file of installed repositories, and write to `logs`.
    """

    checkpoint: Path | None = None
    device: str = "cpu"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    installs: Path | None = None
    logs: Path = Path("logs")
    modality: Modality = "video"


@dataclass(frozen=True)
class Generated:
    """What a method generated for one item.

    A video: `frames` uint8 (T,S,S,3) RGB at 25 fps, which may be `LazyRows`, and their `audio` int16 (n,) at 16 kHz. A
    mesh: `vertices` float32 (takes,T,V,3) in the units of the dataset; a method that speaks to an unseen subject in
    several styles returns one take per style, and their scores are averaged. The arrays of the other modality stay
    empty.

    `notes` are sentences for the score's row, `facts` describe the output before it was normalised, `load_seconds` is
    the time spent loading models where the method knows it.
    """

    frames: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    audio: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int16))
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    load_seconds: float | None = None
    vertices: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.float32))


class Method(Protocol):
    """A method, built for one modality.

    Optional members: `changes_crop = True` for a method that frames the face differently from its portrait, which
    is then also scored with its faces aligned to the true ones; `check(clip)`, called with the first clip before any
    work, which raises `InputError` when the cache does not fit the model; `remarks(clip)`, which returns sentences for
    the rows on how the cache differs from the data that the model was trained on; `reads`, the fields of the clip that
    its outputs depend on besides the frames or vertices and the sound; `further_inputs`, hashes by name of what else
    they depend on and the fingerprint leaves out. An output is generated again when one of these has changed.

    A method that takes files from outside the cache also has both of `source_key(clip)`, which identifies those that
    the clip is best generated from, empty for none, and `has_source(clip)`, whether they are there and as the cache
    has them. An output that was generated from them is kept when they are gone.
    """

    name: str
    method_class: MethodClass
    licence: str
    uses: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Identifies weights, settings and code version: outputs with another fingerprint are generated again."""

    def generate(self, item: Item) -> Generated:
        """Generate one clip; raises `ItemError` when this item cannot be done."""


Builder = Callable[[Context], Method]
AnyBuilder = TypeVar("AnyBuilder", bound=Callable[..., Any])

#: Builders of methods by command-line name; one file each in `baselines/methods/`.
METHODS: Registry[Builder] = Registry("method", group="dawn_bench.method", package="dawn_bench.baselines.methods")

#: The rows of every evaluation, which show each metric's floor and ceiling; those that serve the cache's modality.
SANITY = ("ground-truth", "ground-truth-reencoded", "still", "shuffled-sound")


def serves(*modalities: Modality) -> Callable[[AnyBuilder], AnyBuilder]:
    """Decorator of a builder: the modalities that its method generates."""

    def mark(builder: AnyBuilder) -> AnyBuilder:
        builder.modalities = modalities  # type: ignore[attr-defined]
        return builder

    return mark


def modalities_of(builder: Builder) -> tuple[Modality, ...]:
    """What the method of a builder generates: video where it does not say. A class may have it as an attribute."""
    return getattr(builder, "modalities", ("video",))


def build_method(name: str, context: Context) -> Method:
    """Build the method `name`; raises `InputError` for an unknown one, or one of another modality than the cache."""
    builder = METHODS[name]
    check_modality(name, modalities_of(builder), context.modality)
    return builder(context)


def check_modality(name: str, modalities: Sequence[Modality], wanted: Modality) -> None:
    """Raise `InputError` unless a method that generates `modalities` serves a cache of modality `wanted`."""
    if wanted not in modalities:
        raise InputError(
            f"{name} generates {' and '.join(NOUNS[m] for m in modalities)}, but this cache has {NOUNS[wanted]}.",
            hint=f"dawn-bench methods lists the methods for {NOUNS[wanted]}.",
        )


def sanity_rows(modality: Modality) -> tuple[str, ...]:
    """The sanity methods of one modality, in the order of `SANITY`."""
    return tuple(name for name in SANITY if modality in modalities_of(METHODS[name]))


def check_fit(
    clip: Clip,
    *,
    size: int,
    encoder: str,
    width: int | None = None,
    trained: Mapping[str, Extracted] | None = None,
    fields: Sequence[str] = (),
    published: bool = False,
) -> tuple[str, ...]:
    """Raise `InputError` unless a clip has frames of `size` px and the audio features of `encoder`, `width` a frame.

    `trained` are the extractors of the model's training data by field. Those of the features and of the other `fields`
    that it takes are compared with the clip's: returns notes on what differs and still fits (`check_extractors`).
    """
    side = clip["frames"].shape[1]
    if side != size:
        raise InputError(
            f"clip {clip.id}: its frames are {side} px wide, and this model was trained at {size}.",
            hint=f"Prepare a cache of its size: dawn-bench prepare --size {size}",
        )
    if encoder not in clip:
        raise InputError(
            f"clip {clip.id} has no {encoder} features, which this model needs.",
            hint=f"Add them: dawn-bench prepare --root VIDEOS --cache CACHE --extract {encoder}",
        )
    if width is not None and clip[encoder].shape[1] != width:
        raise InputError(
            f"clip {clip.id}: its {encoder} features are {clip[encoder].shape[1]} numbers a frame; "
            f"this model was trained on {width}.",
            hint=f"Prepare another cache with the weights of {encoder} that it was trained on.",
        )
    return tuple(
        check_extractors(
            trained or {},
            clip.extractors,
            fields=(*fields, encoder),
            published=published,
            what=f"the cache of clip {clip.id}",
        )
    )
