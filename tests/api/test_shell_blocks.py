"""Every command in a block of shell in the README and the documentation runs in a clean folder, or says why not here.

They run in this process, on small data that the workspace calls by the names of the documentation.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_hooks import ROOT
from tiny_cache import write_tiny_cache
from typer.testing import CliRunner

from dawn_bench import registry
from dawn_bench.baselines.base import METHODS
from dawn_bench.cli import app
from dawn_bench.workflow.own_inputs import export_inputs

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *```bash[^\n]*\n(.*?)^ *```", re.M | re.S)
#: Why a command is not run here: the first pattern that it contains decides.
NOT_HERE = {
    r"torchrun|--nnodes|--address|--engine|srun|--part |--only-fill|--fold|--devices|SLURM": "several GPUs or hosts",
    r"\bdownload\b|weights fetch": "the network",
    r"weights add": "files from elsewhere",
    r"--like|hdtf|HDTF|biwi|CREMA-D|caches/wide": "a published data set",
    r"dawn-128|released-|--cookies|--installs|methods_file|vox256": "published weights or another repository",
    r"--track": "services that show a training",
    r"quickstart": "tests/e2e, in minutes",
    r"train .*(small|dit-head|diffspeaker)|dit-head|my-videos|MY_CLIPS|-mesh|meshes": "minutes: tests/training",
    r"decord": "another package",
    r"items/clips\.csv|--format inputs": "tests/workflow/test_own_inputs.py runs the whole loop",
    r"--list items\.csv": "tests/workflow/test_generate_list.py",
    r"reproduce|reproduced": "tests/workflow/test_reproduce.py",
    r"cache compact": "tests/pipelines/test_compact.py: it needs the plan of a preparation",
    r"--method freeze": "below, with its files",
    r"rmse|talker|wav2lip": "tests/docs/test_examples.py",
    r"--jobs [0-9]": "more cores",
}


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of every command of ours in a block of shell, each once."""
    seen = set()
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                for part in line.partition(" #")[0].split("&&"):
                    command = part.strip()
                    if re.search(r"(^|/)dawn-bench |-m dawn_bench ", command) and command not in seen:
                        seen.add(command)
                        yield page.name, command


def reason(command: str) -> str:
    return next((why for pattern, why in NOT_HERE.items() if re.search(pattern, command)), "")


HERE = [(page, command) for page, command in commands() if not reason(command)]


@pytest.fixture(scope="module")
def folder(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workspace with a user's own outputs, named like the clips and in a table."""
    root = tmp_path_factory.mktemp("blocks") / "work"
    shutil.copytree(workspace, root)
    shutil.rmtree(root / "caches" / "crema")
    write_tiny_cache(root / "caches" / "crema", frames=16, splits=("train", "train", "test"))
    shutil.rmtree(root / "caches" / "mine", ignore_errors=True)
    (root / "caches" / "mine").symlink_to("crema")
    export_inputs(root / "caches" / "crema", root / "items")
    for name in ("my_mp4s", "results"):
        shutil.rmtree(root / name)
    (root / "my_mp4s").mkdir()
    shutil.copy(root / "items" / "c2" / "driving.mp4", root / "my_mp4s" / "c2.mp4")
    (root / "names.csv").write_text("clip,file\nc2,c2.mp4\n")
    (root / "evaluate.yaml").write_text("cache: caches/crema\nout: results\nmethod: still\n")
    return root


@pytest.mark.parametrize(("page", "command"), HERE, ids=[f"{page}: {command}" for page, command in HERE])
def test_a_command_runs(page: str, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    words = shlex.split(command)[1:]
    if words[0] == "evaluate":  # what is scored is tested elsewhere
        words += ["--no-sanity", *(() if "--metrics" in words else ("--metrics", "psnr")), "--device", "cpu"]
        words += [] if "--option" in words or "--checkpoint" not in words else ["--option", "steps=1"]
    if words[0] == "report" and not (folder / "results").exists():
        pytest.skip("alone, there are no results yet")
    done = CliRunner().invoke(app, words, catch_exceptions=True)
    assert done.exit_code == 0, f"{command}: {done.exception or done.output}"


def test_every_reason_is_that_of_a_command() -> None:
    every = [command for _, command in commands()]
    for pattern in NOT_HERE:
        assert any(re.search(pattern, command) for command in every), pattern
    assert len(HERE) >= 15


TITLED = re.compile(r'^```\w+ title="(my_method\.py|pyproject\.toml)"\n(.*?)^```', re.M | re.S)


def test_the_method_of_the_readme_is_evaluated(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two files as they stand, installed as pip does: the module, and the entry points of its distribution."""
    import tomllib

    files = dict(TITLED.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    project = tomllib.loads(files["pyproject.toml"])
    info = tmp_path / "my_method-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 0.1.0\n")
    (points,) = project["project"]["entry-points"].items()
    (info / "entry_points.txt").write_text(f"[{points[0]}]\n" + "\n".join(f"{k} = {v}" for k, v in points[1].items()))
    for module in project["tool"]["setuptools"]["py-modules"]:
        (tmp_path / f"{module}.py").write_text(files[f"{module}.py"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(METHODS, "_discovered", False)
    try:
        words = "evaluate --method freeze --cache caches/crema --out results-freeze --metrics psnr --no-sanity"
        done = CliRunner().invoke(app, shlex.split(words))
        assert done.exit_code == 0, done.exception or done.output
    finally:
        METHODS._items.pop("freeze", None)
    from dawn_bench.reports.store import ResultsStore

    (row,) = ResultsStore(folder / "results-freeze").rows()
    assert row.method == "freeze" and row.coverage == 1 and row.n_frames == 16
    assert registry.installed_plugins()
