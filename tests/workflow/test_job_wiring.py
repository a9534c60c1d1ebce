"""Every setting of a generation, an evaluation and a reproduction arrives where it acts, with its value.

Generated over the fields of the jobs: a new field fails here until its table says where it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from marked import marked_clip
from spies import Spies

from dawn_bench.baselines.base import Generated, Item
from dawn_bench.baselines.formats import VideoFormat
from dawn_bench.baselines.outputs import OK, Output
from dawn_bench.cache import Cache
from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.models import loading
from dawn_bench.models.generator import TalkingStream
from dawn_bench.models.spec import MODELS
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.provenance import fingerprint
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow import entries, evaluate, generate, reproduce, row_filling, row_runs
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.filling import Filled, workers_of
from dawn_bench.workflow.generate import Generation
from dawn_bench.workflow.reproduction import Reproduction

#: (field) -> (its value, other fields given with it, what of the calls must be equal to what).
Place = tuple[Any, Mapping[str, Any], Callable[[Spies], Any], Any]


def _of(label: str, name: str) -> Callable[[Spies], Any]:
    return lambda spies: spies.of(label)[0].get(name)


def _each(label: str, name: str) -> Callable[[Spies], Any]:
    """The values of all calls, where they are one."""
    return lambda spies: (lambda values: values[0] if values and all(v == values[0] for v in values) else values)(
        [call.get(name) for call in spies.of(label)]
    )


def _all(*places: Callable[[Spies], Any]) -> Callable[[Spies], Any]:
    return lambda spies: [place(spies) for place in places]


def _scoring(name: str) -> Callable[[Spies], Any]:
    return lambda spies: getattr(spies.of("score_entry")[0]["scoring"], name)


def _generated_ids(spies: Spies) -> list[str]:
    return [clip.id for clip in spies.of("produce")[0]["clips"]]


def _rest_of(label: str, name: str, value: Any) -> Callable[[Spies], bool]:
    """Whether a value is among those of the calls."""
    return lambda spies: value in [call[name] for call in spies.of(label)]


def _option(name: str, value: Any) -> Place:
    return (value, {}, _of("stream", name), Path(value) if name in ("drive", "pose") else value)


GENERATED: dict[str, Place] = {
    "image": ("b.png", {}, _of("stream", "image"), Path("b.png")),
    "audio": ("b.wav", {}, _of("stream", "audio"), Path("b.wav")),
    "audio_track": (3, {}, _of("stream", "audio_track"), 3),
    "out": ("folder/b.mp4", {}, _of("save", "path"), Path("folder/b.mp4")),
    "checkpoint": ("other", {}, _each("load_model", "checkpoint"), Path("other")),
    "model": ("dit-head", {"image": "b.png"}, _of("load_model", "model"), "dit-head"),
    "options": ({"window": 7}, {}, _of("stream", "window"), 7),
    "max_seconds": (1.5, {}, _of("stream", "max_seconds"), 1.5),
    "face": ("dlib", {}, _of("stream", "face"), "dlib"),
    "seed": (9, {}, _of("stream", "seed"), 9),
    "device": ("meta", {}, _of("load_model", "device"), "meta"),
    "crop": _option("crop", "paper"),
    "drive": _option("drive", "d.mp4"),
    "pose": _option("pose", "p.npz"),
    "steps": _option("steps", 4),
    "eta": _option("eta", 0.5),
    "cond_scale": _option("cond_scale", 0.5),
    "solver": _option("solver", "dpm2m"),
    "pass_seconds": _option("pass_seconds", 9.0),
    "precision": _option("precision", "bf16"),
    "compile": _option("compile", True),
    "person": _option("person", "left"),
    "drive_person": _option("drive_person", "2"),
}


@pytest.fixture
def spies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Spies:
    monkeypatch.chdir(tmp_path)
    return Spies(monkeypatch)


def job_of(kind: type[Config], base: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """A job whose device need not exist."""
    given = {**base, **changes}
    device = given.pop("device", "cpu")
    return kind.model_validate({**given, "device": "cpu"}).model_copy(update={"device": device})


#: The calls of a job without the field, by job and by what is given beside the field; most fields share them.
_WITHOUT: dict[str, list[tuple[str, dict[str, Any]]]] = {}


def check(job: str, field: str, place_of: Place, run: Callable[[dict[str, Any]], Any], spies: Spies) -> None:
    """The value is at its place, and not where the field is not given."""
    value, beside, place, expected = place_of
    run({**beside, **({} if value is None else {field: value})})
    assert place(spies) == expected
    if value is None:
        return
    key = f"{job} {dict(beside)}"
    if key not in _WITHOUT:
        spies.calls.clear()
        with suppress(InputError):  # outputs of a method that is not given any
            run(dict(beside))
        _WITHOUT[key] = spies.calls[:]
    spies.calls[:] = _WITHOUT[key]
    try:
        without = place(spies)
    except (IndexError, ValueError):
        return  # not called at all
    assert without != expected


#: Settings of `generate --list`, which `test_generate_list.py` follows.
OF_A_LIST = {"items", "jobs", "devices", "strict"}


@pytest.mark.parametrize("field", [field for field in Generation.model_fields if field not in OF_A_LIST])
def test_every_setting_of_a_generation_arrives(field: str, spies: Spies) -> None:
    assert field in GENERATED, f"Say in GENERATED of this file where {field} arrives."
    spies.watch(TalkingStream, "save", returns=lambda self, path: path)

    class Model:
        def stream(self, image: Any, audio: Any, **options: Any) -> TalkingStream:
            return TalkingStream(iter([]), 5, np.zeros(0, np.int16), 25)

    model = Model()
    spies.watch(model, "stream")
    spies.watch(loading, "load_model", returns=model)
    spies.watch(loading, "find_model", returns=MODELS["dawn"])
    base = {"image": "a.png", "audio": "a.wav", "out": "a.mp4", "checkpoint": "run"}
    value, beside, place, expected = GENERATED[field]
    assert generate.generate(job_of(Generation, base, {field: value, **beside})).n_frames == 5
    assert place(spies) == expected
    given = spies.one("stream")
    spies.calls.clear()
    generate.generate(job_of(Generation, base, beside))
    assert place(spies) != expected or field == "image"
    without = spies.one("stream")
    assert {name for name in given if given[name] != without.get(name)} <= {field, "window"}  # and nothing else


def test_options_that_are_not_given_are_the_models_own() -> None:
    """Each option that the command has a flag for is one of some model's, and left out where it is not given."""
    job = job_of(Generation, {"audio": "a.wav", "out": "a.mp4", "checkpoint": "run"}, {})
    assert job.model_options == {}
    own = {name for model in MODELS for name in MODELS[model].options.resolve().model_fields}
    common = set(Generation.model_fields) & own
    assert {*generate._COMMON} - {"cond_scale"} <= own and common <= {*generate._COMMON}


