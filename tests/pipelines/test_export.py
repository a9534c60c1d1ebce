"""What of a cache is exported, and how: splits, fields, pictures and videos, drawn orders, several processes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dawn_bench.pipelines.preparation.export as export_module
from dawn_bench.cache import Cache
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
