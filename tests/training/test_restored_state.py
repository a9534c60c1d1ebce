"""What a resumed run gets back, by content; and where its bounds are: steps, settings, seed, cache."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import micro
import micro_dit_head
import micro_mesh
import pytest
import torch
from settings_walk import another, changed, walk
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dawn_bench.errors import InputError
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.training.logger import drop_after
from dawn_bench.training.memory import advice
from dawn_bench.training.resume import claim, extends, restore, save_state
from dawn_bench.training.schedule import learning_rate
from dawn_bench.training.stage import LoopConfig

ORIGIN = {"seed": 4, "cache": "abc", "perceptual_loss": "pixels"}


def _trained(value: float, *, rate: float) -> tuple[nn.Module, list[torch.optim.AdamW], AveragedModel]:
    """A module of two layers of one shape, their optimisers and the mean of its weights; no two tensors are alike."""
    torch.manual_seed(int(value))
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "norm": nn.BatchNorm1d(2)})
    groups = [[*module["a"].parameters(), *module["norm"].parameters()], list(module["b"].parameters())]
    optimisers = [
        torch.optim.AdamW(p, lr=rate, betas=(rate / 2, 0.9), weight_decay=rate * (n + 1)) for n, p in enumerate(groups)
    ]
    mean = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    for step in range(3):
        loss = sum((p * (step + 1 + n)).square().sum() for n, p in enumerate(module.parameters()))
        module["norm"](torch.randn(5, 2) + value)
        loss.backward()  # type: ignore[union-attr]
        for optimiser in optimisers:
            optimiser.step()
        mean.update_parameters(module)
    return module, optimisers, mean


def test_every_part_of_the_state_comes_back_to_its_own_place(tmp_path: Path) -> None:
    """Weights, buffers, the moments and counters of each optimiser, the mean; rates and decay are the settings' own."""
    module, optimisers, mean = _trained(3, rate=0.1)
    save_state(tmp_path / "state.pt", 7, module, optimisers, mean, ORIGIN)
    other, others, other_mean = _trained(8, rate=0.4)
    assert restore(tmp_path, other, others, other_mean, origin=ORIGIN, steps=7) == 7
    for ours, theirs in ((module, other), (mean, other_mean)):
        kept = theirs.state_dict()
        assert all(torch.equal(v, kept[k]) for k, v in ours.state_dict().items())
    assert int(other_mean.n_averaged) == 3
    assert not torch.equal(other_mean.module["a"].weight, other["a"].weight)
    seen = set()
    for number, (ours, theirs) in enumerate(zip(optimisers, others, strict=True)):
        pairs = zip(ours.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True)
        for p, q in pairs:
            for name in ("exp_avg", "exp_avg_sq", "step"):
                assert torch.equal(ours.state[p][name], theirs.state[q][name])
            seen.add(tuple(theirs.state[q]["exp_avg"].flatten().tolist()))
        group = theirs.param_groups[0]
        assert (group["lr"], group["betas"], group["weight_decay"]) == (0.4, (0.2, 0.9), 0.4 * (number + 1))
    assert len(seen) == 6  # no two moments are alike, so none can stand in another's place


def test_a_state_goes_on_up_to_its_own_step_with_its_own_origin(tmp_path: Path) -> None:
    module, optimisers, mean = _trained(3, rate=0.1)
    assert restore(tmp_path, module, optimisers, mean, origin=ORIGIN, steps=9) == 0
    save_state(tmp_path / "state.pt", 7, module, optimisers, mean, ORIGIN)
    assert restore(tmp_path, module, optimisers, mean, origin=ORIGIN, steps=8) == 7
    with pytest.raises(InputError, match="at step 7 already, past the 6"):
        restore(tmp_path, module, optimisers, mean, origin=ORIGIN, steps=6)
    for name, value in ORIGIN.items():
        with pytest.raises(InputError, match=f"was started with {name} {value}"):
            restore(tmp_path, module, optimisers, mean, origin=ORIGIN | {name: "other"}, steps=9)
    with pytest.raises(InputError, match="does not fit the module"):
        restore(tmp_path, module, optimisers[::-1], mean, origin=ORIGIN, steps=9)
    with pytest.raises(InputError, match="does not fit the module"):
        restore(tmp_path, module, optimisers[:1], mean, origin=ORIGIN, steps=9)


BASES = {
    "dawn": micro.micro_settings,
    "dit-head": micro_dit_head.micro_settings,
    "diffspeaker": micro_mesh.micro_mesh_settings,
}
#: Values that are valid together with the micro presets, where `another` finds none.
VALID: dict[str, Any] = {
    "lfg.init": "x.pth", "a2v_1.model.dim": 16, "a2v_1.model.head_dim": 6, "a2v_1.min_frames": 2,
    "a2v_1.model.norm_groups": 4,
    "pbnet.model.num_heads": 2, "pbnet.model.rotary_dim": 2, "pbnet.model.audio_latent_dim": 32,
    "pbnet.model.pose_latent_dim": 16, "pbnet.steps_per_epoch": 9, "pbnet.model.pos_dim": 5,
    "vqgan_masked.model.mask": None, "vqgan_face.model.mask": {}, "dit.model.dim": 32, "dit.model.heads": 4,
    "diffspeaker.model.latent": 32, "diffspeaker.model.heads": 2, "diffspeaker.model.subjects": ("x",),
}  # fmt: skip
LOOP: dict[str, Any] = {
    "accumulate": 2,
    "decay_steps": 30,
    "clip_norm": 0.3,
    "ema": 0.7,
    "validate_every": 9,
    "batch_size": 8,
    "betas": (0.5, 0.6),
}