STILL = {"methods": ("still",), "sanity": False, "metrics": ("psnr",)}
#: Settings that the command itself reads.
OF_THE_COMMAND = {"strict"}
OWN: dict[str, Any] = {"methods": ("mine",), "outputs": Path("mine")}
SANITY = ["ground-truth", "ground-truth-reencoded", "still", "shuffled-sound"]
EVALUATED: dict[str, Place] = {
    "cache": (None, {}, lambda s: s.one("Cache")["root"].name, "cache"),
    "out": (
        "other",
        {},
        _all(
            _of("produce", "out"), _of("ResultsStore", "root"), _of("write_report", "results"), _of("Context", "logs")
        ),
        [Path("other/outputs"), Path("other"), Path("other"), Path("other/logs")],
    ),
    "methods": (("ground-truth",), {}, lambda s: s.one("produce")["method"].name, "ground-truth"),
    "checkpoint": (Path("run"), {}, _of("Context", "checkpoint"), Path("run")),
    "outputs": (Path("mine"), {"methods": ("mine",)}, _of("find_piece_outputs", "folder"), Path("mine")),
    "mapping": (Path("m.csv"), OWN, _of("find_piece_outputs", "mapping"), Path("m.csv")),
    "naming": ("{clip}_*", OWN, _of("find_piece_outputs", "naming"), "{clip}_*"),
    "method_class": ("dub", OWN, lambda s: s.of("score_entry")[0]["entry"].method_class, "dub"),
    "installs": (Path("i.yaml"), {}, _of("Context", "installs"), Path("i.yaml")),
    "min_coverage": (
        0.7,
        {},
        _all(_of("common_clips", "min_coverage"), _of("levelled", "min_coverage"), _scoring("min_share")),
        [0.7] * 3,
    ),
    "split": ("train", {}, _all(_generated_ids, _scoring("split")), [["c0", "c1", "c2", "c3"], "train"]),
    "metrics": (("ssim",), {}, _scoring("metrics"), ("ssim",)),
    "max_clips": (1, {}, _generated_ids, ["c4"]),
    "protocol": ("paper-dawn-tracked", {}, lambda s: _scoring("protocol")(s).id, "paper-dawn-tracked"),
    "protocol_set": (("skip_first=1",), {}, lambda s: _scoring("protocol")(s).skip_first, 1),
    "piece_length": (
        10,
        {},
        lambda s: ({c.n_frames for c in s.one("produce")["clips"]}, _scoring("protocol")(s).piece_length),
        ({10}, 10),
    ),
    "weights": ("seeded", {}, _scoring("weights"), "seeded"),
    "options": ({"steps": 7}, {}, _of("Context", "options"), {"steps": 7}),
    "pass_seconds": (8.0, {}, _of("Context", "options"), {"pass_seconds": 8.0}),
    "sanity": (True, {}, lambda s: [c["method"].name for c in s.of("produce")], SANITY),
    "seed": (11, {}, _all(_of("produce", "seed"), _of("Context", "seed"), _scoring("seed")), [11] * 3),
    "device": (
        "meta",
        {},
        _all(_of("Context", "device"), _scoring("device"), _of("device_name", "device")),
        ["meta"] * 3,
    ),
    "notes": (("read me",), {}, lambda s: s.one("set_facts")["facts"].notes, ["read me"]),
    "jobs": (3, {}, lambda s: s.one("fill")["workers"].number, 3),
    "engine": ("dask", {}, lambda s: s.one("fill")["workers"].engine, "dask"),
    "address": ("tcp://a:1", {"engine": "dask"}, lambda s: s.one("fill")["workers"].address, "tcp://a:1"),
    "devices": (
        ("cpu",),
        {},
        lambda s: (s.one("fill")["workers"].gpus, getattr(s.one("fill")["pool"], "names", ())),
        (1, ("cpu",)),
    ),
    "only_fill": (True, {}, lambda s: (s.one("fill")["part"], "score_entry" in s.labels), ((1, 1), False)),
    "part": ("2/3", {}, lambda s: (s.one("fill")["part"], "score_entry" in s.labels), ((2, 3), False)),
    "fold": (True, {}, lambda s: ("fill" in s.labels, "score_entry" in s.labels), (False, True)),
}


