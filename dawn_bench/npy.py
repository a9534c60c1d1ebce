"""Reads npy files. Objects in them are never unpickled, and no header can ask for more memory than the file has."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array of an npy file; `mapped` as a read-only view of the file, else as a copy in memory.

    Raises `ValueError` with the reason for an absent, damaged or foreign file, an archive, and an array of objects.
    """
    if not path.is_file():  # a pipe would wait for ever
        raise ValueError("there is no such file")
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except Exception as error:  # a forged header raises a dozen types
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("it is an archive of arrays")
    return array if mapped else np.array(array)
