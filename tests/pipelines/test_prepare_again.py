"""What a second run does: scenes stay scenes, changed files are done anew, faults stay with their clip."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from fake_tools import FakeTools, write_video

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.pipelines.preparation.export import export
from dawn_bench.pipelines.preparation.maintain import stats, verify
from dawn_bench.pipelines.preparation.plan import CachePlan
from dawn_bench.pipelines.preparation.prepare import PrepareReport, prepare
from dawn_bench.pipelines.settings import PrepareSettings

SETTINGS = PrepareSettings(size=32, extract=("pose",))
SPLIT = SETTINGS.model_copy(update={"on_cut": "split"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 clips of 10 and more frames; three have cuts."""
    cuts = {4: "cut3", 11: "cut2", 17: "cut12"}
    for k in range(20):
        write_video(tmp_path / "videos" / f"clip{k:02d}.mp4", frames=24 + k, value=k, then=cuts.get(k, ""))
    return tmp_path / "videos"


def arrays(cache: Path) -> dict[str, dict[str, str]]:
    """sha256 of every array by clip and field, wherever it lies, checked against the bytes."""
    assert not verify(cache).faults
    return {
        clip.id: {name: hashlib.sha256(clip[name].tobytes()).hexdigest() for name in clip.arrays}
        for clip in Cache(cache)
    }


def again(root: Path, cache: Path, settings: PrepareSettings = SETTINGS, **more: int) -> PrepareReport:
    return prepare(root, cache, settings, tools=FakeTools(), **more)  # type: ignore[arg-type]


# --- scenes ----------------------------------------------------------------------------------------------------------


def test_a_clip_with_cuts_becomes_its_scenes(root: Path, tmp_path: Path) -> None:
    report = again(root, tmp_path / "c", SPLIT)
    assert (report.ok, report.clips) == (17 + 3 + 2 + 12, 34)
    cache = Cache(tmp_path / "c")
    assert [i for i in cache.ids() if i.startswith("clip11")] == ["clip11@000", "clip11@001"]
    first, second = cache["clip11@000"], cache["clip11@001"]
    assert (first.meta["scene_of"], first.meta["scene"], second.meta["scene"]) == ("clip11", 0, 1)
    assert (first.meta["start"], first.meta["stop"], second.meta["start"]) == (0, 0.7, 0.7)
    assert first.meta["source"] == second.meta["source"] == "clip11.mp4"
    assert first.split == second.split and first.speaker == second.speaker == "clip11"
    for part in (first, second):
        assert part.n_frames == len(part["frames"]) and len(part["audio"]) == 640 * part.n_frames
    assert cache.settings["settings"]["on_cut"] == "split"


def test_scenes_have_the_facts_of_their_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "1001_DFA_ANG_XX.mp4", frames=30, value=1, then="cut2")
    write_video(tmp_path / "v" / "1015_IEO_SAD_HI.mp4", frames=30, value=2, then="cut2")
    again(tmp_path / "v", tmp_path / "c", SPLIT.model_copy(update={"dataset": "crema"}))
    facts = {c.id: [c.meta[k] for k in ("sentence", "emotion", "level", "scene")] for c in Cache(tmp_path / "c")}
    assert facts == {
        "1001_DFA_ANG_XX@000": ["DFA", "ANG", "XX", 0],
        "1001_DFA_ANG_XX@001": ["DFA", "ANG", "XX", 1],
        "1015_IEO_SAD_HI@000": ["IEO", "SAD", "HI", 0],
        "1015_IEO_SAD_HI@001": ["IEO", "SAD", "HI", 1],
    }


def test_scenes_are_the_same_for_any_number_of_jobs_and_after_any_stop(root: Path, tmp_path: Path) -> None:
    late = SPLIT.model_copy(update={"extract": ("pose", "late")})
    again(root, tmp_path / "one", late)
    computed = {clip.id: "late" in clip for clip in Cache(tmp_path / "one")}
    assert computed == {clip.id: clip.n_frames % 7 != 0 for clip in Cache(tmp_path / "one")}
    assert any(computed[clip_id] for clip_id in computed if "@" in clip_id)
    again(root, tmp_path / "two", SPLIT, jobs=2)
    for number in (0, 3, 9, 15):
        (tmp_path / "two" / "parts" / f"{number:05d}.json").unlink()
    report = again(root, tmp_path / "two", late, jobs=2)
    assert report.resumed < report.clips == 34
    assert arrays(tmp_path / "one") == arrays(tmp_path / "two")
    assert (tmp_path / "one" / "index.parquet").read_bytes() == (tmp_path / "two" / "index.parquet").read_bytes()