@pytest.mark.parametrize("field", sorted(set(Evaluation.model_fields) - OF_THE_COMMAND))
def test_every_setting_of_an_evaluation_arrives(field: str, spies: Spies, tiny_cache: Path) -> None:
    assert field in EVALUATED, f"Say in EVALUATED of this file where {field} arrives."
    for name in ("Cache", "ResultsStore", "common_clips"):
        spies.watch(evaluate, name)
    spies.watch(entries, "Context")
    spies.watch(evaluate, "fill", returns=None)
    spies.watch(evaluate, "filled", returns=lambda jobs: Filled())
    spies.watch(evaluate, "score_entry", returns=lambda *_, **__: [])
    spies.watch(evaluate, "levelled", returns=lambda entries, rows, *_, **__: rows)
    spies.watch(evaluate, "write_report", returns=[Path("report.html")])
    spies.watch(evaluate, "device_name", returns="a device")
    spies.watch(ResultsStore, "set_facts", returns=None)
    spies.watch(entries, "produce", returns=_produced)
    given = {"c4": Path("mine/c4.mp4"), "c5": Path("mine/c5.mp4")}
    spies.watch(entries, "find_piece_outputs", returns=lambda *_, **__: SimpleNamespace(files=given, starts={}))
    spies.watch(entries, "_whole_files", returns={})
    spies.watch(VideoFormat, "check", returns=None)
    base = {"cache": tiny_cache, "out": "results", **STILL}
    check(
        "evaluate",
        field,
        EVALUATED[field],
        lambda given: evaluate.evaluate_methods(job_of(Evaluation, base, given)),
        spies,
    )


