"""Datasets: listed clips, their ids and splits, and the reasons of excluded ones."""

from __future__ import annotations

import csv
import logging
import os
import random
import tarfile
from pathlib import Path

import pytest

from dawn_bench.errors import InputError
from dawn_bench.pipelines.datasets import hdtf as hdtf_module
from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.datasets.crema import BROKEN, EMOTIONS, SENTENCES, TEST_ACTORS
from dawn_bench.pipelines.datasets.files import hash_split, safe_id
from dawn_bench.pipelines.settings import PrepareSettings

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 265922\n"


def sources(name: str, root: Path, **settings: object) -> dict[str, Source]:
    """The sources of a dataset by id."""
    listed = list(DATASETS[name]().sources(root, PrepareSettings(dataset=name, **settings)))
    assert [s.id for s in listed] == sorted({s.id for s in listed}) or name == "folder"
    return {source.id: source for source in listed}


def missing(name: str, root: Path) -> list[tuple[str, str, str]]:
    """The published clips of a dataset that are not below `root`."""
    return DATASETS[name]().missing(root, PrepareSettings(dataset=name))


def touch(path: Path, data: bytes = b"video") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- folder ----------------------------------------------------------------------------------------------------------


def test_folder_lists_all_videos_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.mp4", "b/c.MOV", "b/d.txt", ".hidden.mp4", ".git/x.mp4", "e.wav", "f.webm"):
        touch(tmp_path / name)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "b" / "up").symlink_to(tmp_path)  # a link back up must not be followed for ever
    listed = sources("folder", tmp_path)
    assert set(listed) == {"a", "b__c", "f"}
    assert listed["b__c"].speaker == "b__c"


