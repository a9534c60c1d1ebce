"""Every setting of every stage of every model changes what training does, in the way that `setting_labels.py` says.

A new field fails here until it is classified there. The fields of the loop are those of `test_every_loop_setting.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import setting_labels
from numbered_cache import write_numbered, write_numbered_meshes
from setting_labels import BASES, LABELS, OTHER, SPEECH, WHOLE
from settings_walk import another, changed, config_of, walk
from stage_probe import EFFECTS, Probe, alike, effect
from torch import nn

from dawn_bench.cache import Cache
from dawn_bench.models.checkpoint import provenance_of, read_metadata
from dawn_bench.models.spec import MODELS, stage_key

FIELDS = list(walk())
STAGES = [(model, stage) for model in MODELS for stage in MODELS[model].stages]
#: Networks beside the trained one that are of the run itself: a stage is not extended once they are built on it.
OF_THE_RUN = {"lfg": {"a2v_1", "a2v_2", "a2v_ttr"}, "face": {"dit"}, "masked": {"dit"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbered caches of pictures and of meshes, an empty folder of weights, and runs with frozen networks."""
    folder = tmp_path_factory.mktemp("settings")
    lengths, splits = (26, 5, 30, 40), ("train", "val", "train", "train")
    write_numbered(folder / "video", lengths=lengths, splits=splits)
    write_numbered_meshes(folder / "mesh", lengths=(12, 5, 25, 30, 28))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAWN_BENCH_WEIGHTS", str(folder / "weights"))
        for model, stages in (("dawn", ("lfg",)), ("dit-head", ("vqgan-face", "vqgan-masked"))):
            for stage in stages:
                probe = Probe(model, stage, _base(model), Cache(folder / "video"), folder / "run")
                probe.stage.save(folder / "run" / stage / "model.safetensors", {})
        yield folder


def _base(model: str, *more: str) -> Any:
    make, overrides = BASES[model]
    settings = make(*overrides, *more)
    return settings.model_copy(update={"a2v_2": settings.a2v_1, "a2v_ttr": settings.a2v_1}) if model == "dawn" else (
        settings
    )  # fmt: skip


_PROBES: dict[tuple[Path, str, str, tuple[str, ...]], Probe] = {}


def _probe(place: Path, model: str, stage: str, more: tuple[str, ...]) -> Probe:
    key = (place, model, stage, more)
    if key not in _PROBES:
        cache = Cache(place / ("mesh" if MODELS[model].modality == "mesh" else "video"))
        _PROBES[key] = Probe(model, stage, _base(model, *more), cache, place / "run")
    return _PROBES[key]


def _effect(place: Path, model: str, stage: str, name: str) -> str:
    key = stage_key(stage)
    more = SPEECH if name == "pretrained" or (name.startswith("model.audio.") and name != "model.audio.encoder") else ()
    settings = _base(model, *more)
    config: Any = getattr(settings, key)
    *parts, last = name.split(".")
    for part in parts:
        kind = config_of(type(config).model_fields[part].annotation)
        config = getattr(config, part) or kind()  # type: ignore[misc]
    path = f"{key}.{name}"
    other = OTHER[path] if path in OTHER else another(getattr(config, last), type(config).model_fields[last])
    return effect(_probe(place, model, stage, more), model, changed(settings, key, name, other), place / "run")


@pytest.mark.parametrize(("model", "stage", "name"), FIELDS, ids=[".".join(f) for f in FIELDS])
def test_a_setting_changes_what_it_should(model: str, stage: str, name: str, place: Path) -> None:
    label = LABELS.get(stage_key(stage), {}).get(name)
    assert label is not None, f"classify {name!r} of stage {stage} in LABELS of {setting_labels.__file__}"
    seen = _effect(place, model, stage, name)
    known = label.split()[0] in (*EFFECTS, "refused")
    assert (seen.split()[0] if label in EFFECTS else seen) == (label if known else "nothing")


def test_no_label_is_of_a_field_that_is_gone() -> None:
    known = {(stage_key(stage), name) for _, stage, name in FIELDS}
    assert {(stage, name) for stage, names in LABELS.items() for name in names} <= known


@pytest.mark.parametrize("model", list(MODELS))
def test_settings_consist_of_stages_and_of_what_is_known_to_be_for_all(model: str) -> None:
    spec = MODELS[model]
    kind = type(spec.preset(spec.presets[0]))
    stages = {stage_key(stage) for stage in spec.stages}
    assert stages <= set(kind.model_fields) <= stages | set(WHOLE), f"classify it in WHOLE of {setting_labels.__file__}"


@pytest.mark.parametrize("name", ["a2v-2", "a2v-ttr"])
def test_stages_with_one_class_of_settings_train_alike(name: str, place: Path) -> None:
    """Equal settings: equal weights, equal losses of a batch; but each stage draws batches of its own."""
    first, other = (_probe(place, "dawn", stage, ()) for stage in ("a2v-1", name))
    assert first.stage.config == other.stage.config
    assert alike(first.weights, other.weights)
    assert not alike(first.batches["noise"], other.batches["noise"])
    expected = first.losses
    other.batches = first.batches
    assert alike(other.losses, expected)


@pytest.mark.parametrize(("model", "stage"), STAGES, ids=[stage for _, stage in STAGES])
def test_a_network_beside_the_trained_one_is_the_origin_of_a_stage(
    model: str, stage: str, place: Path, tmp_path: Path
) -> None:
    """A run does not go on with other losses, and its checkpoint says which it was trained with."""
    trained = _probe(place, model, stage, ()).stage
    origin = getattr(trained, "origin", {})
    for name, network in vars(trained).items():
        if not isinstance(network, nn.Module) or name == "module":
            continue
        identities = {part.identity for part in network.modules() if hasattr(part, "identity")}
        if stage_key(stage) not in OF_THE_RUN.get(name, ()):
            assert identities, f"{name} of stage {stage} needs an identity, or a place in OF_THE_RUN"
        assert identities <= set(origin.values()), f"{name} is missing from the origin of stage {stage}"
    trained.save(tmp_path / "model.safetensors", {})
    path = tmp_path / "model.safetensors"
    assert origin.items() <= provenance_of(read_metadata(path), path).items()