def test_a_changed_clip_with_fewer_scenes_leaves_none_behind(root: Path, tmp_path: Path) -> None:
    late = SPLIT.model_copy(update={"extract": ("pose", "late")})
    again(root, tmp_path / "c", late)
    write_video(root / "clip17.mp4", frames=36, value=5, then="cut2")
    report = again(root, tmp_path / "c", late)
    assert (report.clips, report.resumed) == (24, 22)
    assert [i for i in Cache(tmp_path / "c").ids() if i.startswith("clip17")] == ["clip17@000", "clip17@001"]
    again(root, tmp_path / "fresh", late)
    assert arrays(tmp_path / "c") == arrays(tmp_path / "fresh")


# --- changed files ---------------------------------------------------------------------------------------------------


def test_a_changed_file_is_done_again_and_nothing_else(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = SETTINGS.model_copy(update={"extract": ("pose", "late")})
    cache = tmp_path / "c"
    again(root, cache, late)
    shards = {path: path.read_bytes() for path in cache.glob("*/*.safetensors")}
    plan = CachePlan.load(cache)
    os.utime(root / "clip02.mp4")  # touched, but the same
    state = (root / "clip03.mp4").stat()
    write_video(root / "clip03.mp4", frames=27, value=99)  # as long as before, and its time set back
    os.utime(root / "clip03.mp4", ns=(state.st_atime_ns, state.st_mtime_ns))
    (root / "clip05.mp4").unlink()
    capsys.readouterr()
    report = again(root, cache, late)
    assert "1 clip changed" in capsys.readouterr().err
    assert (report.resumed, report.ok) == (19, 20)
    grown = CachePlan.load(cache)
    assert plan and grown and grown.groups == (*plan.groups, ("clip03",))
    assert all(path.read_bytes() == data for path, data in shards.items() if path.exists())
    assert "clip05" in Cache(cache).ids()
    again(root, cache, late)
    assert CachePlan.load(cache) == grown
    write_video(root / "clip05.mp4", frames=29, value=5)  # back, and the same
    again(root, cache, late)
    assert CachePlan.load(cache) == grown
    again(root, tmp_path / "fresh", late)
    assert arrays(cache) == arrays(tmp_path / "fresh")
    assert stats(cache)["clips"] == 20


def test_a_dataset_that_was_moved_continues_and_its_changed_files_are_done_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again(root, tmp_path / "c")
    before = arrays(tmp_path / "c")
    other = tmp_path / "another"
    write_video(other / "clip00.mp4", frames=24, value=0)
    with pytest.raises(InputError, match="was prepared with root"):  # the first one is there
        again(other, tmp_path / "c")
    moved = root.rename(tmp_path / "moved")
    write_video(moved / "clip03.mp4", frames=40, value=9)
    capsys.readouterr()
    again(moved, tmp_path / "c")
    assert "processing again: 1 clip changed" in " ".join(capsys.readouterr().err.split())
    after = arrays(tmp_path / "c")
    assert {clip for clip in before if after[clip] != before[clip]} == {"clip03"}
    assert Cache(tmp_path / "c")["clip03"].n_frames != 27


def test_the_shards_of_a_group_that_was_done_again_are_removed(tmp_path: Path) -> None:
    for k in range(3):
        write_video(tmp_path / "v" / f"{k}.mp4", frames=20, value=k)
    again(tmp_path / "v", tmp_path / "c")
    write_video(tmp_path / "v" / "1.mp4", frames=20, value=7)
    again(tmp_path / "v", tmp_path / "c")
    assert len(list((tmp_path / "c").glob("frames/*"))) == 3
    assert verify(tmp_path / "c").loose == ()
    more = SETTINGS.model_copy(update={"extract": ("pose", "late")})
    again(tmp_path / "v", tmp_path / "c", more)
    assert all("late" in clip for clip in Cache(tmp_path / "c"))


def test_a_quarantined_clip_is_processed_again_once_its_file_is_fixed(root: Path, tmp_path: Path) -> None:
    write_video(root / "clip06.mp4", frames=30, then="no_face")
    (root / "clip07.mp4").write_bytes(b"")
    assert again(root, tmp_path / "c").quarantined == {"empty_file": 1, "no_face": 1}
    assert again(root, tmp_path / "c").resumed == 20
    write_video(root / "clip06.mp4", frames=30, value=6)
    write_video(root / "clip07.mp4", frames=31, value=7)
    report = again(root, tmp_path / "c")
    assert (report.ok, report.quarantined) == (20, {})


def test_sound_that_comes_later_is_seen(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "1001_DFA_ANG_XX.mp4", frames=20, value=1)
    write_video(tmp_path / "v" / "1015_DFA_ANG_XX.mp4", frames=20, value=2)
    crema = SETTINGS.model_copy(update={"dataset": "crema"})
    again(tmp_path / "v", tmp_path / "c", crema)
    (tmp_path / "v" / "1001_DFA_ANG_XX.wav").write_bytes(b"RIFF, and so on")
    assert again(tmp_path / "v", tmp_path / "c", crema).resumed == 1
    clip = Cache(tmp_path / "c")["1001_DFA_ANG_XX"]
    assert clip.meta["sound"] == "1001_DFA_ANG_XX.wav" and len(clip.meta["sound_sha256"]) == 64
    assert again(tmp_path / "v", tmp_path / "c", crema).resumed == 2


def test_speakers_and_splits_follow_the_table(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again(root, tmp_path / "c", SPLIT)
    (root / "clips.csv").write_text("file,speaker,split\nclip11.mp4,anna,val\nclip12.mp4,anna,val\n")
    report = again(root, tmp_path / "c", SPLIT)
    assert report.resumed == 34 and "another speaker or split" in capsys.readouterr().err
    cache = Cache(tmp_path / "c")
    assert cache.ids("val") == ["clip11@000", "clip11@001", "clip12"] and cache["clip12"].speaker == "anna"
    again(root, tmp_path / "fresh", SPLIT)
    assert (tmp_path / "c" / "index.parquet").read_bytes() == (tmp_path / "fresh" / "index.parquet").read_bytes()


# --- faults of extractors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_extractor_that_fails_on_a_clip_leaves_the_others(
    root: Path, tmp_path: Path, jobs: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    again(root, tmp_path / "c")
    more = SETTINGS.model_copy(update={"extract": ("pose", "late_crash")})
    monkeypatch.setenv("DAWN_BENCH_DEBUG", "1")
    report = again(root, tmp_path / "c", more, jobs=jobs)
    messages = capsys.readouterr().err
    assert "clip05 failed: RuntimeError: a fault of the network\n" in messages and "Traceback" in messages
    refused = sum((24 + k) % 7 in (0, 1) for k in range(20))
    assert report.ok == 20 and report.incomplete == {"late_crash": refused}
    cache = Cache(tmp_path / "c")
    assert "late_crash" in cache["clip06"] and "late_crash" not in cache["clip05"]
    assert ("clip05", "late_crash", "failed: RuntimeError: a fault of the network") in stats(tmp_path / "c")["without"]
    assert len(stats(tmp_path / "c")["without"]) == refused
    assert not verify(tmp_path / "c").faults


def test_an_extractor_that_kills_its_worker_leaves_the_others(root: Path, tmp_path: Path) -> None:
    again(root, tmp_path / "c")
    more = SETTINGS.model_copy(update={"extract": ("pose", "late_die")})
    report = again(root, tmp_path / "c", more, jobs=2)
    assert report.incomplete == {"late_die": sum((24 + k) % 7 in (0, 1) for k in range(20))}
    assert not verify(tmp_path / "c").faults


def test_a_failing_clip_is_one_line_and_the_run_continues(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(root / "clip08.mp4", frames=30, then="crash")
    report = again(root, tmp_path / "c", jobs=2)
    assert report.quarantined == {"failed": 1} and report.ok == 19
    messages = capsys.readouterr().err
    assert messages.count("clip08 failed: RuntimeError: a fault of the decoder") == 1 and "Traceback" not in messages


def test_exported_scenes_are_samples_of_their_own(root: Path, tmp_path: Path) -> None:
    again(root, tmp_path / "c", SPLIT)
    assert export(tmp_path / "c", tmp_path / "out") == 34
    text = (tmp_path / "out" / "clip17@011" / "clip.json").read_text()
    facts = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert facts["meta"]["scene_of"] == "clip17" and facts["meta"]["start"] > 1
    json.loads((tmp_path / "out" / "clip00" / "clip.json").read_text(), parse_constant=pytest.fail)
