"""Limits of an external method's sound, and of what is read of its log, at exactly the bound."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dawn_bench.baselines.external import process, stage
from dawn_bench.baselines.external.adapter import Limits
from dawn_bench.errors import ItemError


@pytest.mark.parametrize(
    ("frames", "sound", "good"),
    [(49, 1, False), (50, 1, True), (51, 1, True), (99, 1, True), (100, 1, True), (101, 1, False), (75, 0, False)],
)
def test_the_length_of_the_sound_is_within_the_limits(frames: int, sound: int, good: bool) -> None:
    adapter = SimpleNamespace(name="m", limits=Limits(min_seconds=2, max_seconds=4, silent=False))
    try:
        stage._within_limits(adapter, frames / 25, np.full(640, sound, np.int16))  # type: ignore[arg-type]
    except ItemError as error:
        assert not good and error.reason == "bad_output" and error.detail.startswith("not run: ")
    else:
        assert good


def test_without_limits_nothing_is_refused() -> None:
    adapter = SimpleNamespace(name="m", limits=Limits())
    for frames in (1, 1_000_000):
        stage._within_limits(adapter, frames / 25, np.zeros(640, np.int16))  # type: ignore[arg-type]


def test_readiness_is_seen_where_it_comes_in_two_parts_and_the_tail_is_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "TAIL", 12)
    script = "import sys, time\nfor part in ('start rea', 'dy', ' 123456789'):\n    sys.stdout.write(part)\n" \
        "    sys.stdout.flush()\n    time.sleep(0.1)\n"  # fmt: skip
    words = [sys.executable, "-c", script]
    log = tmp_path / "logs" / "log"
    ended = process.run(words, cwd=tmp_path, environment={}, log=log, timeout=60, ready="ready")
    assert ended.code == 0 and ended.ready_after is not None and ended.ready_after < ended.seconds
    assert ended.tail == "dy 123456789" == ended.last_words() and log.read_text() == "start ready 123456789"


@pytest.mark.parametrize(("length", "shown"), [(299, 299), (300, 300), (301, 300)])
def test_the_last_words_of_a_log_have_a_bound(length: int, shown: int) -> None:
    ended = process.Run(1, 0.0, None, f"first\r\n{'x' * length}\n \n")
    assert ended.last_words() == "x" * shown and process.Run(1, 0.0, None, " \n").last_words() == "no output"
