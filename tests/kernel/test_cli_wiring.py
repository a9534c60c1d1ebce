"""Every option of every command, and every argument of the public functions, arrives under its own name.

Values are generated from the fields, all different from each other and from the defaults. A field whose values cannot
be guessed has one in `VALUES`; a new one is entered in `FOLLOWED` once a test compares it with what the command runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from typer.testing import CliRunner

import dawn_bench
from dawn_bench import api, devices, weights
from dawn_bench.cli import COMMANDS, app, load
from dawn_bench.cli import cache as cli_cache
from dawn_bench.cli import completion as cli_completion
from dawn_bench.cli import doctor as cli_doctor
from dawn_bench.cli import download as cli_download
from dawn_bench.cli import evaluate as cli_evaluate
from dawn_bench.cli import generate as cli_generate
from dawn_bench.cli import help as cli_help
from dawn_bench.cli import methods as cli_methods
from dawn_bench.cli import prepare as cli_prepare
from dawn_bench.cli import protocols as cli_protocols
from dawn_bench.cli import quickstart as cli_quickstart
from dawn_bench.cli import report as cli_report
from dawn_bench.cli import reproduce as cli_reproduce
from dawn_bench.cli import train as cli_train
from dawn_bench.cli import weights as cli_weights
from dawn_bench.cli.job import JobFunction
from dawn_bench.job import FieldFlag, field_flags
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.reports.page import FORMATS
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.jobs import Preparation, Reporting

#: The module of each command that has a job.
JOBS = {
    "download": cli_download, "evaluate": cli_evaluate, "generate": cli_generate, "prepare": cli_prepare,
    "quickstart": cli_quickstart, "report": cli_report, "reproduce": cli_reproduce, "train": cli_train,
}  # fmt: skip
#: Typed text of fields that take only some words, by name, or by command and name.
VALUES = {
    "device": "meta", "dataset": "hdtf", "face": "dlib", "person": "left", "drive_person": "right", "pose": "3ddfa",
    "generate.pose": "pose.npz", "generate.face": "dlib", "download.dataset": "crema", "reproduce.cache": "/x/cache",
    "reproduce.checkpoint": "/x/checkpoint", "blink": "one-pair", "decoder": "decord",
    "extract": "hubert", "metrics": "psnr,lse-c", "protocol": "paper-dawn-tracked", "protocol_set": "fid_resize=clean",
    "piece_length": "150", "pass_seconds": "7.5", "table": "5", "format": "md,csv", "published": "2,3",
    "preset": "small", "model": "dit-head", "generate.model": "dawn", "lengths": "7,9", "variants": "ttr=/x/v",
    "options": "steps=3", "generate.options": "window=3", "out": "/x/out.mp4", "part": "2/8",
}  # fmt: skip
#: Fields that change the defaults of others; they have tests of their own.
APART = {("prepare", "like"), ("prepare", "list_missing"), ("generate", "items")}
#: Fields that choose entries of another.
CHOOSES = {("prepare", "pose"): {"extract"}, ("prepare", "blink"): {"extract"}}


@pytest.fixture(autouse=True)
def _a_second_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device beside the CPU, which every value of `device` above names, on machines without one."""
    real = devices.checked_device
    monkeypatch.setattr("dawn_bench.job.checked_device", lambda name: name if name == "meta" else real(name))


class Reached(Exception):
    """The command came to what it runs."""


def typed(command: str, field: FieldFlag, number: int) -> tuple[list[str], Any]:
    """Words that set a field to a value of its own, and this value, None where only the model can say it."""
    text = VALUES.get(f"{command}.{field.field}", VALUES.get(field.field))
    if field.shape == "switch":
        default = bool(field.info.get_default())
        return [(field.flag.off or field.name.replace("--", "--no-", 1)) if default else field.name], not default
    value: Any = None
    if text is None and get_origin(field.of) is not None and get_args(field.of):
        choices = [v for v in get_args(field.of) if v != field.info.default and isinstance(v, str)]
        text = value = choices[-1]
    elif text is None and field.of is int:
        text, value = str(100 + number), 100 + number
    elif text is None and field.of is float:
        value = round(0.1 + 0.01 * number, 2)
        text = str(value)
    elif text is None and field.of is Path:
        value = Path(f"/x/{field.field}")
        text = str(value)
    elif text is None:
        text = value = field.field
    if field.shape == "list":
        value = (value,) if value is not None else None
    words = [text] if field.flag.positional else [field.name, text]
    return words, value


