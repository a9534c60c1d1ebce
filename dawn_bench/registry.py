"""One registry idea for datasets, extractors, metrics and methods.

A registry knows the package in which its files live; looking anything up imports every module of that package once,
so adding an item is adding one file. Other distributions add theirs through an entry-point group of the same name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from dawn_bench.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named items of one kind, found in one package and in the entry-point group `dawn_bench.<kind>`."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._items: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: put the decorated class, function or instance under `name`."""

        def put(item: T) -> T:
            held = self._items.get(name)
            if held is not None and getattr(held, "__qualname__", held) != getattr(item, "__qualname__", item):
                raise ValueError(f"two {self.kind}s are called {name!r}: {held!r} and {item!r}")
            self._items[name] = item
            return item

        return put

    def __getitem__(self, name: str) -> T:
        """The item called `name`; raises `InputError` with the nearest names when there is none."""
        self._discover()
        if name not in self._items:
            near = get_close_matches(name, self._items, n=2)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(sorted(self._items))}."
            raise InputError(f"there is no {self.kind} called {name!r}.", mend=hint)
        return self._items[name]

    def __contains__(self, name: str) -> bool:
        self._discover()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._items))

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # set first: a module that looks its own registry up must not recurse
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__, prefix=f"{self.package}."):
            importlib.import_module(module.name)
        for entry in entry_points(group=f"dawn_bench.{self.kind}"):
            self._items.setdefault(entry.name, entry.load())
