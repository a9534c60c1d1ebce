"""Every argument of every public function reaches what does the work, under its own name and with its value.

Generated over the signatures: a new argument fails here until `VALUES` has a value of it that is not its default.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from spies import Spies

from dawn_bench import api
from dawn_bench.config import Config
from dawn_bench.metrics.scoring import compare
from dawn_bench.models import loading
from dawn_bench.pipelines.preparation import prepare
from dawn_bench.reports import page
from dawn_bench.workflow import evaluate, generate_list

#: Where the work is done: module, function, and the name of a parameter that is called otherwise there.
WORK: dict[str, tuple[Any, str, Mapping[str, str]]] = {
    "prepare": (prepare, "prepare", {}),
    "load_model": (loading, "load_model", {}),
    "compute_metrics": (compare, "compute_metrics", {}),
    "evaluate": (evaluate, "evaluate_methods", {}),
    "report": (page, "write_report", {}),
    "generate_list": (generate_list, "generate_list", {}),
}
#: Functions that do their work themselves.
DIRECT = {"open_cache"}
#: A value of each argument, and what it becomes where that is another type.
VALUES: dict[str, dict[str, Any]] = {
    "prepare": {
        "root": Path("r"), "cache": Path("c"), "dataset": "crema", "like": "dawn", "size": 64, "crop": "paper",
        "face": "dlib", "frames": "lossless", "pose": "3ddfa", "blink": "one-pair", "extract": ("pose", "logmel"),
        "on_cut": "split", "max_gap": 6, "min_frames": 11, "max_frames": 12, "person": "left",
        "max_mouth_covered": 0.4, "max_yaw": 33.0, "min_face_height": 21, "min_face_in_frame": 0.7,
        "min_sharpness": 0.3, "require_audio": False, "audio_track": 2, "decoder": "decord", "split": "identity",
        "labels": Path("l.csv"), "seed": 13, "jobs": 3, "engine": "dask", "address": "tcp://a:1", "overwrite": True,
        "name": "lab",
        "device": "meta", "devices": ("cuda:1",),
    },
    "load_model": {"checkpoint": Path("run"), "device": "meta", "model": "dawn"},
    "generate_list": {
        "items": Path("i.csv"), "checkpoint": Path("run"), "model": "dawn", "options": {"steps": 3}, "seed": 5,
        "jobs": 3, "device": "cpu", "devices": ("cuda:1",),
    },
    "compute_metrics": {
        "generated": "made", "reference": "true", "metrics": ("psnr",), "paired": False, "protocol": "other",
        "protocol_set": ("skip_first=1",), "weights": "seeded", "device": "meta", "fps": 30.0, "features": "f",
        "seed": 4,
    },
    "evaluate": {
        "cache": Path("c"), "out": Path("o"), "methods": ("still",), "checkpoint": Path("run"), "outputs": Path("mine"),
        "mapping": Path("m.csv"), "naming": "{clip}_*", "method_class": "dub", "installs": Path("i.yaml"),
        "min_coverage": 0.6, "split": "train", "metrics": ("psnr",), "max_clips": 3, "protocol": "paper-dawn-tracked",
        "protocol_set": ("skip_first=1",), "piece_length": 50, "weights": "seeded", "options": {"steps": 3},
        "pass_seconds": 9.0, "sanity": False, "seed": 5, "device": "cpu", "notes": ("n",),
        "jobs": 3, "engine": "dask", "address": "tcp://a:1", "devices": ("cpu",), "only_fill": True, "part": "2/3",
        "fold": True,
    },
    "report": {"results": Path("r"), "out": Path("o"), "formats": ("md",), "clips": 7, "published": (3, 4)},
}  # fmt: skip
CASES = [
    (name, argument)
    for name, function in inspect.getmembers(api, inspect.isfunction)
    if function.__module__ == api.__name__ and name not in DIRECT
    for argument in inspect.signature(function).parameters
]


def reaching(call: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call, with the fields of its settings or its job."""
    inner = [value.model_dump() for value in call.values() if isinstance(value, Config)]
    return {key: value for mapping in (*inner, call) for key, value in mapping.items()}


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_each_argument_arrives_under_its_own_name(
    name: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert name in WORK and argument in VALUES[name], f"Give VALUES of this file a value of {argument} of {name}."
    monkeypatch.chdir(tmp_path)
    spies, (module, work, renamed) = Spies(monkeypatch), WORK[name]
    spies.watch(module, work, returns=None)
    function: Callable[..., Any] = getattr(api, name)
    required = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    base = {key: VALUES[name][key] for key in required}
    if name == "report" and argument != "out":
        base["out"] = Path("elsewhere")

    def arrived(given: Mapping[str, Any]) -> dict[str, Any]:
        spies.calls.clear()
        function(**given)
        return reaching(spies.one(work))

    key = renamed.get(argument, argument)
    assert arrived({**base, argument: VALUES[name][argument]})[key] == VALUES[name][argument]
    if argument not in base:
        plain, changed = arrived(base), arrived({**base, argument: VALUES[name][argument]})
        assert plain[key] != changed[key] or (argument == "device" and key == "device")  # `auto` may be the CPU
        # a recipe decides what is not given
        others = {k for k in plain if plain[k] != changed[k] and not isinstance(plain[k], Config)}
        follows = {"pose": {"extract"}, "blink": {"extract"}}.get(argument, set())
        assert others | {key} == {key} | follows or argument == "like"


def test_a_report_is_written_beside_the_results_where_no_folder_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    spies = Spies(monkeypatch)
    spies.watch(page, "write_report", returns=[])
    api.report("results")
    assert [str(path) for path in list(spies.one("write_report").values())[:2]] == ["results", "results/report"]
