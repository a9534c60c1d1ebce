"""Which network a checkpoint holds, read off its tensors: a file that is misnamed or swapped is refused by its content.

It serves the entries of released models, whose hashes nobody has stated. Each model describes its own networks in a
file `layouts.py` of its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dawn_bench.errors import InputError
from dawn_bench.readers import read_torch
from dawn_bench.registry import Registry
from dawn_bench.state_dicts import fit
from dawn_bench.weights_check import FETCH_AGAIN

if TYPE_CHECKING:
    import torch

    from dawn_bench.weights_table import Weight


@dataclass(frozen=True)
class Kind:
    """A network: what to call it, and the registry names of the files that hold one."""

    title: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """How a network of a released model is recognised.

    Args:
        mark: a tensor that only this network has.
        describe: (state, content) -> what the file is. `state` are its tensors under the names of the layout, `content`
            is all that the file holds.
        names: the registry entries whose content is checked.
    """

    mark: str
    describe: Callable[[Mapping[str, torch.Tensor], Any], Kind]
    names: tuple[str, ...]


#: Layouts by the name of the network.
LAYOUTS: Registry[Layout] = Registry(
    "network layout", group="dawn_bench.layout", package="dawn_bench.models", module="layouts", base=Layout
)


def checked_names() -> set[str]:
    """The registry entries whose content is checked."""
    return {name for layout in LAYOUTS for name in LAYOUTS[layout].names}


def kind_of(content: Any) -> Kind | None:
    """The released model that a checkpoint's content holds, in any layout; None if it is none of them."""
    for name in LAYOUTS:
        layout = LAYOUTS[name]
        state = fit(content, (layout.mark,))
        if layout.mark in state:
            return layout.describe(state, content)
    return None


def check_kind(path: Path, weight: Weight) -> None:
    """Raise `InputError` unless the file at `path` can be the entry `weight`; entries of other networks pass.

    The message says which network the file holds.
    """
    if weight.name not in checked_names():
        return
    kind = kind_of(read_torch(path, hint=FETCH_AGAIN, mapped=True, skip_objects=True))
    if kind is None:
        raise InputError(f"is not {weight.purpose}: it has none of its tensors.", path=path, hint=FETCH_AGAIN)
    if weight.name not in kind.names:
        hint = f"Give it its own name: dawn-bench weights add FILE --name {kind.names[0]}" if kind.names else ""
        raise InputError(f"is {kind.title}, not {weight.purpose}.", path=path, hint=hint)
