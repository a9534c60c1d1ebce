"""Reading of DAWN's reference outputs: inputs that a rule regenerates, and weights filled by rule."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from goldens import goldens_roots
from torch import nn


@cache
def fill_rule(folder: Path) -> ModuleType:
    """The rule next to a folder's cases, else the first one below any root."""
    for place in (folder, *(root / "dawn" for root in goldens_roots())):
        if (place / "fill_rule.py").is_file():
            spec = importlib.util.spec_from_file_location("fill_rule", place / "fill_rule.py")
            assert spec and spec.loader
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise FileNotFoundError(f"no fill_rule.py next to {folder}")


def fill(module: nn.Module, folder: Path, *, prefix: str = "") -> None:
    """Overwrite a module's weights by the rule of `folder`, keyed by `prefix` and the state dict's keys."""
    state = {prefix + key: tensor for key, tensor in module.state_dict().items()}
    fill_rule(folder).fill(state)


def load_case(path: Path) -> dict[str, torch.Tensor]:
    """The arrays of one case as tensors, with those that its rule regenerates."""
    rule = fill_rule(path.parent)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files if key != "by_rule"}
        rules = json.loads(str(file["by_rule"])) if "by_rule" in file.files else {}
    for name, (kind, key, shape, first) in rules.items():
        if kind == "picture":
            array = rule.picture(key, shape[0], shape[-1])
        elif kind == "stack":
            array = np.stack([rule.data(f"{key}{i}", tuple(shape[1:])) for i in range(shape[0])])
        else:
            array = rule.data(key, tuple(shape))
            array = np.abs(array) if kind == "absdata" else array
        np.testing.assert_allclose(array.reshape(-1)[:4], first, rtol=0, atol=1e-6, err_msg=f"{path.name}: {name}")
        arrays[name] = array
    return {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind in "fiub"}


def assert_near(got: torch.Tensor, want: torch.Tensor, *, within: float, what: str) -> None:
    """The largest absolute difference is at most `within`; prints it, so that a run shows the worst."""
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)} instead of {tuple(want.shape)}"
    worst = (got.detach().double() - want.double()).abs().max().item()
    print(f"{what}: {worst:.2e} (allowed {within:.0e})")  # noqa: T201
    assert worst <= within, f"{what}: off by {worst:.3e}, allowed {within:.0e}"


def assert_ratio(got: float, want: float, *, within: float, what: str, floor: float = 0.0) -> None:
    """Two numbers agree to a relative error of `within`, or absolutely to `floor`."""
    worst = abs(got - want)
    print(f"{what}: {got:.6g} against {want:.6g}")  # noqa: T201
    assert worst <= max(within * abs(want), floor), f"{what}: {got:.8g} instead of {want:.8g}"
