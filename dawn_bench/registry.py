"""Registries of everything that can be added.

Datasets, extractors with the sources of pose and blinks, recipes, decoders, face back ends, features, metrics, methods,
models and the layouts of their released networks.

A registry names the package that holds its built-in items and an entry-point group. The first look-up imports every
module of the package, so adding a built-in item is adding one file. Other distributions add items through an entry
point, under a name that is not taken:

    [project.entry-points."dawn_bench.metric"]
    my-metric = "my_package.metric:MyMetric"
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from typing import Generic, TypeVar

from dawn_bench.errors import InputError, unknown_name

T = TypeVar("T")

#: What setuptools and importlib.metadata accept as the name of an entry-point group.
_GROUP = re.compile(r"\w+(\.\w+)*")


def installed_plugins() -> list[tuple[str, str]]:
    """(group, "NAME, from DISTRIBUTION VERSION") of every item that other distributions add, without loading any."""
    return sorted(
        (entry.group, f"{entry.name}, from {distribution.name} {distribution.version}")
        for distribution in distributions()
        for entry in distribution.entry_points
        if entry.group.startswith("dawn_bench.")
    )


class Registry(Generic[T]):
    """Named items of one kind, from one package and from one entry-point group.

    Args:
        label: what an item is called in messages: "face back end".
        group: the entry-point group, `dawn_bench.<kind>`: letters, digits, underscores and dots.
        package: dotted name of the package whose modules register the built-in items.
        module: where each item is a package of its own, the name of the module that registers it (`spec`); packages
            without that module hold shared code.
    """

    def __init__(self, label: str, *, group: str, package: str, module: str | None = None) -> None:
        if not _GROUP.fullmatch(group):
            raise ValueError(f"{group!r} is not a valid entry-point group")
        self.label, self.group, self.package, self.module = label, group, package, module
        self._items: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: register the decorated class, function or instance under `name`."""

        def put(item: T) -> T:
            present = self._items.get(name)
            if present is not None and getattr(present, "__qualname__", present) != getattr(item, "__qualname__", item):
                raise ValueError(f"two {self.label}s are called {name!r}: {present!r} and {item!r}")
            self._items[name] = item
            return item

        return put

    def __getitem__(self, name: str) -> T:
        """The item called `name`; raises `InputError` with the nearest names when there is none."""
        self._discover()
        if name not in self._items:
            raise unknown_name(self.label, name, sorted(self._items))
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        """Whether an item is registered under this name."""
        self._discover()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        """Names in alphabetical order."""
        self._discover()
        return iter(sorted(self._items))

    def in_every_process(self, name: str) -> bool:
        """Whether a new process knows this item too: it is built in, or of a package with an entry point."""
        item = self[name]
        module = str(getattr(getattr(item, "func", item), "__module__", ""))
        packages = {
            self.package.split(".")[0],
            *(e.value.split(":")[0].split(".")[0] for e in entry_points(group=self.group)),
        }
        return module.split(".")[0] in packages

    def names(self) -> tuple[str, ...]:
        """All names in alphabetical order, for help texts and error messages."""
        return tuple(self)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # set first: a module that uses its own registry must not recurse
        try:
            package = importlib.import_module(self.package)
            for info in pkgutil.iter_modules(package.__path__, prefix=f"{self.package}."):
                if self.module is None and not info.ispkg:
                    importlib.import_module(info.name)
                elif self.module is not None and info.ispkg and find_spec(f"{info.name}.{self.module}") is not None:
                    importlib.import_module(f"{info.name}.{self.module}")
            own = set(self._items)
            for entry in entry_points(group=self.group):
                if entry.name not in own:
                    self._items.setdefault(entry.name, self._loaded(entry))
        except BaseException:
            self._discovered = False  # the next look-up must fail in the same way, not miss items
            raise

    def _loaded(self, entry: EntryPoint) -> T:
        try:
            return entry.load()
        except Exception as error:  # an import can fail in any way
            raise InputError(
                f"the plug-in {entry.value!r} of the group {self.group} cannot be loaded "
                f"({type(error).__name__}: {error}).",
                hint=f"Repair or uninstall {entry.dist.name if entry.dist else 'its distribution'}.",
            ) from error
