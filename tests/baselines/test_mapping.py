"""Lists of outputs that a person writes: every spelling is understood, and every gap and contradiction is named."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import pytest

from dawn_bench.baselines.given import find_outputs
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError

NFD = unicodedata.normalize("NFD", "zoé")


def clip(name: str, source: str = "") -> Clip:
    return Clip(name, "s", "test", 1, {"frames": None}, meta={"source": source})  # type: ignore[dict-item]


CLIPS = [clip("c1", "talks/one.mov"), clip("C2", "talks/two.mov"), clip("zoé", "zoé.mov"), clip("d@000", "d.mov")]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    for name in ("a 1.mp4", "sub/B.MP4", f"{NFD}-x.mp4", "d.webm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def mapped(folder: Path, content: str, *, encoding: str = "utf-8", clips: list[Clip] = CLIPS) -> dict[str, str]:
    table = folder.parent / "m.csv"
    table.write_bytes(content.encode(encoding))
    return {k: v.relative_to(folder).as_posix() for k, v in find_outputs(folder, clips, table).items()}


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("clip,file\nc1,a 1.mp4\nC2,sub/B.MP4\nzoé,zoé-x.mp4\nd@000,d.webm\n", "utf-8"),
        ("Clip;File\r\nC1;A 1\r\nc2;.\\sub\\b.mp4\r\nZOÉ;ZOÉ-X.MP4\r\nD@000;./d\r\n", "utf-8-sig"),
        (f"file\tclip\n a 1.MP4 \tc1.mp4\nB\tC2.MOV\n{NFD}-x\t{NFD}\nout/d\td@000\n", "utf-16"),
        ('c1,"a 1.mp4"\nC2, sub//B.MP4\nzoé,zoé-x\nd@000,{folder}/d.webm\n', "utf-8"),
        ("clip,file\ntalks/one.mov,a 1.mp4\n.\\talks\\two,b\nzoé,zoé-x\nd.mov,d\n", "utf-8"),
    ],
    ids=["exact", "windows", "spreadsheet", "without a header", "by the clips' own files"],
)
def test_a_mapping_in_any_spelling(
    content: str, encoding: str, outputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        chosen = mapped(outputs, content.replace("{folder}", str(outputs)), encoding=encoding)
    assert chosen == {"c1": "a 1.mp4", "C2": "sub/B.MP4", "zoé": f"{NFD}-x.mp4", "d@000": "d.webm"}
    assert not caplog.records


def test_every_gap_is_named(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    strangers = "".join(f"x{k},d.webm\n" for k in range(4))
    with caplog.at_level(logging.WARNING):
        assert mapped(outputs, f"clip,file\nc1,a 1.mp4\nC2,gone.mp4\nzoé,\n{strangers}") == {"c1": "a 1.mp4"}
    text = caplog.text
    assert "4 of 7 rows name no clip of split test: x0 (line 5), x1 (line 6), x2 (line 7) and 1 more" in text
    assert "1 of 7 rows name no file: gone.mp4 (line 3)" in text
    assert "3 of 4 clips have no file: C2, zoé, d@000" in text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        mapped(outputs, "clip,file\nc1,d\nC2,d.webm\nzoé,zoé-x\nd@000,B\n")
    assert "one file for several clips: d.webm for c1 and C2" in caplog.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("clip,file\nc1,a 1.mp4\nC1.mp4,d.webm\n", r"names clip c1 twice with different files \(lines 2, 3\)"),
        ("clip,file\nc1,gone.mp4\nc1,d.webm\n", r"names clip c1 twice"),
        ("clip,file\nc1,..\\private.mp4\n", "leads out of"),
        ("clip,file\nc1,sub\\..\\..\\private.mp4\n", "leads out of"),
        ("clip,file,file\nc1,d,d\n", "names the column 'file' twice"),
        ("clip,file\nc1,a,1.mp4\n", "line 2 has 3 cells for 2 columns"),
    ],
)
def test_contradictions_are_refused(content: str, says: str, outputs: Path) -> None:
    (outputs.parent / "private.mp4").touch()
    with pytest.raises(InputError, match=says) as caught:
        mapped(outputs, content)
    assert "m.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_what_fits_two_files_or_two_clips_is_refused(outputs: Path) -> None:
    (outputs / "sub" / "b.mp4").touch()
    assert mapped(outputs, "clip,file\nC2,B.MP4\n") == {"C2": "sub/B.MP4"}
    with pytest.raises(InputError, match=r"line 2: 'B\.mp4' fits several files: sub/B\.MP4, sub/b\.mp4"):
        mapped(outputs, "clip,file\nC2,B.mp4\n")
    parts = [clip("t@000", "t.mov"), clip("t@001", "t.mov")]
    with pytest.raises(InputError, match=r"line 2: 't\.mov' fits several clips: t@000, t@001"):
        mapped(outputs, "clip,file\nt.mov,d\n", clips=parts)


def test_the_same_line_twice_is_no_contradiction(outputs: Path) -> None:
    assert mapped(outputs, "clip,file\nc1,d\nC1,./d.webm\n") == {"c1": "d.webm"}


def test_files_named_by_the_clip_may_differ_in_case_and_unicode_form(tmp_path: Path) -> None:
    for name in ("C1.MP4", "c2.mov", f"{NFD}.mp4"):
        (tmp_path / name).touch()
    chosen = {clip_id: path.name for clip_id, path in find_outputs(tmp_path, CLIPS, None).items()}
    assert chosen == {"c1": "C1.MP4", "C2": "c2.mov", "zoé": f"{NFD}.mp4"}
    (tmp_path / "c1.mp4").touch()
    assert find_outputs(tmp_path, CLIPS, None)["c1"].name == "c1.mp4"  # the exact name precedes
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c2.MP4").touch()
    with pytest.raises(InputError, match="two files for clip C2"):
        find_outputs(tmp_path, CLIPS, None)


def test_a_pattern_gives_no_file_to_two_clips(tmp_path: Path) -> None:
    (tmp_path / "c10.mp4").touch()
    with pytest.raises(InputError, match=r"'\{clip\}\*' gives one file to several clips: c10\.mp4 for c1 and c10"):
        find_outputs(tmp_path, [clip("c1"), clip("c10")], None, naming="{clip}*")


@pytest.mark.parametrize("letter", [".", "+", "[x]", "("])
def test_letters_of_a_clips_name_stand_for_themselves(letter: str, tmp_path: Path) -> None:
    """In a pattern `*` alone stands for others."""
    clips = [clip(f"a{letter}b"), clip("axb")]
    for one in clips:
        (tmp_path / f"{one.id}_1.mp4").touch()
    chosen = find_outputs(tmp_path, clips, None, naming="{clip}_*")
    assert {name: path.name for name, path in chosen.items()} == {one.id: f"{one.id}_1.mp4" for one in clips}
