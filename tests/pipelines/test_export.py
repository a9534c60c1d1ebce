"""What of a cache is exported, and how: splits, fields, pictures and videos, drawn orders, several processes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_cache import write_tiny_cache

import dawn_bench.pipelines.preparation.export as export_module
from dawn_bench.cache import INDEX_FILE, Cache
from dawn_bench.errors import InputError
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pipelines.preparation.export import export


def names(folder: Path) -> dict[str, list[str]]:
    return {path.name: sorted(str(p.relative_to(path)) for p in path.rglob("*.*")) for path in folder.iterdir()}


def order(folder: Path) -> list[list[str]]:
    """The clips of each tar in order."""
    clips = []
    for path in sorted(folder.iterdir()):
        with tarfile.open(path) as tar:
            clips.append(list(dict.fromkeys(entry.name.partition(".")[0] for entry in tar)))
    return clips


def test_a_split_and_some_fields(tiny_cache: Path, tmp_path: Path) -> None:
    assert export(tiny_cache, tmp_path / "out", split="test", fields=("pose", "lip_mask")) == 2
    files = ["clip.json", "lip_mask.npy", "pose.npy"]
    assert names(tmp_path / "out") == {"c4": files, "c5": files}
    clip = Cache(tiny_cache)["c4"]
    assert np.array_equal(np.load(tmp_path / "out" / "c4" / "lip_mask.npy"), clip["lip_mask"])
    export(tiny_cache, tmp_path / "tars", format="webdataset", split="test", fields=("audio",))
    assert order(tmp_path / "tars") == [["c4", "c5"]]


def test_pictures_and_videos_show_the_frames(tiny_cache: Path, tmp_path: Path) -> None:
    clip = Cache(tiny_cache)["c4"]
    true = clip["frames"].astype(int)
    assert export(tiny_cache, tmp_path / "jpg", split="test", frames="jpg") == 2
    pictures = sorted((tmp_path / "jpg" / "c4" / "frames").iterdir())
    assert [path.name for path in pictures] == [f"{k:06d}.jpg" for k in range(30)]
    shown = np.stack([np.asarray(Image.open(path)) for path in pictures])
    assert np.abs(shown - true).mean() < 4 < np.abs(shown - true[..., ::-1]).mean()
    assert json.loads((tmp_path / "jpg" / "c4" / "clip.json").read_text())["frames"] == "jpg"
    export(tiny_cache, tmp_path / "mp4", split="test", frames="mp4", fields=("frames",))
    assert names(tmp_path / "mp4")["c4"] == ["clip.json", "frames.mp4"]
    assert np.abs(read_frames(tmp_path / "mp4" / "c4" / "frames.mp4") - true).mean() < 8
    export(tiny_cache, tmp_path / "tars", format="webdataset", split="test", frames="jpg", fields=("frames",))
    with tarfile.open(tmp_path / "tars" / "clips-000000.tar") as tar:
        assert tar.getnames()[:2] == ["c4.frames.000000.jpg", "c4.frames.000001.jpg"]
        data = tar.extractfile("c4.frames.000007.jpg").read()  # type: ignore[union-attr]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), shown[7])


@pytest.mark.parametrize("format", ["files", "webdataset"])
def test_several_processes_write_the_same_bytes(
    format: str, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "TAR_BYTES", 200_000)
    monkeypatch.setattr(export_module, "_AT_ONCE", 2)
    for jobs in (1, 2):
        assert export(tiny_cache, tmp_path / str(jobs), format=format, jobs=jobs, frames="jpg") == 6  # type: ignore[arg-type]
    one, two = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*.*")} for f in (tmp_path / "1", tmp_path / "2"))
    assert one == two and len(one) > 2


def test_tars_of_a_drawn_order(tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "TAR_BYTES", 250_000)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        export(tiny_cache, tmp_path / name, format="webdataset", shuffle=True, seed=seed)
    first, second, other = (order(tmp_path / name) for name in "abc")
    assert first == second != other and len(first) == 3
    one, two = ([clip for tar in tars for clip in tar] for tars in (first, other))
    assert sorted(one) == sorted(two) == [f"c{k}" for k in range(6)] != one


def test_clips_whose_ids_have_dots_are_samples_of_their_own(tmp_path: Path) -> None:
    ids = ["a.1", "a.2", "a%2E1", "b"]
    root = write_tiny_cache(tmp_path / "cache", frames=5, splits=("train",) * 4)
    pd.read_parquet(root / INDEX_FILE).assign(id=ids).to_parquet(root / INDEX_FILE)
    export(tmp_path / "cache", tmp_path / "out", format="webdataset", fields=("pose",))
    with tarfile.open(tmp_path / "out" / "clips-000000.tar") as tar:
        names = tar.getnames()
        stated = [json.load(tar.extractfile(name))["id"] for name in names if name.endswith(".json")]  # type: ignore[arg-type]
    keys = [name.partition(".")[0] for name in names]
    assert keys == [key for key in ("a%2E1", "a%2E2", "a%252E1", "b") for _ in range(2)] and stated == ids


def test_workers_of_a_killed_export_end_and_the_next_one_removes_what_it_left(tiny_cache: Path, tmp_path: Path) -> None:
    """The worker waits in the middle of a clip when its run is killed."""
    code = """
import sys, time
from pathlib import Path
from dawn_bench.pipelines.preparation import export as module

def tasks(folder):
    def task():
        (folder / "c0").mkdir()
        (folder.parent.parent / "worker").write_text(str(__import__("os").getpid()))
        time.sleep(600)
    return [task, task]

from dawn_bench.files import filling
with filling(Path(sys.argv[1])) as folder:
    list(module.in_processes(tasks(folder), 2))
"""
    out, note = tmp_path / "out", tmp_path / "worker"
    with subprocess.Popen([sys.executable, "-c", code, str(out)], stderr=subprocess.DEVNULL) as run:
        wait_for(lambda: note.is_file() and note.read_text() != "")
        run.kill()
    worker = int(note.read_text())
    assert export(tiny_cache, out, split="test") == 2
    assert sorted(path.name for path in out.iterdir()) == ["c4", "c5"]
    wait_for(lambda: not is_running(worker))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_cannot_be_exported_is_named(tiny_cache: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"split": "tets"}, "no split 'tets'.*test"),
        ({"fields": ("poes",)}, "no field 'poes'.*pose"),
        ({"frames": "png"}, "no kind of frames called 'png'"),
        ({"frames": "mp4", "fields": ("pose",)}, "no frames are exported"),
        ({"shuffle": True}, "no order to shuffle"),
        ({"jobs": 0}, "jobs=0"),
    ):
        with pytest.raises(InputError, match=message):
            export(tiny_cache, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
