"""A flag that takes one value and is given twice is refused: keeping the last one would drop the other in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dawn_bench.cli import COMMANDS, app, load
from dawn_bench.cli.job import OnceCommand
from dawn_bench.errors import InputError
from dawn_bench.workflow.evaluation import Evaluation

ONCE = {
    "prepare": ("--root", "V", "--cache", "C", "--cache", "D"),
    "train": ("--out", "R", "--cache", "C", "--cache", "D"),
    "generate": ("--image", "i.png", "--audio", "a.wav", "--out", "o.mp4", "--checkpoint", "R", "--checkpoint", "S"),
    "evaluate": ("--cache", "C", "--out", "O", "--checkpoint", "R", "--checkpoint=S"),
    "reproduce": ("table1", "--cache", "C", "--cache", "D", "--out", "O", "--out", "P"),
    "report": ("R", "--clips", "1", "--clips", "2"),
    "quickstart": ("--out", "a", "--seed", "1", "--seed", "2"),
    "download": ("--root", "H", "--root", "I"),
    "weights": ("add", "f.pth", "--name", "vgg19", "--name", "syncnet"),
    "cache": ("export", "C", "--out", "O", "--format", "wds", "--format", "npz"),
}


@pytest.mark.parametrize("command", ONCE)
def test_a_flag_of_one_value_given_twice_is_refused(command: str) -> None:
    words = [word.partition("=")[0] for word in ONCE[command] if word.startswith("--")]
    repeated = [word for word in words if words.count(word) > 1][-1]
    result = CliRunner().invoke(app, [command, *ONCE[command]])
    assert isinstance(result.exception, InputError) and result.exception.exit_code == 2
    assert str(result.exception) == f"{repeated} is given twice, and takes one value. Give it once."


def test_every_command_refuses_it() -> None:
    for name in COMMANDS:
        command = load(name)
        for each in getattr(command, "commands", {"": command}).values():
            assert isinstance(each, OnceCommand), (name, each.name)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--option", "steps=1", "--option", "steps=2"], "--option steps is given twice"),
        (["--protocol-set", "fid_resize=clean", "--protocol-set", "fid_resize=tf1"], "--protocol-set fid_resize"),
        (["--piece-length", "200", "--protocol-set", "piece_length=100"], "by --piece-length and by --protocol-set"),
        (["--pass-seconds", "60", "--option", "pass_seconds=none"], "by --pass-seconds and by --option"),
        (["--installs", "a.yaml", "--methods", "b.yaml"], "--installs is given twice, once as --methods"),
    ],
)
def test_one_setting_given_in_two_places_is_refused(words: list[str], what: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", "--cache", "C", "--out", "O", "--device", "cpu", *words])
    assert isinstance(result.exception, InputError) and what in str(result.exception)


def test_what_is_given_in_one_place_stays() -> None:
    job = Evaluation(cache=Path("C"), out=Path("O"), protocol_set=("piece_length=100", "fid_resize=clean"))
    assert job.protocol_changes == ("piece_length=100", "fid_resize=clean")


@pytest.mark.parametrize("flag", ["--cache", "--checkpoint"])
def test_reproduce_names_the_one_of_several_that_is_not_there(flag: str, tiny_cache: Path, tmp_path: Path) -> None:
    given = {"--cache": [str(tiny_cache)], "--checkpoint": [str(tmp_path)]}
    given[flag].append(str(tmp_path / "absent"))
    words = [word for name, paths in given.items() for path in paths for word in (name, path)]
    result = CliRunner().invoke(app, ["reproduce", "table1", "--out", str(tmp_path / "o"), "--device", "cpu", *words])
    assert isinstance(result.exception, InputError) and str(result.exception.path) == str(tmp_path / "absent")
    assert not (tmp_path / "o").exists()
