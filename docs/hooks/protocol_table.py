"""MkDocs hook: every field of the scoring protocol with its choices, from the protocol's own model.

`<!-- protocol-fields -->` becomes one table per group of fields, `<!-- protocol-names -->` the list of named protocols.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

FIELDS, NAMES = "<!-- protocol-fields -->", "<!-- protocol-names -->"
#: Heading by the first word of a field's name.
HEADINGS = {
    "piece": "Clips",
    "skip": "Clips",
    "transcode": "Clips",
    "fid": "FID and DR",
    "dr": "FID and DR",
    "fvd": "FVD",
    "psnr": "PSNR, SSIM and LPIPS",
    "ssim": "PSNR, SSIM and LPIPS",
    "lpips": "PSNR, SSIM and LPIPS",
    "lse": "Lip sync",
    "csim": "Identity",
    "bas": "Beats",
    "blink": "Blinks",
    "mesh": "Meshes",
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks."""
    if FIELDS in markdown:
        markdown = markdown.replace(FIELDS, fields())
    if NAMES in markdown:
        markdown = markdown.replace(NAMES, names())
    return markdown


def fields() -> str:
    """All fields, grouped by metric."""
    lines: list[str] = []
    for heading, group in groupby(_rows(), key=lambda row: row[0]):
        lines += [f"## {heading}", "", "| field | choices | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| `{name}` | {choices} | `{default}` | {text} |" for _, name, choices, default, text in group]
        lines.append("")
    return "\n".join(lines)


def field_table(chosen: list[str]) -> str:
    """The table of some fields, for a metric's card."""
    lines = ["| field | choices | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| `{n}` | {c} | `{d}` | {t} |" for _, n, c, d, t in _rows() if n in chosen]
    return "\n".join(lines)


def names() -> str:
    """The named protocols, what each changes, and the metrics that it computes where none is named."""
    from dawn_bench.metrics.protocols.base import PROTOCOLS
    from dawn_bench.metrics.scoring.listing import usual_metrics

    standard = next(iter(PROTOCOLS.values()))
    settings = standard.model_dump(mode="json")
    lines = ["| name | differs from the default in | metrics |", "| --- | --- | --- |"]
    for name, protocol in PROTOCOLS.items():
        data = protocol.model_dump(mode="json")
        changed = [f"`{k}={data[k]}`" for k in data if k != "id" and data[k] != settings[k]]
        if protocol.metrics:
            changed.append("its metrics")
        listed = " ".join(f"`{metric}`" for metric in usual_metrics(protocol))
        lines.append(f"| `{name}` | {', '.join(changed) or 'nothing: this is the default'} | {listed} |")
    return "\n".join(lines)


def _rows() -> list[tuple[str, str, str, str, str]]:
    """(heading, name, choices, default, meaning) of every field but the id."""
    from dawn_bench.metrics.protocols.base import ScoringProtocol

    properties = ScoringProtocol.model_json_schema()["properties"]
    rows = []
    for name, schema in properties.items():
        if name == "id":
            continue
        first = name.partition("_")[0]
        default = schema.get("default")
        shown = default if isinstance(default, str) else json.dumps(default)
        text = schema.get("description", "").replace("|", "\\|")
        rows.append((HEADINGS.get(first, first), name, _choices(schema), shown, text))
    return rows


def _choices(schema: dict[str, Any]) -> str:
    options = schema.get("anyOf", [schema])
    return ", ".join(_choice(option) for option in options)


def _choice(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = {"integer": "int", "number": "float", "boolean": "`true`, `false`", "string": "text", "null": "`null`"}
    limits = [("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")]
    bounds = " ".join(f"{sign} {schema[key]:g}" for key, sign in limits if key in schema)
    return f"{kind[schema['type']]} {bounds}".strip()