def words_of(command: str) -> tuple[list[str], dict[str, Any]]:
    """A command line that sets every field, and the values by field as far as they are known."""
    function = getattr(JOBS[command], command)
    words: list[str] = []
    values: dict[str, Any] = {}
    for number, field in enumerate(field_flags(function.kind)):
        if (command, field.field) not in APART:
            more, value = typed(command, field, number)
            words += more
            if value is not None:
                values[field.field] = value
    return words, values


@cache
def loaded(command: str) -> Any:
    """The parser of a command."""
    return load(command)


def job_of(command: str, words: list[str]) -> Any:
    parsed = loaded(command).make_context(command, list(words))
    return getattr(JOBS[command], command).job(**parsed.params)[0]


def test_every_command_with_a_job_is_tried() -> None:
    modules = {name: getattr(import_module(f"dawn_bench.cli.{name}"), name, None) for name in COMMANDS}
    assert {name for name, function in modules.items() if isinstance(function, JobFunction)} == set(JOBS)


@pytest.mark.parametrize("command", JOBS)
def test_every_flag_sets_its_own_field(command: str) -> None:
    words, values = words_of(command)
    job = job_of(command, words)
    assert {name: getattr(job, name) for name in values} == values
    fields = [f for f in field_flags(type(job)) if (command, f.field) not in APART]
    default = {f.field for f in fields if getattr(job, f.field) == f.info.get_default(call_default_factory=True)}
    assert default == set(), "set these to another value than their default in VALUES"
    required = [f for f in fields if f.info.is_required()]
    needed = [word for k, f in enumerate(required) for word in typed(command, f, k)[0]]
    bare = job_of(command, needed)
    for number, field in enumerate(fields):
        if not field.info.is_required():
            alone = job_of(command, [*needed, *typed(command, field, number)[0]])
            changed = {name for name in type(job).model_fields if getattr(alone, name) != getattr(bare, name)}
            assert changed - CHOOSES.get((command, field.field), set()) == {field.field}


def _spied(monkeypatch: pytest.MonkeyPatch, place: str) -> dict[str, Any]:
    """Replace the function `module:name` by one that notes its arguments by name and ends the command."""
    module, _, name = place.partition(":")
    real, got = getattr(import_module(module), name), {}

    def spy(*given: Any, **named: Any) -> None:
        got.update(inspect.signature(real).bind(*given, **named).arguments)
        raise Reached

    monkeypatch.setattr(import_module(module), name, spy)
    return got


def _prepare(got: Mapping[str, Any], job: Any) -> None:
    settings = got["settings"]
    assert all(getattr(settings, name) == getattr(job, name) for name in PrepareSettings.model_fields)
    names = ("root", "cache", "jobs", "engine", "address", "device", "devices", "overwrite", "name")
    assert {name: got[name] for name in names} == {name: getattr(job, name) for name in names}


def _train(got: Mapping[str, Any], job: Any) -> None:
    names = ("out", "seed", "device", "resume", "model", "track")
    assert {name: got[name] for name in names} == {name: getattr(job, name) for name in names}
    assert got["cache"] == ("cache", job.cache) and got["stages"] == job.stage
    assert got["settings"].preset == job.preset and "dit" in type(got["settings"]).__module__


def _report(got: Mapping[str, Any], job: Any) -> None:
    assert got == {
        "results": job.results, "out": job.out, "formats": job.format, "clips": job.clips, "published": job.published
    }  # fmt: skip


