"""An ordinary package: wheel, sdist, install and checkout have one and the same code under one top-level name."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINKS = ("pipelines", "metrics", "baselines", "reports")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed, without this run's PYTHONPATH."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, env=inherited | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks, with its links."""
    copy = tmp_path_factory.mktemp("package") / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_file():
            target.write_bytes(source.read_bytes())
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    """The wheel that pip builds of the checkout."""
    out = checkout.parent / "wheel"
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", out, checkout, cwd=checkout.parent)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, checkout: Path) -> Path:
    """The interpreter of a fresh environment with the wheel installed; dependencies come from this one."""
    folder = checkout.parent / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=checkout.parent)
    python = folder / "bin" / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=checkout.parent).strip()
    )
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = ("-m", "pip", "--python", python, "install", "--no-deps", "-q", "--force-reinstall", wheel)
    run(sys.executable, *install, cwd=checkout.parent)
    assert (site / "dawn_bench" / "pipelines").is_dir()
    return python


def test_links_point_to_the_packages() -> None:
    for name in LINKS:
        link = ROOT / "dawn_bench" / name
        assert link.is_symlink() and link.readlink() == Path("..") / name


def test_the_wheel_has_one_top_level_name_and_every_file(checkout: Path, wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert {n.split("/")[0] for n in names} == {"dawn_bench"}
    wanted = {
        str(path.relative_to(checkout))
        for folder in ("dawn_bench", *(f"dawn_bench/{link}" for link in LINKS))
        for path in (checkout / folder).rglob("*")
        if path.is_file() and (path.suffix != ".md")
    }
    assert names == wanted


def test_a_wheel_of_the_sdist_has_the_same_files(checkout: Path, wheel: Path) -> None:
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    out = checkout.parent / "sdist"
    run(sys.executable, "-m", "pip", "install", "-q", "--target", out / "tools", "setuptools>=77", cwd=checkout.parent)
    run(sys.executable, "-c", code, out, cwd=checkout, PYTHONPATH=str(out / "tools"))
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    source = out / archive.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", out, source, cwd=out)
    (second,) = out.glob("*.whl")
    assert set(zipfile.ZipFile(second).namelist()) == set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("place", ["checkout", "elsewhere"])
def test_after_an_install_every_module_comes_from_one_copy(python: Path, checkout: Path, place: str) -> None:
    cwd = checkout if place == "checkout" else checkout.parent
    assert "--preset" in run(python, "-m", "dawn_bench", "train", "--help", cwd=cwd)
    run(python, "-m", "dawn_bench", "doctor", cwd=cwd)
    code = (
        "import pathlib, sys; import dawn_bench, dawn_bench.cli, dawn_bench.pipelines.media.video, dawn_bench.metrics, "
        "dawn_bench.baselines, dawn_bench.reports, dawn_bench.workflow.train; "
        "print(*{pathlib.Path(m.__path__[0] if hasattr(m, '__path__') else m.__file__) for n, m in "
        "list(sys.modules.items()) if n.split('.')[0] == 'dawn_bench'}, sep='\\n')"
    )
    root = cwd / "dawn_bench" if place == "checkout" else Path(python).parents[1]
    for line in run(python, "-c", code, cwd=cwd).split():
        assert Path(line).is_relative_to(root), line
