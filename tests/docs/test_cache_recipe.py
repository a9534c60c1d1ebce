"""The page on caches reads a clip without dawn-bench: its lines run, and read that clip alone."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from dawn_bench.cache import Cache
from dawn_bench.pipelines.preparation.shards import ShardWriter

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats" / "cache.md"
CLIPS, T, S = 250, 24, 16


def block(number: int) -> str:
    section = PAGE.read_text().partition("## Reading without dawn-bench")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.S)[number]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 80 clips."""
    root, rng = tmp_path_factory.mktemp("cache"), np.random.default_rng(0)
    ids = ["1015_DFA_NEU_XX", *(f"x{k}" for k in range(1, CLIPS))]
    rows = []
    with ShardWriter(root, number=0, ids=ids, packed=("frames",)) as writer:
        for name in ids:
            writer.begin(name)
            writer.append("frames", rng.integers(0, 256, (T, S, S, 3), np.uint8))
            writer.append("pose", rng.normal(size=(T, 7)).astype(np.float32))
            writer.append("lip_mask", rng.random((T, S, S)) < 0.5)
            entries = {f"{f}.{k}": v for f, entry in writer.finish().items() for k, v in entry.items()}
            rows.append({"id": name, "speaker": "s", "split": "test", "n_frames": T, "status": "ok"} | entries)
        writer.close()
    pd.DataFrame(rows).to_parquet(root / "index.parquet")
    (root / "cache.json").write_text('{"schema": 1, "dataset": "d", "size": 16}')
    return root


def allocated(run: Callable[[], object]) -> int:
    """Most bytes that are allocated at a time."""
    run()  # what is imported and remembered once
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_the_lines_give_the_arrays_and_read_no_whole_shard(root: Path) -> None:
    names: dict[str, Any] = {"k": 7, "S": S}
    code = [block(number).replace("CACHE", str(root)) for number in range(3)]
    exec("\n".join(code), names)
    clip = Cache(root)["1015_DFA_NEU_XX"]
    assert np.array_equal(names["pose"], clip["pose"]) and np.array_equal(names["frame"], clip["frames"][7])
    assert np.array_equal(names["window"], clip["pose"][10:20]) and np.array_equal(names["masks"], clip["lip_mask"])
    for field, text in zip(("pose", "frames", "lip_mask"), code, strict=True):
        shard = root / names["clip"][f"{field}.shard"]
        lines = compile(text.partition("index.loc")[2].partition("\n")[2] or text, field, "exec")
        size = shard.stat().st_size
        assert allocated(lambda lines=lines: exec(lines, names)) < size / 8  # type: ignore[misc]
        assert allocated(lambda shard=shard: load_file(shard)) > size / 2  # type: ignore[misc]
