"""Writes a report: one self-contained HTML page, and the leaderboards as Markdown, CSV, JSON and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dawn_bench import __version__
from dawn_bench.errors import InputError, unknown_name
from dawn_bench.files import write_atomic
from dawn_bench.locks import in_turn
from dawn_bench.names import owned
from dawn_bench.reports import tables as exports
from dawn_bench.reports.cards import AIM_WORDS, ARROWS, cards
from dawn_bench.reports.drilldown import weakest
from dawn_bench.reports.gallery import ClipRow, clip_rows
from dawn_bench.reports.leaderboard import Table, leaderboards, signed, with_published
from dawn_bench.reports.phrases import TERMS, role
from dawn_bench.reports.published import published_tables, standalone
from dawn_bench.reports.sentences import PLAIN
from dawn_bench.reports.sources import source
from dawn_bench.reports.store import REPORT_LOCK, Facts, GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.storage import writing
from dawn_bench.text import counted
from dawn_bench.utf8 import escape_invalid

if TYPE_CHECKING:
    from dawn_bench.reports.view import View

FORMATS = ("html", "md", "csv", "json", "latex")
FILES = {
    "html": "report.html",
    "md": "report.md",
    "csv": "leaderboard.csv",
    "json": "leaderboard.json",
    "latex": "leaderboard.tex",
}
HERE = Path(__file__).parent
SCRIPTS = ("page.js", "page_clips.js", "page_gallery.js")


def write_report(
    results: Path, out: Path, *, formats: Sequence[str] = FORMATS, clips: int = 3, published: Sequence[int] = (1,)
) -> list[Path]:
    """Write the report of the results folder `results` into the folder `out`; returns the files.

    `clips` is the number of clips in the gallery; `published` are the numbers of tables of DAWN's paper, whose rows are
    shown unranked in tables of the same dataset. The user study (6) is a table of its own.

    Raises `InputError` for a missing or empty results folder, an unknown format and an unknown table number.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise unknown_name("report format", unknown[0], FORMATS)
    if not results.is_dir():
        what = "is a file, not a results folder." if results.exists() else "there is no such results folder."
        raise InputError(what, path=results, hint="Create one: dawn-bench evaluate --out RESULTS")
    if (place := out.absolute()).is_relative_to(root := results.absolute()):
        owned(root, place.relative_to(root))
    with in_turn(results / REPORT_LOCK, seconds=600):  # or a slower report would replace one of newer rows
        return _write(results, out, formats, clips=clips, published=published)


def _write(results: Path, out: Path, formats: Sequence[str], *, clips: int, published: Sequence[int]) -> list[Path]:
    store = ResultsStore(results)
    rows, facts, gallery = store.rows(), store.facts(), store.gallery()
    if not rows and not gallery and not facts.curves:
        raise InputError("has no results.", path=results, hint="Create some first: dawn-bench evaluate --out RESULTS")
    boards = leaderboards(rows)
    printed = published_tables(published)
    alone = standalone(printed)
    shown = [*with_published(boards, [table for table in printed if table not in alone]), *alone]
    writers: dict[str, Callable[[], str]] = {
        "html": lambda: _html(rows, shown, facts, store, gallery, clips),
        "md": lambda: markdown(shown, facts),
        "csv": lambda: exports.as_csv(boards),
        "json": lambda: exports.as_json(shown),
        "latex": lambda: exports.latex(shown),
    }
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    written = []
    for form in dict.fromkeys(formats):
        path = out / FILES[form]
        write_atomic(path, escape_invalid(writers[form]()).encode())
        written.append(path)
    return written


def _html(
    rows: Sequence[ScoreRow],
    shown: Sequence[Table],
    facts: Facts,
    store: ResultsStore,
    gallery: Sequence[GalleryItem],
    clips: int,
) -> str:
    from dawn_bench.reports.view import view

    views = [view(table) for table in shown]
    available = {item.clip_id for item in gallery}
    first: dict[str, str] = {}
    for own in views:
        order = (*own.main.columns, *own.stand_ins.columns)
        for clip, caption in weakest(own.table, order=order, available=available).items():
            first.setdefault(clip, caption)
    players = clip_rows(gallery, clips=clips, first=first)
    return html(rows, views, facts, curves=_curves(store, facts), gallery=players)


