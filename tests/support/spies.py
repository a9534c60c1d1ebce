"""Spies: what reaches a function, by the names of its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

#: In place of a result: the real function is called.
REAL: Any = object()


class Spies:
    """Watches functions and methods, and keeps the arguments of each call by parameter name, defaults among them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def watch(self, owner: Any, name: str, *, returns: Any = REAL, label: str | None = None) -> None:
        """Note each call of `owner.name`; with `returns`, a value or a function of the arguments, in its place."""
        real: Callable[..., Any] = getattr(owner, name)
        signature = inspect.signature(real)

        def noting(*given: Any, **named: Any) -> Any:
            bound = signature.bind(*given, **named)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            for parameter in signature.parameters.values():
                if parameter.kind is parameter.VAR_KEYWORD:
                    arguments |= arguments.pop(parameter.name)
            self.calls.append((label or name, arguments))
            if returns is REAL:
                return real(*given, **named)
            return returns(*given, **named) if callable(returns) else returns

        self._patch.setattr(owner, name, noting)

    def of(self, label: str) -> list[dict[str, Any]]:
        """The arguments of every call of one function."""
        return [arguments for name, arguments in self.calls if name == label]

    def one(self, label: str) -> dict[str, Any]:
        """The arguments of the only call."""
        (arguments,) = self.of(label)
        return arguments

    @property
    def labels(self) -> list[str]:
        """What was called, in order."""
        return [name for name, _ in self.calls]
