"""Where a number comes from: fingerprints of settings and files, versions, device."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dawn_bench.devices import chosen_device

#: The libraries whose version can change a number.
NUMERIC_LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "opencv-python-headless", "av", "dlib-bin")

#: Those that compute the features of scores. The last two are in no row's fingerprint, which must not change.
FEATURE_LIBRARIES = (*NUMERIC_LIBRARIES, "scikit-image", "lpips")


def fingerprint(facts: Any, *, length: int = 16) -> str:
    """The first `length` hex digits of the sha256 of `facts` as canonical JSON (keys sorted, no spaces)."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def versions(names: Sequence[str] = ("dawn-bench", *NUMERIC_LIBRARIES)) -> dict[str, str]:
    """Versions of Python, dawn-bench and the libraries that can change a number, by name; missing ones are left out.

    With `names`: of Python and of these distributions.
    """
    installed = {name: number for name in names if (number := _version(name)) is not None}
    return {"python": platform.python_version()} | installed


@cache
def _version(name: str) -> str | None:
    """A distribution's version, or None. Read once per process: each row asks for eight of them."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def device_name(device: str = "cpu") -> str:
    """A device for people: the graphics card's name, or the processor's architecture and thread count."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()} ({torch.get_num_threads()} threads)"


def pick_device(device: str = "auto") -> str:
    """`device`, where `auto` is that of the command (`dawn_bench.devices`): without one `cuda` where there is a GPU."""
    return chosen_device(device)
