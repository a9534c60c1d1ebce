"""Tables that people write: which file has which label, which output belongs to which clip.

They come from editors, spreadsheets and shells of every system. `read_list` reads UTF-8 and UTF-16 with any line ends,
commas, semicolons or tabs between the cells, quoted cells, and a first line that names the columns or is missing.
`NameIndex` finds what a cell names, whatever its slashes, letter case, Unicode form and suffix. Nothing is guessed:
what fits two things is ambiguous, and the caller refuses it.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from dawn_bench.errors import InputError
from dawn_bench.readers import DamageError, guarded
from dawn_bench.utf8 import escape_invalid

T = TypeVar("T")

#: What separates cells, in the order in which they are tried.
SEPARATORS: tuple[str, ...] = (",", ";", "\t")
#: Invisible characters that editors and web pages leave at the ends of a cell, besides white space.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\0"
#: The first bytes of a zip file, which every newer spreadsheet is.
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class ListRow:
    """One line of a table: its number in the file, and the cells by column, stripped; a cell that it lacks is empty.

    `headed` is False in a table whose first line does not name the columns.
    """

    line: int
    cells: dict[str, str]
    headed: bool = True

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


@dataclass(frozen=True)
class _Parsed:
    """The lines of a table under one separator, with their numbers; lines without any text are left out."""

    lines: tuple[tuple[int, list[str]], ...]

    @property
    def header(self) -> list[str]:
        return [cell.casefold() for cell in self.lines[0][1]] if self.lines else []


def read_list(
    path: Path,
    required: Sequence[str],
    *,
    optional: Sequence[str] = (),
    is_row: Callable[[Sequence[str]], bool] | None = None,
    hint: str = "",
) -> list[ListRow]:
    """The rows of a table.

    Args:
        path: a text file in UTF-8 or UTF-16; `sep=;` in its first line is understood, as spreadsheets write it.
        required: columns that the first line must name, in any letter case.
        optional: columns that it may name; others are kept under the name that they have.
        is_row: whether the cells of the first line are a row, in a table that does not name its columns. They are
            then `required` and `optional` in this order. None: the first line must name them.
        hint: what to do about a table that cannot be used.

    Raises `InputError` where a column is missing or named twice, a line has more cells than the first one, or a
    quotation mark is not closed.
    """
    text = guarded(lambda: _decoded(path.read_bytes()), path, "CSV", hint or "Save it as CSV in UTF-8.")
    tables = guarded(lambda: _parsed(text), path, "CSV", hint or "Save it as CSV in UTF-8.")
    columns = [*required, *optional]
    named = [table for table in tables if {name.casefold() for name in required} <= set(table.header)]
    if named:
        # a single column needs no separator: the one that takes no name apart
        table = min(named, key=lambda t: (-sum(c.casefold() in t.header for c in columns), _excess(t, len(t.header))))
        header, first = _header(path, table, columns), 1
    else:
        table = _without_header(path, tables, required, columns, is_row, hint)
        header, first = columns, 0
    rows = []
    for line, cells in table.lines[first:]:
        _check_cells(path, line, cells, header, balanced=text.count('"') % 2 == 0)
        rows.append(ListRow(line, dict(zip(header, cells, strict=False)), headed=bool(named)))
    return rows


def shape_of(name: str) -> str:
    r"""A name of a table or of a file in one form: NFC, `/` for `\`, without `./`, doubled slashes and outer blanks."""
    text = unicodedata.normalize("NFC", clean(name).replace("\\", "/"))
    text = re.sub(r"/{2,}", "/", text)
    return re.sub(r"(^|/)(\./)+", r"\1", text).strip()


def folded(name: str) -> str:
    """`shape_of` without letter case."""
    return unicodedata.normalize("NFC", shape_of(name).casefold())


def clean(cell: str) -> str:
    """A cell without white space and invisible characters at its ends."""
    bare = cell
    while bare != (bare := bare.strip().strip(_INVISIBLE)):
        pass
    return bare


class NameIndex(Generic[T]):
    """What a name of a table stands for: things by their paths, bare names and ids.

    Names are compared as they are written; then in one form (`shape_of`); then without letter case; then without the
    `suffixes` of files. The first comparison under which a name fits anything counts. A name with a slash in it, also
    `./name`, is a path.

    Args:
        suffixes: lower-case suffixes that a table may leave out.
        base: the folder below which the paths are; a table may begin them with it.
    """

    def __init__(self, *, suffixes: frozenset[str] = frozenset(), base: Path | None = None) -> None:
        self._suffixes = suffixes
        bases = [] if base is None else [base.as_posix(), base.resolve().as_posix(), base.name]
        self._bases = [f"{shape_of(text)}/" for text in dict.fromkeys(bases) if text]
        self._paths = tuple(dict[str, dict[T, None]]() for _ in range(5))
        self._names = tuple(dict[str, dict[T, None]]() for _ in range(5))

    def add(self, thing: T, *, path: str = "", names: Iterable[str] = ()) -> None:
        """Register a thing under its path, whose last part is a name too, and under other names."""
        bare = {path, path.rpartition("/")[2], *names} - {""}
        for tiers, texts in ((self._paths, {path} - {""}), (self._names, bare)):
            for text in texts:
                for tier, key in zip(tiers, self._keys(text), strict=True):
                    tier.setdefault(key, {})[thing] = None  # in the order in which they came

    def find(self, name: str) -> list[T]:
        """The things that a name fits: none, the one that is meant, or several where it is ambiguous."""
        shape = shape_of(name)
        inner = [shape.removeprefix(base) for base in self._bases if shape.startswith(base)]
        for text, is_path in ((name, "/" in name.replace("\\", "/")), *((text, True) for text in inner)):
            tiers = self._paths if is_path else self._names
            plain, bare = shape_of(text), folded(text)
            keys = (escape_invalid(text), plain, bare, plain, bare, self._stem(plain), self._stem(bare))
            for tier, key in zip((*tiers, *tiers[1:3]), keys, strict=True):  # at last a suffix that the thing lacks
                if key in tier:
                    return list(tier[key])
        return []

    def _keys(self, name: str) -> tuple[str, ...]:
        """A registered name under each comparison."""
        plain, bare = shape_of(name), folded(name)
        return escape_invalid(name), plain, bare, self._stem(plain), self._stem(bare)

    def _stem(self, name: str) -> str:
        head, dot, suffix = name.rpartition(".")
        return head if dot and f".{suffix.casefold()}" in self._suffixes else name


def _decoded(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 as spreadsheets and shells of Windows write it, without a byte order mark."""
    if data.startswith(_ZIP):
        raise ValueError("it is a spreadsheet")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    head = data[:4096]
    if head.count(0) * 4 > len(head):  # UTF-16 of Latin letters without its mark: every other byte is zero
        return data.decode("utf-16-le" if head[1::2].count(0) >= head[0::2].count(0) else "utf-16-be")
    return data.decode("utf-8-sig")


def _parsed(text: str) -> list[_Parsed]:
    """The table under each separator, or under the one that its first line states."""
    offset, separators = 0, SEPARATORS
    if match := re.match(r'\s*"?sep=(.)"?[^\S\r\n]*(\r\n|\r|\n)', text, re.IGNORECASE):
        text, offset, separators = text[match.end() :], text[: match.end()].count(match[2]), (match[1],)
    return [_Parsed(tuple(_lines(text, separator, offset))) for separator in separators]


def _lines(text: str, separator: str, offset: int) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    lines, begin = [], offset + 1
    for cells in reader:
        cells = [clean(cell) for cell in cells]
        if any(cells):
            lines.append((begin, cells))
        begin = offset + reader.line_num + 1
    return lines


def _excess(table: _Parsed, width: int) -> int:
    return sum(len(cells) > width for _, cells in table.lines)


def _header(path: Path, table: _Parsed, columns: Sequence[str]) -> list[str]:
    """The names of the columns; those of `columns` in their own spelling."""
    spelt = {name.casefold(): name for name in columns}
    header = [spelt.get(cell.casefold(), cell) for cell in table.lines[0][1]]
    if twice := next((name for name in columns if header.count(name) > 1), None):
        raise InputError(f"its first line names the column {twice!r} twice.", path=path, hint="Remove one of them.")
    return header


def _without_header(
    path: Path,
    tables: Sequence[_Parsed],
    required: Sequence[str],
    columns: Sequence[str],
    is_row: Callable[[Sequence[str]], bool] | None,
    hint: str,
) -> _Parsed:
    """The table whose first line is a row; raises `DamageError` that names the missing columns where none is."""
    headed = any({name.casefold() for name in columns} & set(table.header) for table in tables)
    if is_row is not None and not headed:
        fitting = [t for t in tables if t.lines and is_row(t.lines[0][1])]
        if fitting:
            return max(fitting, key=lambda t: (sum(is_row(cells) for _, cells in t.lines), -_excess(t, len(columns))))
    present = {cell for table in tables for cell in table.header}
    absent = [name for name in required if name.casefold() not in present]
    names = " and ".join(f"`{name}`" for name in absent)
    what = f"has no columns {names}." if len(absent) > 1 else f"has no column {absent[0]!r}."
    raise DamageError(what, path=path, hint=hint or f"First line: {','.join(columns)}")


def _check_cells(path: Path, line: int, cells: Sequence[str], header: Sequence[str], *, balanced: bool) -> None:
    if not balanced and any("\n" in cell or "\r" in cell for cell in cells):
        raise InputError(f"a quotation mark in line {line} is not closed.", path=path, hint="Close or remove it.")
    if any(cells[len(header) :]):
        what = f"line {line} has {len(cells)} cells for {len(header)} columns."
        raise InputError(what, path=path, hint="Put a name with a separator in it into quotation marks.")
