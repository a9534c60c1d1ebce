"""Tables that people write: encodings, separators, quoted cells, headers, and names in any form."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from dawn_bench.errors import InputError
from dawn_bench.lists import NameIndex, folded, read_list, shape_of

TABLE = "file,speaker,split\nx/a.mp4,Jürgen,test\nb.mp4,,\n"
ROWS = [("x/a.mp4", "Jürgen", "test"), ("b.mp4", "", "")]


def rows(path: Path, content: str | bytes, **other: object) -> list[tuple[str, ...]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    columns = ("file", "speaker", "split")
    return [tuple(r[c] for c in columns) for r in read_list(path, columns[:1], optional=columns[1:], **other)]  # type: ignore[arg-type]


WRITTEN: dict[str, str | bytes] = {
    "plain": TABLE,
    "byte order mark": TABLE.encode("utf-8-sig"),
    "UTF-16 of a spreadsheet": TABLE.replace(",", "\t").encode("utf-16"),
    "UTF-16 big-endian": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "UTF-16 without its mark": TABLE.encode("utf-16-le"),
    "UTF-16 big-endian without its mark": TABLE.encode("utf-16-be"),
    "Windows line ends": TABLE.replace("\n", "\r\n"),
    "line ends of an old Mac": TABLE.replace("\n", "\r"),
    "semicolons": TABLE.replace(",", ";"),
    "tabs": TABLE.replace(",", "\t"),
    "separator stated": "sep=;\r\n" + TABLE.replace(",", ";"),
    "separator that only the first line states": "sep=|\n" + TABLE.replace(",", "|"),
    "quoted": 'file,speaker,split\n"x/a.mp4","Jürgen","test"\n"b.mp4","",""\n',
    "quoted with blanks": 'file , speaker , split\n "x/a.mp4" , "Jürgen" , "test" \n b.mp4 , , \n',
    "blank lines, empty rows, trailing separators": "\n\nfile,speaker,split,\n\nx/a.mp4,Jürgen,test,\n,,\n  \nb.mp4,,,",
    "columns in another order and case": "Split,FILE,Remark,Speaker\ntest,x/a.mp4,good,Jürgen\n,b.mp4,,\n",
    "no-break and zero-width spaces": "\u200bfile,speaker,split\n\xa0x/a.mp4\u200b,Jürgen\xa0,test\nb.mp4,,\n",
    "no last line end": TABLE.rstrip("\n"),
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN)
def test_a_table_reads_the_same_however_it_was_written(content: str | bytes, tmp_path: Path) -> None:
    assert rows(tmp_path / "t.csv", content) == ROWS


NUMBERED = {
    "plain": ("file\na\nb\n", [2, 3]),
    "blank lines": ("\n\nfile\n\na\n \n\nb", [5, 8]),
    "separator stated": ("sep=;\nfile;x\na;1\nb;2\n", [3, 4]),
    "separator stated after a blank line": ("\r\nsep=;\r\nfile;x\r\na;1\r\nb;2\r\n", [4, 5]),
    "cells of several lines": ('file,x\na,"1\n2\n3"\nb,"4\n5"\nc,6\n', [2, 5, 7]),
    "several lines in the first": ('"x\ny",file\n1,a\n2,b\n', [3, 4]),
}


@pytest.mark.parametrize(("content", "lines"), NUMBERED.values(), ids=NUMBERED)
def test_rows_have_the_numbers_of_the_lines_on_which_they_begin(content: str, lines: list[int], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content.encode())
    table = read_list(tmp_path / "t.csv", ["file"])
    assert [(row.line, row["file"], row.headed) for row in table] == [
        (line, name, True) for line, name in zip(lines, "abc", strict=False)
    ]


def test_without_names_of_columns_the_separator_is_that_of_the_most_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a.mp4;Smith, Anna;test\nb.mp4;;val\n")
    table = read_list(
        tmp_path / "t.csv",
        ["file"],
        optional=["speaker", "split"],
        is_row=lambda cells: cells[0].startswith("a") or cells[0] == "b.mp4",
    )
    assert [(r.line, r.headed, r["file"], r["speaker"], r["split"]) for r in table] == [
        (1, False, "a.mp4", "Smith, Anna", "test"), (2, False, "b.mp4", "", "val"),
    ]  # fmt: skip


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_without_a_first_line_of_names(separator: str, tmp_path: Path) -> None:
    text = separator.join(("a.mp4", "anna", "test")) + "\n" + separator.join(("b.mp4", "", "")) + "\n"
    known = rows(tmp_path / "t.csv", text, is_row=lambda cells: cells[0] == "a.mp4")
    assert known == [("a.mp4", "anna", "test"), ("b.mp4", "", "")]
    with pytest.raises(InputError, match="no column 'file'"):
        rows(tmp_path / "t.csv", text, is_row=lambda cells: False)
    with pytest.raises(InputError, match="no column 'file'"):
        rows(tmp_path / "t.csv", text)


def test_a_single_column_takes_no_name_apart(tmp_path: Path) -> None:
    """A list of names with commas in them."""
    text = "file\nSmith, Anna.mp4\nSmith, Bob.mp4\n"
    assert [r[0] for r in rows(tmp_path / "t.csv", text)] == ["Smith, Anna.mp4", "Smith, Bob.mp4"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04\x14\x00", "cannot be read as CSV.*spreadsheet.*CSV"),
        ("file,speaker\nJürgen.mp4,x\n".encode("latin-1"), "not valid UTF-8 at byte"),
        ("file,speaker,File\na,b,c\n", "names the column 'file' twice"),
        ("file,speaker\nSmith, Anna.mp4,anna\n", "line 2 has 3 cells for 2 columns.*quotation marks"),
        ('file,speaker\n"a.mp4,anna\nb.mp4,bob\n', "quotation mark in line 2 is not closed"),
        ("", "no column 'file'"),
    ],
)
def test_what_cannot_be_read_is_one_line(content: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        rows(tmp_path / "t.csv", content)
    assert "\n" not in str(caught.value) and "t.csv" in str(caught.value)


def index(*paths: str) -> NameIndex[str]:
    names = NameIndex[str](suffixes=frozenset({".mp4", ".mov"}), base=Path("/data/clips"))
    for path in paths:
        names.add(path, path=path)
    return names


NFD = unicodedata.normalize("NFD", "café.mp4")


@pytest.mark.parametrize(
    "name",
    [
        "x/café.mp4", "café.mp4", r"x\café.mp4", "./x/café.mp4", r".\x\café.mp4", "x//café.mp4", "x/./café.mp4",
        "X/CAFÉ.MP4", "x/café", "CAFÉ", f"x/{NFD}", NFD, NFD.upper(), " x/café.mp4 ", "/data/clips/x/café.mp4",
        "clips/x/café.mp4", r"clips\x\CAFÉ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("stored", ["x/café.mp4", f"x/{NFD}"])
def test_a_name_is_found_in_any_form(name: str, stored: str) -> None:
    assert index(stored, "y/other.mp4", "x/cafe.mp4").find(name) == [stored]


@pytest.mark.parametrize("name", ["z/a.mp4", "a.mov", "", "../a.mp4", "b"])
def test_another_name_is_not_found(name: str) -> None:
    assert index("x/a.mp4").find(name) == []


def test_an_exact_name_precedes_a_similar_one_and_what_fits_two_is_both() -> None:
    names = index("C2.mp4", "c2.mp4", "x/d.mp4", "y/d.mp4", "e.mp4", "e.mov", "x/e.mp4")
    assert names.find("C2.mp4") == ["C2.mp4"] and names.find("c2") == ["c2.mp4"]
    assert names.find("C2.MP4") == ["C2.mp4", "c2.mp4"]
    assert names.find("d.mp4") == ["x/d.mp4", "y/d.mp4"] and names.find("y/d") == ["y/d.mp4"]
    assert set(names.find("e")) == {"e.mp4", "e.mov", "x/e.mp4"} and names.find("./e.mp4") == ["e.mp4"]
    assert index(r"a\b.mp4", "a/b.mp4").find(r"a\b.mp4") == [r"a\b.mp4"]


@pytest.mark.parametrize("form", ["{}", " {} ", "{}\u200b", "\ufeff{}"])
def test_blanks_and_invisible_characters_leave_letter_case_alone(form: str) -> None:
    names = index("C2.mp4", "c2.mp4", "c2.mov", "X/a.mp4", "x/a.mp4")
    for name in ("C2.mp4", "c2.mp4", "X/a.mp4", "x/a.mp4"):
        assert names.find(form.format(name)) == names.find(form.format(name.replace("/", "\\"))) == [name]
    assert names.find(form.format("c2")) == ["c2.mp4", "c2.mov"] and names.find(form.format("C2")) == ["C2.mp4"]


def test_forms_of_names() -> None:
    assert shape_of(r" .\x\\y\.\a b.mp4 ") == "x/y/a b.mp4"
    assert folded("STRASSE") == folded("straße") and shape_of("a..b") == "a..b"
