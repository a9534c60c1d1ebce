"""Speakers and splits that a person lists: found in any spelling, and refused where they contradict themselves."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import pytest

from dawn_bench.cli import main
from dawn_bench.errors import InputError
from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.settings import PrepareSettings

NFD = unicodedata.normalize("NFD", "zoé.mp4")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    for name in ("C1.mp4", "sub/C2.MP4", NFD, "d, e.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
    return folder


def listed(root: Path, text: str, *, encoding: str = "utf-8") -> dict[str, Source]:
    table = root.parent / "labels.csv"
    table.write_bytes(text.encode(encoding))
    settings = PrepareSettings(dataset="folder", labels=table)
    return {unicodedata.normalize("NFC", s.video.name): s for s in DATASETS["folder"]().sources(root, settings)}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("file,speaker,split\nC1.mp4,anna,train\nsub/C2.MP4,bob,test\nzoé.mp4,zoé,val\n", "utf-8"),
        ("file;speaker;split\r\nc1.MP4;anna;Train\r\nsub\\c2.mp4;bob;TEST\r\nZOÉ.mp4;zoé;val\r\n", "utf-8-sig"),
        ("FILE\tSplit\tSpeaker\n./C1\ttrain\tanna\n.\\sub\\C2\ttest\tbob\nzoé\tval\tzoé\n", "utf-16"),
        ('C1.mp4, anna, train\n"c2", "bob" , test\n talks/zoé.mp4 , zoé, val\n', "utf-8"),
    ],
)
def test_a_list_in_any_spelling(text: str, encoding: str, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sources = listed(root, text, encoding=encoding)
    labels = {name: (s.speaker, s.split) for name, s in sources.items() if name != "d, e.mp4"}
    assert labels == {"C1.mp4": ("anna", "train"), "C2.MP4": ("bob", "test"), "zoé.mp4": ("zoé", "val")}
    (message,) = [r.getMessage() for r in caplog.records]
    assert "1 of 4 files have no row: d, e.mp4" in message


def test_rows_that_fit_nothing_are_named_with_their_number(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"gone{k}.mp4,anna,train\n" for k in range(5))
    with caplog.at_level(logging.WARNING):
        sources = listed(root, f'file,speaker,split\nC1.mp4,anna,train\n{rows}"d, e.mp4",,\n')
    assert sources["C1.mp4"].speaker == "anna"
    assert (
        "5 of 7 rows name no file: gone0.mp4 (line 3), gone1.mp4 (line 4), gone2.mp4 (line 5) and 2 more" in caplog.text
    )
    assert "2 of 4 files have no row: " in caplog.text


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("C1.mp4,anna,train\nc1,anna,test\n", r"lists C1\.mp4 with two splits: train and test \(lines 2, 3\)"),
        ("C1.mp4,anna,\n./C1.mp4,bob,\n", r"lists C1\.mp4 with two speakers: anna and bob"),
        ("C1.mp4,anna,train\nC2.mp4,anna,test\n", r"a person is in both train and test: anna \(C1\.mp4 and C2\.MP4"),
        ("C1.mp4,Anna,test\nC2.mp4, ANNA ,train\n", r"both train and test: Anna"),
        ('C1.mp4,a,test\nC2.mp4,a,train\nzoé.mp4,b,test\n"d, e",b,train\n', r"2 people are in both .*: a, b "),
        ("C1.mp4,a,train\nC2.mp4,a,val\nzoé.mp4,a,\n", r"a: some rows of the person state train and val, others no"),
        ("other.mp4,anna,train\n", r"names none of the 4 video files .*other\.mp4.*called C1\.mp4"),
        ("C1.mp4,anna,trian\n", r"line 2: split 'trian' is none of train, val, test"),
    ],
)
def test_contradictions_are_refused(rows: str, says: str, root: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        listed(root, f"file,speaker,split\n{rows}")
    assert "labels.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_fits_two_files_is_refused(root: Path) -> None:
    (root / "c1.mp4").write_bytes(b"video")
    assert listed(root, "file,speaker\nc1.mp4,anna\n")["c1.mp4"].speaker == "anna"
    with pytest.raises(InputError, match=r"line 2: several files are called 'C1\.MP4': C1\.mp4, c1\.mp4"):
        listed(root, "file,speaker\nC1.MP4,anna\n")


def test_the_same_row_twice_is_no_contradiction(root: Path) -> None:
    sources = listed(root, "file,speaker,split\nC1.mp4,anna,\nC1.mp4,anna,test\nC2.mp4,bob,\n")
    assert (sources["C1.mp4"].speaker, sources["C1.mp4"].split) == ("anna", "test")


def test_a_person_stays_in_the_stated_split(root: Path) -> None:
    """Not where a hash would put the clips without one."""
    for split in ("train", "val", "test"):
        sources = listed(
            root, f'file,speaker,split\nC1.mp4,anna,{split}\nC2.mp4,anna,\nzoé.mp4,ANNA,\n"d, e.mp4",bob,\n'
        )
        assert {sources[name].split for name in ("C1.mp4", "C2.MP4", "zoé.mp4")} == {split}
        assert {sources[name].speaker for name in ("C1.mp4", "C2.MP4", "zoé.mp4")} == {"anna"}


def test_columns_without_names_in_another_order_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: 'train' is in the place of the speaker"):
        listed(root, "C1.mp4,train\nC2.mp4,test\n")
    with pytest.raises(InputError, match="no column 'file'"):
        listed(root, "anna,C1.mp4\nbob,C2.mp4\n")


@pytest.mark.parametrize(
    ("more", "says"),
    [([], "both train and test: anna"), (["--dataset", "crema"], "--labels is not read by --dataset crema")],
)
def test_the_command_exits_with_2(
    more: list[str], says: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "l.csv").write_text("file,speaker,split\nC1.mp4,anna,train\nC2.mp4,anna,test\n")
    command = ["prepare", "--root", str(root), "--cache", str(tmp_path / "cache"), "--labels", str(tmp_path / "l.csv")]
    monkeypatch.setattr("sys.argv", ["dawn-bench", *command, *more])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and says in capsys.readouterr().err and not (tmp_path / "cache").exists()
