"""Reads npz files. Objects in them are never unpickled, and no header gets more memory than the file has.

A zip archive of one megabyte can unpack to a thousand, so its arrays have a stated bound.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

import numpy as np

from dawn_bench.readers import one_line
from dawn_bench.storage import raise_if_refused


def read_npz(path: Path, names: Sequence[str], *, max_bytes: int) -> dict[str, np.ndarray]:
    """The named arrays of an npz file, each of at most `max_bytes`.

    Raises `ValueError` for a file that lacks one of them, is damaged, or has arrays of other than numbers.
    """
    arrays = {}
    try:
        with ZipFile(path) as archive:
            for name in names:
                entry = archive.getinfo(f"{name}.npy")
                if entry.file_size > max_bytes:
                    raise ValueError(f"`{name}` has more than {max_bytes >> 20} MB")
                with archive.open(entry) as file:
                    _check_header(file, entry.file_size)
                with archive.open(entry) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    except KeyError:
        raise ValueError(f"has no array `{name}`") from None
    except (OSError, BadZipFile, EOFError, SyntaxError, OverflowError, TypeError, zlib.error, RuntimeError) as error:
        raise_if_refused(error)
        raise ValueError(one_line(error)) from error
    return arrays


def _check_header(file: IO[bytes], size: int) -> None:
    """Raise `ValueError` unless a file of `size` bytes begins as an npy file and is long enough for its array."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"has version {version} of the format")
    shape, _, dtype = readers[version](file)
    if dtype.kind not in "biuf" or dtype.subdtype is not None:
        raise ValueError(f"has {dtype} values, not numbers")
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"has the shape {shape}")
    if math.prod(shape) * dtype.itemsize > size - file.tell():
        raise ValueError(f"is cut off, or its shape {shape} is wrong")
