"""Progress: plain lines where no terminal is, with throughput and time left; a bar on a terminal."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from dawn_bench import progress
from dawn_bench.progress import meter, track


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_plain_lines_are_rare_and_give_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with meter("work", total=100, unit="frames") as bar:
        for _ in range(10):
            clock.now += 3
            bar.advance(10, note="loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "work: 40/100 frames, 3.3 frames/s, 12 s, 18 s left  loss 0.5"
    assert lines[-1] == "work: 100/100 frames, 3.3 frames/s, 30 s  loss 0.5"
    assert len(lines) == 3


def test_what_an_earlier_run_did_is_not_in_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with meter("work", total=100, unit="steps", done=60) as bar:
        clock.now += 10
        bar.advance(20)
        assert capsys.readouterr().err == "work: 80/100 steps, 2.0 steps/s, 10 s, 10 s left\n"


def test_the_last_line_comes_once_and_unknown_totals_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), "letters")) == ["a", "b", "c"]
    assert re.fullmatch(r"letters: 3 it, [\d.]+ it/s, 0 s\n", capsys.readouterr().err)


def test_each_item_counts_after_its_work_and_a_note_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    for number, item in enumerate(track(["a", "b", "c"], "letters")):
        assert item == "abc"[number]
        shown = capsys.readouterr().err
        assert shown.startswith(f"letters: {number}/3 it") if number else shown == ""
    assert capsys.readouterr().err.startswith("letters: 3/3 it")
    with meter("work", total=None) as bar:
        for note in ("loss 1", "", "loss 2", ""):
            bar.advance(2, note=note)
    lines = capsys.readouterr().err.splitlines()
    assert [(line.split(",")[0], line.rpartition("  ")[2]) for line in lines] == [
        ("work: 2 it", "loss 1"), ("work: 4 it", "loss 1"), ("work: 6 it", "loss 2"), ("work: 8 it", "loss 2"),
    ]  # fmt: skip


def test_nothing_goes_to_standard_output_and_brackets_stay(capsys: pytest.CaptureFixture[str]) -> None:
    with meter("work", total=1) as bar:
        bar.say("[red]clip[/red] failed")
        bar.advance()
    out, err = capsys.readouterr()
    assert out == "" and "[red]clip[/red] failed" in err


def test_work_that_fails_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), meter("work", total=5):
        raise RuntimeError
    assert "5/5" not in capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI",):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = Console(force_terminal=True, width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    monkeypatch.setattr(progress, "console", lambda: screen)
    with meter("work", total=4, unit="steps") as bar:
        bar.advance(4, note="loss 0.1")
        bar.say("[a line]")
    text = screen.export_text()
    assert "work" in text and "4/4" in text and "loss 0.1" in text and "[a line]" in text