def html(
    rows: Sequence[ScoreRow],
    views: Sequence[View],
    facts: Facts,
    *,
    curves: dict[str, str],
    gallery: Sequence[ClipRow],
) -> str:
    """The page as HTML. `curves` are SVG elements by name; everything else is escaped."""
    from dawn_bench.reports.view import limits, needs

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"number": signed, "value": _value, "duration": _duration, "slug": _slug}
    listed = cards(rows)
    return environment.get_template("page.html.j2").render(
        title=facts.title or "dawn-bench report",
        facts=facts,
        rows=rows,
        boards=[view.table for view in views],
        views=views,
        data_words=data_words(facts),
        cards=listed,
        ids={(card.metric, card.protocol): f"card-{k}" for k, card in enumerate(listed)},
        limits=[limits(card, views) for card in listed],
        curves={name: Markup(svg) for name, svg in curves.items()},
        gallery=gallery,
        board_title=exports.title,
        board_words=exports.table_words,
        not_ranked=exports.not_ranked,
        group_titles=exports.GROUP_TITLES,
        limits_words=exports.LIMITS,
        terms=TERMS,
        stand_in=exports.STAND_IN,
        needs=needs,
        role=role,
        source=source,
        arrows=ARROWS,
        aim_words=AIM_WORDS,
        created=facts.created or max((r.created for r in rows), default=""),
        version=__version__,
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        js=Markup("\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)),
    )


def markdown(boards: Sequence[Table], facts: Facts) -> str:
    """The report without plots and videos."""
    lines = [f"# {exports.md(facts.title or 'dawn-bench report')}", ""]
    lines += [f"\n{exports.md(words)}"] if (words := data_words(facts)) else []
    text = "\n".join(lines) + "\n\n" + exports.markdown(boards)
    if facts.notes:
        text += "\n## Notes\n\n" + "".join(f"- {exports.md(note)}\n" for note in facts.notes)
    if facts.learning:
        text += "\n## Learning signals\n\n| signal | value | baseline | passed | note |\n"
        text += "| --- | ---: | ---: | --- | --- |\n"
        for s in facts.learning:
            cells = (s.signal, _value(s.value), _value(s.baseline), _value(s.passed), s.note)
            text += f"| {' | '.join(map(exports.md, cells))} |\n"
    for name, table in (("Dataset", facts.dataset), ("Machine", facts.machine), ("Versions", facts.versions)):
        if table:
            text += f"\n## {name}\n\n" + "".join(f"- {exports.md(f'{k}: {_value(v)}')}\n" for k, v in table.items())
    if facts.timings:
        text += "\n## Timings\n\n" + "".join(f"- {exports.md(k)}: {_duration(v)}\n" for k, v in facts.timings.items())
    return text


def data_words(facts: Facts) -> str:
    """`Data: crema, test split: 24 clips of 12 speakers, 2 more quarantined.` Empty where the facts do not say.

    Facts of earlier versions count the quarantined clips of the whole cache alone.
    """
    data = facts.dataset
    if not {"dataset", "split", "clips"} <= data.keys():
        return ""
    name = data.get("name") or data["dataset"]
    name = data["dataset"] if name in PLAIN else name
    kind = f" ({data['dataset']})" if name != data["dataset"] else ""
    speakers = f" of {counted(data['speakers'], 'speaker')}" if isinstance(data.get("speakers"), int) else ""
    of_split, of_cache = data.get("quarantined clips of the split"), data.get("quarantined clips")
    quarantined = f", {of_cache} quarantined in the whole cache" if isinstance(of_cache, int) else ""
    quarantined = f", {of_split} more quarantined" if isinstance(of_split, int) else quarantined
    return f"Data: {name}{kind}, {data['split']} split: {_value(data['clips'])} clips{speakers}{quarantined}."


def _curves(store: ResultsStore, facts: Facts) -> dict[str, str]:
    from dawn_bench.reports.plots import loss_curves

    drawn = {name: loss_curves(store.curve(curve), name=name) for name, curve in facts.curves.items()}
    return {name: svg for name, svg in drawn.items() if svg}


def _value(value: object) -> str:
    """A fact for a reader: short numbers, lists with commas, mappings as `key: value`."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_value(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(v) for v in value)
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
