"""Small files of tensors that have the layout of a registry entry's network, as far as adding a file looks."""

from __future__ import annotations

from pathlib import Path

import torch

from dawn_bench.weights_layouts import LAYOUTS_BY_ENTRY


def layout_of(name: str, value: float = 1.0, *, layout: int = 0) -> dict[str, torch.Tensor]:
    """The tensors that tell the network of the entry `name`, all of one value."""
    marks = LAYOUTS_BY_ENTRY[name][layout]
    sizes = {key: [4 if n is None else n for n in shape or (4, 4)] for key, shape in marks.items()}
    return {key: torch.tensor(value).expand(size) for key, size in sizes.items()}


def write_layout(path: Path, name: str, value: float = 1.0) -> Path:
    """Save `layout_of` to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(layout_of(name, value), path)
    return path
