"""Results on standard output, progress on standard error; nothing is cut in a pipe; `--json` is JSON alone."""

from __future__ import annotations

import io
import json
import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_cache import write_tiny_cache

from dawn_bench import cli, progress, terminal
from dawn_bench.progress import meter, ticking
from dawn_bench.terminal import echo_json, print_table
from dawn_bench.text import duration

LONG = "a-very-long-name-" * 12


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("tiny") / LONG)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line as the program does; returns exit code, standard output and standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setattr(sys, "argv", ["dawn-bench", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return (int(stopped.value.code or 0), *capsys.readouterr())

    return call


#: Commands that print facts, and a piece of what they print; `CACHE` and `OUT` are filled in.
FACTS = [
    (("methods",), "runs inside dawn-bench"),
    (("methods", "wav2lip"), "installs file"),
    (("protocols",), "paper-dawn"),
    (("protocols", "paper-dawn"), "fid_resize: pytorch-fid"),
    (("weights", "list"), "licence: "),
    (("weights", "verify"), "files present"),
    (("cache", "stats", "CACHE"), "field"),
    (("cache", "verify", "CACHE"), "all checksums match"),
    (("doctor",), "Extractors"),
    ((), "next: "),
]


@pytest.mark.parametrize(("words", "shown"), FACTS, ids=lambda value: " ".join(value) if value else "home")
def test_facts_go_to_standard_output_and_json_stands_alone(
    words: tuple[str, ...], shown: str, run: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [cache if word == "CACHE" else word for word in words]
    code, out, err = run(*given)
    assert code == 0 and shown in out and shown not in err
    assert "…" not in out and all(line == line.rstrip() for line in out.splitlines())
    code, out, err = run(*given, "--json")
    assert code == 0 and json.loads(out) is not None and "{" not in err


def test_a_damaged_cache_is_json_and_exit_code_2(run: Any, tmp_path: Path) -> None:
    root = write_tiny_cache(tmp_path / "c")
    shard = next((root / "pose").glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-3] ^= 255
    shard.write_bytes(data)
    code, out, err = run("cache", "verify", root, "--json")
    facts = json.loads(out)
    assert code == 2 and not facts["intact"] and facts["faults"][0]["field"] == "pose" and "error: " in err
    code, out, _ = run("cache", "verify", root)
    assert code == 2 and "pose: " in out


def test_an_export_is_one_json_value(run: Any, cache: Path, tmp_path: Path) -> None:
    code, out, err = run("cache", "export", cache, "--out", tmp_path / "arrays", "--json")
    assert code == 0 and json.loads(out) == {"out": str(tmp_path / "arrays"), "clips": 6} and "{" not in err
    code, out, err = run("cache", "export", cache, "--format", "inputs", "--out", tmp_path / "items", "--json")
    facts = json.loads(out)
    assert code == 0 and (facts["clips"], facts["kept"]) == (2, 0) and Path(facts["table"]).is_file()
    assert facts["without_source"] == [{"why": "the cache does not name the source video", "clips": ["c4", "c5"]}]
    assert "next: dawn-bench evaluate" in err


def test_report_prints_its_files_or_its_tables(run: Any, tmp_path: Path) -> None:
    from dawn_bench.reports.store import ResultsStore
    from dawn_bench.results import ScoreRow

    where = {"dataset": "crema", "split": "test", "protocol": "paper-dawn", "metric": "psnr"}
    ResultsStore(tmp_path / "r").append(
        [ScoreRow(method="a", **where, value=30, n_clips=1, n_frames=9, fingerprint="f")]
    )
    code, out, _ = run("report", tmp_path / "r", "--format", "md")
    assert code == 0 and out.split() == [str(tmp_path / "r/report/report.md")]
    _, out, _ = run("report", tmp_path / "r", "--format", "md", "--json")
    assert json.loads(out)["leaderboards"][0]["lines"]


def test_json_is_ascii_and_has_no_number_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"nan": math.nan, "inf": [math.inf], Path("a"): Path("b"), "bytes": "\udce9\x9b", "t": (True, None, 1.5)})
    text = capsys.readouterr().out
    assert text.isascii() and json.loads(text) == {
        "nan": None, "inf": [None], "a": "b", "bytes": "\\xe9\x9b", "t": [True, None, 1.5]
    }  # fmt: skip


def test_a_table_is_cut_neither_in_a_pipe_nor_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(LONG, "[red]1"), ("b", "\x1b[31m")]
    print_table("name", "n", rows=rows)
    assert capsys.readouterr().out.splitlines() == [
        f"{'name':<{len(LONG)}}  n", f"{LONG}  [red]1", f"{'b':<{len(LONG)}}  \\x1b[31m"
    ]  # fmt: skip
    screen = terminal.SafeConsole(force_terminal=True, width=40, file=io.StringIO(), color_system=None)
    monkeypatch.setattr(terminal, "results", lambda: screen)
    print_table("name", "n", rows=rows)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text and LONG in "".join(line[:30].strip() for line in text.splitlines()[1:])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (0.42, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min"), (915, "15 min 15 s"),
        (3599.7, "1 h"), (7500, "2 h 5 min"), (-1, "0 s"),
    ],
)  # fmt: skip
def test_times_are_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_of_progress_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with meter("generate and extract " + LONG, total=5_000_000, unit="frames") as bar:
        for _ in range(3):
            now[0] += 915
            bar.advance(1000, note="loss 0.123456, " + LONG)
    lines = capsys.readouterr().err.splitlines()
    assert all(len(line) < 80 for line in lines) and ", 15 min 15 s, 1270 h 35 min left" in lines[0]
    with meter("train", total=10, unit="steps") as bar:
        now[0] += 915
        bar.advance(5, note="loss 0.1 " * 20)
    line = capsys.readouterr().err.splitlines()[0]
    assert (
        line.startswith("train: 5/10 steps, 0.0 steps/s, 15 min 15 s, 15 min 15 s left  loss 0.1") and line[-1] == "…"
    )


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_bar_takes_one_line_of_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = Console(force_terminal=True, width=width, color_system=None, file=io.StringIO())
    monkeypatch.setattr(progress, "console", lambda: screen)
    with meter("generate and extract " + LONG, total=5_000_000, unit="frames") as bar:
        bar.advance(1000, note=LONG)
    drawn = re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", screen.file.getvalue())  # type: ignore[attr-defined]
    assert all(len(line) < width for line in drawn) and any("generate and" in line for line in drawn)


def test_a_silent_step_ticks_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def after_ten_seconds() -> str:
        progress._Ticker.last -= 10
        return capsys.readouterr().err

    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.05)
    with ticking("evaluate"):
        monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.55)  # of the lines; the thread looks as often as before
        _wait_for(lambda: "evaluate: at work, " in after_ten_seconds())
        with meter("score", total=4, unit="clips") as bar:
            bar.advance()
            _wait_for(lambda: "score: 1/4 clips" in after_ten_seconds())
    assert progress._Ticker.meter is None


def test_a_failed_step_is_not_named_by_later_ticks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OSError, match="disk"), meter("score", total=4, unit="clips"):
        raise OSError("disk full")
    capsys.readouterr()
    monkeypatch.setattr(progress._Ticker, "last", -math.inf)
    progress._Ticker.tick("evaluate", 0.0)
    assert capsys.readouterr().err.startswith("evaluate: at work, ")


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