@pytest.mark.parametrize("model", list(MODELS))
def test_a_run_goes_on_with_every_setting_that_it_began_with(model: str, tmp_path: Path) -> None:
    """Each changed field is refused by its name, also of the loop; more steps at a constant rate are accepted."""
    assert model in BASES, f"add the micro settings of {model} to BASES"
    settings = BASES[model]()
    names = [(stage, name) for m, stage, name in walk() if m == model and "mask." not in name]
    stages = dict.fromkeys(stage for stage, _ in names)
    names += [(next(iter(stages)), f"loop.{name}") for name in LoopConfig.model_fields]
    for stage in stages:
        (tmp_path / stage).mkdir()
        getattr(settings, stage_key(stage)).to_yaml(tmp_path / stage / "config.yaml")
    for stage, name in names:
        config = owner = getattr(settings, stage_key(stage))
        *parts, last = name.split(".")
        for part in parts:
            owner = getattr(owner, part)
        own = VALID if parts != ["loop"] else LOOP
        key = f"{stage_key(stage)}.{name}" if parts != ["loop"] else last
        value = own[key] if key in own else another(getattr(owner, last), type(owner).model_fields[last])
        other = getattr(changed(settings, stage_key(stage), name, value), stage_key(stage))
        assert other != config, name
        claim(tmp_path / stage, config, resume=True)
        if name == "recompute":  # no number depends on it
            claim(tmp_path / stage, other, resume=True)
            continue
        with pytest.raises(InputError, match=rf"other settings: {stage_key(stage)}\.{name}[. ]"):
            claim(tmp_path / stage, other, resume=True)


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"steps": 5}, False),  # the cosine would end elsewhere
        ({"steps": 5, "decay_steps": 4}, True),
        ({"steps": 5, "decay_steps": 5}, False),
        ({"decay_steps": 4}, True),
        ({"steps": 3, "decay_steps": 4}, False),
    ],
)
def test_a_run_is_extended_only_along_the_curve_that_it_followed(
    changes: dict[str, int], accepted: bool, tmp_path: Path
) -> None:
    config = micro.micro_settings().pbnet
    assert config is not None
    config.to_yaml(tmp_path / "config.yaml")
    other = config.model_copy(update={"loop": config.loop.model_copy(update=changes)})
    assert not extends(tmp_path, other)  # nothing is trained there yet
    (tmp_path / "model.safetensors").touch()
    assert extends(tmp_path, other) == (changes.get("steps", 4) > 4)
    if accepted:
        claim(tmp_path, other, resume=True)
    else:
        with pytest.raises(InputError, match="was started with other settings"):
            claim(tmp_path, other, resume=True)


def test_rates_at_the_bends_of_the_schedule() -> None:
    """The last step of the warm-up and the first after it have the full rate; the floor begins with the decay's end."""
    loop = LoopConfig(steps=20, warmup=4, decay_steps=12, learning_rate=0.8, final_learning_rate=0.2)
    rates = [learning_rate(loop, step) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    assert rates[8] == pytest.approx(0.5) and rates[11] > 0.2 + 1e-3
    assert rates[12:] == pytest.approx([0.2] * 8)
    assert learning_rate(loop.model_copy(update={"decay_steps": None}), 12) == pytest.approx(0.5)
    rising = loop.model_copy(update={"final_learning_rate": 5.0})
    assert [learning_rate(rising, step) for step in (4, 12, 19)] == [0.8] * 3  # the floor is no ceiling
    whole = loop.model_copy(update={"warmup": 12})
    assert [learning_rate(whole, step) for step in (11, 12, 13)] == pytest.approx([0.8, 0.8, 0.2])


@pytest.mark.parametrize(("step", "kept"), [(1, [1]), (2, [1, 2]), (3, [1, 2]), (5, [1, 2, 5]), (9, [1, 2, 5])])
def test_lines_up_to_the_step_itself_stay_in_a_log(step: int, kept: list[int], tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(json.dumps({"step": k}) + "\n" for k in (1, 2, 5)))
    drop_after(log, step)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == kept


@pytest.mark.parametrize(
    ("changes", "frames", "device", "ways"),
    [
        ({"batch_size": 6}, None, "cpu", ["accumulate=2", "batch_size=3"]),
        ({"batch_size": 6, "accumulate": 2}, 9, "cpu", ["accumulate=3", "batch_size=3", "frames=4"]),
        ({"batch_size": 6, "accumulate": 6}, 3, "cuda", ["amp=true", "batch_size=3", "frames=2"]),
        ({"batch_size": 1, "amp": True, "workers": 2}, 2, "cuda:1", ["workers=0"]),
        ({"batch_size": 1}, None, "cpu", []),
    ],
)
def test_advice_lists_what_can_still_be_lowered(
    changes: dict[str, Any], frames: int | None, device: str, ways: list[str]
) -> None:
    stage: Any = SimpleNamespace(loop=LoopConfig(**changes), config=SimpleNamespace(frames=frames))
    text = advice(stage, key="lfg", device=device)
    given = [word.partition(".")[2].removeprefix("loop.") for word in text.replace(",", " ").split() if "lfg." in word]
    assert [w.rstrip(".") for w in given] == ways
    assert text.startswith("Lower one of: --set lfg." if ways else "Use a smaller model")