def _produced(method: Any, clips: Any, out: Path, *, seed: int, settled: Any = None) -> dict[str, Output]:
    return {clip.id: Output(clip.id, OK, out / method.name / f"{clip.id}.mp4", 1.0, "key") for clip in clips}


class Row:
    """A method that generates nothing here."""

    method_class, licence, uses, fingerprint = "portrait", "l", ("source", "audio"), "row/1"

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, item: Item) -> Generated:
        raise AssertionError("it is not asked")


REPRODUCED: dict[str, Place] = {
    "table": (2, {}, _of("paper_table", "number"), 2),
    "cache": (None, {}, lambda s: s.one("Cache")["root"].name, "cache"),
    "out": (
        "other",
        {},
        _all(_each("produce", "out"), _each("Context", "logs"), _each("ResultsStore", "root")),
        [Path("other/outputs"), Path("other/logs"), Path("other")],
    ),
    "checkpoint": (Path("run"), {}, _of("paired", "runs"), (Path("run"),)),
    "variants": ({"ttr": Path("run")}, {"table": 2}, _rest_of("Context", "checkpoint", Path("run")), True),
    "split": (
        "train",
        {},
        _all(_generated_ids, _each("Scoring", "split"), _each("identity", "split")),
        [["c0", "c1", "c2", "c3"], "train", "train"],
    ),
    "lengths": ((10, 15), {"table": 3}, _of("paper_table", "lengths"), (10, 15)),
    "max_clips": (1, {}, _generated_ids, ["c4"]),
    "options": ({"steps": 7}, {"checkpoint": Path("run")}, _rest_of("Context", "options", {"steps": 7}), True),
    "installs": (Path("i.yaml"), {}, _each("Context", "installs"), Path("i.yaml")),
    "weights": ("seeded", {}, _each("Scoring", "weights"), "seeded"),
    "seed": (11, {}, _all(*(_each(label, "seed") for label in ("produce", "Context", "Scoring"))), [11] * 3),
    "device": ("cuda:1", {}, _all(_each("Context", "device"), _each("Scoring", "device")), ["cuda:1"] * 2),
    "jobs": (3, {}, lambda s: s.of("fill")[0]["workers"].number, 3),
    "engine": ("dask", {}, lambda s: s.of("fill")[0]["workers"].engine, "dask"),
    "address": ("tcp://a:1", {"engine": "dask"}, lambda s: s.of("fill")[0]["workers"].address, "tcp://a:1"),
    "devices": (
        ("cpu",),
        {},
        lambda s: (s.of("fill")[0]["workers"].gpus, getattr(s.of("fill")[0]["pool"], "names", ())),
        (1, ("cpu",)),
    ),
}


