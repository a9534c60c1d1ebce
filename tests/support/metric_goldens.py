"""Reading the metrics' reference outputs: JSON, arrays, rule-filled weights and recipe inputs of one folder."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch


def arrays(path: Path) -> Any:
    """The arrays of the .npz file next to a .json file."""
    return np.load(path.with_suffix(".npz"))


def facts(path: Path) -> dict[str, Any]:
    """The content of the .json file of a case."""
    return json.loads(path.with_suffix(".json").read_text())


@lru_cache(maxsize=4)
def recipes(folder: Path) -> Any:
    """The module `recipes.py` of one folder of goldens."""
    spec = importlib.util.spec_from_file_location("recipes", folder / "recipes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(folder: Path, recipe: dict[str, Any]) -> np.ndarray:
    """The input that a recipe `{fn, ...}` describes."""
    arguments = dict(recipe)
    function = arguments.pop("fn").split(".")[-1]
    return getattr(recipes(folder), function)(**arguments)


def fill(module: torch.nn.Module, folder: Path, *, gain: float = 1.0) -> torch.nn.Module:
    """`module` in evaluation mode with the weights that the folder's rule and salt give."""
    salt = facts(folder / "meta.json")["weights_salt"]
    state = {
        key: torch.from_numpy(recipes(folder).det_array(key, tuple(t.shape), salt, gain))
        if t.is_floating_point()
        else t
        for key, t in module.state_dict().items()
    }
    module.load_state_dict(state)
    return module.eval()


def assert_keys(module: torch.nn.Module, published: Path) -> None:
    """The module's keys and shapes are those of a published state dict."""
    assert {k: list(t.shape) for k, t in module.state_dict().items()} == json.loads(published.read_text())


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest size; the shapes must agree."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
