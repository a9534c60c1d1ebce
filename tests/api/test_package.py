"""`import dawn_bench`: the public names, without loading anything heavy."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import dawn_bench
from dawn_bench import api
from dawn_bench.errors import InputError
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.workflow.evaluation import Evaluation


def loaded_by(code: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has after `code`."""
    program = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_the_import_loads_no_third_party_package() -> None:
    added = loaded_by("import dawn_bench") - loaded_by("pass") - set(sys.stdlib_module_names)
    assert added == {"dawn_bench"}


def test_opening_a_cache_loads_no_torch(tiny_cache: Path) -> None:
    assert "torch" not in loaded_by(f"import dawn_bench; dawn_bench.open_cache({str(tiny_cache)!r})['c0']['frames'][0]")


@pytest.mark.parametrize("name", dawn_bench.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(dawn_bench, name)
    assert name in dir(dawn_bench)
    assert name.startswith("__") or inspect.getdoc(value)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(inspect.getsource(dawn_bench))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(dawn_bench.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'prepair'"):
        dawn_bench.prepair  # noqa: B018


def test_the_arguments_of_prepare_and_evaluate_are_the_settings_of_their_jobs() -> None:
    def keywords(function: object) -> dict[str, object]:
        parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    arguments = keywords(api.prepare)
    settings = PrepareSettings().model_dump()
    assert {arguments[name] for name in settings} == {None}  # not given: the recipe's, or the default
    assert set(arguments) - set(settings) == {"jobs", "engine", "address", "device", "devices", "overwrite", "name"}

    arguments = keywords(api.evaluate)
    job = {name: field.get_default() for name, field in Evaluation.model_fields.items()}
    assert set(arguments) == set(job) - {"cache", "out", "strict"}
    assert {name for name, default in arguments.items() if default != job[name]} == {"options"}  # None: no option


def test_home_is_expanded(tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tiny_cache.parent))
    assert len(dawn_bench.open_cache(f"~/{tiny_cache.name}")) == 6


def test_unknown_clips_and_fields_name_the_nearest(tiny_cache: Path) -> None:
    cache = dawn_bench.open_cache(tiny_cache)
    with pytest.raises(InputError, match=r"has no clip called 'c44'. Did you mean c4"):
        cache["c44"]
    with pytest.raises(InputError, match=r"has no 'pse'.* Did you mean pose"):
        cache["c4"]["pse"]
    with pytest.raises(KeyError):
        cache["nobody"]


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'crop'") as refused:
        dawn_bench.prepare(tmp_path, tmp_path / "c", crop="round")  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"there is no dataset called 'cremad'. Did you mean crema"):
        dawn_bench.prepare(tmp_path, tmp_path / "c", dataset="cremad")
