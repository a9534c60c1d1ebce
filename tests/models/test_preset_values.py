"""Every number of every preset, and every default of a setting or an option of a model, is the recorded one.

They are what a run with that name means: published settings, or those whose results were published with a preset's
name. `python tests/models/test_preset_values.py` writes the record again after a change that is meant, which the
changelog then has to name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dawn_bench.config import Config
from dawn_bench.models.spec import MODELS

RECORD = Path(__file__).parents[1] / "data" / "presets.json"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _defaults(kind: type[Config], defaults: dict[str, Any]) -> None:
    """The defaults of a configuration class, and of those of its fields, by class."""
    stated = {n: f.get_default() for n, f in kind.model_fields.items() if not f.is_required()}
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in stated.items() if not isinstance(v, Config)}
    defaults[kind.__name__] = plain
    for value in stated.values():
        if isinstance(value, Config) and type(value).__name__ not in defaults:
            _defaults(type(value), defaults)


def record(model: str) -> dict[str, Any]:
    """The presets of a model, without what is a default, and the defaults."""
    spec = MODELS[model]
    names = [*spec.presets, *(f"{spec.presets[1]}+{variant}" for variant in spec.variants)]
    presets = {name: _flat(spec.preset(name).model_dump(mode="json", exclude_defaults=True)) for name in names}
    defaults: dict[str, Any] = {}
    _defaults(type(spec.preset(spec.presets[0])), defaults)
    _defaults(spec.options.resolve(), defaults)
    for preset in presets.values():
        preset.pop("note")
    return {"presets": presets, "defaults": defaults}


@pytest.mark.parametrize("model", list(MODELS))
def test_presets_and_defaults_are_the_recorded_ones(model: str) -> None:
    recorded = json.loads(RECORD.read_text())
    assert model in recorded, f"run `python {Path(__file__).name}` to record the presets of {model}"
    now = json.loads(json.dumps(record(model), default=str))
    for part, entries in recorded[model].items():
        assert now[part].keys() == entries.keys()
        for name, values in entries.items():
            assert now[part][name] == values, f"{part} {name}"


def _text(content: dict[str, Any]) -> str:
    """JSON with one line for each value."""
    models = []
    for model, parts in content.items():
        blocks = []
        for part, entries in parts.items():
            lines = [
                f"  {json.dumps(name)}: {{\n"
                + ",\n".join(f"   {json.dumps(k)}: {json.dumps(v, default=str)}" for k, v in sorted(values.items()))
                + "\n  }"
                for name, values in entries.items()
            ]
            blocks.append(f" {json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n }")
        models.append(f"{json.dumps(model)}: {{\n" + ",\n".join(blocks) + "\n}")
    return "{\n" + ",\n".join(models) + "\n}\n"


if __name__ == "__main__":
    RECORD.write_text(_text({model: record(model) for model in MODELS}))