@pytest.mark.parametrize("field", list(Reproduction.model_fields))
def test_every_setting_of_a_reproduction_arrives(
    field: str, spies: Spies, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if field == "device":  # the jobs of the rows check that it is there
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert field in REPRODUCED, f"Say in REPRODUCED of this file where {field} arrives."
    Path("run").mkdir()
    Path("i.yaml").touch()
    for name in ("paper_table", "Cache", "paired", "identity", "Scoring", "ResultsStore"):
        spies.watch(reproduce, name)
    spies.watch(row_runs, "Context")
    spies.watch(row_runs, "build_method", returns=lambda name, context: Row(name))
    spies.watch(reproduce, "produce", returns=lambda *_, **__: {})
    spies.watch(reproduce, "device_name", returns="a device")
    spies.watch(row_filling, "fill", returns=None)
    spies.watch(row_filling, "filled", returns=lambda jobs: Filled())
    base = {"table": 1, "cache": tiny_cache, "out": "results"}
    check(
        "reproduce",
        field,
        REPRODUCED[field],
        lambda given: reproduce.reproduce(job_of(Reproduction, base, given)),
        spies,
    )


def test_each_row_has_its_own_length_options_and_pieces(spies: Spies, tiny_cache: Path) -> None:
    """Table 3 at 10 and 15 frames: the pieces that are generated are those that are scored, of exactly that length."""
    Path("run").mkdir()
    spies.watch(row_runs, "build_method", returns=lambda name, context: Row(name))
    spies.watch(reproduce, "produce", returns=_produced)
    spies.watch(reproduce, "score_entry", returns=lambda *_, **__: [])
    lengths = {"lengths": (10, 15), "checkpoint": Path("run")}
    job = job_of(Reproduction, {"table": 3, "cache": tiny_cache, "out": "out"}, lengths)
    fields, true = ("frames", "audio", "vertices"), Cache(tiny_cache).clips("test")
    data = fingerprint([(c.id, c.n_frames, *(str(c.meta.get(f"{field}_sha256")) for field in fields)) for c in true])
    reproduce.reproduce(job)
    for call in spies.of("produce"):
        length = {clip.n_frames for clip in call["clips"]}
        assert length in ({10}, {15}) and sum(c.n_frames for c in call["clips"]) == 60
    scored = spies.of("score_entry")
    assert {c["scoring"].protocol.piece_length for c in scored} == {10, 15}
    for call in scored:
        assert {clip.n_frames for clip in call["clips"]} == {call["scoring"].protocol.piece_length}
        assert call["scoring"].protocol.piece_remainder == "drop"
        assert call["scoring"].data == data


def test_a_video_of_eight_seconds_is_timed_by_the_faster_of_two_runs(spies: Spies) -> None:
    clip = marked_clip(1, 30)
    seconds = iter([9.0, 7.0])

    def timed(method: Any, clips: Any, out: Path, *, seed: int, settled: Any = None) -> dict[str, Output]:
        return {c.id: Output(c.id, OK, None, next(seconds), "", load_seconds=1.5) for c in clips}

    spies.watch(reproduce, "produce", returns=timed)
    spies.watch(reproduce, "device_name", returns="one GPU")
    job = job_of(Reproduction, {"table": 2, "cache": "c", "out": "out"}, {"seed": 5})
    assert reproduce._seconds(Row("dawn"), clip, job, place=Path("data")) == 5.5
    call = spies.one("produce")
    assert call["out"] == Path("out/timed/one-GPU/data") and call["seed"] == 5
    assert len({c.id for c in call["clips"]}) == 2
    for take in call["clips"]:
        assert take.n_frames == 200 and len(take["audio"]) == 200 * 640
        np.testing.assert_array_equal(take["frames"], np.resize(clip["frames"], (200, 32, 32, 3)))
    failed = Output("x", "oom", None, 0.1, "")
    spies.watch(reproduce, "produce", returns={"x": failed})
    assert reproduce._seconds(Row("dawn"), clip, job, place=Path()) is None
    assert replace(failed).load_seconds == 0 and PAPER_DAWN.piece_length is None


def test_the_address_of_a_cluster_is_refused_where_none_is_used(tmp_path: Path) -> None:
    job = Evaluation(cache=tmp_path, out=tmp_path, device="cpu", address="tcp://a:1")
    refused = r"--address tcp://a:1 is of a cluster.*\n?.*--engine dask"
    with pytest.raises(InputError, match=refused):
        workers_of(job, frames=1)
    with pytest.raises(InputError, match=refused):
        prepare(tmp_path, tmp_path / "cache", PrepareSettings(dataset="folder"), address="tcp://a:1")
    assert not (tmp_path / "cache").exists()
