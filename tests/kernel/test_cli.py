"""The command line as a new user meets it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dawn_bench import __version__

COMMANDS = (
    "quickstart", "download", "prepare", "train", "generate", "evaluate", "reproduce", "methods", "report", "weights",
    "cache", "doctor",
)  # fmt: skip


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dawn_bench", *words], capture_output=True, text=True, cwd=cwd)


def test_help_names_every_command() -> None:
    answer = run("--help")
    assert answer.returncode == 0
    assert all(name in answer.stdout for name in COMMANDS)


def test_version_is_printed_without_a_command() -> None:
    answer = run("--version")
    assert (answer.returncode, answer.stdout.strip()) == (0, __version__)


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom dawn_bench.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'pandas', 'cv2', 'av', 'dlib', 'scipy', 'matplotlib', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_description_and_an_example(name: str) -> None:
    answer = run(name, "--help")
    assert answer.returncode == 0
    assert "Example" in answer.stdout
    assert f"dawn-bench {name}" in answer.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "--dataset", "folder", "--root", "missing", "--cache", "c"),
        ("prepare", "--dataset", "nonsense", "--root", ".", "--cache", "c"),
        ("train", "--cache", "missing", "--out", "run"),
        ("evaluate", "--method", "still", "--cache", "missing", "--out", "results"),
        ("report", "missing"),
        ("generate", "--image", "missing.png", "--audio", "missing.wav", "--checkpoint", "missing", "--out", "x.mp4"),
        ("weights", "fetch", "nonsense"),
        ("weights", "add", "missing.pth"),
        ("cache", "verify", "missing"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_code_2(words: tuple[str, ...], tmp_path: Path) -> None:
    answer = run(*words, cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    (line,) = (line for line in answer.stderr.splitlines() if ": at work, " not in line)  # a slow machine takes 10 s
    assert line.startswith("error: ")


def test_ctrl_c_says_how_to_resume(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dawn_bench", "quickstart", "--out", str(tmp_path / "demo"), "--jobs", "1"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
        while not (tmp_path / "demo" / "quickstart.json").is_file():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, messages = running.communicate(timeout=120)
    assert running.returncode == 130
    assert messages.strip().splitlines()[-1].startswith("stopped: finished work is kept")
    assert "Traceback" not in messages
