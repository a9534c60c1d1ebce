"""The index of a cache: `index.parquet` and `cache.json`, written from the parts of a finished plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawn_bench.cache import INDEX_FILE, OK, SCHEMA_VERSION, SETTINGS_FILE
from dawn_bench.clip import FPS
from dawn_bench.files import replacing, write_atomic
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.preparation.plan import CachePlan, listed_id, part_path, read_part
from dawn_bench.pipelines.preparation.tables import Rows
from dawn_bench.progress import console
from dawn_bench.provenance import versions
from dawn_bench.readers import DamageError, read_json
from dawn_bench.text import counted
from dawn_bench.utf8 import escape_invalid, escape_invalid_values


@dataclass
class Contents:
    """What an index holds: usable clips and their frames, the others by reason, and the clips of each group."""

    ok: int = 0
    frames: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    of_group: Counter[int] = field(default_factory=Counter)

    def count(self, row: Mapping[str, Any], group: int) -> None:
        """Add a clip."""
        self.frames += row["n_frames"]
        self.of_group[group] += 1
        if row["status"] == OK:
            self.ok += 1
        else:
            self.quarantined[row["reason"]] += 1


def write_index(cache: Path, plan: CachePlan, sources: Mapping[str, Source], *, name: str | None = None) -> Contents:
    """Write `index.parquet` and `cache.json` from the parts of a finished plan; returns what they hold.

    `name` is that of the dataset; without it, the one in `cache.json` stays. Speaker and split are those that the
    dataset lists now (`sources` by id), not those at the time of processing. The rows are held as Arrow columns, about
    1 KB a clip.
    """
    contents, table, relisted = Contents(), Rows(), 0
    for number, row in whole_rows(cache, plan):
        if (source := sources.get(listed_id(row))) is not None:
            relisted += (row["speaker"], row["split"]) != (source.speaker, source.split)
            row |= {"speaker": source.speaker, "split": source.split}
        contents.count(row, number)
        table.add(_flat(escape_invalid_values(row)))
    if relisted:
        have = f"{counted(relisted, 'clip')} {'has' if relisted == 1 else 'have'}"
        console().print(f"{have} another speaker or split than when prepared")
    with replacing(cache / INDEX_FILE) as temporary, temporary.open("wb") as file:
        table.write(file, columns=_ordered(table.names), by="id")
    name = name or _earlier_name(cache / SETTINGS_FILE)
    facts = {
        "schema": SCHEMA_VERSION,
        **({"name": name} if name else {}),
        "dataset": plan.settings["dataset"],
        "size": plan.settings["size"],
        "fps": int(plan.facts.get("fps", FPS)),
        "root": escape_invalid(plan.root),
        "settings": escape_invalid_values(plan.settings),
        "fingerprints": {**plan.facts, **plan.added},
        "versions": versions(),
    }
    write_atomic(cache / SETTINGS_FILE, f"{json.dumps(facts, indent=1)}\n".encode())
    return contents


def _earlier_name(path: Path) -> str:
    """The name of the dataset in an earlier `cache.json`; empty where there is none."""
    try:
        return str(read_json(path, dict).get("name") or "") if path.is_file() else ""
    except DamageError:
        return ""


def whole_rows(cache: Path, plan: CachePlan) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of the group and the row of every clip, with the fields of extractors that were added later."""
    owners, added = plan.owners(), [key.removeprefix("extractor ") for key in plan.added]
    for number in plan.current():
        rows = {row["id"]: row for row in current_rows(read_part(part_path(cache, number)), number, owners)}
        for name in added:
            part = part_path(cache, number, extractor=name)
            for row in current_rows(read_part(part), number, owners):
                if row["id"] not in rows:
                    raise DamageError(f"has a clip {row['id']!r} that its group lacks.", path=part, hint="Delete it.")
                rows[row["id"]]["fields"].update(row["fields"])
                if row["status"] != OK:
                    rows[row["id"]][f"without.{name}"] = f"{row['reason']}: {row['detail']}"
        yield from ((number, row) for row in rows.values())


def current_rows(part: Sequence[dict[str, Any]], number: int, owners: Mapping[str, int]) -> list[dict[str, Any]]:
    """The rows of the part of group `number`, without clips that a later group processed again."""
    return [row for row in part if owners.get(listed_id(row)) == number]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A part's row as a row of the index: `meta` as further columns, `fields` as columns `field.property`."""
    meta = {
        key.replace(".", "_"): value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
        for key, value in row.get("meta", {}).items()
    }
    fields = {f"{name}.{key}": value for name, at in row["fields"].items() for key, value in at.items()}
    return {**{k: v for k, v in row.items() if k not in ("meta", "fields")}, **meta, **fields}


def _ordered(names: Sequence[str]) -> list[str]:
    """The columns in order: fixed ones, then `meta` by name, then fields by name."""
    fixed = ["id", "speaker", "split", "n_frames", "status", "reason", "detail", "source", "source_sha256"]
    others = {*names} - {*fixed}
    return [*fixed, *sorted(k for k in others if "." not in k), *sorted(k for k in others if "." in k)]
