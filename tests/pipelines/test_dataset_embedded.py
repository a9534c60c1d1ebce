"""The embedded dataset is listed as CREMA-D is, under its own name."""

from __future__ import annotations

from pathlib import Path

from dawn_bench.pipelines.datasets.base import DATASETS
from dawn_bench.pipelines.settings import PrepareSettings


def test_embedded_clips_are_split_by_crema_s_actors(tmp_path: Path) -> None:
    (tmp_path / "VideoFlash").mkdir()
    for name in ("1001_DFA_NEU_XX", "1015_IEO_NEU_XX"):
        (tmp_path / "VideoFlash" / f"{name}.mp4").write_bytes(b"not empty")
    listed = list(DATASETS["embedded"]().sources(tmp_path, PrepareSettings(dataset="embedded")))
    assert [(s.id, s.speaker, s.split) for s in listed] == [
        ("1001_DFA_NEU_XX", "1001", "train"),
        ("1015_IEO_NEU_XX", "1015", "test"),
    ]
