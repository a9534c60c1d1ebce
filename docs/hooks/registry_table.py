"""MkDocs hook: `<!-- registry-table -->` becomes the table of everything that can be added, from the registries."""

from __future__ import annotations

from importlib import import_module
from typing import Any

MARK = "<!-- registry-table -->"
#: (what a person adds, page, module and name of the registry).
KINDS = (
    ("dataset", "dataset", "pipelines.datasets.base", "DATASETS"),
    ("extractor", "extractor", "pipelines.extractors.base", "EXTRACTORS"),
    ("audio encoder", "audio-encoder", "pipelines.extractors.base", "EXTRACTORS"),
    ("source of the head pose", "extractor", "pipelines.extractors.base", "EXTRACTORS"),
    ("source of the blinks", "extractor", "pipelines.extractors.base", "EXTRACTORS"),
    ("recipe of `prepare --like`", "recipe", "pipelines.recipes.base", "RECIPES"),
    ("decoder", "decoder", "pipelines.media.decoders.base", "DECODERS"),
    ("face back end", "face-backend", "pipelines.faces.base", "FACE_BACKENDS"),
    ("feature of a metric", "feature", "metrics.scoring.base", "FEATURES"),
    ("metric", "metric", "metrics.scoring.base", "METRICS"),
    ("method", "method", "baselines.base", "METHODS"),
    ("model with training", "model", "models.spec", "MODELS"),
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark."""
    return markdown.replace(MARK, table()) if MARK in markdown else markdown


def table() -> str:
    """One line per kind."""
    lines = ["| to add a ... | write | in | entry-point group |", "| --- | --- | --- | --- |"]
    for what, page, module, name in KINDS:
        registry = getattr(import_module(f"dawn_bench.{module}"), name)
        folder = registry.package.replace(".", "/")
        for real in ("pipelines", "metrics", "baselines"):
            folder = folder.replace(f"dawn_bench/{real}", real)
        size = "one folder" if registry.module else "one file"
        lines.append(f"| [{what}]({page}.md) | {size} | `{folder}/` | `{registry.group}` |")
    lines.append("| [external method](external-method.md) | one YAML file | anywhere | none needed |")
    return "\n".join(lines)
