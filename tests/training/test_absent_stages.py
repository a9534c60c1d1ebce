"""A setting of a stage that the preset leaves out is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dawn_bench.cli import app
from dawn_bench.errors import InputError
from dawn_bench.models.spec import MODELS, stage_key

#: Every stage that a preset of a model leaves out.
ABSENT = [
    (model, preset, stage)
    for model in MODELS
    for preset in MODELS[model].presets
    for stage in MODELS[model].stages
    if getattr(MODELS[model].preset(preset), stage_key(stage)) is None
]


def test_there_are_such_stages() -> None:
    assert ("dawn", "tiny", "a2v-2") in ABSENT


@pytest.mark.parametrize(("model", "preset", "stage"), ABSENT)
def test_a_setting_of_a_stage_that_the_preset_leaves_out_is_refused(
    model: str, preset: str, stage: str, tiny_cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["train", "--model", model, "--preset", preset, "--cache", str(tiny_cache), "--out", str(out)]
    for change in (f"{stage_key(stage)}.loop.steps=4", f"{stage}={{loop: {{steps: 4}}}}"):
        result = CliRunner().invoke(app, [*words, "--device", "cpu", "--set", change])
        assert isinstance(result.exception, InputError), result.output
        assert f"preset {preset} has no stage {stage}" in str(result.exception) and len(str(result.exception)) < 400
    assert not out.exists()
