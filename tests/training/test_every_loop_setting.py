"""The loop, against a training written out by hand: what each of its settings changes, and nothing else."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.config import Config
from dawn_bench.training import loop as loop_module
from dawn_bench.training.loop import fit
from dawn_bench.training.resume import STATE_FILE, saved_step
from dawn_bench.training.stage import LoopConfig
from dawn_bench.training.validation import Validation

BASE = LoopConfig(
    steps=6, batch_size=4, learning_rate=0.1, final_learning_rate=0.01, decay_steps=5, warmup=1, betas=(0.8, 0.9),
    weight_decay=0.1, clip_norm=0.5, accumulate=1, ema=0.6, log_every=2, save_every=3, validate_every=4,
    validation_clips=1,
)  # fmt: skip


class StandInConfig(Config):
    """Settings of the stand-in."""

    loop: LoopConfig = BASE


class TwoLines(nn.Module):
    """Two parameters, each with an optimiser of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.second = nn.Parameter(torch.tensor([0.5]))
        self.register_buffer("seen", torch.zeros(()))
        self.dropout = nn.Dropout(0.5)


class StandIn:
    """A stage whose batches have the number of their step; notes all that the loop asks of it."""

    name = "stand-in"

    def __init__(self, loop: LoopConfig, cache: Cache) -> None:
        self.config, self.loop, self.cache = StandInConfig(loop=loop), loop, cache
        self.module: nn.Module = TwoLines()
        self.ids = ["c0"]
        self.notes: dict[str, list[Any]] = {
            k: [] for k in ("batches", "parts", "draws", "amp", "rounding", "validated", "saved")
        }
        self.values: list[float] = []

    def batch(self, step: int) -> dict[str, Tensor]:
        self.notes["batches"].append(step)
        rows = torch.arange(self.loop.batch_size) + 10.0 * step
        return {"clip": torch.zeros(self.loop.batch_size, dtype=torch.long), "x": rows}

    def losses(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        self.notes["parts"].append(batch["x"].tolist())
        self.notes["draws"].append((torch.rand(1).item(), torch.rand(1, generator=generator).item()))
        self.notes["amp"].append(torch.is_autocast_enabled("cpu"))
        self.notes["rounding"].append(torch.backends.cudnn.conv.fp32_precision)
        assert self.module.training
        return loss_of(self.module, batch["x"])

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        assert isinstance(self.module, TwoLines)
        return [[self.module.first], [self.module.second]]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        self.notes["saved"].append((path.name, provenance["steps"], self.module))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def validate(self, module: nn.Module, clips: list[Any], *, device: str) -> Validation:
        assert not module.training
        value = self.values[len(self.notes["validated"])] if self.values else 1.0
        self.notes["validated"].append(([c.id for c in clips], module.first.detach().clone()))  # type: ignore[union-attr]
        return Validation({"score": value}, "score")


def loss_of(module: Any, x: Tensor) -> dict[str, Tensor]:
    module.seen += 1
    total = ((module.first * torch.stack([x.mean() / 9, x.mean().sqrt()])).sum() - 1).square() + (
        module.second * x.mean() / 7
    ).square().sum()
    return {"total": total, "half": total / 2}


@pytest.fixture(scope="module")
def cache(tiny_cache: Path) -> Cache:
    return Cache(tiny_cache)


def observed(loop: LoopConfig, cache: Cache, out: Path, *, seed: int = 2, values: list[float] | None = None) -> Any:
    """Train the stand-in; what the loop did, by kind."""
    stage = StandIn(loop, cache)
    stage.values = values or []
    seen: dict[str, Any] = {k: [] for k in ("optimisers", "rates", "slopes", "states", "loader")}
    real = {name: getattr(loop_module, name) for name in ("batches", "save_state")}

    class AdamW(torch.optim.AdamW):
        def __init__(self, parameters: list[nn.Parameter], **named: Any) -> None:
            super().__init__(parameters, **named)
            seen["optimisers"].append({k: v for k, v in named.items() if k != "lr"})

        def step(self, *given: Any) -> Any:  # type: ignore[override]
            seen["rates"].append([group["lr"] for group in self.param_groups])
            seen["slopes"].append([p.grad.clone() for group in self.param_groups for p in group["params"]])
            return super().step(*given)

    def batches(batch: Any, *, start: int, stop: int, workers: int, pin: bool) -> Any:
        seen["loader"].append(workers)
        return real["batches"](batch, start=start, stop=stop, workers=0, pin=pin)

    def save_state(path: Path, step: int, *given: Any) -> None:
        seen["states"].append(step)
        real["save_state"](path, step, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", AdamW)
        patch.setattr(loop_module, "batches", batches)
        patch.setattr(loop_module, "save_state", save_state)
        fit(stage, out=out, seed=seed, device="cpu", resume=False, provenance={})
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    path = out / "validation.jsonl"
    looks = [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []
    return SimpleNamespace(
        **seen, **{k: stage.notes[k] for k in ("batches", "parts", "draws", "amp", "rounding", "validated", "saved")},
        logged=[line["step"] for line in lines], losses=lines, looks=looks, stage=stage,
        best=json.loads((out / "best.json").read_text()) if (out / "best.json").exists() else None,
    )  # fmt: skip


#: Another value of each setting, and which kinds of what the loop does differ with it.
_WEIGHTS = {"slopes", "losses", "result", "looks at"}
CHANGES: dict[str, tuple[Any, set[str]]] = {
    "steps": (7, {"batches", "parts", "draws", "amp", "rounding", "rates", "logged", "states", "looks"} | _WEIGHTS),
    "batch_size": (2, {"parts"} | _WEIGHTS),
    "learning_rate": (0.2, {"rates"} | _WEIGHTS),
    "final_learning_rate": (0.05, {"rates"} | _WEIGHTS),
    "decay_steps": (None, {"rates"} | _WEIGHTS),
    "warmup": (2, {"rates"} | _WEIGHTS),
    "betas": ((0.7, 0.9), {"optimisers"} | _WEIGHTS),
    "weight_decay": (0.2, {"optimisers"} | _WEIGHTS),
    "clip_norm": (None, _WEIGHTS),
    "accumulate": (2, {"parts", "draws", "amp", "rounding"} | _WEIGHTS),
    "ema": (None, {"result", "looks at"}),
    "amp": (True, {"amp"}),
    "tf32": (True, {"rounding"}),
    "log_every": (3, {"logged", "losses"}),
    "save_every": (2, {"states"}),
    "validate_every": (5, {"looks", "looks at"}),
    "validation_clips": (2, {"clips"}),
    "workers": (3, {"loader"}),
}


def _kinds(seen: Any) -> dict[str, Any]:
    steps = [{k: v for k, v in line.items() if k != "data_share"} for line in seen.losses]
    (result,) = (module for name, _, module in seen.saved if name == "model.safetensors")
    return {
        **{k: getattr(seen, k) for k in ("batches", "parts", "draws", "amp", "rounding", "rates", "logged")},
        "states": seen.states, "looks": seen.looks,
        "optimisers": seen.optimisers, "loader": seen.loader, "losses": steps,
        "slopes": [[t.tolist() for t in s] for s in seen.slopes], "result": result.first.tolist(),
        "looks at": [m.tolist() for _, m in seen.validated], "clips": [c for c, _ in seen.validated],
    }  # fmt: skip


def test_every_setting_of_the_loop_changes_what_it_should(cache: Cache, tmp_path: Path) -> None:
    assert set(CHANGES) == set(LoopConfig.model_fields), "classify the new setting of the loop in CHANGES"
    base = _kinds(observed(BASE, cache, tmp_path / "base"))
    for name, (value, expected) in CHANGES.items():
        other = _kinds(observed(BASE.model_copy(update={name: value}), cache, tmp_path / name))
        assert {kind for kind in base if base[kind] != other[kind]} == expected, name


def rate(step: int) -> float:
    """Of `BASE`: full after one step, a cosine down to the floor at step 5, which stays."""
    share = min(1.0, (step - 1) / 4)
    return 0.1 if step == 0 else 0.01 + 0.09 * (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_is_the_one_written_out_by_hand(accumulate: int, cache: Cache, tmp_path: Path) -> None:
    """Sums of parts, the norm of the first group alone, decoupled decay, and the mean of the weights: all six steps."""
    seen = observed(BASE.model_copy(update={"accumulate": accumulate}), cache, tmp_path / "run")
    module = TwoLines()
    optimisers = [
        torch.optim.AdamW([p], lr=9.0, betas=(0.8, 0.9), weight_decay=0.1) for p in (module.first, module.second)
    ]
    mean: Tensor | None = None
    means, norms, losses = [], [], []
    for step in range(6):
        module.zero_grad()
        total = 0.0
        for part in (torch.arange(4) + 10.0 * step).chunk(accumulate):
            loss = loss_of(module, part)["total"] / accumulate
            loss.backward()
            total += loss.item()
        losses.append(total)
        norms.append([p.grad.norm().item() for p in (module.first, module.second)])  # type: ignore[union-attr]
        assert module.first.grad is not None
        module.first.grad *= min(1.0, 0.5 / (norms[-1][0] + 1e-6))
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = rate(step)
            optimiser.step()
        now = module.first.detach().clone()
        mean = now if mean is None else 0.6 * mean + 0.4 * now
        means.append(mean)
    assert min(n for n, _ in norms) > 0.5  # the limit bites in every step
    assert [r for r, _ in zip(seen.rates[::2], range(6), strict=True)] == [[pytest.approx(rate(k))] for k in range(6)]
    assert seen.rates[::2] == seen.rates[1::2]
    (result,) = (m for name, _, m in seen.saved if name == "model.safetensors")
    torch.testing.assert_close(result.first.detach(), means[-1])
    torch.testing.assert_close(seen.stage.module.first, module.first)
    torch.testing.assert_close(seen.stage.module.second, module.second)
    # Validated with the mean, after steps 4 and 6; logged at the first step, every second, and the last.
    for (_, weights), expected in zip(seen.validated, (means[3], means[5]), strict=True):
        torch.testing.assert_close(weights, expected)
    assert [line["step"] for line in seen.losses] == [1, 2, 4, 6]
    for line in seen.losses:
        k = line["step"] - 1
        assert line["total"] == pytest.approx(losses[k], rel=1e-4)
        assert line["half"] == pytest.approx(losses[k] / 2, rel=1e-4)
        assert (line["grad_norm"], line["grad_norm_1"]) == (
            pytest.approx(norms[k][0], rel=1e-4), pytest.approx(norms[k][1], rel=1e-4)
        )  # fmt: skip
    assert seen.states == [3, 6] and seen.looks == [4, 6]
    assert [(name, steps) for name, steps, _ in seen.saved] == [("best.safetensors", 4), ("model.safetensors", 6)]


def test_parts_of_a_step_share_its_generator_and_no_other_draw(cache: Cache, tmp_path: Path) -> None:
    """Global draws (dropout) differ between parts; those of the generator do not; both differ by step and seed."""
    parts = BASE.model_copy(update={"accumulate": 2})
    first, other = (observed(parts, cache, tmp_path / str(seed), seed=seed).draws for seed in (2, 3))
    for draws in (first, other):
        assert all(draws[2 * k][1] == draws[2 * k + 1][1] for k in range(6))
        assert len({shared for _, shared in draws}) == 6 and len({own for own, _ in draws}) == 12
    assert not {d[1] for d in first} & {d[1] for d in other}


@pytest.mark.parametrize(
    ("values", "best"),
    [([1.0, 2.0, 3.0], 6), ([3.0, 2.0, 1.0], 2), ([1.0, 3.0, 3.0], 4), ([float("nan"), 1.0, 0.5], 4)],
)
def test_the_best_is_the_first_of_the_largest_values(
    values: list[float], best: int, cache: Cache, tmp_path: Path
) -> None:
    seen = observed(BASE.model_copy(update={"validate_every": 2}), cache, tmp_path / "run", values=values)
    assert seen.looks == [2, 4, 6]
    assert seen.best["step"] == best and seen.best["value"] == values[best // 2 - 1]
    kept = [steps for name, steps, _ in seen.saved if name == "best.safetensors"]
    assert kept[-1] == best


@pytest.mark.parametrize(("batch", "accumulate", "fits"), [(4, 4, True), (4, 3, False), (6, 4, False)])
def test_parts_share_a_batch_evenly_or_are_refused(batch: int, accumulate: int, fits: bool) -> None:
    sizes = {"batch_size": batch, "accumulate": accumulate}
    if fits:
        assert LoopConfig(**sizes).accumulate == accumulate
    else:
        with pytest.raises(ValueError, match="multiple of accumulate"):
            LoopConfig(**sizes)


def test_a_process_has_its_own_rows_in_order(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 of 4 that share six rows has the third and the fourth, in two parts; each counts by its rows."""
    from dawn_bench.training.processes import Losses

    monkeypatch.setattr(loop_module, "world_size", lambda: 4)
    monkeypatch.setattr(loop_module, "rank", lambda: 1)
    stage = StandIn(BASE.model_copy(update={"batch_size": 6, "accumulate": 2}), cache)
    values = loop_module._one_step(
        stage, stage.module, [], stage.batch(0), losses=Losses(stage), accumulate=2, step=0, seed=2, device="cpu"
    )
    assert stage.notes["parts"] == [[2.0], [3.0]]
    assert values["total"] == pytest.approx(
        sum(loss_of(TwoLines(), torch.tensor([x]))["total"].item() for x in (2.0, 3.0)) * 4 / 6
    )
    draws = []
    for part in (2, 3):
        torch.manual_seed(loop_module._mix(2 + part, 0))
        draws.append(torch.rand(1).item())
    assert [own for own, _ in stage.notes["draws"]] == draws, "the parts of all processes draw different dropout"


def test_values_are_means_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from dawn_bench.training import processes

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.add_(10.0))
    values = torch.tensor([2.0, 4.0])
    processes.average(values)
    assert values.tolist() == [6.0, 7.0]


@pytest.mark.parametrize(("device", "backend", "own"), [("cpu", "gloo", "cpu"), ("cuda", "nccl", "cuda:3")])
def test_a_process_of_a_group_has_its_own_device(
    device: str, backend: str, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set before NCCL starts; waits have a group of their own, of gloo, in which validation may take days."""
    from dawn_bench.training import processes

    calls: list[Any] = []
    waits: dict[str, Any] = {}
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.distributed, "init_process_group", calls.append)
    monkeypatch.setattr(torch.distributed, "new_group", lambda **named: waits.update(named) or "patient")
    monkeypatch.setattr(torch.distributed, "barrier", lambda group: calls.append(f"wait in {group}"))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: calls.append("left"))
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    with loop_module.distributed(device) as mine:
        assert mine == own
        processes.barrier()
    assert calls == [*([own] if device == "cuda" else []), backend, "wait in patient", "left"]
    assert waits["backend"] == "gloo" and waits["timeout"].days >= 30


def test_processes_wait_for_the_first_after_it_validates_and_saves(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group of their own, not in the exchange of the next step, which has a time-out."""
    events: list[str] = []
    real = {name: getattr(loop_module, name) for name in ("_one_step", "save_state")}

    def noting(name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            events.append(name)
            return real[name](*given, **named)

        return call

    for name in real:
        monkeypatch.setattr(loop_module, name, noting(name))
    monkeypatch.setattr(loop_module, "barrier", lambda: events.append("wait"))
    stage = StandIn(BASE.model_copy(update={"steps": 5, "save_every": 3, "validate_every": 4}), cache)
    monkeypatch.setattr(stage, "validate", lambda *_, **__: events.append("validate") or Validation({"a": 1.0}, "a"))
    fit(stage, out=tmp_path, seed=0, device="cpu", resume=False, provenance={})
    step, save = "_one_step", "save_state"
    assert events[2:-1] == [step, step, step, save, "wait", step, "validate", "wait", step, "validate", save, "wait"]


def test_a_run_that_goes_on_keeps_its_micro_batches(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four fitted the GPU when it began; on another day one would do."""
    parts: list[int] = []
    real = loop_module._one_step
    monkeypatch.setattr(
        loop_module, "_one_step", lambda *given, **named: parts.append(named["accumulate"]) or real(*given, **named)
    )
    for steps, resume in ((2, False), (3, True)):
        loop = BASE.model_copy(update={"steps": steps, "decay_steps": 9, "warmup": 0, "accumulate": None})
        with pytest.MonkeyPatch.context() as patch:
            if not resume:
                patch.setattr(loop_module, "micro_batches", lambda *_, **__: 4)
            fit(StandIn(loop, cache), out=tmp_path, seed=2, device="cpu", resume=resume, provenance={})
    assert parts == [4, 4, 4]


@pytest.mark.parametrize("step", range(6))
def test_a_run_that_is_stopped_keeps_its_last_step(step: int, cache: Cache, tmp_path: Path) -> None:
    class Stopped(StandIn):
        def batch(self, number: int) -> dict[str, Tensor]:
            if number == step:
                signal.raise_signal(signal.SIGINT)
            return super().batch(number)

    with pytest.raises(KeyboardInterrupt):
        fit(Stopped(BASE, cache), out=tmp_path, seed=2, device="cpu", resume=False, provenance={})
    assert saved_step(tmp_path / STATE_FILE) == step + 1
