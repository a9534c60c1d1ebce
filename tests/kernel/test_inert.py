"""Pickles that are read without running them: every value arrives where the pickle puts it, and only there."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

import pytest
import torch

from dawn_bench.inert import InertUnpickler, Placeholder


class Module:
    """As torch.nn.Module, by its parts."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class Entries(dict[str, int]):
    """A class derived from dict."""


def inert(value: Any, protocol: int = 4) -> Any:
    data = io.BytesIO(pickle.dumps(value, protocol=protocol))
    return InertUnpickler(data, builders={("collections", "OrderedDict"): dict}, persistent=str).load()


PLAIN = [
    None, True, 0, -1, 255, 256, 2**31, 2**64 - 1, -(2**64) + 1, 2**64, 1.5, "", "é\n", b"", b"\x00\xff", (), (1,),
    (1, 2), (1, 2, 3), (1, 2, 3, 4),
    [], [1], [1, 2, 3], list(range(2500)), {}, {"a": 1}, {"a": 1, "b": [2, {"c": (3, 4)}]},
    {k: -k for k in range(2500)}, {1.5: "x", b"y": 2, None: 3, True: 4, ("a", 1): 5, (): 6},
    {2**64 - 1: 1, -(2**64) + 1: 2, (2**64 - 1, "x"): 3},
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("number", range(len(PLAIN)))
def test_plain_values_arrive_as_they_are(number: int, protocol: int) -> None:
    value = PLAIN[number]
    if protocol < 3 and (isinstance(value, bytes) or (isinstance(value, dict) and b"y" in value)):
        value = None  # bytes are an object there
    read = inert(value, protocol)
    assert read == value and type(read) is type(value)
    assert inert([value, value, "last"], protocol) == [value, value, "last"]


def test_the_parts_of_a_module_stay_and_the_rest_is_dropped() -> None:
    parts = {"_parameters": {"w": 1}, "_buffers": {"b": 2}, "_modules": {"m": Module(_buffers={"c": 3})}}
    assert {"_parameters", "_buffers", "_modules"} <= vars(torch.nn.Linear(1, 1)).keys()
    read = inert(Module(**parts, training=True, hooks={"x": 1}))
    assert type(read) is Placeholder and read.name == f"{__name__}.Module"
    assert read == {**parts, "_modules": {"m": {"_buffers": {"c": 3}}}}
    assert inert(Module(_buffers=[1])) == {}


@pytest.mark.parametrize("protocol", [2, 4])
def test_dictionaries_of_other_classes_have_their_entries(protocol: int) -> None:
    for count in (1, 2, 2500):
        entries = {f"k{k}": k for k in range(count)}
        own = inert({"x": Entries(entries), "after": 1}, protocol)
        assert own == {"x": entries, "after": 1} and type(own["x"]) is Placeholder
        assert inert({"x": OrderedDict(entries), "after": 1}, protocol) == {"x": entries, "after": 1}


def test_what_is_no_plain_value_is_a_placeholder_of_its_name() -> None:
    read = inert({"s": {1, 2}, "f": frozenset({1}), "c": 1j, "e": [len, slice(1, 2)], "after": 3})
    assert [read[k].name for k in "sfc"] == ["set", "frozenset", "builtins.complex"]
    assert [item.name for item in read["e"]] == ["builtins.len", "builtins.slice"] and read["after"] == 3
    assert all(part == {} for part in (read["s"], read["f"], read["c"], *read["e"]))


def test_keys_that_take_long_to_hash_are_left_out() -> None:
    flat, longer = tuple(range(64)), tuple(range(65))
    assert inert({2**64: 1, flat: 2, longer: 3, (1, (2,)): 4, (2**64,): 5, "last": 6}) == {flat: 2, "last": 6}
