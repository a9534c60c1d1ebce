"""Versions that rows and caches record: read from package metadata once, and each caller gets its own dictionary."""

from __future__ import annotations

import platform
from importlib import metadata

import pytest

from dawn_bench import provenance
from dawn_bench.provenance import FEATURE_LIBRARIES, NUMERIC_LIBRARIES, versions


def test_versions_are_those_of_the_package_metadata_by_name() -> None:
    known = {item.metadata["Name"].lower(): item.version for item in metadata.distributions()}
    for given, names in (((), ("dawn-bench", *NUMERIC_LIBRARIES)), ((FEATURE_LIBRARIES,), FEATURE_LIBRARIES)):
        expected = {name: known[name] for name in names if name in known}
        assert versions(*given) == {"python": platform.python_version()} | expected
        assert list(versions(*given)) == ["python", *expected]


def test_what_is_not_installed_is_left_out_each_time() -> None:
    assert [list(versions(("no-such-library", "numpy"))) for _ in range(2)] == [["python", "numpy"]] * 2


def test_metadata_are_read_once_and_a_changed_answer_changes_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    first = versions()
    first["numpy"] = "0"

    def read(name: str) -> str:
        raise AssertionError(f"the metadata of {name} are read again")

    monkeypatch.setattr(provenance, "version", read)
    assert versions()["numpy"] == metadata.version("numpy")
