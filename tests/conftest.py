"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Workers of pytest-xdist share the cores; threads of several workers on one core would mostly wait for each other.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

import pytest
from goldens import SHARED

from dawn_bench.registry import Registry

if TYPE_CHECKING:
    from media.asymmetric import AsymmetricClip

# A run in the background of a shell ignores Ctrl-C, one under nohup ignores SIGHUP; the programs that the tests
# interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport]:
    """Captured output as UTF-8, which pytest-xdist requires: tests of odd file names log bytes that are not."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session", autouse=True)
def remembered_hashes(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Hashes of weight files are remembered for the session, not in the user's cache folder."""
    folder = tmp_path_factory.mktemp("hashes")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dawn_bench.hashes.notes_folder", lambda: folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Generator[None]:
    """`os.fsync` of this process returns at once: thousands of files that no power cut will meet.

    Tests of durability record the calls, which they can as before.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        yield


@pytest.fixture(autouse=True)
def registries_as_before() -> Generator[None]:
    """What a test registers is gone after it: tests that walk a registry expect the built-in items.

    It does not take `monkeypatch`, which would then be built before a test's other fixtures and undone after them.
    """
    registered: list[tuple[Registry[Any], str]] = []
    register = Registry.register

    def noted(registry: Registry[Any], name: str) -> Callable[[Any], Any]:
        put = register(registry, name)

        def put_and_note(item: Any) -> Any:
            if not getattr(item, "__module__", "").startswith("dawn_bench."):
                registered.append((registry, name))
            return put(item)

        return put_and_note

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "register", noted)
        yield
    for registry, name in registered:
        registry._items.pop(name, None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material next to the checkout; the test skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the reference material next to the checkout is absent")
    return SHARED


@pytest.fixture(scope="session")
def clips_dir(shared: Path) -> Path:
    """Real talking-head clips."""
    return shared / "data" / "clips"


@pytest.fixture(scope="session")
def asymmetric(tmp_path_factory: pytest.TempPathFactory) -> AsymmetricClip:
    """A clip in which a mix-up of channels, axes, frames, colours, faces or times shows; tests must not change it."""
    from media.asymmetric import asymmetric_clip

    return asymmetric_clip(tmp_path_factory.mktemp("asymmetric"))


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of 30 small frames: four to train on, two to test on."""
    from tiny_cache import write_tiny_cache

    return write_tiny_cache(tmp_path_factory.mktemp("tiny") / "cache")


@pytest.fixture(scope="session")
def micro_run(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every stage on the tiny cache; tests must not change it."""
    from micro import micro_train

    run = tmp_path_factory.mktemp("micro") / "run"
    micro_train(tiny_cache, run)
    return run
