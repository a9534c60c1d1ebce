"""A plug-in of pytest that records which test runs which line, and how long each test takes.

Use it as `pytest -p recorder` with this folder on the path and `MUTANTS_MAP` naming the folder to write. A line that
runs only while a shared fixture is built belongs to every test that uses the fixture.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import coverage
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("dawn_bench", "pipelines", "baselines", "metrics", "reports")


class Recorder:
    """Measures one process of pytest."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.tests = folder / f"tests.{worker}.json"
        self.coverage = coverage.Coverage(
            data_file=str(folder / f".coverage.{worker}"), source=[str(ROOT / name) for name in PACKAGES]
        )
        self.seconds: dict[str, float] = {}
        self.fixtures: dict[str, list[str]] = {}
        self.failed: set[str] = set()
        self.context = ""

    def switch(self, context: str) -> str:
        """Count lines for another test or fixture from now on; returns the one before."""
        previous, self.context = self.context, context
        self.coverage.switch_context(context)
        return previous

    def pytest_sessionstart(self) -> None:
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self.switch(item.nodeid)
        self.fixtures[item.nodeid] = list(getattr(item, "fixturenames", ()))
        try:
            return (yield)
        finally:
            self.switch("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        if fixturedef.scope == "function":
            return (yield)
        previous = self.switch(f"fixture:{fixturedef.argname}")
        try:
            return (yield)
        finally:
            self.switch(previous)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        self.coverage.save()
        record = {"root": str(ROOT), "seconds": self.seconds, "fixtures": self.fixtures, "failed": sorted(self.failed)}
        self.tests.write_text(json.dumps(record))


def pytest_configure(config: pytest.Config) -> None:
    """Record this process, unless it only distributes tests to workers."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker or not config.getoption("numprocesses", None):
        folder = Path(os.environ["MUTANTS_MAP"])
        folder.mkdir(parents=True, exist_ok=True)
        config.pluginmanager.register(Recorder(folder, worker or "alone"), "mutants-recorder")
