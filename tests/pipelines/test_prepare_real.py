"""Preparation with the real decoder and the embedded face back end, on a few real clips of odd kinds."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.masks import lip_mask
from dawn_bench.pipelines.media.video import iter_frames
from dawn_bench.pipelines.preparation.maintain import verify
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

pytestmark = pytest.mark.real


@pytest.fixture
def root(clips_dir: Path, tmp_path: Path) -> Path:
    """Links to real clips, some with difficult names, and broken files."""
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
        assert {"face_mask", "lip_mask"} <= set(clip.arrays)
        assert np.array_equal(clip["lip_mask"], lip_mask(clip["landmarks"], 64))
        mouth = clip["landmarks"][:, 48:].mean(axis=1).round().astype(int)
        assert all(mask[y, x] for mask, (x, y) in zip(clip["lip_mask"], mouth, strict=True))
        assert not (clip["lip_mask"] & ~clip["face_mask"]).any()
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


#: The size at which a player shows clips whose pixels are not square.
SQUARED = {"liveportrait_d9.mp4": (480, 480)}
#: Clips whose first second is noise below -60 dBFS.
QUIET = {"liveportrait_d9.mp4", "pyfeat_face_noface.mov"}


def table(clips_dir: Path) -> list[dict[str, str]]:
    """What is known of every clip: rates, sizes, sound, faces, and `flags` for its odd kind."""
    with (clips_dir.parent / "clips.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_kind_of_clip_ends_as_it_should(clips_dir: Path, tmp_path: Path) -> None:
    """Rates of 22 to 30 and variable ones, vertical, no sound, silent sound, no face, cuts, lying frame counts."""
    report = prepare(
        clips_dir, tmp_path / "c", PrepareSettings(size=32, face="dlib", max_frames=25, extract=()), jobs=2
    )
    index = Cache(tmp_path / "c").index.set_index("id")
    rows = {Path(row["file"]).stem: row for row in table(clips_dir)}
    assert set(index.index) == set(rows) and report.clips == 40
    starts_without_face = {"pyfeat_no_face", "pyfeat_noface_face"}
    for name, row in rows.items():
        clip, flags = index.loc[name], row["flags"].split("; ")
        if "no-audio-stream" in flags:
            assert clip["reason"] == "no_audio", name
        elif name in starts_without_face:
            assert clip["reason"] == "no_face", name
        else:
            assert clip["status"] == "ok" and clip["n_frames"] == 25, name
            assert clip["source_fps"] == pytest.approx(float(row["fps_avg"]), abs=0.1), name
            size = SQUARED.get(row["file"], (int(row["width"]), int(row["height"])))
            assert (clip["source_width"], clip["source_height"]) == size, name
            assert clip["silent"] == ("silent-audio-track" in flags or row["file"] in QUIET), name
    assert not verify(tmp_path / "c").faults


def test_every_clip_shows_the_frame_on_screen(clips_dir: Path) -> None:
    """The oracle decodes, and looks the middle of each frame up among the stamps."""
    for row in table(clips_dir):
        stamps, pictures = [], []
        with av.open(str(clips_dir / row["file"])) as container:
            for frame in container.decode(video=0):
                assert frame.pts is not None and frame.time_base is not None
                stamps.append(float(frame.pts * frame.time_base))
                pictures.append(frame.to_ndarray(format="rgb24"))
                if stamps[-1] - stamps[0] > 0.35:
                    break
        frames = list(iter_frames(clips_dir / row["file"], stop=0.32))
        places = np.searchsorted(np.array(stamps) - stamps[0], (np.arange(8) + 0.5) / 25 - 1e-6) - 1
        assert len(frames) == 8, row["file"]
        if row["file"] in SQUARED:
            assert frames[0].shape[1::-1] == SQUARED[row["file"]]
            continue
        assert all(np.array_equal(a, pictures[i]) for a, i in zip(frames, places, strict=True)), row["file"]


def test_sound_longer_or_shorter_than_the_picture_ends_with_it(clips_dir: Path, tmp_path: Path) -> None:
    """GRID's sound is 23 ms short, VoxCeleb2's 30 ms long: 640 samples a frame, silence at a short one's end."""
    (tmp_path / "v").mkdir()
    for name in ("grid_sbwe5n.mpg", "voxceleb2_620900105.mp4", "1001_DFA_HAP_XX.flv"):
        (tmp_path / "v" / name).symlink_to(clips_dir / name)
    prepare(tmp_path / "v", tmp_path / "c", PrepareSettings(size=32, face="dlib", extract=()))
    frames = {"grid_sbwe5n": 75, "voxceleb2_620900105": 108, "1001_DFA_HAP_XX": 47}
    for clip in Cache(tmp_path / "c"):
        assert clip.n_frames == frames[clip.id] and len(clip["audio"]) == 640 * clip.n_frames
        spare = round(16_000 * (clip.n_frames / 25 - clip.meta["audio_seconds"]))
        assert (spare > 100) == (clip.id == "grid_sbwe5n")
        assert (
            clip["audio"][-max(spare, 0) - 800 :].any()
            and not clip["audio"][len(clip["audio"]) - max(spare, 0) :].any()
        )


def test_a_real_cut_is_split_or_refused(clips_dir: Path, tmp_path: Path) -> None:
    """A face for 2.4 s, then a cartoon without one, in a file of variable rate."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "cut.mov").symlink_to(clips_dir / "pyfeat_face_noface.mov")
    (tmp_path / "v" / "whole.mp4").symlink_to(clips_dir / "pyfeat_single_face.mp4")
    ends: dict[str, dict[str, str]] = {}
    for on_cut in ("split", "quarantine"):
        settings = PrepareSettings(size=32, face="dlib", extract=(), on_cut=on_cut, max_frames=66)  # type: ignore[arg-type]
        prepare(tmp_path / "v", tmp_path / on_cut, settings)
        ends[on_cut] = dict(Cache(tmp_path / on_cut).index.set_index("id")["reason"])
    assert ends["quarantine"] == {"cut": "cut", "whole": ""}
    assert ends["split"].pop("cut@000") == ends["split"].pop("whole") == ""
    assert len(ends["split"]) >= 1 and set(ends["split"].values()) <= {"no_face", "too_short"}
    scene = Cache(tmp_path / "split")["cut@000"]
    assert scene.n_frames == 60 and scene["valid"].all() and len(scene["audio"]) == 640 * 60
