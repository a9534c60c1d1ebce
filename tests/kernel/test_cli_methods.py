"""`dawn-bench methods`: what there is, what is installed, and how to install the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fake_repos import BAD_ADAPTER, PYTHON, fake_repo
from typer.testing import CliRunner

from dawn_bench.baselines.external.adapter import bundled, read_adapter
from dawn_bench.cli import app
from dawn_bench.errors import InputError


def listed(*words: str) -> str:
    done = CliRunner().invoke(app, ["methods", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_what_is_installed_is_listed(tmp_path: Path) -> None:
    repo = fake_repo(tmp_path, "wav2lip", weights=tuple(read_adapter(bundled()["wav2lip"]).weights.values()))
    (tmp_path / "bad.yaml").write_text(BAD_ADAPTER)
    file = tmp_path / "methods.yaml"
    entries = {"wav2lip": {"python": PYTHON, "repo": str(repo)}}
    file.write_text(yaml.safe_dump(entries | {"mine": {"python": PYTHON, "repo": str(repo), "adapter": "bad.yaml"}}))
    lines = {line.split()[0]: line for line in listed("--installs", str(file)).splitlines()}
    assert lines["wav2lip"].endswith(f"installed in {repo}") and lines["mine"].endswith(f"installed in {repo}")
    assert lines["dawn"].endswith("runs inside dawn-bench") and "not installed" in lines["hallo"]


@pytest.mark.parametrize("name", sorted(bundled()))
def test_each_external_method_prints_an_entry_that_can_be_used(name: str) -> None:
    text = listed(name)
    entry = yaml.safe_load(text.split("where they differ:\n")[1])
    assert set(entry[name]) <= {"python", "repo", "weights", "options"} and "licence: " in text


def test_others_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="still runs inside dawn-bench"):
        listed("still")
    with pytest.raises(InputError, match="Did you mean wav2lip"):
        listed("wav3lip")
