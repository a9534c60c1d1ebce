"""Reads MATLAB files in a process of its own: scipy's reader can end in a crash of the interpreter on damaged bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dawn_bench.errors import InputError
from dawn_bench.npz import read_npz

#: Bytes of one array: tracks of head motion have a few hundred numbers a frame.
MOST_BYTES = 256 << 20
#: Bytes of memory and seconds that the reader may take.
_MEMORY, _SECONDS = 4 << 30, 60
_CHILD = """
import resource, sys
path, target, memory, *keys = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
import numpy as np
from scipy.io import loadmat
data = loadmat(path, variable_names=keys)
np.savez(target, **{k: data[k] for k in keys if k in data and np.asarray(data[k]).dtype.kind in "biuf"})
"""


def read_matlab(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of numbers under those of `keys` that a MATLAB file has.

    Raises `InputError` for a file that is absent, damaged or too large, or that has none of the keys.
    """
    hint = "Write it again with scipy.io.savemat."
    if not path.is_file():
        raise InputError("there is no such file.", path=path)
    with TemporaryDirectory(prefix="dawnbench") as folder:
        target = Path(folder) / "arrays.npz"
        words = [sys.executable, "-c", _CHILD, str(path.absolute()), str(target), str(_MEMORY), *keys]
        try:
            ended = subprocess.run(words, capture_output=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise InputError("cannot be read as a MATLAB file.", path=path, hint=hint) from None
        if ended.returncode != 0 or not target.is_file():
            raise InputError("cannot be read as a MATLAB file.", path=path, hint=hint)
        arrays: dict[str, np.ndarray] = {}
        for key in keys:
            try:
                arrays |= read_npz(target, [key], max_bytes=MOST_BYTES)
            except ValueError as error:
                if "has no array" not in str(error):
                    raise InputError(f"cannot be read as a MATLAB file ({error}).", path=path, hint=hint) from error
    if not arrays:
        raise InputError(f"has none of {', '.join(keys)}.", path=path)
    return arrays
