"""Every stage of every model trains on a CUDA device as on the CPU: same losses, validation and weights."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended.budget import DOUBLES, STEP_WAITS, VALIDATION_WAITS, of_steps, without
from pretended.device import PretendedTensor, Record, pretended_cuda
from pretended.smallest import STAGES, log, train_stage

from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.spec import MODELS
from dawn_bench.readers import read_metadata, read_torch
from dawn_bench.training.logger import VALIDATION_FILE, TrainingLogger
from dawn_bench.training.loop import MODEL_FILE, STATE_FILE

#: The second device: a lost index becomes another device.
DEVICE = "cuda:1"
LOOP = (
    "loop.steps=1", "loop.decay_steps=2", "loop.warmup=0", "loop.batch_size=2", "loop.log_every=1", "loop.save_every=1",
    "loop.validate_every=1", "loop.validation_clips=1",
)  # fmt: skip
#: Losses of positions, which amp must not round.
IN_FLOAT32 = {"lfg": ("shift", "affine")}
#: Operations that move or convert numbers without computing in their type.
MOVED = {"_to_copy", "copy_", "slice", "index", "view", "detach", "empty", "clone"}
Folder = Callable[[str], Path]


@pytest.fixture(autouse=True)
def short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation samples four frames in two steps."""
    for module in ("dawn.stages.a2v", "dit_head.stages.dit"):
        monkeypatch.setattr(f"dawn_bench.models.{module}.SAMPLE_FRAMES", 4)
    monkeypatch.setitem(A2VFDM.sample.__wrapped__.__kwdefaults__, "steps", 2)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def on_cpu(cache_of: Folder, untrained: Folder, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The run folder of a stage that was trained on the CPU."""
    runs: dict[tuple[str, str], Path] = {}

    def run_of(model: str, stage: str) -> Path:
        if (model, stage) not in runs:
            runs[model, stage] = run = tmp_path_factory.mktemp(stage) / "run"
            train_stage(model, stage, cache_of(model), run, *LOOP, before=untrained(model), device="cpu")
        return runs[model, stage]

    return run_of


@contextmanager
def on_device() -> Iterator[tuple[Record, Counter[str]]]:
    """The pretended device; yields its record and the waits during validation."""
    during: Counter[str] = Counter()
    real = TrainingLogger.validate

    def validate(self: TrainingLogger, *args: Any, **kwargs: Any) -> None:
        before = record.blocking()
        real(self, *args, **kwargs)
        during.update(without(record.blocking(), before))

    with pretended_cuda() as record, pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLogger, "validate", validate)
        yield record, during


@pytest.mark.parametrize(("model", "stage"), STAGES)
def test_a_stage_trains_and_validates_as_on_the_cpu(
    model: str,
    stage: str,
    cache_of: Folder,
    untrained: Folder,
    on_cpu: Callable[[str, str], Path],
    tmp_path: Path,
) -> None:
    cache, before, reference = cache_of(model), untrained(model), on_cpu(model, stage)
    with on_device() as (record, validation):
        ours = train_stage(model, stage, cache, tmp_path / "gpu", *LOOP, before=before, device=DEVICE)
    for name in ("metrics.jsonl", VALIDATION_FILE):
        assert_same_log(log(tmp_path / "gpu", stage, name), log(reference, stage, name))
    assert_same_weights(ours, reference / stage / MODEL_FILE)
    assert record.launches and set(record.devices) == {1}
    assert json.loads(read_metadata(ours)["provenance"])["device"] == "Pretended GPU 1"
    assert not [event for event in record.copies if event == ("pageable", "training/loop.py:_one_step")]
    assert {place for _, place in record.doubles} <= DOUBLES
    key = f"{model} {stage}"
    steps = of_steps(without(record.blocking(), validation), steps=1)
    assert steps == STEP_WAITS.get(key), "the host waits elsewhere or more often: decide in pretended/budget.py"
    assert of_steps(validation, steps=1) == VALIDATION_WAITS.get(key), "the same in validation"


@pytest.mark.parametrize(("model", "stage"), STAGES)
def test_amp_changes_the_types_of_products_and_little_else(
    model: str,
    stage: str,
    cache_of: Folder,
    untrained: Folder,
    on_cpu: Callable[[str, str], Path],
    tmp_path: Path,
) -> None:
    cache, before, reference = cache_of(model), untrained(model), on_cpu(model, stage)
    with pretended_cuda() as record:
        changes = [*LOOP, "loop.amp=true"]
        ours = train_stage(model, stage, cache, tmp_path / "gpu", *changes, before=before, device=DEVICE)
    row, expected = log(tmp_path / "gpu", stage)[0], log(reference, stage)[0]
    assert row["total"] == pytest.approx(expected["total"], rel=0.03)
    for name in IN_FLOAT32.get(stage, ()):
        assert row[name] == pytest.approx(expected[name], rel=1e-5), "bfloat16 does not resolve positions of pixels"
    assert row != expected and all(math.isfinite(value) for value in row.values())
    halves = {name for name, dtype in record.types if dtype == torch.bfloat16}
    assert halves & {"convolution", "addmm", "mm", "bmm"}, "no product ran in bfloat16"
    # float16 is how a cache stores features: they are converted on the device, and nothing is computed in it
    assert {name for name, dtype in record.types if dtype == torch.float16} <= MOVED
    positions = {dtype for name, dtype in record.types if name.startswith(("grid_sampler", "cudnn_grid_sampler"))}
    assert positions <= {torch.float32}, "bfloat16 does not resolve positions of pixels"
    assert all(value.dtype in (torch.float32, torch.int64) for value in read_torch(ours).values())
    assert read_torch(ours).keys() == read_torch(reference / stage / MODEL_FILE).keys()
    assert all(math.isfinite(value) for value in log(tmp_path / "gpu", stage, VALIDATION_FILE)[0].values()
               if isinstance(value, float))  # fmt: skip


@pytest.mark.parametrize("stage", ["a2v-1", "pbnet"])
def test_a_resumed_stage_ends_where_the_cpu_does(
    stage: str, cache_of: Folder, untrained: Folder, tmp_path: Path
) -> None:
    """With the moving average of the weights, and with two optimisers."""
    cache, before, key = cache_of("dawn"), untrained("dawn"), f"dawn {stage}"
    longer, reference, run = (*LOOP, "loop.steps=2"), tmp_path / "cpu", tmp_path / "gpu"
    train_stage("dawn", stage, cache, reference, *longer, before=before, device="cpu")
    with on_device() as (record, validation):
        train_stage("dawn", stage, cache, run, *LOOP, before=before, device=DEVICE)
        state = torch.load(run / stage / STATE_FILE, weights_only=True)
        assert {t.device.type for t in state["module"].values()} == {"cuda"}, "the state names the device it was on"
        record.clear()
        validation.clear()
        ours = train_stage("dawn", stage, cache, run, *longer, before=before, device=DEVICE, resume=True)
    assert_same_log(log(run, stage), log(reference, stage))
    state = read_torch(run / stage / STATE_FILE)["module"]
    assert {t.device.type for t in state.values()} == {"cpu"}, "a run goes on where no GPU is"
    assert_same_weights(ours, reference / stage / MODEL_FILE)
    assert set(record.devices) == {1}
    waits = of_steps(without(record.blocking(), validation), steps=1)
    assert waits == STEP_WAITS.get(key), "waits more after --resume"


def assert_same_log(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The numbers of two logs agree, and the rest is equal."""
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            assert value == (other[name] if isinstance(value, str) else pytest.approx(other[name], rel=1e-4, abs=1e-5))


def assert_same_weights(ours: Path, theirs: Path) -> None:
    """The tensors of two checkpoints, which are no pretended ones, agree."""
    tensors, expected = read_torch(ours), read_torch(theirs)
    assert tensors.keys() == expected.keys()
    for name, value in tensors.items():
        assert not isinstance(value, PretendedTensor)
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def test_every_model_has_a_smallest_training() -> None:
    from pretended.smallest import smallest

    for model in MODELS:
        assert smallest(model).settings()
    assert MODEL_FILE == "model.safetensors"
