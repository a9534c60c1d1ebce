"""The interface between a model and the suite: a `ModelSpec`, registered by the `spec.py` of the model's folder.

Nothing outside that folder names a model: the command line, the training job, checkpoints, generation and reports all
look it up in `MODELS`. A spec is light to import. Anything that needs torch is a `Lazy`, imported on first use, so
`dawn-bench train --help` can list every model, stage and preset.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dawn_bench.errors import UnknownNameError, nearest
from dawn_bench.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from dawn_bench.cache import Cache
    from dawn_bench.clip import Clip
    from dawn_bench.config import Config
    from dawn_bench.models.generator import Generator
    from dawn_bench.models.substitutes import Substitute
    from dawn_bench.results import LearningSignal
    from dawn_bench.training.stage import Stage
    from dawn_bench.weights_needs import Needs

Modality = Literal["video", "mesh"]
#: Builds a stage for training: (cache, settings, *, run, seed, device) -> Stage. Raises `InputError` when the settings
#: leave the stage out, or when `run` lacks the trained stage that it needs.
StageFactory = Callable[..., "Stage"]


@dataclass(frozen=True)
class Lazy:
    """A function or class, imported on first use from "package.module:name" or "package.module:Class.name"."""

    place: str

    def resolve(self) -> Any:
        """Import the module and return the object."""
        module, _, names = self.place.partition(":")
        return reduce(getattr, names.split("."), importlib.import_module(module))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the object."""
        return self.resolve()(*arguments, **named)


@dataclass(frozen=True)
class CheckpointKind:
    """One kind of checkpoint file: its configuration class, and the module class, which is constructed from it."""

    config: Lazy
    module: Lazy

    def classes(self) -> tuple[type[Config], type[nn.Module]]:
        """Import and return both classes."""
        return self.config.resolve(), self.module.resolve()


def _any_size(settings: Any) -> int | None:
    return None


def _no_notes(run: Path) -> list[str]:
    return []


def _no_substitutes(settings: Any, cache: Cache, stage: str) -> list[Substitute]:
    return []


def _no_weights(settings: Any) -> Needs:
    return ()


def _no_signals(run: Path, clips: Sequence[Clip], *, seed: int, device: str) -> list[LearningSignal]:
    return []


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be trained, loaded and used for generation.

    Its settings are a `Config` with the fields `preset`, `note` and one field per stage: stage `a2v-1` has the field
    `a2v_1`, which is None where a preset leaves the stage out.
    """

    #: Name on the command line and in the registry, and name in reports and messages.
    name: str
    title: str
    #: What it is trained on and generates: clips of pictures, or of meshes.
    modality: Modality
    #: Stage factories by name, in training order.
    stages: Mapping[str, StageFactory]
    #: Names of the presets, the default first, and of the variants that may follow one: `PRESET+VARIANT`.
    presets: tuple[str, ...]
    #: (name) -> settings. Raises `InputError` with the known names.
    preset: Callable[[str], Any]
    #: (settings, cache) -> settings completed from the data. Raises `InputError` when the cache does not fit.
    fit_to_cache: Callable[[Any, Cache], Any]
    #: (cache) -> facts on the data, stored in the provenance of the checkpoints.
    facts: Callable[[Cache], Mapping[str, Any]]
    #: Kinds of checkpoint files that its stages write. The names are stored in the files.
    checkpoints: Mapping[str, CheckpointKind]
    #: The configuration class of the options that its generator takes.
    options: Lazy
    #: (path, *, device) -> generator, for a run folder or for released files. Raises `InputError`.
    load: Callable[..., Generator]
    #: (path) -> whether `path` names released files of this model. A released name such as `released-128` is a path.
    released: Callable[[Path], bool]
    #: Stages that need the trained checkpoint of an earlier one: {stage: earlier stage}.
    after: Mapping[str, str] = field(default_factory=dict)
    #: Stages that take their first weights from an earlier one, where that is trained: {stage: earlier stage}.
    starts_from: Mapping[str, str] = field(default_factory=dict)
    #: Stages that take head poses and blinks.
    driven: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    #: (settings) -> the side in pixels of the frames that they are for; None for any.
    size: Callable[[Any], int | None] = _any_size
    #: (settings, cache, stage) -> what the stage trains with in place of what the paper uses. Settings with a field
    #: `substitutes` (`dawn_bench.models.substitutes`) may refuse them.
    substitutes: Callable[[Any, Cache, str], list[Substitute]] = _no_substitutes
    #: (run) -> sentences that a report on this run must contain.
    report_notes: Callable[[Path], list[str]] = _no_notes
    #: (run, held-out clips, *, seed, device) -> evidence that its stages learned, in addition to falling losses.
    signals: Callable[..., list[LearningSignal]] = _no_signals
    #: (settings) -> the published files that training with these settings takes, and preparing a cache for it; with
    #: None: those for generating with it.
    weights: Callable[[Any], Needs] = _no_weights
    #: The files behind each released name, such as `released-128`.
    released_weights: Mapping[str, Needs] = field(default_factory=dict)
    #: The extractors of the conditions that released weights were trained on; generating with these weights uses them.
    released_extractors: tuple[str, ...] = ()
    #: Whether commands use this model when none is named. True for one built-in model.
    default: bool = False

    def stage_name(self, name: str) -> str:
        """The name of a stage that is written like it or like its key in the settings, `a2v_1` for `a2v-1`."""
        return next((stage for stage in self.stages if stage_key(stage) == stage_key(name)), name)

    def stage(self, name: str) -> StageFactory:
        """The factory of a stage; raises `UnknownNameError` with the names of this model's stages."""
        name = self.stage_name(name)
        if name not in self.stages:
            hint = nearest(name, self.stages, label="Its stages")
            raise UnknownNameError(f"{self.title} has no training stage called {name!r}.", hint=hint)
        return self.stages[name]

    def recognises(self, path: Path) -> bool:
        """Whether `path` is a run folder with a trained stage of this model, or its released files."""
        from dawn_bench.models.checkpoint import stage_kinds

        kinds = stage_kinds(path)
        # A damaged file has no kind, but its folder's name determines the model that must report the damage.
        return any(kind in self.checkpoints or (kind is None and stage in self.stages) for stage, kind in kinds) or (
            self.released(path)
        )


def stage_key(name: str) -> str:
    """The name of a stage in the settings and in `--set`."""
    return name.replace("-", "_")


#: Models by command-line name.
MODELS: Registry[ModelSpec] = Registry(
    "model", group="dawn_bench.model", package="dawn_bench.models", module="spec", base=ModelSpec, has=("name",)
)


def register(spec: ModelSpec) -> ModelSpec:
    """Register a spec under its own name."""
    return MODELS.register(spec.name)(spec)


def default_model() -> str:
    """Name of the model that commands use when none is named."""
    return next(name for name in MODELS if MODELS[name].default)


def catalogue() -> str:
    """Every model with its stages and presets on one line each, for `--help`."""
    lines = []
    for name in MODELS:
        spec = MODELS[name]
        variants = f", each also as PRESET+{'|'.join(spec.variants)}" if spec.variants else ""
        cache = " (on a mesh cache)" if spec.modality == "mesh" else ""
        stages, presets = ", ".join(spec.stages), ", ".join(spec.presets)
        lines.append(f"{name}{cache}: stages {stages}; presets {presets}{variants}.")
    return "\n\n".join(lines)
