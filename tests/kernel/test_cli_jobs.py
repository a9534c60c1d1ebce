"""Jobs on the command line: flags, config files and --set give one job; what is wrong is named as it was typed."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dawn_bench.cli import COMMANDS, app, load
from dawn_bench.cli.job import JobFunction, help_text
from dawn_bench.config import replace
from dawn_bench.errors import InputError
from dawn_bench.job import Job, field_flags
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.jobs import Preparation
from dawn_bench.workflow.reproduction import Reproduction

JOBS = tuple(
    name for name in COMMANDS if isinstance(getattr(import_module(f"dawn_bench.cli.{name}"), name, None), JobFunction)
)
EVALUATE = ("evaluate", "--cache", "C", "--out", "O", "--device", "cpu")


def job_and_settings(command: str, *words: str | Path) -> Any:
    """The job that a command line describes, and the settings of `train`; nothing runs."""
    parsed = load(command).make_context(command, [str(word) for word in words])
    function = getattr(import_module(f"dawn_bench.cli.{command}"), command)
    return function.job(**parsed.params)


def job(command: str, *words: str | Path) -> Any:
    """The job that a command line describes; nothing runs."""
    return job_and_settings(command, *words)[0]


def written(folder: Path, values: dict[str, Any]) -> Path:
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


#: By command: the same job as flags and as keys.
SAME = {
    "evaluate": (
        [
            *EVALUATE[1:], "--method", "dawn,still", "--method", "mine", "--metrics", "PSNR,lse-c", "--max-clips", "3",
            "--min-coverage", "0.25", "--option", "steps=10", "--option", "drive=truth", "--no-sanity", "--strict",
            "--protocol-set", "fid_resize=clean", "--naming", "{clip}_*", "--installs", "i.yaml", "--note", "One, two.",
        ],
        {
            "cache": "C", "out": "O", "device": "cpu", "method": ["dawn", "still", "mine"],
            "metrics": ["PSNR", "lse-c"], "max-clips": 3, "min_coverage": 0.25,
            "option": {"steps": 10, "drive": "truth"}, "sanity": False,
            "strict": True, "protocol_set": ["fid_resize=clean"], "naming": "{clip}_*", "installs": "i.yaml",
            "note": ["One, two."],
        },
    ),
    "prepare": (
        ["--root", "V", "--cache", "C", "--dataset", "hdtf", "--size", "256", "--allow-silent", "--jobs", "3",
         "--split", "identity", "--overwrite"],
        {"root": "V", "cache": "C", "dataset": "hdtf", "size": 256, "require_audio": False, "jobs": 3,
         "split": "identity", "overwrite": True},
    ),
    "reproduce": (
        ["table3", "--cache", "C", "--out", "O", "--variant", "ttr=T", "--variant", "no-pbnet=~/n", "--seed", "4",
         "--option", "steps=5"],
        {"table": "table3", "cache": "C", "out": "O", "variant": {"ttr": "T", "no-pbnet": "~/n"}, "seed": 4,
         "option": {"steps": 5}},
    ),
    "report": (
        ["R", "--format", "html,md", "--clips", "0", "--published", "1,3"],
        {"results": "R", "format": ["html", "md"], "clips": 0, "published": [1, 3]},
    ),
    "quickstart": (["--out", "demo", "--preset", "small"], {"out": "demo", "preset": "small"}),
    "train": (
        ["--cache", "C", "--out", "~/r", "--stage", "lfg", "--stage", "pbnet", "--resume", "--preset", "small"],
        {"cache": "C", "out": "~/r", "stage": ["lfg", "pbnet"], "resume": True, "preset": "small"},
    ),
    "generate": (
        ["--image", "i.png", "--audio", "a.wav", "--out", "o.mp4", "--checkpoint", "released-128", "--steps", "5",
         "--eta", "0.5", "--compile", "--option", "window=20", "--drive", "~/d.mp4", "--model", "dawn"],
        {"image": "i.png", "audio": "a.wav", "out": "o.mp4", "checkpoint": "released-128", "steps": 5, "eta": 0.5,
         "compile": True, "option": {"window": 20}, "drive": "~/d.mp4", "model": "dawn"},
    ),
    "download": (["--root", "H", "--only", "A,B"], {"root": "H", "only": ["A", "B"]}),
}  # fmt: skip


@pytest.mark.parametrize("command", SAME)
def test_flags_a_file_and_set_give_the_same_job(command: str, tmp_path: Path) -> None:
    flags, keys = SAME[command]
    by_flags = job(command, *flags)
    assert job(command, "--config", written(tmp_path, keys)) == by_flags
    sets = [
        word
        for key, value in keys.items()
        for word in ("--set", f"{key}={yaml.safe_dump(value, default_flow_style=True)}")
    ]
    assert job(command, *sets) == by_flags


@pytest.mark.parametrize("command", SAME)
def test_a_written_job_reads_back_the_same(command: str, tmp_path: Path) -> None:
    built = job(command, *SAME[command][0])
    built.to_yaml(tmp_path / "job.yaml")
    assert job(command, "--config", tmp_path / "job.yaml") == built


def test_the_later_source_wins(tmp_path: Path) -> None:
    assert job(*EVALUATE).seed == 0
    file = ("--config", written(tmp_path, {"seed": 1, "option": {"steps": 1, "eta": 1}, "sanity": False}))
    assert job(*EVALUATE, *file).seed == 1
    assert job(*EVALUATE, *file, "--seed", "2").seed == 2
    built = job(*EVALUATE, "--set", "seed=3", "--set", "options.eta=3", *file, "--seed", "2", "--option", "steps=2")
    assert built.seed == 3 and built.options == {"steps": 2, "eta": 3}
    assert job(*EVALUATE, *file, "--sanity").sanity
    assert job(*EVALUATE, "--max-clips", "3", "--set", "max_clips=null").max_clips is None


def test_extractors_are_added_to_those_of_the_file_or_the_default(tmp_path: Path) -> None:
    common = ("prepare", "--root", "V")
    assert job(*common, "--extract", "hubert").extract == ("pose", "blink", "logmel", "masks", "hubert")
    file = ("--config", written(tmp_path, {"extract": ["pose"]}))
    assert job(*common, *file, "--extract", "hubert", "--extract", "blink").extract == ("pose", "hubert", "blink")
    assert job(*common, *file, "--extract", "hubert", "--set", "extract=wav2vec2").extract == ("wav2vec2",)


def test_train_takes_the_settings_of_its_preset_from_the_same_file(tmp_path: Path) -> None:
    values = {"cache": "C", "out": "O", "preset": "small", "seed": 4, "lfg": {"loop": {"steps": 7, "batch_size": 2}}}
    common = ("train", "--device", "cpu", "--config", written(tmp_path, values), "--set", "lfg.loop.steps=9")
    built, settings = job_and_settings(*common, "--seed", "5", "--stage", "lfg,pbnet")
    assert (built.preset, built.seed, built.stage) == ("small", 5, ("lfg", "pbnet"))
    assert (settings.preset, settings.lfg.loop.steps, settings.lfg.loop.batch_size) == ("small", 9, 2)
    settings.to_yaml(tmp_path / "settings.yaml")
    again = job_and_settings("train", "--cache", "C", "--out", "O", "--config", tmp_path / "settings.yaml")
    assert again[1] == settings
    for word, message in (
        ("lfg.loop.stps=9", "--set 'lfg.loop.stps': is not known. Did you mean steps?"),
        ("lfg.loop.steps=x", "--set 'lfg.loop.steps': 'x' should be a valid integer"),
        ("lgf.loop.steps=9", "--set 'lgf': is not known. Did you mean lfg?"),
        ("sed=9", "--set 'sed': is not known. Did you mean seed"),
    ):
        with pytest.raises(InputError) as caught:
            job_and_settings(*common, "--set", word)
        assert str(caught.value).startswith(message)


def test_generate_passes_on_only_the_options_that_were_given() -> None:
    common = ("generate", "--audio", "a.wav", "--out", "o.mp4", "--checkpoint", "run", "--device", "cpu")
    assert job(*common).model_options == {}
    built = job(*common, "--steps", "5", "--no-compile", "--option", "window=20", "--set", "options.eta=0.5")
    assert built.model_options == {"steps": 5, "compile": False, "window": 20, "eta": 0.5}


def test_a_list_can_be_emptied() -> None:
    assert job("report", "R").published == (1,)
    assert job("report", "R", "--no-published").published == ()


def test_home_is_expanded_in_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    built = job(
        "reproduce", "table1", "--cache", "~/c", "--variant", "ttr=~/t", "--set", "checkpoint=~/r",
        "--config", written(tmp_path, {"out": "~/o"}),
    )  # fmt: skip
    assert (built.cache, built.checkpoint, built.out) == (tmp_path / "c", tmp_path / "r", tmp_path / "o")
    assert built.variants == {"ttr": tmp_path / "t"}
    assert job("prepare", "--root", "v", "--labels", "~/l.csv").labels == tmp_path / "l.csv"
    assert job("report", "R", "--config", "~/job.yaml").out == tmp_path / "o"


@pytest.mark.parametrize(
    ("words", "key"), [(("--methods", "i.yaml"), "--methods"), (("--set", "methods_file=i.yaml"), "methods_file")]
)
def test_an_old_name_works_with_a_notice(words: tuple[str, ...], key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert job(*EVALUATE, *words).installs == Path("i.yaml")
    note = capsys.readouterr().err
    new = "--installs" if key.startswith("--") else "installs"
    assert note.count("\n") == 1 and f"{key} is called {new} now" in note


def test_old_flags_are_in_no_help() -> None:
    assert not re.search(r"--methods\b", CliRunner().invoke(app, ["evaluate", "--help"]).output)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-clips", "x"), "--max-clips: 'x' should be a valid integer"),
        (("--max-clips", "0"), "--max-clips: '0' should be greater than or equal to 1"),
        (("--min-coverage", "2"), "--min-coverage: '2' should be less than or equal to 1"),
        (("--weights", "fils"), "--weights: there is no weights 'fils'. Did you mean files?"),
        (("--metrics", "psrn"), "--metrics: there is no metric called 'psrn'. Did you mean psnr?"),
        (("--device", "gpu"), "--device: there is no device 'gpu'."),
        (("--option", "steps"), "--option 'steps' is not of the form name=value."),
        (("--devices", ""), "--devices '' names nothing."),
        (("--devices", " ,"), "--devices ' ,' names nothing."),
        (("--set", "max_clip=3"), "--set 'max_clip': is not known. Did you mean max_clips?"),
        (("--set", "max_clips=x"), "--set 'max_clips': 'x' should be a valid integer"),
        (("--set", "max_clips"), "--set 'max_clips' is not of the form key=value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_as_it_was_typed(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        job(*(EVALUATE[:-2] if "--device" in words else EVALUATE), *words)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max-clips": "x"}, "setting 'max-clips': 'x' should be a valid integer"),
        ({"metod": "dawn"}, "setting 'metod': is not known. Did you mean method?"),
        ({"metrics": ["psnr", "psrn"]}, "setting 'metrics': there is no metric called 'psrn'"),
        ({"option": 3}, "setting 'option': "),
    ],
)
def test_what_is_wrong_in_a_file_names_the_file(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = written(tmp_path, values)
    with pytest.raises(InputError) as caught:
        job(*EVALUATE, "--config", file)
    assert str(caught.value).startswith(f"{file}: {message}") and "\n" not in str(caught.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"^--out is required: results folder"):
        job("evaluate", "--cache", "C")
    with pytest.raises(InputError, match=r"^TABLE is required: table1"):
        job("reproduce", "--cache", "C", "--out", "O")
    with pytest.raises(InputError, match="'seven' names no table"):
        job("reproduce", "seven", "--cache", "C", "--out", "O")


@pytest.mark.parametrize("name", ["LSE-C", "lse-c", "Lse-C"])
def test_metrics_go_by_name_or_label_in_any_case(name: str) -> None:
    assert job(*EVALUATE, "--metrics", f"{name},BLINK/S").metrics == ("lse-c", "blink")


def test_a_changed_copy_is_checked() -> None:
    built = Evaluation(cache="C", out="O", device="cpu")
    assert replace(built, seed=3) == Evaluation(cache="C", out="O", device="cpu", seed=3)
    with pytest.raises(InputError, match=r"'sed': is not known\. Did you mean seed"):
        replace(built, sed=3)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_in_a_help_text_can_be_parsed(command: str) -> None:
    paragraphs = [" ".join(text.split()) for text in (load(command).help or "").split("\n\n")]
    examples = [text.partition(": dawn-bench ")[2] for text in paragraphs if ": dawn-bench " in text]
    assert any(words.startswith(command) for words in examples)
    for words in examples:
        name, *rest = shlex.split(words)
        if name in JOBS:
            job(name, *rest)
        else:
            load(name).make_context(name, rest)


@pytest.mark.parametrize("command", JOBS)
def test_every_field_is_described(command: str) -> None:
    kind: type[Job] = getattr(import_module(f"dawn_bench.cli.{command}"), command).kind
    for field in field_flags(kind):
        assert re.fullmatch(r"[\w-].*[.]", field.info.description or ""), field.field
    assert kind.model_json_schema()["properties"].keys() == kind.model_fields.keys()


def test_help_lists_what_registries_hold() -> None:
    text = {field.name: help_text(field, names=True) for field in field_flags(Preparation)}
    assert "crema" in text["--dataset"] and "hubert" in text["--extract"] and "dlib" in text["--face"]
    assert "lse-c" in CliRunner().invoke(app, ["evaluate", "--help-all"]).output
    assert "Required." in help_text(field_flags(Reproduction)[0], names=True)


def test_unknown_words_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from dawn_bench.cli import main

    for words, message in (
        (["evaluat"], "error: no such command 'evaluat'. Did you mean 'evaluate'?"),
        (["evaluate", "--max-clip", "3"], "--max-clips"),
        (["report", "R", "--clips"], "'--clips' requires an argument"),
    ):
        monkeypatch.setattr("sys.argv", ["dawn-bench", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        text = capsys.readouterr().err
        assert caught.value.code == 2 and text.startswith("error: ") and message in text and text.count("\n") == 1
