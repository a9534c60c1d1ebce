"""Every command in the README, the documentation and the help texts is one of today's command line."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from docs_hooks import ROOT, hook

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *```(?:bash|shell|console)\b[^\n]*\n(.*?)^ *```", re.M | re.S)
CONFIG = re.compile(r'^```yaml title="([\w-]+)\.yaml"\n(.*?)^```', re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
#: Where a command of ours begins in a line of shell.
PROGRAM = re.compile(r"(?:^|[\s/])(?:dawn-bench|-m dawn_bench)(?: |$)")

#: A variable of the shell or of Slurm, which stands for a number.
VARIABLE = re.compile(r"\$\{?\w+\}?")

COMMANDS: ModuleType = hook("command_line")


def shown() -> list[Any]:
    """Commands in code blocks and help texts, which must be complete."""
    cases = []
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            joined = re.sub(r"\\\n\s*", "", block)
            commands = [part for line in joined.splitlines() for part in line.partition(" #")[0].split("&&")]
            cases += [pytest.param(c.strip(), id=f"{page.name}: {c.strip()}") for c in commands if PROGRAM.search(c)]
    for words, command in COMMANDS.commands():
        for example in COMMANDS.examples(command):
            if not example.endswith("..."):
                cases.append(pytest.param(example, id=f"help of {' '.join(words)}: {example}"))
    return cases


def mentioned() -> list[Any]:
    """Commands and options named within sentences, which may lack what a call needs."""
    cases = []
    for page in PAGES:
        for text in INLINE.findall(re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)):
            if text.startswith("dawn-bench ") and "COMMAND" not in text:
                cases.append(pytest.param(text, id=f"{page.name}: {text}"))
    return cases


def parse(text: str) -> None:
    """Read a command as the program would, without running it; raises what Typer and the job's model raise."""
    words = shlex.split(VARIABLE.sub("1", text))
    start = next(i for i, word in enumerate(words) if word in ("dawn-bench", "dawn_bench") or "/dawn-bench" in word)
    command, rest, context = COMMANDS.application(), words[start + 1 :], None
    name = "dawn-bench"
    while True:
        context = command.make_context(name, list(rest), parent=context)
        if not getattr(command, "commands", None):
            job = getattr(inspect.unwrap(command.callback), "job", None)
            if job is not None and context.params.get("config") is None:  # a file that only the reader has
                job(**context.params)
            return
        left = [*context._protected_args, *context.args]
        if not left:
            return  # an option of the group, such as --version
        name, command, rest = command.resolve_command(context, left)


@pytest.mark.parametrize("text", shown())
def test_commands_in_code_blocks_and_help_texts_parse(text: str) -> None:
    try:
        parse(text)
    except Exception as error:
        if type(error).__name__ == "Exit":  # --help, --version
            return
        pytest.fail(f"{text}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("text", mentioned())
def test_commands_in_sentences_have_known_names_and_options(text: str) -> None:
    try:
        parse(text)
    except Exception as error:
        if type(error).__name__ in ("Exit", "MissingParameter", "NoArgsIsHelpError") or "is required" in str(error):
            return
        if "no model called 'glow'" in str(error):  # the example of how to add a model
            return
        pytest.fail(f"{text}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_config_files_are_read_by_their_command(page: Path, tmp_path: Path) -> None:
    jobs = {
        "-".join(words): inspect.unwrap(c.callback) for words, c in COMMANDS.commands() if hasattr(c.callback, "kind")
    }
    for name, text in CONFIG.findall(page.read_text(encoding="utf-8")):
        if name in jobs:
            (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
            jobs[name].job(config=str(tmp_path / "job.yaml"))


def test_a_wrong_option_or_command_would_be_noticed() -> None:
    for wrong in ("dawn-bench report results --nope", "dawn-bench nope", "dawn-bench weights nope"):
        with pytest.raises(Exception, match="nope"):
            parse(wrong)


def test_every_command_has_a_complete_example_in_its_help() -> None:
    without = [words for words, command in COMMANDS.commands() if words and not COMMANDS.examples(command)]
    grouped = [words for words in without if len(words) == 1]
    assert not grouped, f"no example in the help of {grouped}"


@pytest.mark.parametrize(
    "text",
    ["--version", "--help", "methods", "methods wav2lip", "weights list", "doctor", "weights verify"],
)
def test_short_commands_run(text: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dawn_bench", *text.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr


def test_every_help_page_can_be_printed() -> None:
    from typer.testing import CliRunner

    from dawn_bench.cli import app

    for words, _ in COMMANDS.commands():
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, words


def test_pages_name_no_path_that_is_not_in_the_repository() -> None:
    named = re.compile(r"`((?:pipelines|metrics|baselines|reports|dawn_bench|benchmarks|tests|docs)/[\w./-]*)`")
    examples = {title for page in PAGES for title in re.findall(r'title="([^"]+)"', page.read_text(encoding="utf-8"))}
    for page in PAGES:
        for path in named.findall(page.read_text(encoding="utf-8")):
            assert Path(ROOT, path).exists() or path in examples, f"{page.name} names {path}"
