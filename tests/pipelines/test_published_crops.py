"""Pictures that a dataset has cropped to the face are taken whole by default; others are cropped, as before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.media.video import read_frames, resize, write_video
from dawn_bench.pipelines.preparation.plan import CachePlan
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.process import crop_of
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded

HDTF, CREMA = "WDA_KatieHill_000.mp4", "1001_DFA_ANG_XX.mp4"
SOURCE = Source("a", "s", "train", Path("a.mp4"), cropped=True)


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square video of a face that is smaller than our own crop would make it."""
    root = write_embedded(tmp_path_factory.mktemp("embedded"), speakers=1, clips=1, seconds=1, size=128)
    return next((root / "VideoFlash").glob("*.mp4"))


def prepared(video: Path, name: str, folder: Path, **settings: object) -> tuple[Cache, str]:
    root = folder / "videos"
    root.mkdir(exist_ok=True)
    shutil.copyfile(video, root / name)
    dataset = {HDTF: "hdtf", CREMA: "crema"}[name]
    prepare(root, folder / "cache", PrepareSettings(dataset=dataset, size=64, face="dlib", extract=(), **settings))
    return Cache(folder / "cache"), Path(name).stem


@pytest.mark.parametrize("name", [HDTF, CREMA])
def test_a_square_clip_is_the_whole_frame(square: Path, name: str, tmp_path: Path) -> None:
    cache, clip_id = prepared(square, name, tmp_path)
    meta = cache[clip_id].meta
    assert meta["crop"] == "published"
    assert [meta[f"crop_{k}"] for k in ("x", "y", "width", "height")] == [0, 0, 128, 128]
    whole = resize(read_frames(square)[0], 64, 64)
    assert np.abs(cache[clip_id]["frames"][0].astype(int) - whole).mean() < 2  # of a cut one above 20
    assert cache.settings["settings"]["crop"] == "auto"


def test_a_clip_that_is_not_square_is_cropped_to_the_face(square: Path, tmp_path: Path) -> None:
    wide = np.pad(read_frames(square), ((0, 0), (0, 0), (60, 60), (0, 0)))
    write_video(tmp_path / "wide.mp4", wide, audio=np.full(16_000, 99, np.int16))
    cache, clip_id = prepared(tmp_path / "wide.mp4", HDTF, tmp_path)
    assert cache[clip_id].meta["crop"] == "face" and cache[clip_id].meta["crop_width"] < 128


def test_a_flag_crops_it_all_the_same(square: Path, tmp_path: Path) -> None:
    cache, clip_id = prepared(square, HDTF, tmp_path, crop="face")
    assert cache[clip_id].meta["crop"] == "face" and cache[clip_id].meta["crop_width"] < 128


def test_a_cache_that_was_begun_with_face_crops_goes_on_with_them(square: Path, tmp_path: Path) -> None:
    prepared(square, HDTF, tmp_path, crop="face")
    plan = CachePlan.load(tmp_path / "cache")
    assert plan is not None
    earlier = {k: v for k, v in plan.settings.items() if k not in ("blink", "like")}  # as earlier versions wrote it
    CachePlan(plan.root, earlier, plan.facts, plan.groups, plan.added).save(tmp_path / "cache")
    shutil.copyfile(square, tmp_path / "videos" / "WDA_KatieHill_001.mp4")
    prepare(tmp_path / "videos", tmp_path / "cache", PrepareSettings(dataset="hdtf", size=64, face="dlib", extract=()))
    assert [clip.meta["crop"] for clip in Cache(tmp_path / "cache")] == ["face", "face"]
    assert json.loads((tmp_path / "cache" / "cache.json").read_text())["settings"] == earlier


@pytest.mark.parametrize(
    ("crop", "size", "cropped", "expected"),
    [
        ("auto", (512, 512), True, "published"),
        ("auto", (590, 588), True, "published"),  # a side that an encoder made even
        ("auto", (1280, 720), True, "face"),
        ("auto", (480, 360), True, "face"),
        ("auto", (512, 480), True, "face"),
        ("auto", (512, 512), False, "face"),
        ("face", (512, 512), True, "face"),
        ("paper", (1280, 720), True, "paper"),
        ("none", (1280, 720), False, "none"),
    ],
)
def test_the_rule(crop: str, size: tuple[int, int], cropped: bool, expected: str) -> None:
    source = Source("a", "s", "train", Path("a.mp4"), cropped=cropped)
    assert crop_of(source, PrepareSettings(crop=crop), *size) == expected


def test_which_datasets_have_cropped_pictures(tmp_path: Path) -> None:
    for name in (HDTF, CREMA):
        (tmp_path / name).write_bytes(b"video")
    for dataset, expected in {"hdtf": True, "crema": True, "embedded": False, "folder": False}.items():
        sources = list(DATASETS[dataset]().sources(tmp_path, PrepareSettings(dataset=dataset)))
        assert sources and all(source.cropped == expected for source in sources), dataset


@pytest.mark.real
def test_real_clips_of_hdtf_are_not_cut_again(clips_dir: Path, tmp_path: Path) -> None:
    names = [name for name in ("WDA_KatieHill_000.mp4", "WDA_EdMarkey0_000.mp4") if (clips_dir / name).is_file()]
    (tmp_path / "videos").mkdir()
    for name in names:
        (tmp_path / "videos" / name).symlink_to(clips_dir / name)
    settings = PrepareSettings(dataset="hdtf", face="dlib", extract=(), max_frames=12)
    prepare(tmp_path / "videos", tmp_path / "cache", settings)
    assert {clip.meta["crop_width"] for clip in Cache(tmp_path / "cache")} == {512}
