"""Registries of everything that can be added.

Datasets, extractors with the sources of pose and blinks, recipes, decoders, face back ends, features, metrics, methods,
models and the layouts of their released networks.

A registry names the package that holds its built-in items and an entry-point group. The first look-up imports every
module of the package, so adding a built-in item is adding one file. Other distributions add items through an entry
point, under a name that is not taken:

    [project.entry-points."dawn_bench.metric"]
    my-metric = "my_package.metric:MyMetric"

One that cannot be imported, or is no item of its kind, is named in a warning and left out; only who asks for it is
refused.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from multiprocessing import current_process
from typing import Generic, TypeVar

from dawn_bench.errors import InputError, unknown_name

T = TypeVar("T")
log = logging.getLogger(__name__)

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
        base: what an item of another distribution must derive from if it is a class, else be an instance of.
        has: attributes that it must have.
    """

    def __init__(
        self,
        label: str,
        *,
        group: str,
        package: str,
        module: str | None = None,
        base: type | tuple[type, ...] | None = None,
        has: tuple[str, ...] = (),
    ) -> None:
        if not _GROUP.fullmatch(group):
            raise ValueError(f"{group!r} is not a valid entry-point group")
        self.label, self.group, self.package, self.module = label, group, package, module
        self.base, self.has = base, has
        self._items: dict[str, T] = {}
        self._broken: dict[str, InputError] = {}
        self._warned = False
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
        """The item called `name`; raises `InputError` with the nearest names when there is none, or it is broken."""
        self._discover()
        if name in self._items:
            self._warn()
            return self._items[name]
        raise self.unknown(name)

    def unknown(self, name: str) -> InputError:
        """The error for a name of no item: what is wrong with the plug-in of this name, else the nearest names."""
        self._discover()
        return self._broken.get(name) or unknown_name(self.label, name, sorted(self._items))

    def __contains__(self, name: object) -> bool:
        """Whether an item is registered under this name."""
        self._discover()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        """Names in alphabetical order, without those of broken plug-ins."""
        self._discover()
        self._warn()
        return iter(sorted(self._items))

    def _warn(self) -> None:
        """Name the broken plug-ins, once a command: its worker processes find the same ones."""
        if not self._warned and current_process().name == "MainProcess":
            self._warned = True
            for error in self._broken.values():
                log.warning("%s", error)

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
            for entry in entry_points(group=self.group):
                if entry.name not in self._items and entry.name not in self._broken:
                    self._add(entry)
        except BaseException:
            self._discovered = False  # the next look-up must fail in the same way, not miss items
            raise

    def _add(self, entry: EntryPoint) -> None:
        """Register the item of another distribution, or note what is wrong with it."""
        before = dict(self._items)
        try:
            item = entry.load()
            why = self._fault(entry.name, item)
        except (Exception, SystemExit) as error:  # an import can fail in any way, and run anything
            why = " ".join(f"{type(error).__name__}: {error}".split())
        if why:
            self._items = before  # what its module registered before it failed
            self._broken[entry.name] = InputError(
                f"the plug-in {entry.value!r} of the group {self.group} cannot be loaded ({why}).",
                hint=f"Repair or uninstall {entry.dist.name if entry.dist else 'its distribution'}.",
            )
        else:
            self._items[entry.name] = item

    def _fault(self, name: str, item: object) -> str:
        """What keeps a loaded object from being an item of this registry; empty for one."""
        if self.base is not None:
            fits = issubclass(item, self.base) if isinstance(item, type) else isinstance(item, self.base)
            if not fits:
                kinds = self.base if isinstance(self.base, tuple) else (self.base,)
                return f"it is no {' or '.join(kind.__name__ for kind in kinds)}"
        elif not callable(item):
            return "it cannot be called"
        if inspect.isabstract(item):
            return f"it lacks {', '.join(sorted(getattr(item, '__abstractmethods__', ())))}"
        if missing := [attribute for attribute in self.has if not hasattr(item, attribute)]:
            return f"it lacks {', '.join(missing)}"
        if "name" in self.has and item.name != name:  # type: ignore[attr-defined]
            return f"its name is {item.name!r}, not {name!r}"  # type: ignore[attr-defined]
        return ""
