"""Help fits a screen, suggestions are near, a flag has one meaning, and a device that is not there is one line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from docs_hooks import ROOT, hook
from typer.testing import CliRunner

from dawn_bench.cli import COMMANDS, app, load
from dawn_bench.cli.help import EXIT_CODES
from dawn_bench.cli.job import JobFunction
from dawn_bench.cli.themes import METAVARS, theme_of

#: What each flag means, in every command that has it. Commands stand behind a flag where they may differ in words only.
MEANINGS = {
    "--address": "scheduler of a cluster",    "--all-metrics": "also with stand-ins",
    "--all": "also the options for special cases", "--audio": "speech file",
    "--audio-track": "number of the sound track", "--blink": "source of the blinks",
    "--cache": "folder of a cache",
    "--checkpoint": "run folder of trained models", "--clips": "clips of the gallery",
    "--compile": "compile the network", "--cond-scale": "scale of guidance", "--config": "file of settings",
    "--cookies": "cookie file",
    "--crop": "the crop", "--dataset": "kind of dataset", "--debug": "traceback", "--decoder": "decoder of pictures",
    "--device": "device",
    "--devices": "devices", "--drive": "driving video", "--drive-person": "person of the driving video",
    "--engine": "engine of the workers", "--eta": "noise of the sampler", "--extract": "extractors",
    "--face": "face back end", "--fields": "fields that are exported", "--fold": "score what others computed",
    "--for": "job that needs files", "--format": "formats to write", "--frames": "form in which frames are written",
    "--image": "portrait", "--install-completion": "shell completion", "--installs": "file of external methods",
    "--jobs": "worker processes", "--json": "result as JSON", "--labels": "table of labels",
    "--length": "inference lengths", "--like": "recipe", "--list": "CSV with a clip a row",
    "--list-missing": "only list missing clips", "--mapping": "CSV of clips and files",
    "--max-clips": "first clips only",
    "--max-covered": "covered mouth", "--max-frames": "first frames only", "--max-gap": "interpolated gap",
    "--max-seconds": "first seconds only", "--max-yaw": "head yaw", "--method": "methods", "--metrics": "metrics",
    "--method-class": "class of a method", "--min-coverage": "share of clips", "--min-face-height": "face height",
    "--min-frames": "shortest clip", "--min-in-frame": "face in the frame", "--min-sharpness": "sharpness",
    "--model": "model", "--name": "name under which it is listed", "--note": "note",
    "--naming": "pattern of file names",
    "--no-published": "no published table", "--no-track": "no service", "--on-cut": "scene cuts", "--only": "talks",
    "--only-fill": "do not score", "--option": "option of the method", "--out": "where to write",
    "--outputs": "outputs of a method", "--overwrite": "replace", "--part": "part of the work",
    "--pass-seconds": "longest pass", "--person": "which face", "--piece-length": "length of pieces",
    "--pose": "source of the head pose", "--pose-file": "file of head poses", "--precision": "precision",
    "--preset": "preset", "--protocol": "protocol", "--protocol-set": "field of the protocol",
    "--published": "published tables", "--replace": "replace a weight file", "--require-audio": "sound is needed",
    "--resume": "continue", "--root": "folder of the data", "--sanity": "sanity rows", "--seed": "seed",
    "--set": "one setting", "--show-completion": "shell completion", "--shuffle": "drawn order", "--size": "frame size",
    "--solver": "solver", "--split": "split of a cache by name", "--split-by": "which split a dataset gets",
    "--stage": "stages", "--steps": "diffusion steps", "--strict": "exit code 3", "--track": "services",
    "--variant": "runs of ablations", "--version": "version", "--weights": "policy on stand-ins",
}  # fmt: skip
COMMAND_LINE: Any = hook("command_line")


def every_option() -> dict[str, list[tuple[str, str]]]:
    """The commands, and the first words of the help, of every flag that help shows."""
    options = defaultdict(list)
    for words, command in COMMAND_LINE.commands():
        for param in command.params:
            if param.param_type_name == "option" and not getattr(param, "hidden", False):
                flag = max(param.opts, key=len)
                options[flag].append((" ".join(words), param.help or ""))
    return options


def test_every_flag_has_one_meaning_and_a_theme() -> None:
    flags = every_option()
    assert set(flags) - {"--help"} == set(MEANINGS), "say in MEANINGS what the flag means, in every command that has it"
    assert [flag for flag in flags if theme_of(flag)[0] == "More"] == [], "put the flag into a theme of cli/themes.py"
    assert len(set(MEANINGS.values()) - {"replace", "shell completion"}) == len(MEANINGS) - 3
    assert {flag.split()[-1] for flag in METAVARS} <= set(flags)


def test_old_spellings_work_and_name_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    from dawn_bench.cli.generate import generate
    from dawn_bench.cli.prepare import prepare

    given = ["--audio", "a.wav", "--out", "o.mp4", "--checkpoint", "run", "--device", "cpu", "--pose", "p.npz"]
    assert generate.job(**load("generate").make_context("generate", given).params)[0].pose == Path("p.npz")
    given = ["--root", "V", "--split", "identity", "--device", "cpu"]
    assert prepare.job(**load("prepare").make_context("prepare", given).params)[0].split == "identity"
    notes = capsys.readouterr().err
    assert "--pose is called --pose-file now" in notes and "--split is called --split-by now" in notes


def test_an_option_of_a_model_is_not_given_twice() -> None:
    from dawn_bench.workflow.generate import Generation

    with pytest.raises(ValueError, match="steps is given twice, by --steps and by --option steps"):
        Generation(checkpoint="run", steps=4, options={"steps": 5}, device="cpu")
    with pytest.raises(ValueError, match="pose is given twice, by --pose-file and by --option pose"):
        Generation(checkpoint="run", pose="a.npz", options={"pose": "b.npz"}, device="cpu")


@pytest.mark.parametrize("words", [w for w, c in COMMAND_LINE.commands()], ids=" ".join)
def test_the_common_help_fits_a_screen(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = CliRunner().invoke(app, [*words, "--help"]).output
    lines = text.splitlines()
    assert len(lines) < 60 and max(map(len, lines)) <= 80, text
    everything = CliRunner().invoke(app, ["help", *words, "--all"]).output
    shown = set(re.findall(r"^ +(--[\w-]+)", everything, re.M))
    options = {flag for flag, uses in every_option().items() if " ".join(words) in [name for name, _ in uses]}
    assert options <= shown, "every option is in --all"
    if re.search("^[0-9]+ more options?, ", text, re.M):
        assert CliRunner().invoke(app, [*words, "--help-all"]).output == everything


@pytest.mark.parametrize("command", ["list", "export"])
def test_the_split_of_a_cache_is_in_the_common_help(command: str) -> None:
    assert "  --split SPLIT" in CliRunner().invoke(app, ["cache", command, "--help"]).output


def test_common_help_cuts_a_long_list_and_counts_one_option_as_one() -> None:
    text, everything = (CliRunner().invoke(app, ["evaluate", flag]).output for flag in ("--help", "--help-all"))
    for name in ("fvd16", "ssim"):
        assert f"{name}," not in text.split("--max-clips")[0].split("--metrics")[1]
    assert "more (--help-all)." in " ".join(text.split()) and "(--help-all)" not in everything
    assert re.search(r"\bfvd16,", everything)
    assert (
        "\n1 more option, for special cases: dawn-bench report --help-all"
        in CliRunner().invoke(app, ["help", "report"]).output
    )
    usage = CliRunner().invoke(app, ["cache", "list", "--help"]).output
    assert usage.startswith("Usage: dawn-bench cache list [OPTIONS] CACHE\n") and "--split SPLIT" in usage


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("evaluate", "--metod", "x"), "no such option: --metod. Did you mean --method"),
        (("prepare", "--rot", "x"), "Did you mean --root"),
        (("evalute",), "Did you mean 'evaluate'?"),
        (("help", "evalute"), "Did you mean evaluate?"),
        (("help", "cache", "stat"), "Did you mean stats?"),
        (("--versoin",), "Did you mean --version"),
        (("evaluate", "--steps", "4"), "Give it to the methods: --option steps=VALUE"),
        (("completion", "bsh"), "Did you mean bash"),
        (("--json", "doctor"), "--json stands after the command: doctor --json"),
    ],
    ids=" ".join,
)
def test_typos_get_suggestions(
    words: tuple[str, ...], hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dawn_bench import cli

    monkeypatch.setattr("sys.argv", ["dawn-bench", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == "" and err.count("\n") == 1 and hint in err


def test_exit_codes_are_documented() -> None:
    page = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\d, ]+) \| (.*?) \|$", page, re.M))
    assert {code: text.replace("`", "") for code, text in rows.items()} == EXIT_CODES
    lines = CliRunner().invoke(app, ["help", "exit-codes"]).output.splitlines()
    assert lines[-1].startswith("130, 143, 129  ") and max(map(len, lines)) <= 80


def test_a_shell_completes_commands_options_and_names() -> None:
    def completed(line: str) -> list[str]:
        code = "from dawn_bench.cli import app; app(prog_name='dawn-bench')"
        given = {"_DAWN_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**ENVIRONMENT, **given}, capture_output=True, text=True
        )
        return done.stdout.split()

    import os

    ENVIRONMENT = dict(os.environ)
    assert completed("dawn-bench ev") == ["evaluate"]
    assert completed("dawn-bench evaluate --protocol paper-dawn-") == ["paper-dawn-tracked"]
    script = CliRunner().invoke(app, ["completion", "bash"]).output
    assert "_DAWN_BENCH_COMPLETE=complete_bash" in script and "dawn-bench" in script


#: What each command with a device needs to be read.
WITH_DEVICE = {
    "quickstart": ["--out", "q"], "prepare": ["--root", "V", "--cache", "c"], "train": ["--cache", "c", "--out", "r"],
    "generate": ["--image", "i.png", "--audio", "a.wav", "--checkpoint", "r", "--out", "t.mp4"],
    "evaluate": ["--cache", "c", "--out", "o"], "reproduce": ["table1", "--cache", "c", "--out", "o"],
}  # fmt: skip


def test_every_command_with_a_device_is_tried() -> None:
    flags = {name for name, _ in every_option()["--device"]}
    assert flags == set(WITH_DEVICE)


@pytest.mark.parametrize(
    "device", ["cuda", "gpu", "cuda:9", "cuda:x", "mps", "xpu", "meta", "tpu", "", "CUDA", "cpu:-3"]
)
@pytest.mark.parametrize("command", WITH_DEVICE)
def test_a_device_that_is_not_there_is_one_line(
    command: str, device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch

    from dawn_bench import cli

    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda:9")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.chdir(tmp_path)
    several = [("--devices", device)] if command in ("prepare", "generate", "evaluate") and device else []
    for flag, value in [("--device", device), *several]:
        if flag == "--devices" and command != "evaluate":
            continue  # those of the others are read where the workers start
        monkeypatch.setattr("sys.argv", ["dawn-bench", command, *WITH_DEVICE[command], flag, value])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        err = capsys.readouterr().err
        assert stopped.value.code == 2 and err.count("\n") == 1 and err.startswith("error: "), err
        assert "bug" not in err and "device" in err
    assert list(tmp_path.iterdir()) == []


def test_jobs_and_look_ups_have_json() -> None:
    for name in COMMANDS:
        command = load(name)
        for leaf in getattr(command, "commands", {name: command}).values():
            flags = {flag for param in leaf.params for flag in param.opts}
            needed = isinstance(leaf.callback, JobFunction) or leaf.name in (
                "list",
                "verify",
                "stats",
                "doctor",
                "methods",
                "fetch",
                "add",
                "export",
                "compact",
            )
            assert not needed or "--json" in flags, leaf.name
