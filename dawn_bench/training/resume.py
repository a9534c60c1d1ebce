"""Continuing a run: with which settings it may go on, the state that it goes on from, and whether it is finished."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dawn_bench.config import Config, validated
from dawn_bench.errors import InputError
from dawn_bench.files import commit, replacing, temporary_path
from dawn_bench.progress import console
from dawn_bench.readers import DamageError, guarded, parse_json, read_metadata, read_torch, read_yaml, whole
from dawn_bench.training.schedule import decay_span, is_constant
from dawn_bench.weights import CONTENT_HASH, content_hash

STATE_FILE, MODEL_FILE, CONFIG_FILE = "state.pt", "model.safetensors", "config.yaml"
#: Settings that may differ when a run goes on, as long as the learning rate of the steps before stays what it was.
_EXTENDS = ("loop.steps", "loop.decay_steps")
#: Settings that may differ because no number depends on them.
_FREE = ("recompute",)
#: What earlier versions wrote where the settings now leave it open.
_LEFT_OPEN = {"loop.accumulate": 1}
_STATE_HINT = "Restore it from a copy, or train in another --out."


def claim(out: Path, config: Config, *, resume: bool) -> None:
    """Raise `InputError` if `out` holds a run that must not be continued with these settings; writes nothing.

    More steps are accepted where the rate of the steps before stays the same: with a constant rate, or where
    `decay_steps` fixes the curve; so is another `recompute`, which changes no number. The error names the first
    setting that differs, and the one that continues the run.
    """
    if not resume and any((out / name).exists() for name in (STATE_FILE, MODEL_FILE)):
        raise InputError(
            "already holds a training run.", path=out, hint="Continue it with --resume, or choose another --out."
        )
    file = out / CONFIG_FILE
    if not resume or not file.exists():
        return
    hint = "Restore it from a copy, or delete it to continue without comparing the settings."
    earlier = validated(type(config), read_yaml(file, hint=hint), what="setting", file=file)
    before, now = _flat(earlier.model_dump(mode="json")), _flat(config.model_dump(mode="json"))
    before |= {k: None for k, value in _LEFT_OPEN.items() if before.get(k) == value and now.get(k, value) is None}
    before |= {name: now[name] for name in _FREE if name in now}
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not changed:
        return
    key, others = out.name.replace("-", "_"), [name for name in changed if name not in _EXTENDS]
    name = (others or changed)[0]
    what = f"was started with other settings: {key}.{name} {before.get(name)!r}, not {now.get(name)!r}"
    if others:
        hint = "Use the same preset and --set, or another --out. The run's own: --config RUN/settings-MODEL.yaml"
        raise InputError(f"{what}.", path=file, hint=hint)
    old, new = earlier.loop, config.loop  # type: ignore[attr-defined]
    if new.steps < old.steps:
        hint = f"A run can be extended, not shortened: --set {key}.loop.steps={old.steps}"
        raise InputError(f"{what}.", path=file, hint=hint)
    if not is_constant(new) and decay_span(old) != decay_span(new):
        span = decay_span(old)
        hint = f"To continue at that rate: --set {key}.loop.decay_steps={span}; for another schedule, another --out."
        floor = min(old.final_learning_rate, old.learning_rate)
        raise InputError(f"{what}; its learning rate falls to {floor:g} over {span} steps.", path=file, hint=hint)


def extends(out: Path, config: Config) -> bool:
    """Whether `out` holds a trained model to which `config` adds steps; raises `InputError` as `claim` does."""
    file = out / CONFIG_FILE
    if not (out / MODEL_FILE).is_file() or not file.is_file():
        return False
    earlier = validated(type(config), read_yaml(file), what="setting", file=file)
    return config.model_dump().get("loop", {}).get("steps", 0) > earlier.model_dump().get("loop", {}).get("steps", 0)


def save_state(
    path: Path,
    step: int,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    mean: AveragedModel | None,
    origin: Mapping[str, Any],
    division: Mapping[str, int] | None = None,
) -> None:
    """Write `state.pt` after `step` steps: it is on disk, whole, when this returns. `division` as `saved_division`."""
    state = {
        "step": step,
        "origin": dict(origin),
        "module": module.state_dict(),
        "optimizers": [o.state_dict() for o in optimizers],
        "average": mean.state_dict() if mean is not None else None,
        "division": dict(division or {}),
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def restore(
    out: Path,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    mean: AveragedModel | None,
    *,
    origin: Mapping[str, Any],
    steps: int,
) -> int:
    """Restore the saved state; returns the step to continue from, 0 when nothing was saved.

    Raises `InputError` when the state is damaged, of another seed or cache, or past `steps`, and when a model was
    trained here whose state is gone: training would overwrite it.
    """
    path = out / STATE_FILE
    if not path.exists():
        if (out / MODEL_FILE).is_file():
            raise InputError(
                f"holds a trained model, but no {STATE_FILE} to continue from.",
                path=out,
                hint=f"Use the model as it is, restore {STATE_FILE}, or train in another --out.",
            )
        return 0
    state = _read_state(path)
    for what, value in state["origin"].items():
        if what in origin and value != origin[what]:
            raise InputError(
                f"was started with {what} {value}, not {origin[what]}.", path=path, hint=f"Use the same {what}."
            )
    if state["step"] > steps:
        raise InputError(f"is at step {state['step']} already, past the {steps} asked for.", path=path)
    options = [[dict(group) for group in optimizer.param_groups] for optimizer in optimizers]
    try:
        module.load_state_dict(state["module"])
        for optimizer, saved, groups in zip(optimizers, state["optimizers"], options, strict=True):
            for group, own in zip(saved["param_groups"], groups, strict=True):
                group |= {name: value for name, value in own.items() if name != "params"}  # those of the settings
            optimizer.load_state_dict(saved)  # puts step counters where these options want them
            _check_moments(optimizer)
        if mean is not None:
            mean.load_state_dict(state["average"])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # torch raises half a dozen types for a state of another module
        raise DamageError("does not fit the module of this stage.", path=path, hint=_STATE_HINT) from error
    return int(state["step"])


def write_model(path: Path, save: Callable[[Path], None], *, steps: int, finished: bool) -> None:
    """Write the result with `save`, unless the run was `finished` before and its file has the same content.

    Other bytes would be another checkpoint to whoever hashes it. A damaged file is replaced.
    """
    if not finished:
        save(path)
        return
    anew = temporary_path(path)
    try:
        save(anew)
        if _same(path, anew, steps=steps):
            return
        if path.exists():
            console().print(f"{path}: was damaged and is written again from {STATE_FILE}", markup=False)
        commit(anew, path)
    finally:
        anew.unlink(missing_ok=True)


def _same(path: Path, anew: Path, *, steps: int) -> bool:
    """Whether a checkpoint has the tensors, kind and configuration of another, after the same number of steps."""
    from safetensors.torch import load

    try:
        facts, tensors = read_metadata(path), read_torch(path)
        provenance = parse_json(facts.get("provenance", ""))
    except ValueError:
        return False
    expected, ours = load(anew.read_bytes()), read_metadata(anew)
    if CONTENT_HASH in facts and facts[CONTENT_HASH] != content_hash(tensors, facts):
        return False
    compared = facts.keys() - {"provenance", CONTENT_HASH}  # provenance may differ, and the hash covers it
    same = compared <= ours.keys() and all(_agree(facts[k], ours[k]) for k in compared)
    if not same or not isinstance(provenance, dict) or provenance.get("steps") != steps:
        return False
    return tensors.keys() == expected.keys() and all(torch.equal(tensors[k], expected[k]) for k in expected)


def _agree(text: str, ours: str) -> bool:
    """Whether an entry of a checkpoint's metadata says what ours does.

    The configuration in a file of an earlier version lacks the settings that came later, which have their defaults in
    ours: `claim` has compared them.
    """
    if text == ours:
        return True
    try:
        before, now = parse_json(text), parse_json(ours)
    except ValueError:
        return False
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return False
    flat = _flat(now)
    return all(name in flat and flat[name] == value for name, value in _flat(before).items())


def saved_step(path: Path) -> int:
    """The step of a `state.pt`, without reading its tensors; raises `InputError` for a damaged file."""

    def read() -> int:
        return int(read_torch(path, hint=_STATE_HINT, mapped=True)["step"])

    return guarded(read, path, "the state of a training run", _STATE_HINT)


def saved_division(path: Path) -> dict[str, int]:
    """How batches were divided before a `state.pt`: `processes`, and `accumulate` micro-batches of each.

    Empty where there is no file, and in that of an earlier version.
    """
    if not path.exists():
        return {}
    division = guarded(
        lambda: read_torch(path, hint=_STATE_HINT, mapped=True).get("division"), path, "a training state", _STATE_HINT
    )
    names = ("processes", "accumulate")
    if not isinstance(division, dict) or not all(whole(division.get(name)) and division[name] > 0 for name in names):
        return {}
    return {name: int(division[name]) for name in names}


def _read_state(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch does not compare the checksums that it writes
            damaged = archive.testzip() is not None
    except Exception:  # no archive: the reader below says so
        damaged = False
    if damaged:
        raise DamageError("is damaged: a checksum differs.", path=path, hint=_STATE_HINT)
    state = read_torch(path, hint=_STATE_HINT)
    kinds: dict[str, type | tuple[type, ...]] = {
        "origin": dict, "module": dict, "optimizers": list, "average": (dict, type(None)),
    }  # fmt: skip
    if not isinstance(state, dict) or not whole(state.get("step")):
        raise DamageError("is not the state of a training run.", path=path, hint=_STATE_HINT)
    if wrong := [name for name, kind in kinds.items() if name not in state or not isinstance(state[name], kind)]:
        raise DamageError(f"lacks {', '.join(wrong)}.", path=path, hint=_STATE_HINT)
    return state


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raise `ValueError` where the moments of AdamW, which PyTorch does not check, do not fit their parameters."""
    for parameter, moments in optimizer.state.items():
        shapes = {name: getattr(value, "shape", None) for name, value in moments.items()}
        expected = {"step": torch.Size(()), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
        if shapes != expected:
            raise ValueError(f"moments {shapes} for a parameter {tuple(parameter.shape)}")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
