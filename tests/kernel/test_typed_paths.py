"""`~` works wherever a path can be written, and a path of another kind is named in one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_cache import write_tiny_cache
from typer.testing import CliRunner
from weight_files import write_layout

from dawn_bench import api, weights, weights_add
from dawn_bench.baselines.external.adapter import INSTALLS_VARIABLE, installs, installs_file
from dawn_bench.cache import Cache
from dawn_bench.cli.cache import app as cache_app
from dawn_bench.errors import InputError
from dawn_bench.files import user_path
from dawn_bench.job import Job, field_flags, read_job
from dawn_bench.models.dawn.options import DawnOptions
from dawn_bench.pipelines.preparation.maintain import verify
from dawn_bench.reports.page import write_report
from dawn_bench.workflow.evaluate import evaluate_methods
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.generate import Generation
from dawn_bench.workflow.jobs import Download, Preparation, Quickstart, Reporting, Training
from dawn_bench.workflow.reproduction import Reproduction

JOBS = (Evaluation, Generation, Download, Preparation, Quickstart, Reporting, Training, Reproduction)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", JOBS, ids=lambda kind: kind.__name__)
def test_every_path_of_every_job(kind: type[Job], home: Path) -> None:
    """As a flag, in a config file, and in --set."""
    fields = [f for f in field_flags(kind) if f.of is Path]
    assert fields
    typed = {"mapping": lambda field: [f"k=~/{field}"], "list": lambda field: [f"~/{field}"]}
    given: dict[str, Any] = {f.field: typed.get(f.shape, lambda field: f"~/{field}")(f.field) for f in fields}
    if kind is Reproduction:
        given["table"] = "3"
    job = read_job(kind, given)[0]
    stored = {k: f"~/{k}" for k in given if k not in ("table", "variants")} | {"variants": {"k": "~/variants"}}
    keys = {f.field: f.keys[0] for f in fields}
    file = home / "job.yaml"
    file.write_text(
        yaml.safe_dump(
            {keys[k]: v for k, v in stored.items() if k in keys} | ({"table": 3} if "table" in given else {})
        )
    )
    for read in (job, read_job(kind, {}, file=file)[0]):
        for field in fields:
            value = getattr(read, field.field)
            value = value["k"] if field.shape == "mapping" else value[0] if isinstance(value, tuple) else value
            assert value == home / field.field, field.field


def test_paths_of_look_ups_options_and_the_api(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_cache(home / "c", size=16, frames=6, splits=("train", "test"))
    assert len(Cache("~/c")) == len(api.open_cache("~/c")) == 2 and not verify(Path("~/c")).faults
    for words in (["verify", "~/c"], ["stats", "~/c"], ["export", "~/c", "--out", "~/out"]):
        assert CliRunner().invoke(cache_app, words).exit_code == 0, words
    assert (home / "out" / "c0").is_dir()
    assert DawnOptions(drive="~/d.mp4").drive == home / "d.mp4"  # type: ignore[arg-type]
    monkeypatch.setenv(weights.ENVIRONMENT, "~/w")
    assert weights.folder() == home / "w"
    write_layout(home / "s3fd.pth", "s3fd")
    assert weights_add.add(Path("~/s3fd.pth"), "s3fd").path == home / "w" / weights.entry("s3fd").file
    monkeypatch.setenv(INSTALLS_VARIABLE, "~/installs.yaml")
    assert installs_file(None) == home / "installs.yaml"


def test_paths_of_an_installs_file(home: Path) -> None:
    (home / "repo" / "checkpoints").mkdir(parents=True)
    (home / "w.pth").touch()
    shutil.copy(shutil.which("true") or "/bin/true", home / "python")
    entry = {"python": "~/python", "repo": "~/repo", "weights": {"checkpoint": "~/w.pth"}}
    (home / "installs.yaml").write_text(yaml.safe_dump({"wav2lip": entry}))
    try:
        _, install = installs(home / "installs.yaml")["wav2lip"]
    except InputError as error:  # another weight of the adapter is looked for in the repository
        assert str(home / "repo") in str(error) and "~" not in str(error)
    else:
        assert install.python == home / "python" and install.weights["checkpoint"] == str(home / "w.pth")


def test_a_tilde_of_nobody_is_a_name(home: Path) -> None:
    assert user_path("~no-such-user/x") == Path("~no-such-user/x") and user_path("a~b") == Path("a~b")


def test_a_path_of_another_kind_is_named(tmp_path: Path, tiny_cache: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, what in (("file", "is a file, not a cache folder"), ("folder", "is not a finished cache"),
                       ("nowhere", "does not exist")):  # fmt: skip
        with pytest.raises(InputError, match=rf"{path}: {what}\. Prepare a cache with: dawn-bench prepare"):
            Cache(tmp_path / path)
    with pytest.raises(InputError, match=r"file: is a file, not a results folder\. Create one: dawn-bench evaluate"):
        write_report(tmp_path / "file", tmp_path / "report")
    job = Evaluation(cache=tiny_cache, out=tmp_path / "file", methods=("still",), metrics=("psnr",), device="cpu")
    with pytest.raises(InputError, match=r"file: is a file, not a folder\. Give another folder\."):
        evaluate_methods(job)


def test_a_file_of_labels_is_remembered_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache is continued from any folder."""
    monkeypatch.chdir(tmp_path)
    job = Preparation(root=Path("videos"), labels=Path("labels.csv"))
    assert job.labels == job.settings.labels == tmp_path.resolve() / "labels.csv"
