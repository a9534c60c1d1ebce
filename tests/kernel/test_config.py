"""Configuration: defaults, a file, overrides; what is wrong is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import Field, ValidationError

from dawn_bench.config import Config, resolve_config, validated
from dawn_bench.errors import InputError


class Inner(Config):
    rate: float = Field(0.1, gt=0)
    sizes: tuple[int, ...] = (1, 2)


class Outer(Config):
    name: str = "x"
    steps: int = Field(10, ge=1)
    inner: Inner = Inner()
    extra: Inner | None = None


def test_later_sources_win_and_touch_only_their_keys(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("steps: 20\ninner: {rate: 0.5}\n")
    resolved = resolve_config(Outer(name="y"), file=file, overrides=["inner.sizes=[3]", "steps=30", "extra={rate: 2}"])
    assert resolved == Outer(name="y", steps=30, inner=Inner(rate=0.5, sizes=(3,)), extra=Inner(rate=2))
    assert resolve_config(resolved, overrides=["extra=null"]).extra is None
    assert resolve_config(Outer()) == Outer()


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    config = Outer(inner=Inner(rate=1e-6, sizes=(4, 5)))
    config.to_yaml(tmp_path / "c.yaml")
    assert resolve_config(Outer(), file=tmp_path / "c.yaml") == config
    assert list(yaml.safe_load((tmp_path / "c.yaml").read_text())) == ["name", "steps", "inner", "extra"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stps=3", "'stps'.*Known settings: name, steps"),
        ("inner.rte=3", "'inner.rte'"),
        ("steps=0", "'steps'.*greater than or equal to 1"),
        ("inner=3", "'inner'"),
        ("inner.rate=fast", "'inner.rate'"),
        ("steps", "'steps' is not of the form key=value"),
        ("steps={", "not valid YAML"),
    ],
)
def test_wrong_overrides_are_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        resolve_config(Outer(), overrides=[override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "a: [", "\tx: 1", "\xff", None])
def test_files_that_are_no_settings_are_one_line(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    if text is not None:
        file.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"c\.yaml: ") as caught:
        resolve_config(Outer(), file=file)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert resolve_config(Outer(), file=tmp_path / "c.yaml") == Outer()


def test_a_config_never_changes() -> None:
    with pytest.raises(ValidationError):
        Outer().steps = 3  # type: ignore[misc]
    with pytest.raises(InputError, match=r"option 'x'.*Known options"):
        validated(Outer, {"x": 1}, what="option")
