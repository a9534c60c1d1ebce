"""Published state dicts under the keys of a network, however the file wraps and prefixes them.

Authors save the same tensors in many ways: bare, under `state_dict`, `model` or the names of a model's parts; with the
prefixes of data-parallel (`module.`), compiled (`_orig_mod.`) and enclosing modules (`model.`, `hubert.`); beside an
exponential moving average, optimizers, discriminators and training heads; as whole pickled modules. `fit` handles them
all, for every network, from the keys that the network expects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Parts of keys that wrappers insert and no published network has.
_INSERTED = (
    "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_modules", "_parameters", "_buffers",
)  # fmt: skip
#: Enclosing modules, taken off where every key has them and the expected keys tell nothing.
_ENCLOSING = ("model", "net", "network", "state_dict", "ema", "ema_model")
#: Last parts of keys that are used in training alone, or that are constants or counters.
_NOT_WEIGHTS = ("masked_spec_embed", "position_ids", "num_batches_tracked", "n_averaged")
_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1",
}  # fmt: skip
#: Bounds on nesting and length of keys: a short file could otherwise name its tensors at endless length.
_DEPTH, _LENGTH = 16, 400


def fit(content: Any, expected: Mapping[str, torch.Tensor] | Collection[str]) -> dict[str, torch.Tensor]:
    """The tensors of a file by the names that the network of the keys `expected` has for them.

    `expected` may be a part of the network's keys. The prefix is the one under which most of them are; of equal ones,
    the one whose shapes agree, then the moving average (with which authors sample), then the shortest. Keys beside
    that prefix, and other parts of the file, are left out; unknown keys beside the expected ones are kept, so that
    loading names them. Missing counters of batch normalisation are zero. Without any expected key, the tensors are
    those of the largest part, without prefixes that all of them have.
    """
    parts = _parts(content, expected)
    prefix = _prefix(parts, expected)
    if prefix is None:
        return _largest(parts)
    state: dict[str, torch.Tensor] = {}
    for tensors in parts:
        if any(key.startswith(prefix) and key[len(prefix) :] in expected for key in tensors):
            state |= {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    state = {key: t for key, t in state.items() if key in expected or key.rpartition(".")[2] not in _NOT_WEIGHTS}
    if isinstance(expected, Mapping):
        for key, tensor in expected.items():
            mean = key.replace("num_batches_tracked", "running_mean")
            if key not in state and mean != key and mean in state:
                state[key] = tensor.new_zeros(tensor.shape)
    return state


def has_tensors(content: Any) -> bool:
    """Whether a file's content has a tensor, directly or in mappings."""
    return any(_parts(content, ()))


def first_nan(content: Any) -> str:
    """The key of the first tensor of a file's content that has a NaN; empty where none has one."""
    import torch

    for tensors in _parts(content, ()):
        for key, tensor in tensors.items():
            if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
                return key
    return ""


def _parts(content: Any, expected: Collection[str]) -> list[dict[str, torch.Tensor]]:
    """The mappings of a file that hold tensors, outer ones first; their keys are whole paths without inserted parts."""
    import torch

    inserted = {name for name in _INSERTED if not any(name in key.split(".") for key in expected)}
    modern = any(key.endswith("parametrizations.weight.original0") for key in expected)

    def joined(path: str, key: str) -> str:
        names = [name for name in key.split(".") if name not in inserted]
        if modern and names and names[-1] in _WEIGHT_NORM:
            names[-1] = _WEIGHT_NORM[names[-1]]
        return ".".join([path, *names] if path else names)

    parts, waiting, seen = [], [("", content, 0)], set[int]()
    while waiting:
        path, value, depth = waiting.pop(0)
        if not isinstance(value, Mapping) or id(value) in seen or depth > _DEPTH:
            continue
        seen.add(id(value))
        tensors: dict[str, torch.Tensor] = {}
        for key, entry in value.items():
            if not isinstance(key, str) or len(path) + len(key) > _LENGTH:
                continue
            if isinstance(entry, torch.Tensor):
                tensors[joined(path, key)] = entry
            elif isinstance(entry, Mapping):
                waiting.append((joined(path, key), entry, depth + 1))
        if tensors:
            parts.append(tensors)
    return parts


def _prefix(parts: list[dict[str, torch.Tensor]], expected: Mapping[str, Any] | Collection[str]) -> str | None:
    """The prefix under which the expected keys are; None where no key of the file ends like one of them."""
    names: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    for tensors in parts:
        for key, tensor in tensors.items():
            start = 0
            while start >= 0:
                if (rest := key[start:]) in expected:
                    names[key[:start]] += 1
                    own = expected[rest] if isinstance(expected, Mapping) else None
                    shapes[key[:start]] += own is not None and own.shape == tensor.shape
                dot = key.find(".", start)
                start = dot + 1 if dot >= 0 else -1
    return max(names, key=lambda p: (names[p], shapes[p], _is_average(p), -len(p)), default=None)


def _is_average(prefix: str) -> bool:
    return any("ema" in name.lower().split("_") for name in prefix.split("."))


def _largest(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The part with the most tensors, an average before its equals, without the prefix that all keys have."""
    if not parts:
        return {}
    state = max(parts, key=lambda tensors: (len(tensors), _is_average(next(iter(tensors)))))
    while True:
        first = {key.partition(".")[0] for key in state}
        if len(first) > 1 or not first <= set(_ENCLOSING) or any("." not in key for key in state):
            return state
        state = {key.partition(".")[2]: tensor for key, tensor in state.items()}
