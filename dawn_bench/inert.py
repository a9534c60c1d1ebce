"""An unpickler for checkpoints whose pickles name classes and functions that are not needed to read their tensors.

Each name becomes a `Placeholder`: nothing is imported, called or set. What a file does to a placeholder (call it,
create an instance, set its state, add to it) creates another placeholder or is dropped. Only lists and dictionaries
of ours receive entries, and only keys whose hash takes constant time. The few names that tensors need are given by
the caller as functions of plain values.

The result takes a small multiple of the bytes of the pickle, whatever it says.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any

from dawn_bench.pickles import load_bytearray

#: Names by module and attribute -> a function of the arguments that the pickle gives.
Builders = Mapping[tuple[str, str], Callable[..., Any]]
#: Keys of dictionaries; others could take years to hash (tuples of tuples, forty times nested).
_KEYS = (str, int, float, bool, bytes, type(None))
_LONGEST_TUPLE, _LARGEST_KEY = 64, 64
#: Parts of a pickled `torch.nn.Module`, the only state of an object that is kept: they hold its tensors.
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")


class Placeholder(dict[Any, Any]):
    """What a pickle has in place of tensors and plain values; `name` is what it asked for.

    The entries are those of a class derived from `dict`, or the parts of a module.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Builder:
    """A name that the caller allows; it can be called by the pickle, and nothing can be set on it."""

    __slots__ = ("build", "name")

    def __init__(self, name: str, build: Callable[..., Any]) -> None:
        self.name, self.build = name, build


class UnsupportedContent(ValueError):
    """The pickle needs what cannot be skipped; the text is a clause that goes after the file's name."""


class InertUnpickler(pickle._Unpickler):
    """Python's own unpickler, not the compiled one, with every operation that touches an object replaced.

    `persistent` builds what the file stores beside the pickle. `skipped` are the names that became placeholders, in
    order.
    """

    def __init__(self, file: Any, *, builders: Builders, persistent: Callable[[Any], Any]) -> None:
        super().__init__(file, encoding="latin1")
        self.builders, self.persistent = builders, persistent
        self.skipped: dict[str, None] = {}

    def persistent_load(self, pid: Any) -> Any:
        """What `persistent` makes of it."""
        return self.persistent(pid)

    def find_class(self, module: str, name: str) -> Any:
        """A builder or a placeholder."""
        full = f"{module}.{name}"[:200]
        if (module, name) in self.builders:
            return Builder(full, self.builders[module, name])
        self.skipped[full] = None
        return Placeholder(full)


def _named(value: object) -> Placeholder:
    """A new placeholder for what is made from `value`."""
    return Placeholder(value.name if isinstance(value, Placeholder | Builder) else type(value).__name__)


def _reduce(self: Any) -> None:
    arguments, function = self.stack.pop(), self.stack[-1]
    if type(function) is Builder and type(arguments) is tuple:
        self.stack[-1] = function.build(*arguments)
    else:
        self.stack[-1] = _named(function)


def _new_object(self: Any) -> None:
    arguments, kind = self.stack.pop(), self.stack.pop()
    if type(kind) is Builder and type(arguments) is tuple:
        self.append(kind.build(*arguments))
    else:
        self.append(_named(kind))


def _new_object_with_names(self: Any) -> None:
    self.stack.pop()
    self.stack.pop()
    self.append(_named(self.stack.pop()))


def _instance(self: Any) -> None:
    module, name = (self.readline()[:-1].decode("ascii", "backslashreplace") for _ in range(2))
    self.pop_mark()
    self.append(_named(self.find_class(module, name)))


def _object(self: Any) -> None:
    parts = self.pop_mark()
    self.append(_named(parts[0] if parts else None))


def _build(self: Any) -> None:
    """Set the state of an object: kept are the parts of a module; the rest is dropped."""
    state, value = self.stack.pop(), self.stack[-1]
    if hasattr(type(value), "set_state"):
        value.set_state(state)
    elif type(value) is Placeholder and type(state) is dict:
        value.update({part: state[part] for part in _MODULE_PARTS if isinstance(state.get(part), dict)})


def _append(self: Any) -> None:
    value, target = self.stack.pop(), self.stack[-1]
    if type(target) is list:
        target.append(value)


def _appends(self: Any) -> None:
    values, target = self.pop_mark(), self.stack[-1]
    if type(target) is list:
        target.extend(values)


def _set_item(self: Any) -> None:
    value, key, target = self.stack.pop(), self.stack.pop(), self.stack[-1]
    _put(target, [key, value])


def _set_items(self: Any) -> None:
    entries, target = self.pop_mark(), self.stack[-1]
    _put(target, entries)


def _dictionary(self: Any) -> None:
    entries = self.pop_mark()
    target: dict[Any, Any] = {}
    _put(target, entries)
    self.append(target)


def _put(target: object, entries: list[Any]) -> None:
    if type(target) is dict or type(target) is Placeholder:
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            if is_plain_key(key):
                target[key] = value


def is_plain_key(key: object) -> bool:
    """Whether a key can be hashed at once: text, a small number, or a flat tuple of them."""
    if type(key) is tuple:
        return len(key) <= _LONGEST_TUPLE and all(type(k) is not tuple and is_plain_key(k) for k in key)
    return type(key) in _KEYS and (type(key) is not int or key.bit_length() <= _LARGEST_KEY)


def _empty_set(self: Any) -> None:
    self.append(Placeholder("set"))


def _add_items(self: Any) -> None:
    self.pop_mark()


def _frozen_set(self: Any) -> None:
    self.pop_mark()
    self.append(Placeholder("frozenset"))


def _extension(size: int) -> Callable[[Any], None]:
    def operation(self: Any) -> None:
        code = int.from_bytes(self.read(size), "little")
        self.append(self.find_class("copyreg", f"extension {code}"))

    return operation


def _no_buffer(self: Any) -> None:
    raise UnsupportedContent("has data outside of itself")


InertUnpickler.dispatch = pickle._Unpickler.dispatch | {
    code[0]: operation
    for code, operation in {
        pickle.REDUCE: _reduce,
        pickle.NEWOBJ: _new_object,
        pickle.NEWOBJ_EX: _new_object_with_names,
        pickle.INST: _instance,
        pickle.OBJ: _object,
        pickle.BUILD: _build,
        pickle.APPEND: _append,
        pickle.APPENDS: _appends,
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: _set_items,
        pickle.DICT: _dictionary,
        pickle.EMPTY_SET: _empty_set,
        pickle.ADDITEMS: _add_items,
        pickle.FROZENSET: _frozen_set,
        pickle.EXT1: _extension(1),
        pickle.EXT2: _extension(2),
        pickle.EXT4: _extension(4),
        pickle.BYTEARRAY8: load_bytearray,
        pickle.NEXT_BUFFER: _no_buffer,
        pickle.READONLY_BUFFER: _no_buffer,
    }.items()
}
