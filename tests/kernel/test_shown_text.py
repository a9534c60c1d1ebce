"""What a terminal would act on is shown escaped, from the first to the last character of each range."""

from __future__ import annotations

import logging

import pytest

from dawn_bench import terminal
from dawn_bench.terminal import visible
from dawn_bench.utf8 import escape_invalid, escape_invalid_values

#: The first and last characters of the ranges that are escaped.
RANGES = [
    (0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0x61C, 0x61C), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069),
    (0xFEFF, 0xFEFF), (0xE0000, 0xE007F),
]  # fmt: skip


@pytest.mark.parametrize(("first", "last"), RANGES)
def test_every_character_of_a_range_is_escaped_and_its_neighbours_are_not(first: int, last: int) -> None:
    for code in range(first, last + 1):
        shown = visible(f"a{chr(code)}b")
        assert shown == f"a{chr(code).encode('unicode_escape').decode()}b" and shown.isascii(), hex(code)
    for code in (first - 1, last + 1):
        if code >= 0 and not any(low <= code <= high for low, high in RANGES):
            assert visible(chr(code)) == chr(code), hex(code)


@pytest.mark.parametrize(
    ("code", "shown"),
    [(0xDC80, r"\x80"), (0xDCE9, r"\xe9"), (0xDCFF, r"\xff"), (0xDC7F, r"\udc7f"), (0xDD00, r"\udd00"),
     (0xD800, r"\ud800"), (0xDFFF, r"\udfff"), (0xD7FF, "\ud7ff"), (0xE000, "\ue000")],
)  # fmt: skip
def test_bytes_that_are_not_utf8_are_shown_as_bytes(code: int, shown: str) -> None:
    assert escape_invalid(f"a{chr(code)}b") == f"a{shown}b"
    values = {f"k{chr(code)}": [f"{chr(code)}", 1, None], "n": (True, b"x")}
    assert escape_invalid_values(values) == {f"k{shown}": [shown, 1, None], "n": [True, b"x"]}


def test_equal_warnings_are_shown_once_and_others_each(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        for _ in range(2):  # a second call replaces the first handler
            terminal.show_logs()
        for text in ("one", "one", "two", "one"):
            logging.getLogger("library").warning(text)
        logging.getLogger("library").info("quiet")
    finally:
        for handler in [h for h in root.handlers if h not in before]:
            root.removeHandler(handler)
    assert capsys.readouterr().err.splitlines() == ["warning: one", "warning: two"]
