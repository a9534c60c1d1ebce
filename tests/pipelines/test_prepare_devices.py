"""Where the networks of a preparation run: each worker on its own card, the planning process on none."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from fake_tools import FakeTools, Witness, write_video

from dawn_bench.devices import DevicePool, workers_on
from dawn_bench.errors import InputError
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

SETTINGS = PrepareSettings(size=32, extract=("pose", "late"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for k in range(24):
        write_video(tmp_path / "videos" / f"clip{k:02d}.mp4", frames=5 + k, value=k)
    return tmp_path / "videos"


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process; the workers only have their names."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)


def used(notes: Path) -> dict[int, dict[str, set[str]]]:
    """By process and kind of work, the devices."""
    found: dict[int, dict[str, set[str]]] = {}
    for path in notes.iterdir():
        for line in path.read_text().splitlines():
            what, device = line.split()
            found.setdefault(int(path.name), {}).setdefault(what, set()).add(device)
    return found


def contents(cache: Path) -> dict[str, str]:
    """sha256 of every file of a cache but its lock."""
    files = (path for path in cache.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(cache).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(root: Path, tmp_path: Path, name: str, **options: Any) -> dict[int, dict[str, set[str]]]:
    (notes := tmp_path / f"{name}-notes").mkdir()
    prepare(root, tmp_path / name, SETTINGS, tools=Witness(notes=notes, pause=0.001), **options)
    return used(notes)


def test_every_worker_has_its_own_card_and_the_bytes_do_not_depend_on_it(
    root: Path, tmp_path: Path, two_gpus: None
) -> None:
    expected = run(root, tmp_path, "one", device="cpu")
    assert expected == {os.getpid(): {"plan": {"cpu"}, "process": {"cpu"}, "extract": {"cpu"}}}
    several = run(root, tmp_path, "two", devices=["all"])
    assert several.pop(os.getpid()) == {"plan": {"cpu"}}, "the process that plans computes nothing on a card"
    by_worker = [{device for devices in each.values() for device in devices} for each in several.values()]
    assert all(len(devices) == 1 for devices in by_worker), "a worker keeps its card"
    assert {device for devices in by_worker for device in devices} == {"cuda:0", "cuda:1"}
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize(("options", "device"), [({"device": "cuda:1"}, "cuda:1"), ({"devices": ["cuda:1"]}, "cuda:1"),
                                                 ({}, "cuda"), ({"device": "cpu"}, "cpu")])  # fmt: skip
def test_one_process_uses_the_device_that_is_chosen(
    options: dict[str, Any], device: str, root: Path, tmp_path: Path, two_gpus: None
) -> None:
    assert run(root, tmp_path, "c", jobs=1, **options) == {
        os.getpid(): {"plan": {device}, "process": {device}, "extract": {device}}
    }


def test_workers_are_spread_or_share_a_device(two_gpus: None) -> None:
    where, jobs = workers_on("auto", (), jobs=4, engine="loky")
    assert isinstance(where, DevicePool) and where.names == () and jobs == 4
    assert workers_on("cuda:1", (), jobs=4, engine="loky") == ("cuda:1", 4)
    where, jobs = workers_on("auto", ("cuda:1", "cuda:0"), jobs=8, engine="loky")
    assert isinstance(where, DevicePool) and (where.names, jobs) == (("cuda:1", "cuda:0"), 8)
    assert workers_on("auto", ("cuda:1",), jobs=1, engine="loky") == ("cuda:1", 1)
    for engine in ("dask", "ray"):  # the cards of other machines
        where, jobs = workers_on("auto", ("cuda:0", "cuda:5"), jobs=1, engine=engine)
        assert isinstance(where, DevicePool) and (where.names, jobs) == (("cuda:0", "cuda:5"), 2)
        where, jobs = workers_on("auto", ("all",), jobs=3, engine=engine)
        assert isinstance(where, DevicePool) and (where.names, jobs) == ((), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:0", "devices": ["cuda:1"]}, "a device and a list of devices are both given"),
        ({"device": "cuda:2"}, "this machine has 2 CUDA devices"),
        ({"devices": ["cuda:0", "cuda:0"]}, "given twice"),
        ({"devices": ["gpu"]}, "there is no device 'gpu'"),
    ],
)
def test_devices_that_cannot_be_used_are_refused_before_anything_is_written(
    options: dict[str, Any], message: str, root: Path, tmp_path: Path, two_gpus: None
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools(), **options)
    assert not (tmp_path / "c").exists()
