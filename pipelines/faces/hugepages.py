"""Large memory pages for a model that is read all over.

The landmark regressor's trees take 95 MB, of which every face touches thousands of places; on usual pages of 4 KB much
of its time goes into looking up where pages are. Linux can put memory that is there already onto pages of 2 MB.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
_PAGE = 2 << 20


def onto_huge_pages() -> None:
    """Ask for huge pages under what this process has allocated so far; nothing happens where that cannot be had."""
    if sys.platform != "linux":
        return
    try:
        advise = ctypes.CDLL(None).madvise
        maps = Path("/proc/self/maps").read_text().splitlines()
    except (OSError, AttributeError):
        return
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in maps:
        where, kind, _, _, _, *name = line.split()
        start, end = (int(edge, 16) for edge in where.split("-"))
        first, last = -(-start // _PAGE) * _PAGE, end // _PAGE * _PAGE
        if kind.startswith("rw") and name in ([], ["[heap]"]) and last - first >= 4 * _PAGE:
            advise(first, last - first, _MADV_HUGEPAGE)
            advise(first, last - first, _MADV_COLLAPSE)