def test_folder_ids_are_unique_and_safe_for_any_names(tmp_path: Path) -> None:
    names = [
        "-rf.mp4", "--help.mp4", "with space.mp4", "ünï 人.mp4", "a/b.mp4", "a__b.mp4", "a.b.mp4", "a_b.mp4",
        "x.mp4", "x.mov", "X.mp4", "quote'\".mp4", "new\nline.mp4", "tab\t.mp4", "dots...mp4", "~.mp4", "$(x).mp4",
        "Y.mp4", "Y.mov", "Ab.mp4", "aB.mp4", "%2e.mp4", "n" * 200 + ".mp4",
        "…/…/clip.mp4", "é.mp4", "e\u0301.mp4", "😀.mp4", "CON.mp4",
    ]  # fmt: skip
    for name in names:
        touch(tmp_path / name)
    touch(Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff\xfebytes.mp4")))
    listed = sources("folder", tmp_path)
    assert len(listed) == len(names) + 1
    assert len({i.casefold() for i in listed}) == len(listed)
    for clip_id in listed:
        assert clip_id.encode() and len(clip_id.encode()) <= 140
        assert not clip_id.startswith(("-", ".")) and not set(clip_id) & set("/\\.\0\n\t '\"$*?<>|:")


def test_safe_ids_survive_random_names() -> None:
    rng = random.Random(0)
    letters = "ab/._- \t\n'é人\udcff😀%"
    paths = {"".join(rng.choices(letters, k=rng.randint(1, 40))).strip("/") or "x" for _ in range(3000)}
    ids = {safe_id(path) for path in paths}
    assert len(ids) == len(paths)
    assert all(tarfile.TarInfo(i).name == i and i.encode() for i in ids)


@pytest.mark.parametrize("letter", ["a", "é", "口"])
def test_long_names_give_ids_that_a_file_can_have(letter: str) -> None:
    names = [letter * 200 + end for end in "xy"]
    ids = [safe_id(name) for name in names]
    assert len(set(ids)) == 2 and all(len(i.encode()) < 140 and i.startswith(letter * 30) for i in ids)


def test_folder_splits_nine_to_one_and_keeps_one_of_each(tmp_path: Path) -> None:
    for k in range(300):
        touch(tmp_path / f"{k}.mp4")
    first = {i: s.split for i, s in sources("folder", tmp_path).items()}
    assert 15 <= list(first.values()).count("test") <= 45
    touch(tmp_path / "another.mp4")
    assert {i: s.split for i, s in sources("folder", tmp_path).items() if i != "another"} == first
    assert {i: s.split for i, s in sources("folder", tmp_path, seed=1).items() if i != "another"} != first
    for count in range(2, 12):
        for seed in range(20):
            assert set(hash_split(map(str, range(count)), seed=seed).values()) == {"train", "test"}
    assert hash_split(["one"], seed=0) == {"one": "train"}


def test_folder_labels_give_speaker_and_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("x/a.mp4", "x/b.mp4", "y/c.mp4", "d.mp4"):
        touch(tmp_path / name)
    table = "\ufefffile,speaker,split\nx/a.mp4,anna,test\nb.mp4,anna,\nc.mp4,,VAL\ngone.mp4,eve,train\n"
    (tmp_path / "clips.csv").write_text(table, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        listed = sources("folder", tmp_path)
    assert "gone.mp4" in caplog.text
    assert [(s.speaker, s.split) for s in (listed["x__a"], listed["y__c"])] == [("anna", "test"), ("y__c", "val")]
    assert listed["x__b"].speaker == "anna" and listed["x__b"].split in ("train", "test")
    elsewhere = touch(tmp_path / "my.csv", b"file,speaker\nd.mp4,dora\n")
    assert sources("folder", tmp_path, labels=elsewhere)["d"].speaker == "dora"


def test_folder_with_one_speaker_is_split_by_clip(tmp_path: Path) -> None:
    for k in range(5):
        touch(tmp_path / f"{k}.mp4")
    (tmp_path / "clips.csv").write_text("file,speaker\n" + "".join(f"{k}.mp4,anna\n" for k in range(5)))
    listed = sources("folder", tmp_path).values()
    assert {s.speaker for s in listed} == {"anna"} and {s.split for s in listed} == {"train", "test"}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (b"name,speaker\na.mp4,x\n", "no column 'file'"),
        (b"", "no column 'file'"),
        (b"file,split\na.mp4,tset\n", "line 2: split 'tset'"),
        (b"file\nb.mp4\n", "several files are called 'b.mp4'"),
        (b"file\n\xff\xfe\n", "cannot be read as CSV"),
    ],
)
def test_unusable_folder_labels(tmp_path: Path, table: bytes, says: str) -> None:
    for name in ("a.mp4", "x/b.mp4", "y/b.mp4"):
        touch(tmp_path / name)
    touch(tmp_path / "clips.csv", table)
    with pytest.raises(InputError, match=says):
        sources("folder", tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        sources("folder", tmp_path, labels=tmp_path / "absent.csv")


def test_files_that_are_not_videos_are_reported_with_a_reason(tmp_path: Path) -> None:
    touch(tmp_path / "empty.mp4", b"")
    touch(tmp_path / "pointer.mp4", LFS)
    listed = sources("folder", tmp_path)
    assert listed["empty"].problem[0] == "empty_file"
    assert listed["pointer"].problem[0] == "lfs_pointer"


# --- CREMA-D ---------------------------------------------------------------------------------------------------------


def test_crema_reads_the_repository(tmp_path: Path) -> None:
    touch(tmp_path / "VideoFlash" / "1001_IEO_ANG_LO.flv")
    touch(tmp_path / "VideoFlash" / "1015_DFA_NEU_XX.flv")
    touch(tmp_path / "VideoFlash" / "1016_DFA_NEU_XX.flv", LFS)
    touch(tmp_path / "VideoFlash" / "1076_MTI_SAD_XX.flv")
    touch(tmp_path / "mp4" / "1001_IEO_ANG_LO.mp4")
    touch(tmp_path / "mp4" / "1002_TIE_SAD_XX.mp4")
    touch(tmp_path / "mp4" / "holiday.mp4")
    sound = touch(tmp_path / "AudioWAV" / "1001_IEO_ANG_LO.wav")
    touch(tmp_path / "AudioWAV" / "1015_DFA_NEU_XX.wav", LFS)
    table = '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n'
    (tmp_path / "VideoDemographics.csv").write_text(table)
    listed = sources("crema", tmp_path)
    assert list(listed) == [
        "1001_IEO_ANG_LO",
        "1002_TIE_SAD_XX",
        "1015_DFA_NEU_XX",
        "1016_DFA_NEU_XX",
        "1076_MTI_SAD_XX",
    ]
    first = listed["1001_IEO_ANG_LO"]
    assert (first.video.suffix, first.audio, first.speaker, first.split) == (".flv", sound, "1001", "train")
    assert first.meta == {
        "sentence": "IEO", "emotion": "ANG", "level": "LO",
        "age": "51", "sex": "Male", "race": "Caucasian", "ethnicity": "Not Hispanic",
    }  # fmt: skip
    assert listed["1015_DFA_NEU_XX"].split == "test" and listed["1015_DFA_NEU_XX"].audio is None
    assert listed["1016_DFA_NEU_XX"].problem[0] == "lfs_pointer"
    assert listed["1076_MTI_SAD_XX"].problem == ("known_broken", BROKEN["1076_MTI_SAD_XX"])


def test_crema_reads_the_aligned_layout_and_warns_without_test_actors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path / "video" / "s2" / "1002_tie_sad_xx.mp4")
    touch(tmp_path / "audio" / "s2" / "1002_TIE_SAD_XX.wav")
    listed = sources("crema", tmp_path)
    assert listed["1002_TIE_SAD_XX"].audio == tmp_path / "audio" / "s2" / "1002_TIE_SAD_XX.wav"
    assert "no test split" in caplog.text


