"""Preparation with the real decoder and the embedded face back end, on a few real clips of odd kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawn_bench.cache import Cache
from dawn_bench.pipelines.maintain import verify
from dawn_bench.pipelines.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

pytestmark = pytest.mark.real


@pytest.fixture
def root(clips_dir: Path, tmp_path: Path) -> Path:
    """Links to real clips, some under unkind names, beside files that are broken."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, link in {
        "voxceleb2_00473.mp4": "-ünï 人 clip.mp4",
        "1001_DFA_ANG_XX.flv": "flash.flv",
        "pyfeat_no_face.mp4": "nobody.mp4",
        "edtalk_mouth_source.mp4": "mute.mp4",
    }.items():
        (folder / link).symlink_to(clips_dir / name)
    whole = (clips_dir / "voxceleb2_00473.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "wrong ending.avi").symlink_to(clips_dir / "voxceleb2_620900105.mp4")
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    return folder


def test_odd_clips_end_as_they_should(root: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(size=64, face="dlib", max_frames=16)
    report = prepare(root, tmp_path / "one", settings, jobs=1)
    cache = Cache(tmp_path / "one")
    assert report.ok == 3
    assert {clip.meta["source"] for clip in cache} == {"flash.flv", "wrong ending.avi", "-ünï 人 clip.mp4"}
    reasons = {clip_id: reason for clip_id, reason, _ in cache.quarantined()}
    assert reasons == {
        "empty": "empty_file",
        "mute": "no_audio",
        "nobody": "no_face",
        "text": "unreadable",
        "truncated": "unreadable",
    }
    for clip in cache:
        assert clip.n_frames == 16 == len(clip["pose"]) == len(clip["blink"]) == len(clip["logmel"])
        assert clip["frames"].shape == (16, 64, 64, 3) and clip["audio"].shape == (16 * 640,)
    assert not verify(tmp_path / "one").faults


def test_an_extractor_added_later_equals_one_from_the_start(root: Path, tmp_path: Path) -> None:
    """Every shard and the index are the same, also when two workers did the rest."""
    settings = PrepareSettings(size=64, face="dlib", max_frames=12)
    prepare(root, tmp_path / "one", settings, jobs=1)
    prepare(root, tmp_path / "two", settings.model_copy(update={"extract": ("pose",)}), jobs=2)
    prepare(root, tmp_path / "two", settings, jobs=1)
    names = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.safetensors")]
    assert any(name.parts[0] == "blink" for name in names)
    for name in (Path("index.parquet"), *names):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