def _quickstart(got: Mapping[str, Any], job: Any) -> None:
    assert (got["out"], got["jobs"], got["device"]) == (job.out, job.jobs, job.device)
    assert (got["plan"].preset, got["plan"].seed) == (job.preset, job.seed)
    assert (got["weights"], got["all_metrics"]) == (job.weights, job.all_metrics)


def _whole(got: Mapping[str, Any], job: Any) -> None:
    assert list(got.values()) == [job]


RUNS: dict[str, tuple[str, Callable[[Mapping[str, Any], Any], None]]] = {
    "evaluate": ("dawn_bench.workflow.evaluate:evaluate_methods", _whole),
    "generate": ("dawn_bench.workflow.generate:generate", _whole),
    "reproduce": ("dawn_bench.workflow.reproduce:reproduce", _whole),
    "prepare": ("dawn_bench.pipelines.preparation.prepare:prepare", _prepare),
    "train": ("dawn_bench.workflow.train:train", _train),
    "report": ("dawn_bench.reports.page:write_report", _report),
    "quickstart": ("dawn_bench.workflow.quickstart:run_quickstart", _quickstart),
}


@pytest.mark.parametrize("command", RUNS)
def test_every_value_reaches_what_the_command_runs(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, check = RUNS[command]
    job = job_of(command, words_of(command)[0])
    got = _spied(monkeypatch, place)
    monkeypatch.setattr("dawn_bench.cache.Cache", lambda path: ("cache", path))
    result = CliRunner().invoke(app, [command, *words_of(command)[0]])
    assert isinstance(result.exception, Reached), result.exception
    check(got, job)


#: The fields of each job that a test of this file compares with what the command runs. Those of the other jobs are
#: followed further, in `tests/workflow/test_job_wiring.py`.
FOLLOWED: dict[str, set[str]] = {
    "prepare": {
        *PrepareSettings.model_fields,
        "root",
        "cache",
        "jobs",
        "engine",
        "address",
        "device",
        "devices",
        "overwrite",
        "name",
    },
    "train": {"cache", "out", "model", "stage", "preset", "resume", "seed", "device", "track"},
    "report": {"results", "out", "format", "clips", "published"},
    "quickstart": {"out", "preset", "weights", "all_metrics", "jobs", "seed", "device"},
    "download": {"root", "dataset", "only", "cookies"},
}
#: Fields that the command itself acts on.
OF_THE_COMMAND = {"prepare": {"strict", "list_missing"}}


@pytest.mark.parametrize("command", JOBS)
def test_every_field_of_a_job_is_followed_to_what_the_command_runs(command: str) -> None:
    if RUNS.get(command, ("", None))[1] is _whole:
        return
    fields = set(getattr(JOBS[command], command).kind.model_fields)
    assert fields == FOLLOWED[command] | OF_THE_COMMAND.get(command, set()), (
        f"compare the new field with what {command} runs, in `_{command}` above, and enter it in FOLLOWED"
    )


def test_download_takes_its_list_from_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cookies, calls = tmp_path / "cookies.txt", []
    cookies.touch()
    module = "dawn_bench.pipelines.datasets"
    monkeypatch.setattr(f"{module}.hdtf.raw_videos", lambda root, only: calls.append((root, only)) or ["video"])
    monkeypatch.setattr(f"{module}.download.youtube", lambda given: ("fetch", given))
    monkeypatch.setattr(
        f"{module}.download.download", lambda videos, folder, fetch: calls.append((videos, folder, fetch)) or []
    )
    words = ["download", "--root", str(tmp_path), "--only", "A,B", "--cookies", str(cookies), "--dataset", "hdtf"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert calls == [(tmp_path, ["A", "B"]), (["video"], tmp_path / "raw", ("fetch", cookies))]


def test_without_values_the_command_line_has_the_defaults_of_the_functions() -> None:
    """`jobs` apart: one is of a person's whole machine, the other of a script."""
    job = Evaluation(cache=Path("c"), out=Path("o"))
    for name, parameter in inspect.signature(api.evaluate).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name != "device":
            default = parameter.default if name != "options" else {}
            assert getattr(job, name) == default, name
    shown = inspect.signature(api.report).parameters
    page = Reporting(results=Path("r"))
    assert (shown["out"].default, shown["clips"].default, shown["published"].default) == (
        page.out, page.clips, page.published
    )  # fmt: skip
    assert shown["formats"].default == tuple(FORMATS) and page.format is None
    cache = Preparation(root=Path("r"))
    for name in ("engine", "address", "device", "devices", "overwrite", "name"):
        assert inspect.signature(api.prepare).parameters[name].default == getattr(cache, name)


def arguments(function: Callable[..., Any], command: str) -> dict[str, Any]:
    """A value of its own for every argument of a public function: that of the job's field."""
    job = job_of(command, words_of(command)[0])
    return {name: getattr(job, name) for name in inspect.signature(function).parameters}


def test_every_argument_of_prepare_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    values = arguments(api.prepare, "prepare")
    got = _spied(monkeypatch, "dawn_bench.pipelines.preparation.prepare:prepare")
    with pytest.raises(Reached):
        dawn_bench.prepare(values.pop("root"), values.pop("cache"), **values)
    _prepare(got, job_of("prepare", words_of("prepare")[0]))
    got.clear()
    with pytest.raises(Reached):
        dawn_bench.prepare("r", "c")
    assert got["settings"] == PrepareSettings() and got["jobs"] == 2
    with pytest.raises(Reached):
        dawn_bench.prepare("r", "c", like="dawn")
    assert got["settings"] == PrepareSettings(like="dawn")


def test_every_argument_of_evaluate_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    values = arguments(api.evaluate, "evaluate")
    got = _spied(monkeypatch, "dawn_bench.workflow.evaluate:evaluate_methods")
    with pytest.raises(Reached):
        dawn_bench.evaluate(values.pop("cache"), values.pop("out"), **values)
    (job,) = got.values()
    assert job == job_of("evaluate", words_of("evaluate")[0]).model_copy(update={"strict": False})


@pytest.mark.parametrize(
    ("function", "place", "positional"),
    [
        ("report", "dawn_bench.reports.page:write_report", 2),
        ("load_model", "dawn_bench.models.loading:load_model", 1),
        ("compute_metrics", "dawn_bench.metrics.scoring.compare:compute_metrics", 0),
    ],
)
def test_every_other_argument_arrives(
    function: str, place: str, positional: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = getattr(dawn_bench, function)
    names = list(inspect.signature(public).parameters)
    given = {name: (f"{name}",) if name in ("formats", "published") else f"{name}" for name in names}
    paths = {"results", "out", "checkpoint"}
    got = _spied(monkeypatch, place)
    with pytest.raises(Reached):
        public(*(given[n] for n in names[:positional]), **{n: given[n] for n in names[positional:]})
    assert got == {name: Path(value) if name in paths else value for name, value in given.items()}
    assert set(got) == set(names)


def leaves() -> list[tuple[str, ...]]:
    """The look-up commands, each as typed."""
    words: list[tuple[str, ...]] = []
    for name in COMMANDS:
        if name not in JOBS:
            command = load(name)
            words += [(name, sub) for sub in command.commands] if hasattr(command, "commands") else [(name,)]
    return words


_TARS = ("--format", "webdataset", "--frames", "jpg", "--jobs", "3", "--shuffle", "--seed", "7")
#: Each look-up: the words after it, and what these should call: `module:function` with arguments by name.
LOOKUPS: dict[tuple[str, ...], tuple[list[str], str, dict[str, Any]]] = {
    ("cache", "verify"): (["C", "--json"], "dawn_bench.pipelines.preparation.maintain:verify", {"root": Path("C")}),
    ("cache", "stats"): (["C", "--json"], "dawn_bench.pipelines.preparation.maintain:stats", {"root": Path("C")}),
    ("cache", "list"): (
        ["C", "--split", "val", "--json"],
        "dawn_bench.pipelines.preparation.maintain:listed",
        {"root": Path("C"), "split": "val"},
    ),
    ("cache", "export"): (
        ["C", "--out", "O", "--split", "val", "--fields", "frames, audio", *_TARS, "--json"],
        "dawn_bench.pipelines.preparation.export:export",
        {"root": Path("C"), "out": Path("O"), "format": "webdataset", "split": "val", "fields": ["frames", "audio"]}
        | {"frames": "jpg", "jobs": 3, "shuffle": True, "seed": 7},
    ),
    ("cache", "compact"): (["C", "--json"], "dawn_bench.pipelines.preparation.compact:compact", {"root": Path("C")}),
    ("weights", "list"): (["--json"], "dawn_bench.weights:resolve", {"name": weights.WEIGHTS[0].name}),
    ("weights", "verify"): (["--json"], "dawn_bench.weights:locate", {"weight": weights.WEIGHTS[0]}),
    ("weights", "fetch"): (
        ["vgg19", "--for", "prepare", "--set", "a=b", "--json"],
        "dawn_bench.workflow.needs:job_needs",
        {"name": "prepare", "changes": ["a=b"]},
    ),
    ("weights", "add"): (
        ["F.pth", "--name", "vgg19", "--replace", "--json"],
        "dawn_bench.weights_add:add",
        {"path": Path("F.pth"), "name": "vgg19", "replace": True},
    ),
    ("methods",): (
        ["--installs", "i.yaml", "--json"],
        "dawn_bench.baselines.external.adapter:installs_file",
        {"given": Path("i.yaml")},
    ),
    ("doctor",): (["--json"], "dawn_bench.provenance:versions", {}),
    ("protocols",): (
        ["paper-dawn", "--json"],
        "dawn_bench.metrics.protocols.base:protocol",
        {"name": "paper-dawn"},
    ),
    ("help",): (
        ["evaluate", "--all"],
        "dawn_bench.cli.help_text:help_of",
        {"everything": True},
    ),
    ("completion",): (
        ["zsh"],
        "typer.completion:get_completion_script",
        {"prog_name": "dawn-bench", "complete_var": "_DAWN_BENCH_COMPLETE", "shell": "zsh"},
    ),
}
#: A second way of calling one, with options that do not go with those above.
_INPUTS = ("--format", "inputs", "--piece-length", "9", "--max-clips", "2", "--split", "val", "--jobs", "3")
ALSO: dict[tuple[str, ...], tuple[list[str], str, dict[str, Any]]] = {
    ("cache", "export"): (
        ["C", "--out", "O", *_INPUTS],
        "dawn_bench.workflow.own_inputs:export_inputs",
        {"root": Path("C"), "out": Path("O"), "split": "val", "piece_length": "9", "max_clips": 2, "jobs": 3},
    ),
}


def test_every_look_up_is_tried_with_all_its_options() -> None:
    modules = (cli_cache, cli_completion, cli_doctor, cli_help, cli_methods, cli_protocols, cli_weights)
    assert {module.__name__.rpartition(".")[2] for module in modules} == set(COMMANDS) - set(JOBS)
    assert set(leaves()) == set(LOOKUPS)
    for words, (first, _, _) in LOOKUPS.items():
        more = [*first, *(ALSO[words][0] if words in ALSO else ())]
        command = load(words[0])
        command = command.commands[words[1]] if len(words) > 1 else command
        flags = {flag for p in command.params if not getattr(p, "hidden", False) for flag in p.opts if flag[:2] == "--"}
        assert flags - {"--help"} <= {w for w in more if w.startswith("--")}, words


@pytest.mark.parametrize(
    ("words", "case"),
    [*LOOKUPS.items(), *ALSO.items()],
    ids=lambda value: " ".join(value) if isinstance(value[-1], str) else value[1],
)
def test_every_option_of_a_look_up_arrives(
    words: tuple[str, ...], case: tuple[list[str], str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    more, place, expected = case
    got = _spied(monkeypatch, place)
    result = CliRunner().invoke(app, [*words, *more])
    assert isinstance(result.exception, Reached), result.exception
    assert {name: got[name] for name in expected} == expected
    assert words == ("help",) or got == expected  # its command and context are objects of its own