def test_crema_missing_is_the_published_set_minus_present_clips(tmp_path: Path) -> None:
    touch(tmp_path / "1001_IEO_ANG_LO.flv")
    rows = missing("crema", tmp_path)
    assert len(rows) == 91 * 82 - 1  # 20 of the combinations were never recorded
    assert len(SENTENCES) * len(EMOTIONS) - 6 + 16 == 82 and len(TEST_ACTORS) == 10
    with (tmp_path / "SentenceFilenames.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["Stimulus_Number", "Filename"], ["1", "1001_IEO_ANG_LO"], ["2", "1001_IEO_ANG_MD"]]
        )
    assert [row[:2] for row in missing("crema", tmp_path)] == [("1001_IEO_ANG_MD", "not_downloaded")]


def test_crema_on_real_clips(clips_dir: Path) -> None:
    assert list(sources("crema", clips_dir)) == ["1001_DFA_ANG_XX", "1001_DFA_HAP_XX", "1001_DFA_NEU_XX"]


# --- HDTF ------------------------------------------------------------------------------------------------------------


def test_hdtf_lists_are_the_published_ones() -> None:
    lists = hdtf_module.lists()
    names = [*lists["clips"], *lists["without_crop"]]
    assert (len(lists["clips"]), len(lists["without_crop"]), len(set(names))) == (421, 15, 436)
    assert len(lists["dawn_test"]) == 41 and set(lists["dawn_test"]) <= set(names)
    assert len(lists["excluded"]) == 3 and not set(lists["excluded"]) & set(lists["dawn_test"])


def test_hdtf_identity_split_is_disjoint_and_reproducible() -> None:
    lists = hdtf_module.lists()
    names = [*lists["clips"], *lists["without_crop"]]
    assert hdtf_module.identity_test(names) == lists["identity_test"]
    people: dict[str, set[str]] = {"train": set(), "test": set()}
    for name in names:
        people[hdtf_module.split_of(name, "identity")].add(hdtf_module.person(name))
    assert not people["train"] & people["test"]
    share = sum(hdtf_module.split_of(name, "identity") == "test" for name in names) / len(names)
    assert 0.09 < share < 0.12
    shared = {hdtf_module.person(n) for n in lists["dawn_test"]} & {
        hdtf_module.person(n) for n in names if n not in lists["dawn_test"]
    }
    assert len(shared) == 23  # what the warning about DAWN's split is about


def test_hdtf_reads_cut_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (
        "WDA_KatieHill_000",
        "WDA_JamesClyburn1_000",
        "WDA_WhipJimClyburn_000",
        "WDA_DanKildee_000",
        "RD_Radio1_000",
    ):
        touch(tmp_path / "deep" / f"{name}.mp4")
    touch(tmp_path / "WDA_KatieHill_000_excerpt.mp4")
    listed = sources("hdtf", tmp_path)
    assert "shares people" in caplog.text
    assert len(listed) == 5
    assert listed["WDA_KatieHill_000"].split == "test"
    assert listed["WDA_JamesClyburn1_000"].speaker == listed["WDA_WhipJimClyburn_000"].speaker == "JamesClyburn"
    assert listed["WDA_DanKildee_000"].problem[0] == "excluded"
    assert listed["RD_Radio1_000"].speaker == "RD_Radio1"
    caplog.clear()
    assert sources("hdtf", tmp_path, split="identity")["WDA_JamesClyburn1_000"].split == "test"
    assert not caplog.text
    gone = {clip_id: reason for clip_id, reason, _ in missing("hdtf", tmp_path)}
    assert len(gone) == 436 - 5 and set(gone.values()) == {"not_downloaded"}


def _video(path: Path, *, width: int, height: int) -> None:
    import av
    import numpy as np

    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


