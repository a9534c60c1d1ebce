r"""Escapes file names that are not valid UTF-8.

File names are bytes. Python reads those that are not valid UTF-8 as lone surrogates, which no UTF-8 file, Parquet
table or terminal accepts. In every index, result, page and message such a byte is written as `\xNN`: `caf\xe9.mp4`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def escape_invalid(text: str) -> str:
    r"""`text` as valid Unicode: an invalid byte of a file name becomes `\xNN`, another surrogate `\uNNNN`."""
    return _SURROGATE.sub(_escaped, text)


def escape_invalid_values(data: Any) -> Any:
    """The same for every text in mappings and lists."""
    if isinstance(data, str):
        return escape_invalid(data)
    if isinstance(data, Mapping):
        return {escape_invalid_values(key): escape_invalid_values(value) for key, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, bytes | bytearray):
        return [escape_invalid_values(value) for value in data]
    return data


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
