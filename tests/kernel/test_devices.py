"""Names of devices, the device of the running command, and how worker processes share several."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dawn_bench.devices import DevicePool, chosen_device, computing_on, device_list, on_its_device
from dawn_bench.errors import InputError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cpu", ["cpu"]),
        ("cuda", ["cuda"]),
        ("cuda:1", ["cuda:1"]),
        ("cuda:1, cuda:0", ["cuda:1", "cuda:0"]),
        ("all", ["cuda:0", "cuda:1"]),
        ("auto", ["cuda"]),
    ],
)
def test_a_list_of_devices_keeps_its_order(text: str, devices: list[str], two_gpus: None) -> None:
    assert device_list(text) == devices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuda:2", "there is no device 'cuda:2': this machine has 2 CUDA devices"),
        ("cuda:0,cuda:7", "there is no device 'cuda:7'"),
        ("cuda:0,gpu", "there is no device 'gpu'"),
        ("cuda:0,all", "there is no device 'all'"),
        ("cuda:1,cuda:0,cuda:1", "the device 'cuda:1' is given twice"),
        ("cuda,cuda:0", "the device 'cuda:0' is given twice"),
        ("cpu,cpu", "the device 'cpu' is given twice"),
        ("cuda:0,cpu", "cuda:0 and cpu give different numbers"),
        ("", "no device is given"),
        (" , ", "no device is given"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(text: str, message: str, two_gpus: None) -> None:
    with pytest.raises(InputError, match=message):
        device_list(text)


@pytest.mark.parametrize("text", ["all", "cuda", "cuda:0,cuda:1"])
def test_without_cuda_no_cuda_device_is_listed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="there is no CUDA device here"):
        device_list(text)
    assert device_list("auto") == ["cpu"]


def test_what_a_command_calls_runs_on_its_device(two_gpus: None) -> None:
    assert chosen_device() == "cuda"
    with computing_on("cuda:1"):
        assert chosen_device() == "cuda:1" and chosen_device("cpu") == "cpu"
        with computing_on("cpu"):
            assert chosen_device() == "cpu"
        with computing_on("auto"):
            assert chosen_device() == "cuda:1", "auto leaves the device that is chosen"
        thread = threading.Thread(target=lambda: seen.append(chosen_device()))
        seen: list[str] = []
        thread.start()
        thread.join()
        assert seen == ["cuda"], "another thread, another command"
    assert chosen_device() == "cuda"
    with pytest.raises(ZeroDivisionError), computing_on("cpu"):
        1 / 0  # noqa: B018
    assert chosen_device() == "cuda"


def test_a_decorated_function_runs_on_the_device_of_its_argument(two_gpus: None) -> None:
    class Job:
        device = "cuda:1"

        @on_its_device
        def method(self) -> str:
            return chosen_device()

    @on_its_device
    def by_name(text: str, *, device: str = "cpu") -> str:
        return text + chosen_device()

    @on_its_device
    def by_job(job: Job) -> str:
        return chosen_device()

    several = Job()
    several.devices = ("cuda:0", "cuda:1")  # type: ignore[attr-defined]
    assert by_job(several) == "cuda:0"
    assert by_name("") == "cpu" and by_name("on ", device="cuda:1") == "on cuda:1"
    assert by_job(Job()) == by_job(job=Job()) == Job().method() == "cuda:1"
    assert chosen_device() == "cuda"


def _worker(pool: DevicePool) -> subprocess.Popen[str]:
    """A process that takes a device, says which, and waits until its input ends."""
    code = (
        "import sys; from dawn_bench.devices import DevicePool; "
        f"pool = DevicePool({pool.names!r}, {pool.run!r}); "
        "print(pool.take(), pool.take(), flush=True); sys.stdin.read()"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_every_worker_has_a_device_of_its_own_until_it_dies() -> None:
    pool = DevicePool(("cuda:0", "cuda:1"))
    workers: list[subprocess.Popen[str]] = []

    def start() -> str:
        workers.append(_worker(pool))
        first, again = workers[-1].stdout.readline().split()  # type: ignore[union-attr]
        assert first == again, "a worker keeps its device"
        return first

    try:
        assert [start(), start()] == ["cuda:0", "cuda:1"]
        workers[0].kill()
        workers[0].wait()
        assert start() == "cuda:0", "the device of a dead worker is free"
        assert [start(), start()] == ["cuda:0", "cuda:1"], "more workers than devices are spread evenly"
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    folder = pool._folder
    assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
    pool.clear()
    assert not folder.exists()


def test_a_process_that_works_for_two_runs_takes_a_device_in_each(tmp_path: Path) -> None:
    one, other = DevicePool(("a", "b")), DevicePool(("c", "d"))
    try:
        assert (one.take(), one.take(), other.take(), one.take()) == ("a", "a", "c", "a")
    finally:
        one.clear()
        other.clear()


def test_a_pool_without_names_is_the_machine_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with computing_on(DevicePool()):
        assert chosen_device() == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with computing_on(DevicePool()):
        assert chosen_device() == "cuda:0"
