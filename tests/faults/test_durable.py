"""A file whose name says that it is finished is on disk before it has that name, and the name is on disk too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_tools import FakeTools, write_video

from dawn_bench.config import Config
from dawn_bench.locks import HOLDER_FILE
from dawn_bench.models.checkpoint import save_checkpoint
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.shards import ShardWriter
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.training.resume import save_state


class _Order:
    """What is synced, and what is renamed, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Path]] = []
        fsync, replace = os.fsync, Path.replace

        def synced(handle: int) -> None:
            self.events.append(("sync", Path(f"/proc/self/fd/{handle}").readlink()))
            fsync(handle)

        def renamed(path: Path, target: Path) -> Path:
            self.events.append(("named", Path(target)))
            before = [event for event in self.events if event == ("sync", path.resolve())]
            assert before or target.name == HOLDER_FILE, f"{target} was named before its content was on disk"
            return replace(path, target)

        monkeypatch.setattr("os.fsync", synced)
        monkeypatch.setattr("pathlib.Path.replace", renamed)

    def check(self, *names: str) -> None:
        """Each file got its name, and its folder was synced after it."""
        for name in names:
            at = max(k for k, (kind, path) in enumerate(self.events) if kind == "named" and path.name == name)
            folder = self.events[at][1].resolve().parent
            assert ("sync", folder) in self.events[at:], name


def _checkpoint(folder: Path) -> None:
    save_checkpoint(folder / "m.safetensors", torch.nn.Linear(2, 2), config=Config(), kind="x", provenance={})


def _state(folder: Path) -> None:
    module = torch.nn.Linear(2, 2)
    save_state(folder / "state.pt", 1, module, [torch.optim.AdamW(module.parameters())], None, {})


def _shard(folder: Path) -> None:
    with ShardWriter(folder, number=0, ids=["a"]) as writer:
        writer.begin("a")
        writer.append("pose", np.ones((3, 7), np.float32))
        writer.finish()
        writer.close()


def _cache(folder: Path) -> None:
    write_video(folder / "v" / "a.mp4", frames=6, value=1)
    prepare(folder / "v", folder / "c", PrepareSettings(size=32, extract=("pose",)), tools=FakeTools())


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (_checkpoint, ["m.safetensors"]),
        (_state, ["state.pt"]),
        (_shard, ["pose-00000.safetensors"]),
        (_cache, ["plan.json", "frames-00000.safetensors", "00000.json", "index.parquet", "cache.json"]),
    ],
)
def test_finished_files_are_on_disk_before_they_are_named(
    write: Callable[[Path], None], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = _Order(monkeypatch)
    write(tmp_path)
    order.check(*names)
