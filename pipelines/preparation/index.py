"""The index of a cache: `index.parquet` and `cache.json`, written from the parts of a finished plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dawn_bench.cache import INDEX_FILE, OK, SCHEMA_VERSION, SETTINGS_FILE
from dawn_bench.clip import FPS
from dawn_bench.files import replacing, write_atomic
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.preparation.plan import CachePlan, listed_id, part_path, read_part
from dawn_bench.progress import console
from dawn_bench.provenance import versions
from dawn_bench.readers import DamageError
from dawn_bench.text import counted
from dawn_bench.utf8 import escape_invalid, escape_invalid_values


def write_index(cache: Path, plan: CachePlan, sources: Mapping[str, Source]) -> list[dict[str, Any]]:
    """Write `index.parquet` and `cache.json` from the parts of a finished plan; returns the clips' rows.

    Speaker and split are those that the dataset lists now (`sources` by id), not those at the time of processing.
    """
    import pandas as pd

    numbers, owners = range(len(plan.groups)), plan.owners()
    rows = {row["id"]: row for row in current_rows([read_part(part_path(cache, n)) for n in numbers], owners)}
    for name in (key.removeprefix("extractor ") for key in plan.added):
        for row in current_rows([read_part(part_path(cache, n, extractor=name)) for n in numbers], owners):
            if row["id"] not in rows:
                part = part_path(cache, owners[listed_id(row)], extractor=name)
                raise DamageError(f"has a clip {row['id']!r} that its group lacks.", path=part, hint="Delete it.")
            rows[row["id"]]["fields"].update(row["fields"])
            if row["status"] != OK:
                rows[row["id"]][f"without.{name}"] = f"{row['reason']}: {row['detail']}"
    relisted = 0
    for row in rows.values():
        if (source := sources.get(listed_id(row))) is not None:
            relisted += (row["speaker"], row["split"]) != (source.speaker, source.split)
            row |= {"speaker": source.speaker, "split": source.split}
    if relisted:
        have = f"{counted(relisted, 'clip')} {'has' if relisted == 1 else 'have'}"
        console().print(f"{have} another speaker or split than when prepared")
    flat = [_flat(escape_invalid_values(row)) for _, row in sorted(rows.items())]
    table = pd.DataFrame(flat, columns=_ordered(flat))
    for name in table.columns:
        kinds = {type(v) for v in table[name] if v is not None and v == v}  # NaN is the one that differs from itself
        if len(kinds - {list}) > 1 and not kinds <= {int, float}:
            table[name] = table[name].map(lambda v: v if v is None or v != v else str(v))
    with replacing(cache / INDEX_FILE) as temporary, temporary.open("wb") as file:
        # by its name pandas opens a file only where that is UTF-8
        table.to_parquet(file, index=False, write_page_checksum=True)
    facts = {
        "schema": SCHEMA_VERSION,
        "dataset": plan.settings["dataset"],
        "size": plan.settings["size"],
        "fps": int(plan.facts.get("fps", FPS)),
        "root": escape_invalid(plan.root),
        "settings": escape_invalid_values(plan.settings),
        "fingerprints": {**plan.facts, **plan.added},
        "versions": versions(),
    }
    write_atomic(cache / SETTINGS_FILE, f"{json.dumps(facts, indent=1)}\n".encode())
    return list(rows.values())


def current_rows(parts: Sequence[Sequence[dict[str, Any]]], owners: Mapping[str, int]) -> list[dict[str, Any]]:
    """The rows of the parts of all groups, without clips that a later group processed again."""
    return [row for number, part in enumerate(parts) for row in part if owners.get(listed_id(row)) == number]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A part's row as a row of the index: `meta` as further columns, `fields` as columns `field.property`."""
    meta = {
        key.replace(".", "_"): value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
        for key, value in row.get("meta", {}).items()
    }
    fields = {f"{name}.{key}": value for name, at in row["fields"].items() for key, value in at.items()}
    return {**{k: v for k, v in row.items() if k not in ("meta", "fields")}, **meta, **fields}


def _ordered(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns in order: fixed ones, then `meta` by name, then fields by name."""
    fixed = ["id", "speaker", "split", "n_frames", "status", "reason", "detail", "source", "source_sha256"]
    others = {key for row in rows for key in row} - set(fixed)
    return [*fixed, *sorted(k for k in others if "." not in k), *sorted(k for k in others if "." in k)]