def test_hdtf_cuts_raw_downloads_by_the_published_lists(tmp_path: Path) -> None:
    lists = tmp_path / "HDTF_dataset"
    files = {
        "WDA_video_url.txt": "\ufeffFirst https://www.youtube.com/watch?v=AAAAAAAAAAA\nSecond https://youtu.be/BBBBBBBBBBB?t=3\n"
        "Third https://www.youtube.com/watch?v=CCCCCCCCCCC&t=1s\nNoStamps https://www.youtube.com/watch?v=DDDDDDDDDDD\n"
        "NoHeight https://www.youtube.com/watch?v=EEEEEEEEEEE\n",
        "WDA_annotion_time.txt": "First.mp4 00:10-00:40 1:05-01:20 \nSecond.mp4 01:00:00-01:00:30\n\n"
        "Third.mp4 0:00-0:09   \nNoHeight.mp4 0:00-0:10\n",
        "WDA_crop_wh.txt": "First_0.mp4 100 400 20 400\nSecond_0.mp4 0 200 160 200\n"
        "Third_0.mp4 1 2 3 2\nNoHeight_0.mp4 1 9 1 9\n",
        "WDA_resolution.txt": "First.mp4 720\nSecond.mp4 360\nThird.mp4 720\nNoHeight.mp4 0\n",
    }
    for name, text in files.items():
        touch(lists / name, text.encode())
    _video(tmp_path / "First.mp4", width=640, height=360)
    _video(tmp_path / "A talk about it [BBBBBBBBBBB].mkv", width=640, height=360)
    touch(tmp_path / "EEEEEEEEEEE.mp4")
    listed = sources("hdtf", tmp_path)
    assert list(listed) == ["WDA_First_000", "WDA_Second_000"]
    first, second = listed.values()
    assert (first.start, first.stop, first.crop) == (10.0, 40.0, (50, 10, 200, 200))  # half the listed height
    assert (second.start, second.stop, second.crop) == (3600.0, 3630.0, (0, 160, 200, 200))
    gone = {clip_id: reason for clip_id, reason, _ in missing("hdtf", tmp_path)}
    assert {i: gone[i] for i in ("WDA_First_001", "WDA_Third_000", "WDA_NoStamps_000", "WDA_NoHeight_000")} == {
        "WDA_First_001": "no_crop",
        "WDA_Third_000": "not_downloaded",
        "WDA_NoStamps_000": "no_time_stamps",
        "WDA_NoHeight_000": "unknown_resolution",
    }
    touch(lists / "WDA_annotion_time.txt", b"First.mp4 ten-twenty\n")
    with pytest.raises(InputError, match="lists are malformed at First"):
        sources("hdtf", tmp_path)


def test_hdtf_prefers_clips_that_are_cut_and_videos_of_the_own_subset(tmp_path: Path) -> None:
    """Two subsets have a talk of one name, and one of its clips has been cut already."""
    for subset, key in (("WDA", "A"), ("RD", "B")):
        lists = {
            "video_url": f"Same https://youtu.be/{11 * key}",
            "annotion_time": "Same.mp4 0:05-0:10 0:20-0:30",
            "crop_wh": "Same_0.mp4 10 100 20 100\nSame_1.mp4 30 100 40 100",
            "resolution": "Same.mp4 360",
        }
        for name, text in lists.items():
            touch(tmp_path / f"{subset}_{name}.txt", text.encode())
    cut = touch(tmp_path / "cut" / "WDA_Same_000.mp4")
    for name in ("Same", "WDA_Same", "RD_Same"):
        _video(tmp_path / "raw" / f"{name}.mp4", width=640, height=360)
    listed = sources("hdtf", tmp_path)
    facts = {i: (s.video.name, s.start, s.stop, s.crop) for i, s in listed.items()}
    assert facts == {
        "RD_Same_000": ("RD_Same.mp4", 5.0, 10.0, (10, 20, 100, 100)),
        "RD_Same_001": ("RD_Same.mp4", 20.0, 30.0, (30, 40, 100, 100)),
        "WDA_Same_000": (cut.name, 0.0, None, None),
        "WDA_Same_001": ("WDA_Same.mp4", 20.0, 30.0, (30, 40, 100, 100)),
    }


def test_hdtf_crops_stay_square_and_inside() -> None:
    assert hdtf_module.scale_box((100, 20, 400, 400), 720, 1080) == (150, 30, 600, 600)
    assert hdtf_module.scale_box((0, 321, 401, 401), 722, 361) == (0, 160, 200, 200)
    assert hdtf_module.scale_box((0, 81, 20, 20), 100, 33) == (0, 26, 7, 7)  # rounded, it would end below the picture
    _, y, width, height = hdtf_module.scale_box((3, 0, 719, 719), 719, 240)
    assert width == height and y + height <= 240
