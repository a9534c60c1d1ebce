"""What is to be downloaded for a job, and how long one process waits for the download of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import Timeout
from weight_files import write_layout

from dawn_bench import weights, weights_fetch
from dawn_bench.errors import InputError
from dawn_bench.weights_fetch import PATIENCE
from dawn_bench.weights_table import WEIGHTS

NAME = "vgg19"
FILE = weights.entry(NAME).file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.mark.parametrize("address", [True, False])
@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("absent", {True: 1, False: 2}),
        ("damaged", {True: 1, False: 0}),  # of no use to anybody, but there is no other
        ("own", {True: 0, False: 0}),
        ("published", {True: 0, False: 0}),
    ],
)
def test_a_file_is_fetched_where_none_is_of_use(
    content: str, parts: dict[bool, int], address: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content in ("own", "published"):
        write_layout(folder / FILE, NAME)
    elif content == "damaged":
        (folder / FILE).write_bytes(b"PK\x03\x04 and no more")
    entry = weights.entry(NAME)
    if content == "published":
        entry = replace(entry, sha256=weights.resolve(NAME).sha256)
    if not address:
        entry = replace(entry, url=None, mirrors=())
    monkeypatch.setattr(weights, "WEIGHTS", [entry if w.name == NAME else w for w in WEIGHTS])
    plan = weights_fetch.plan([(NAME,), (NAME,)])
    assert [list(part) for part in plan] == [[entry] if k == parts[address] else [] for k in range(3)]


class Lock:
    """A lock that another process holds for some waits; the download grows in all of them but those of `stalls`."""

    def __init__(self, partial: Path, held: int, stalls: Sequence[int]) -> None:
        self.partial, self.held, self.stalls = partial, held, stalls
        self.waits: list[float] = []
        self.is_locked, self.released = False, 0

    def acquire(self, timeout: float) -> None:
        number = len(self.waits)
        self.waits.append(timeout)
        if number < self.held:
            if number and number not in self.stalls:
                with self.partial.open("ab") as file:
                    file.write(b"x")
            raise Timeout(str(self.partial))
        self.is_locked = True

    def release(self) -> None:
        self.released += 1


@pytest.mark.parametrize("held", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("stalls", [(), (1,), (2,), (4,)])
def test_another_process_is_waited_for_as_long_as_its_download_grows(
    held: int, begun: bool, stalls: tuple[int, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = folder / f"{FILE}.part"
    if begun:
        partial.write_bytes(b"some")
    lock = Lock(partial, held, stalls)
    monkeypatch.setattr(weights_fetch, "lock_file", lambda path: lock)
    fetched: list[str] = []

    def transfer(url: str, to: Path, **other: object) -> bool:
        assert lock.is_locked and not lock.released
        fetched.append(url)
        raise weights_fetch.TransferError("is gone", retryable=False)

    monkeypatch.setattr(weights_fetch, "transfer", transfer)
    stalled = [k for k in stalls if k < held]
    with pytest.raises(InputError, match="another process" if stalled else "is gone"):
        weights_fetch.download(NAME)
    waits = stalled[0] if stalled else held
    assert lock.waits == [0] + [PATIENCE] * waits
    assert bool(fetched) is lock.is_locked is (not stalled) and lock.released == lock.is_locked


def test_what_the_other_process_brought_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layout(folder / "other", NAME)
    entry = replace(weights.entry(NAME), sha256=weights_fetch.hash_file(folder / "other")["sha256"])
    monkeypatch.setattr(weights, "WEIGHTS", [entry if w.name == NAME else w for w in WEIGHTS])

    class Brings(Lock):
        def acquire(self, timeout: float) -> None:
            if self.waits:
                (folder / "other").rename(folder / FILE)
            super().acquire(timeout)

    lock = Brings(folder / f"{FILE}.part", 1, ())
    monkeypatch.setattr(weights_fetch, "lock_file", lambda path: lock)
    monkeypatch.setattr(weights_fetch, "transfer", lambda *given, **other: pytest.fail("was fetched again"))
    assert weights_fetch.download(NAME).state == "canonical" and lock.released == 1
