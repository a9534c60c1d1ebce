"""Devices: their names as users write them, and the one that networks of the running command use.

A command enters `computing_on` with its `--device`. Whatever it calls asks `chosen_device`: extractors, face back ends
and packages that a call does not hand a device to. A worker process enters with the pool of its run.
"""

from __future__ import annotations

import inspect
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from dawn_bench.errors import InputError

if TYPE_CHECKING:
    from filelock import FileLock

AUTO, ALL, CPU = "auto", "all", "cpu"
_EXAMPLES = "Examples: auto, cpu, cuda, cuda:1."
_F = TypeVar("_F", bound=Callable[..., Any])


def checked_device(name: str) -> str:
    """The device called `name`, as `cpu`, `cuda` or `cuda:1`; `auto` becomes `cuda` where there is a GPU, else `cpu`.

    Raises `InputError` for a device that this machine does not have.
    """
    import torch

    if name == AUTO:
        return "cuda" if torch.cuda.is_available() else CPU
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"there is no device {name!r}.", hint=_EXAMPLES) from error
    if device.type not in (CPU, "cuda"):
        raise InputError(f"{name!r} is no device that dawn-bench computes on.", hint=_EXAMPLES)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError("there is no CUDA device here.", hint="Leave it out, or choose cpu.")
        if (device.index or 0) >= (there := torch.cuda.device_count()):
            known = "cuda:0" if there == 1 else f"cuda:0 to cuda:{there - 1}"
            devices = "one CUDA device" if there == 1 else f"{there} CUDA devices"
            raise InputError(f"there is no device {name!r}: this machine has {devices}.", hint=f"Known: {known}.")
    return CPU if device.type == CPU else str(device)


def device_list(text: str) -> list[str]:
    """The devices of `--devices`, in order: names separated by commas, or `all` for every CUDA device.

    Raises `InputError` for an unknown or absent device, one that is given twice, and a list of CPU and CUDA devices,
    whose numbers differ.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == [ALL]:
        return cuda_devices() or [checked_device("cuda")]  # which says that there is none
    if not names:
        raise InputError("no device is given.", hint="Examples: cuda:0,cuda:1 or all.")
    devices: list[str] = []
    for name in names:
        device = checked_device(name)
        if any(_card(device) == _card(other) for other in devices):
            raise InputError(f"the device {name!r} is given twice.", hint="Give it once: one worker uses it at a time.")
        devices.append(device)
    if len({device.partition(":")[0] for device in devices}) > 1:
        listed = " and ".join(devices)
        raise InputError(f"{listed} give different numbers.", hint="Give devices of one kind.")
    return devices


def cuda_devices() -> list[str]:
    """Every CUDA device of this machine, by index; empty without one."""
    import torch

    return [f"cuda:{k}" for k in range(torch.cuda.device_count())] if torch.cuda.is_available() else []


def _card(device: str) -> str:
    return "cuda:0" if device == "cuda" else device


@dataclass(frozen=True)
class DevicePool:
    """The devices over which the worker processes of one run are spread; small enough to send to a worker.

    Args:
        names: the devices; empty: every CUDA device of the worker's own machine, or its CPU.
        run: names this run. Its locks on a machine are in one temporary folder, which `clear` removes.
    """

    names: tuple[str, ...] = ()
    run: str = field(default_factory=lambda: uuid4().hex)

    def take(self) -> str:
        """The device of this process: the same at every call, and another process's only where all are in use.

        The claim is a file lock, which ends with the process, however it ends.
        """
        global _taken
        with _taking:
            if _taken is not None and _taken.run == self.run:
                return _taken.device
            names = self.names or cuda_devices() or [CPU]
            lock, device = _claim(names, self._folder) if len(names) > 1 else (None, names[0])
            if _taken is not None and _taken.lock is not None:
                _taken.lock.release()
            _taken = _Taken(self.run, device, lock)
            return device

    def clear(self) -> None:
        """Remove what the claims left on this machine, after the run."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return Path(tempfile.gettempdir()) / f"dawn-bench-devices-{self.run}"


@dataclass(frozen=True)
class _Taken:
    """What this process has claimed."""

    run: str
    device: str
    lock: FileLock | None


_taken: _Taken | None = None
_taking = threading.Lock()


def workers_on(device: str, devices: Sequence[str], *, jobs: int, engine: str) -> tuple[str | DevicePool, int]:
    """Where `jobs` worker processes of a command compute, and their number: at least one for each of `devices`.

    Without `devices` all workers use `device`, and with `auto` they are spread over the GPUs. Where `engine` is not
    `loky` the workers may be on other machines, whose devices are not known here. One process does not ask for a pool.
    Raises `InputError` where both are given, and as `device_list`.
    """
    if devices and device != AUTO:
        raise InputError("a device and a list of devices are both given.", hint="Give --device or --devices.")
    if engine != "loky":
        names = () if list(devices) == [ALL] else tuple(devices)
        return (DevicePool(names) if device == AUTO else device), max(jobs, len(names))
    names = tuple(device_list(",".join(devices))) if devices else ()
    jobs = max(jobs, len(names))
    if device != AUTO:
        return checked_device(device), jobs
    if jobs > 1:
        return DevicePool(names), jobs
    return (names[0] if names else device), jobs


def _claim(names: Sequence[str], folder: Path) -> tuple[FileLock, str]:
    """The first device that the fewest processes of this run use."""
    from filelock import Timeout

    from dawn_bench.locks import lock_file

    folder.mkdir(mode=0o700, exist_ok=True)
    for round_ in count():
        for k, name in enumerate(names):
            lock = lock_file(folder / f"{round_}-{k}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return lock, name
    raise AssertionError  # the count has no end


_chosen: ContextVar[str | DevicePool] = ContextVar("device", default=AUTO)


@contextmanager
def computing_on(device: str | DevicePool) -> Iterator[None]:
    """Networks inside run on `device`, or on this process's own of a pool, unless a call names another; `auto`: as
    outside.

    It holds for the thread that enters: a thread started inside begins with `auto`.
    """
    if device == AUTO:
        yield
        return
    token = _chosen.set(device)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen_device(device: str = AUTO) -> str:
    """`device`, where `auto` is that of the command, without one `cuda` where there is a GPU, else `cpu`."""
    if device != AUTO:
        return device
    chosen = _chosen.get()
    if isinstance(chosen, DevicePool):
        return chosen.take()
    return checked_device(AUTO) if chosen == AUTO else chosen


def on_its_device(function: _F) -> _F:
    """Decorator: a call runs on the device of its argument `device`, else of its first argument, an object or a job.

    The device of a job with `devices` is the first of them: its workers have theirs. Not for generators, which run
    after the call.
    """
    names = inspect.signature(function).parameters

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "device" in names:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            device = bound.arguments["device"]
        else:
            first = args[0] if args else next(iter(kwargs.values()))
            several = getattr(first, "devices", ())
            device = device_list(",".join(several))[0] if several else first.device
        with computing_on(device):
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]
