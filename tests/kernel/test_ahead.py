"""Items that a thread prepares ahead are those in order, and nothing is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from dawn_bench.ahead import ahead


def test_items_come_in_order_and_some_are_ready_before_they_are_used() -> None:
    made, second = list[int](), threading.Event()

    def items() -> Iterator[int]:
        for k in range(5):
            made.append(k)
            if k == 1:
                second.set()
            yield k

    walk = ahead(items())
    assert next(walk) == 0
    assert second.wait(10), "the next one is made while the first is used"
    assert [0, *walk] == made == [0, 1, 2, 3, 4]


def test_what_an_item_raises_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    walk = ahead(items())
    assert next(walk) == 1
    with pytest.raises(KeyError, match="two"):
        next(walk)


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_than_asked_for_are_prepared_and_the_thread_ends(depth: int) -> None:
    made, closed = list[int](), list[bool]()

    def items() -> Iterator[int]:
        try:
            for k in range(100):
                made.append(k)
                yield k
        finally:
            closed.append(True)

    walk = ahead(items(), depth=depth)
    assert list(islice(walk, 3)) == [0, 1, 2]
    walk.close()  # type: ignore[attr-defined]
    assert len(made) <= 3 + depth + 1 and not [t for t in threading.enumerate() if t.name == "ahead"]
    assert list(ahead([])) == []
