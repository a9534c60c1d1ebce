"""Prepares the next items in a thread while one is used, so that a device computes while the processor decodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar, cast

T = TypeVar("T")

#: Seconds between two looks at whether the items are still wanted.
_PATIENCE = 0.1


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(items: Iterable[T], *, depth: int = 2) -> Iterator[T]:
    """The items in their order, of which a thread prepares up to `depth` beforehand; raises what they raise."""
    ready: Queue[Any] = Queue(maxsize=depth)
    unwanted, end = Event(), object()

    def put(item: Any) -> bool:
        while not unwanted.is_set():
            try:
                ready.put(item, timeout=_PATIENCE)
                return True
            except Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(end)
        except BaseException as error:  # raised where the items are used
            put(_Failed(error))

    thread = Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not end:
            if isinstance(item, _Failed):
                raise item.error
            yield cast(T, item)
    finally:
        unwanted.set()
        thread.join()
