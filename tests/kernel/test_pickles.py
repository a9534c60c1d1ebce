"""Pickles of arrays are read, and nothing else in them is ever constructed or run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.errors import InputError
from dawn_bench.pickles import read_arrays


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "arrays.pkl"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["?", "<i8", ">i4", "u1", "<f2", ">f8", "f4"])
def test_arrays_of_numbers_come_back_bit_for_bit(path: Path, protocol: int, dtype: str) -> None:
    plain = (np.arange(24).reshape(2, 3, 4) % 7).astype(dtype)
    arrays = {"c": plain, "fortran": np.asfortranarray(plain), "part": plain[:, ::2], "empty": plain[:0]}
    path.write_bytes(pickle.dumps({**arrays, "one": plain[1, 2, 3], "again": plain}, protocol=protocol))
    read = read_arrays(path)
    for name, array in {**arrays, "one": plain[1, 2, 3], "again": plain}.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    read["c"][0] = 1  # the caller's own


class _Calls:
    def __init__(self, call: object, *args: object) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple:
        return self.call, self.args


STRUCTURED = np.zeros(2, [("x", "f4"), ("y", "i4")])


@pytest.mark.parametrize(
    "content",
    [
        {"a": _Calls(os.system, "touch exploded")},
        _Calls(os.system, "touch exploded"),
        {"a": np.array([_Calls(os.system, "touch exploded")], dtype=object)},
        {"a": np.random.default_rng(0)},
        {"a": STRUCTURED},
        {"a": np.array(["text"])},
        {"a": np.array(["2020-01-01"], "M8[D]")},
        {"a": np.zeros(2, np.complex64)},
        {"a": _Calls(np.ndarray, (3,))},
        {"a": np.dtype("f4")},
        {"a": [1.0, 2.0]},
        [np.zeros(2)],
        {},
    ],
)
def test_anything_else_is_refused_in_one_line(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=path.name) as caught:
        read_arrays(path)
    assert "\n" not in str(caught.value) and not Path("exploded").exists()


def test_a_dtype_cannot_be_changed_behind_the_check(path: Path) -> None:
    """The state of a checked dtype may not give it fields, a subarray or an order of its own."""
    data = pickle.dumps({"a": np.zeros(2, "<f8")}, protocol=2)
    assert data.count(b"\x01\x00\x00\x00<") == 1
    path.write_bytes(data.replace(b"\x01\x00\x00\x00<", b"\x01\x00\x00\x00O"))
    with pytest.raises(InputError, match="structured"):
        read_arrays(path)


def test_damage_at_any_byte_is_one_line(path: Path) -> None:
    data = pickle.dumps({"a": np.arange(3.0), "b": np.arange(4)}, protocol=4)
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError):
            read_arrays(path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        wrong = bytearray(data)
        wrong[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(wrong)
        try:
            read_arrays(path)  # a changed number is no damage that a pickle can show
        except InputError:
            continue
    with pytest.raises(InputError, match="no such file"):
        read_arrays(path.with_name("none.pkl"))
