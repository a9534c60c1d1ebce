"""MkDocs hook: one card per registered metric, so that a new metric gets its page by itself.

Facts come from the metric's class, its features and the docstring of its module; parity evidence and known traps are
written by hand in `evidence.yaml` in this folder.
"""

from __future__ import annotations

import html
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from mkdocs.structure.files import File

HERE = Path(__file__).parent
OVERVIEW_MARK = "<!-- metric-list -->"
#: A protocol field as code reads it: `self.protocol.fid_resize`, `p.bas_sigma`.
_READS = re.compile(r"(?:\bprotocol|\bp)\.(\w+)")
#: Fields that every metric of videos obeys.
_ALL = ("skip_first", "transcode")


def on_config(config: Any, **_: Any) -> Any:
    """Put the cards into the navigation."""
    for section in config.nav:
        if isinstance(section, dict) and "Metrics" in section:
            section["Metrics"] += [{_kind(name).title: f"metrics/{name}.md"} for name in metric_names()]
    return config


def on_files(files: Any, *, config: Any, **_: Any) -> Any:
    """Add the cards to the files."""
    for name in metric_names():
        files.append(File.generated(config, f"metrics/{name}.md", content=card(name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark in the overview by the table of metrics."""
    return markdown.replace(OVERVIEW_MARK, overview()) if OVERVIEW_MARK in markdown else markdown


def metric_names() -> list[str]:
    """Registered names in the order of the leaderboard."""
    from dawn_bench.metrics.scoring.base import METRICS

    return sorted(METRICS, key=lambda name: (METRICS[name].order, name))


def evidence() -> dict[str, Any]:
    """What is written by hand, by metric."""
    return yaml.safe_load((HERE / "evidence.yaml").read_text(encoding="utf-8"))


def overview() -> str:
    """One line per metric."""
    lines = ["| metric | name | unit | better | what it measures |", "| --- | --- | --- | --- | --- |"]
    for name in metric_names():
        kind = _kind(name)
        first = _escaped(re.split(r"(?<=[.]) ", kind.description, maxsplit=1)[0])
        lines.append(f"| [{kind.title}]({name}.md) | `{name}` | {kind.unit or '–'} | {_direction(kind)} | {first} |")
    return "\n".join(lines)


def card(name: str) -> str:
    """The page of one metric."""
    kind, written = _kind(name), evidence().get(name, {})
    facts = {
        "registered name": f"`{name}`",
        "unit": kind.unit or "none",
        "better": _direction(kind),
        "looks at": "the generated and the true clip" if kind.compares else "the generated clip alone",
        "features": ", ".join(f"`{feature}`" for feature in _features(kind)) or "none",
        "networks": ", ".join(f"`{entry}`" for entry in _networks(kind)) or "none",
        "flagged below": f"{kind.minimum} {kind.minimum_of}",
        "defined in": f"`{Path(inspect.getfile(kind)).parent.name}/{Path(inspect.getfile(kind)).name}`",
    }
    lines = [f"# {_kind(name).title}", "", _escaped(kind.description), "", "| property | value |", "| --- | --- |"]
    lines += [f"| {key} | {value} |" for key, value in facts.items()]
    lines += ["", "## Definition", "", *_definition(kind), ""]
    chosen = written.get("fields") or _fields(kind)
    lines += ["## Protocol choices", ""]
    lines += ["Changed with `--protocol-set FIELD=VALUE`; each change gives the scores another protocol id.", ""]
    lines += [_protocol_table().field_table(chosen), ""]
    lines += ["## Known traps", ""]
    traps = written.get("traps")
    lines += [*(f"- {trap}" for trap in traps), ""] if traps else ["None recorded.", ""]
    lines += ["## Parity evidence", ""]
    parity = written.get("parity")
    if parity:
        lines += ["| compared with | what is compared | tolerance | test |", "| --- | --- | --- | --- |"]
        lines += [f"| {p['against']} | {p['what']} | {p['within']} | `{p['test']}` |" for p in parity]
    else:
        lines += ["No test against another implementation is recorded for this metric."]
    return "\n".join([*lines, ""])


def _kind(name: str) -> Any:
    from dawn_bench.metrics.scoring.base import METRICS

    return METRICS[name]


def _direction(kind: Any) -> str:
    words = {"truth": "nearer to the ground truth's value", "zero": "nearer to zero", "none": "no direction"}
    return words.get(kind.aim(), kind.aim())


def _definition(kind: Any) -> list[str]:
    """The docstrings of the module and of the class."""
    return ["\n\n".join(_paragraphs(kind)), "", f"`{kind.__name__}`: {_escaped(inspect.getdoc(kind) or '')}"]


def _paragraphs(kind: Any) -> list[str]:
    text = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or kind.__doc__ or kind.__name__)
    text = re.sub(r"(?<!`)\b(\w+(?:\(\w+\))?\^\d)", r"`\1`", text)
    return [_escaped(part) for part in text.split("\n\n")]


def _escaped(text: str) -> str:
    parts = text.split("`")
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"([*_])", r"\\\1", html.escape(parts[index], quote=False))
    return "`".join(parts)


def _features(kind: Any) -> list[str]:
    """The features behind a metric, those that they follow included."""
    from dawn_bench.metrics.scoring.base import FEATURES

    names: list[str] = []
    waiting = list(kind.needs)
    while waiting:
        name = waiting.pop(0)
        if name not in names:
            names.append(name)
            waiting += getattr(FEATURES[name], "after", ())
    return names


def _networks(kind: Any) -> list[str]:
    """Entries of the weights registry that the features use."""
    from dawn_bench.metrics.scoring.base import FEATURES

    return list(dict.fromkeys(r.weight.name for name in _features(kind) for r in FEATURES[name]().resolved))


def _fields(kind: Any) -> list[str]:
    """Protocol fields that the code of the metric and of its features reads."""
    from dawn_bench.metrics.protocols.base import ScoringProtocol
    from dawn_bench.metrics.scoring.base import FEATURES

    modules = {kind.__module__, *(FEATURES[name].__module__ for name in _features(kind))}
    read = {field for module in modules for field in _READS.findall(inspect.getsource(sys.modules[module]))}
    return [name for name in ScoringProtocol.model_fields if name in read or name in _ALL]


def _protocol_table() -> Any:
    """The neighbouring hook."""
    spec = importlib.util.spec_from_file_location("protocol_table", HERE / "protocol_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
