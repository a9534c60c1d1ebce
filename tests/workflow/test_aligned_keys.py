"""A user's files are aligned again when their contents, or the place that is read of them, have changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench.baselines.base import Generated, Item
from dawn_bench.baselines.outputs import read_items
from dawn_bench.baselines.reframe import Reframed
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.workflow.entries import entry_source
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.pieces import cut_pieces

#: A bundled method whose outputs are scored a second time, with aligned faces.
METHOD = "sadtalker"


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int | None]]:
    """Clip, file and first frame of every alignment that is computed."""
    seen: list[tuple[str, str, int | None]] = []

    def generate(self: Reframed, item: Item) -> Generated:
        clip = item.clip
        seen.append((clip.id, self.files[clip.id].name, self.starts.get(clip.id)))
        return Generated(np.asarray(clip["frames"]), np.asarray(clip["audio"]))

    monkeypatch.setattr(Reframed, "generate", generate)
    return seen


def video(path: Path, gray: int, frames: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, np.full((frames, 32, 32, 3), gray, np.uint8), lossless=True)
    return path


def run(tmp_path: Path, clips: list[Clip], piece_length: int | None = None, **changes: Any) -> dict[str, Any]:
    job = Evaluation(
        cache=tmp_path, out=tmp_path / "out", methods=(METHOD,), outputs=tmp_path / "theirs", device="cpu", **changes
    )
    out = tmp_path / "out" / "outputs"
    source = entry_source(METHOD, job, clips, out=out, shown=set(), piece_length=piece_length)
    return {entry.name: entry for entry in source.entries()}


def test_other_contents_are_aligned_again_and_touched_or_renamed_files_are_not(
    tiny_cache: Path, tmp_path: Path, aligned: list[tuple[str, str, int | None]]
) -> None:
    clips = Cache(tiny_cache).clips("test")
    theirs = tmp_path / "theirs"
    for gray, clip in enumerate(clips):
        video(theirs / f"{clip.id}.mp4", 90 + gray)
    entries = run(tmp_path, clips)
    assert list(entries) == [METHOD, f"{METHOD}-aligned"]
    assert aligned == [(clip.id, f"{clip.id}.mp4", None) for clip in clips]
    assert entries[f"{METHOD}-aligned"].outputs.keys() == {clip.id for clip in clips}
    aligned.clear()
    os.utime(theirs / "c4.mp4")
    (theirs / "deep").mkdir()
    shutil.move(theirs / "c5.mp4", theirs / "deep" / "c5.mp4")
    run(tmp_path, clips)
    assert aligned == []
    video(theirs / "c4.mp4", 120)
    run(tmp_path, clips)
    assert [clip for clip, *_ in aligned] == ["c4", "c5"]
    aligned.clear()
    run(tmp_path, clips, seed=1)
    assert len(aligned) == 2


def test_pieces_that_are_read_of_a_whole_video_are_not_those_of_files_of_their_own(
    tiny_cache: Path, tmp_path: Path, aligned: list[tuple[str, str, int | None]]
) -> None:
    """The same contents under other names: two copies of the whole video in place of its pieces, then the video."""
    pieces = cut_pieces(Cache(tiny_cache).clips("test")[:1], PAPER_DAWN.in_pieces(15))
    names = [piece.id for piece in pieces]
    assert names == ["c4_f00000", "c4_f00015"]
    whole = video(tmp_path / "whole.mp4", 90)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in names:
        shutil.copy(whole, theirs / f"{name}.mp4")
    run(tmp_path, pieces, 15)
    assert aligned == [(name, f"{name}.mp4", None) for name in names]
    aligned.clear()
    for name in names:
        (theirs / f"{name}.mp4").unlink()
    shutil.copy(whole, theirs / "c4.mp4")
    run(tmp_path, pieces, 15)
    assert aligned == [(names[0], "c4.mp4", 0), (names[1], "c4.mp4", 15)]
    aligned.clear()
    run(tmp_path, pieces, 15)
    assert aligned == []
    items = read_items(tmp_path / "out" / "outputs" / f"{METHOD}-aligned")
    assert {item.inputs.keys() == {"landmarks", "starts"} for item in items.values()} == {True}
