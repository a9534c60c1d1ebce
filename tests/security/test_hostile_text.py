"""Text of files, caches, servers and programs is escaped on the terminal, and is not a formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
import logging
import sys
import urllib.error
import warnings
from pathlib import Path

import pandas as pd
import pytest
from fake_tools import FakeTools, Warns
from joblib.externals.loky import get_reusable_executor
from rich.progress import Progress, TextColumn
from rich.table import Table as RichTable

from dawn_bench import cli, weights
from dawn_bench.cache import INDEX_FILE, QUARANTINED
from dawn_bench.errors import InputError
from dawn_bench.executor import Engine, run
from dawn_bench.pipelines.preparation.group import GroupJob
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.progress import meter
from dawn_bench.reports import tables
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.results import ScoreRow
from dawn_bench.terminal import SafeConsole, console, echo, show_logs, visible

#: Retitles the window, clears the screen, rings, returns, C1's CSI, right-to-left override, an invalid byte.
EVIL = "a\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egpj.\u2066\udcff\x7f[red]"
SHOWN = r"a\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egpj.\u2066\xff\x7f[red]"


def is_safe(text: str) -> bool:
    return not any(c in text for c in "\x1b\x07\r\x9b\u202e\u2066\udcff\x7f")


def test_ordinary_text_is_unchanged() -> None:
    text = "naïve 顔 имя مرحبا 👩‍🔬\tcolumn\nline [red] \\x1b"
    assert visible(text) == text
    assert visible(EVIL) == SHOWN


def test_the_console_shows_every_renderable_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    screen = console()
    screen.print(EVIL)
    table = RichTable(EVIL, box=None)
    table.add_row(EVIL)
    screen.print(table)
    with meter(EVIL, total=1) as bar:
        bar.say(EVIL)
        bar.advance(note=EVIL)
    echo(EVIL)
    out = capsys.readouterr()
    assert is_safe(out.out + out.err)
    assert out.out == f"{SHOWN}\n" and out.err.count(SHOWN) == 4
    assert out.err.count(SHOWN[:15]) == 5  # a line of progress is cut to its 79 columns


def test_colours_and_bars_still_reach_a_terminal() -> None:
    file = io.StringIO()
    screen = SafeConsole(
        file=file, force_terminal=True, color_system="standard", width=200, markup=False, highlight=False
    )
    screen.print(EVIL, style="bold")
    with Progress(TextColumn("{task.description}", markup=False), console=screen) as progress:
        progress.add_task(visible(EVIL))
        screen.print(EVIL)
    text = file.getvalue()
    assert "\x1b[1m" in text and "\x1b[?25l" in text and text.count(SHOWN) >= 3
    assert "\x07" not in text and "\u202e" not in text and "\x1b]0" not in text


def test_logs_and_warnings_are_escaped_and_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    show_logs()
    for _ in range(2):
        logging.getLogger("some.library").warning("cannot read %s", EVIL)
    err = capsys.readouterr().err
    assert err == f"warning: cannot read {SHOWN}\n"
    assert is_safe(warnings.formatwarning(EVIL, UserWarning, EVIL, 1, EVIL))


@pytest.mark.parametrize("engine", ["loky", "dask"])
def test_logs_of_worker_processes_are_escaped(
    engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if engine == "dask":
        pytest.importorskip("distributed")
    get_reusable_executor().shutdown(wait=True)  # workers of another test write to that test's standard error
    job = GroupJob(tmp_path, tmp_path, 0, (), {}, PrepareSettings(size=32), FakeTools())
    assert [r.number for r in run([job], workers=2, engine=engine, work=Warns(EVIL))] == [0]
    err = capfd.readouterr().err
    assert f"warning: cannot read {SHOWN}\n" in err
    assert "\x1b" not in err and "\u202e" not in err


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize("kind", [InputError, OSError, RuntimeError])
def test_errors_of_the_command_line_are_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[Exception], debug: str
) -> None:
    def fail(**_: object) -> None:
        raise kind(EVIL)

    monkeypatch.setenv("DAWN_BENCH_DEBUG", debug)
    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == (1 if kind is RuntimeError else 2)
    err = capsys.readouterr().err
    assert is_safe(err) and r"\x1b" in err and ("Traceback" in err) == bool(debug)


def test_fields_of_a_cache_are_escaped(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    root = tmp_path / "cache"
    shutil.copytree(tiny_cache, root)
    index = pd.read_parquet(root / INDEX_FILE)
    evil = EVIL.replace("\udcff", "") + "[/bold]"
    index.loc[0, ["status", "reason", "detail"]] = [QUARANTINED, evil, f"{evil}\nerror: all is lost"]
    index.loc[1, "split"] = evil
    index.to_parquet(root / INDEX_FILE)
    settings = (root / "cache.json").read_text().replace('"tiny"', '"t\\u001b[2J", "fingerprints": {"face": "\\u202e"}')
    (root / "cache.json").write_text(settings)
    monkeypatch.setattr(sys, "argv", ["dawn-bench", "cache", "stats", str(root)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    err = "".join(capsys.readouterr())
    assert caught.value.code == 0 and is_safe(err)
    assert r"t\x1b[2J" in err and "[/bold]" in err and r"\u202egpj" in err and "\nerror" not in err


def test_the_reason_of_a_server_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.HTTPError("http://x", 418, EVIL, None, None)  # type: ignore[arg-type]

    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(sys, "argv", ["dawn-bench", "weights", "fetch", "syncnet"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    err = capsys.readouterr().err
    assert caught.value.code == 2 and is_safe(err) and r"\x1b" in err


def score(**changes: object) -> ScoreRow:
    facts = {
        "method": "mine", "dataset": "d", "split": "test", "protocol": "p", "metric": "psnr", "value": -1.5,
        "n_clips": 2, "n_frames": 9, "fingerprint": "f",
    }  # fmt: skip
    return ScoreRow.model_validate(facts | changes)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x")', "＝1", "-inf"],
)
def test_no_text_is_a_formula_of_a_spreadsheet(text: str) -> None:
    rows = [score(method=text, note=text, unit=text), score(method="b", value=3.0)]
    cells = list(csv.DictReader(io.StringIO(tables.as_csv(leaderboards(rows)))))
    named = next(row for row in cells if row["method"] != "b")
    assert named["method"] == named["note"] == named["unit"] == f"'{visible(text)}"
    assert named["value"] == "-1.5" and named["n_clips"] == "2"


@pytest.mark.parametrize("text", ["mine", "a=b", "-5", "+1.5e-3", "5", " =1", "'=1"])
def test_numbers_and_plain_texts_stay_as_they_are(text: str) -> None:
    assert tables._csv_cell(text) == text
    assert tables._csv_cell(-2.5) == -2.5 and tables._csv_cell(None) == ""


def test_exported_texts_hold_no_escapes() -> None:
    boards = leaderboards([score(method=EVIL.replace("\udcff", ""))])
    for write in (tables.markdown, tables.latex, tables.as_csv):
        assert is_safe(write(boards))
