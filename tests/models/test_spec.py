"""Specs of models: what they list is what there is, they are light, and another distribution can add one."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import checkpoint_kind
from dawn_bench.models.spec import MODELS, catalogue, default_model, stage_key

NAMES = ("dawn", "diffspeaker", "dit-head")


def test_the_built_in_models_are_registered_and_one_is_the_default() -> None:
    assert set(NAMES) <= set(MODELS) and default_model() == "dawn"
    assert [MODELS[name].default for name in NAMES].count(True) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_lists_the_presets_and_variants_that_there_are(name: str) -> None:
    spec = MODELS[name]
    presets = import_module(f"dawn_bench.models.{name.replace('-', '_')}.presets")
    assert set(spec.presets) == set(presets.PRESETS)
    assert set(spec.variants) == set(getattr(presets, "ABLATIONS", ()))
    for preset in spec.presets:
        settings = spec.preset(preset)
        assert settings.preset == preset
        assert all(hasattr(settings, stage_key(stage)) for stage in spec.stages)


@pytest.mark.parametrize("name", NAMES)
def test_everything_a_spec_names_can_be_imported(name: str) -> None:
    spec = MODELS[name]
    for factory in spec.stages.values():
        assert callable(factory.resolve())  # type: ignore[attr-defined]
    for kind, known in spec.checkpoints.items():
        config, module = known.classes()
        assert issubclass(config, Config) and checkpoint_kind(kind) == known
        assert module.__name__
    assert issubclass(spec.options.resolve(), Config)
    assert set(spec.after) | set(spec.after.values()) <= set(spec.stages)


def test_unknown_stages_models_and_kinds_name_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"DAWN has no training stage called 'lgf'.*lfg, a2v-1"):
        MODELS["dawn"].stage("lgf")
    with pytest.raises(InputError, match=r"no model called 'dwan'.*dawn"):
        MODELS["dwan"]
    with pytest.raises(InputError, match=r"kind 'gan'.*lfg"):
        checkpoint_kind("gan")


def test_the_catalogue_has_every_model_stage_and_preset() -> None:
    text = catalogue()
    for name in NAMES:
        spec = MODELS[name]
        assert all(word in text for word in (name, *spec.stages, *spec.presets, *spec.variants))


def test_specs_are_light() -> None:
    """Listing every model imports neither torch nor the models themselves."""
    code = (
        "import sys; from dawn_bench.models.spec import catalogue; catalogue(); "
        "print(sorted({'torch', 'cv2', 'pandas', 'dawn_bench.models.dawn.presets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_former_preset_name_works_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert MODELS["dawn"].preset("dawn-128-mended") == MODELS["dawn"].preset("dawn-128-fixed")
    assert MODELS["dawn"].preset("dawn-128-mended+ttr").preset == "dawn-128-fixed+ttr"
    assert "is now called dawn-128-fixed" in capsys.readouterr().err
