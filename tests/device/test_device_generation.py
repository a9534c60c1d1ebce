"""Generation on a CUDA device: every strategy and precision, every model and method, equal to the CPU in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pretended.device import pretended_cuda
from pretended.smallest import SMALLEST

from dawn_bench.baselines.base import METHODS, Context, Item
from dawn_bench.baselines.external.adapter import bundled
from dawn_bench.baselines.methods.dawn import source_of
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.networks import DawnNetworks
from dawn_bench.models.dawn.options import PassOptions, Precision
from dawn_bench.models.dawn.passes import OVERLAP
from dawn_bench.models.dawn.signals import signals
from dawn_bench.models.dawn.strategies import STRATEGIES
from dawn_bench.models.loading import load_model
from dawn_bench.models.spec import MODELS

DEVICE, FRAMES = "cuda:1", 6
Folder = Callable[[str], Path]
PRECISIONS = get_args(Precision)
#: Options of a strategy that a short clip needs to show all of its parts.
SHORT: dict[str, dict[str, int]] = {"nar": {}, "sar": {"segment": 3}, "ttr": {"stride": 2}}
#: The checkpoint's model of each method that runs networks; the others run none.
TRAINED = {
    **dict.fromkeys(("dawn", "dawn-shuffled", "dawn-true-pose", "dawn-sar", "dawn-ttr"), "dawn"),
    **dict.fromkeys(("dit-head", "dit-head-portrait", "dit-head-shuffled"), "dit-head"),
    "diffspeaker": "diffspeaker",
}
FIELDS = ("frames", "audio", "logmel", "pose", "blink", "landmarks", "bbox", "valid")
UNTRAINED = {*bundled(), "external", "ground-truth", "ground-truth-reencoded", "shuffled-sound", "still"}


class NoFace:
    """A face back end that sees none."""

    name = "none"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        assert isinstance(frame, np.ndarray)
        return np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def clip(tiny_cache: Path) -> Clip:
    return Cache(tiny_cache).clips("test")[0]


@pytest.fixture(scope="module")
def on_cpu(untrained: Folder, clip: Clip) -> Callable[[str], np.ndarray]:
    """Six frames by a strategy on the CPU in float32, once for all precisions."""
    return cache(lambda strategy: talk(untrained("dawn"), clip, strategy, "cpu"))


@cache
def loaded(run: Path, device: str) -> DawnGenerator:
    """The networks of a run, loaded once for a device."""
    return DawnGenerator.load(run, device=device)


def talk(run: Path, clip: Clip, strategy: str, device: str, **options: Any) -> np.ndarray:
    """Six frames by one strategy."""
    function, options_class = STRATEGIES[strategy]
    chosen = options_class(**{"steps": 2, **SHORT[strategy], **options})
    backend: Mapping[str, Any] = {"backend": NoFace()} if strategy == "sar" else {}
    return function(loaded(run, device), source_of(clip), clip["logmel"][:FRAMES], seed=3, options=chosen, **backend)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_talks_as_on_the_cpu(
    strategy: str, precision: str, untrained: Folder, clip: Clip, on_cpu: Callable[[str], np.ndarray]
) -> None:
    run, theirs = untrained("dawn"), on_cpu(strategy)
    with pretended_cuda() as record:
        ours = talk(run, clip, strategy, DEVICE, precision=precision)
    assert type(ours) is np.ndarray and ours.dtype == np.uint8 and ours.shape == theirs.shape
    assert set(record.devices) == {1}
    difference = np.abs(ours.astype(int) - theirs)
    products = {dtype for name, dtype in record.types if name in ("convolution", "addmm", "mm")}
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    if half is None:
        assert difference.max() <= 1 and products == {torch.float32}
    else:
        assert 0 < difference.mean() < 12 and half in products
    positions = {dtype for name, dtype in record.types if name.startswith(("grid_sampler", "cudnn_grid_sampler"))}
    assert positions == {torch.float32}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decoding_has_the_precision_that_is_asked_for(
    strategy: str, untrained: Folder, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    precisions, real = [], DawnNetworks.show

    def show(self: DawnNetworks, *arguments: Any, precision: Precision = "fp32") -> np.ndarray:
        precisions.append(precision)
        return real(self, *arguments, precision=precision)

    monkeypatch.setattr(DawnNetworks, "show", show)
    talk(untrained("dawn"), clip, strategy, "cpu", precision="bf16")
    assert set(precisions) == {"bf16"}


@pytest.mark.parametrize(
    "options", [{"cond_scale": 2.0}, {"solver": "dpm2m", "steps": 3}, {"eta": 0.0}, {"window": 2}], ids=str
)
def test_an_option_of_the_sampler_means_the_same(options: dict[str, Any], untrained: Folder, clip: Clip) -> None:
    run = untrained("dawn")
    with pretended_cuda():
        ours = talk(run, clip, "nar", DEVICE, **options)
    assert np.abs(ours.astype(int) - talk(run, clip, "nar", "cpu", **options)).max() <= 1


def test_passes_of_long_speech_stay_on_the_device(
    untrained: Folder, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = np.resize(clip["logmel"], (OVERLAP + 60, 80))
    monkeypatch.setattr(PassOptions, "pass_frames", OVERLAP + 30)
    run, options = untrained("dawn"), PassOptions(steps=1)
    nar = STRATEGIES["nar"][0]
    frames = {}
    for device in ("cpu", DEVICE):
        with pretended_cuda():
            frames[device] = nar(loaded(run, device), source_of(clip), sound, seed=0, options=options)
    assert len(frames["cpu"]) == len(sound)
    assert np.abs(frames["cpu"].astype(int) - frames[DEVICE]).max() <= 1


def test_a_step_of_the_sampler_waits_once(untrained: Folder, clip: Clip) -> None:
    """To bring its timestep; more steps add nothing else."""
    waits = []
    for steps in (2, 2, 5):  # the first also loads
        with pretended_cuda() as record:
            talk(untrained("dawn"), clip, "nar", DEVICE, steps=steps)
        waits.append(record.blocking())
    more = waits[2] - waits[1]
    assert more == {"models/dawn/a2v.py:A2VFDM._denoiser": 3}
    rest = {
        place: n for place, n in waits[0].items() if place not in ("models/dawn/networks.py:DawnNetworks.__init__",)
    }
    assert rest == {
        "models/dawn/a2v.py:A2VFDM._denoiser": 2,
        "models/diffusion/levels.py:sampling_steps": 1,
        "models/dawn/networks.py:DawnNetworks.scene": 2,
        "models/dawn/networks.py:DawnNetworks._tensor": 4,
        "models/dawn/pbnet.py:_range": 4,
        "pixels.py:to_frames": 1,
    }


@pytest.mark.parametrize(
    ("strategy", "precision"), [*(("nar", p) for p in PRECISIONS), ("sar", "fp32"), ("ttr", "fp32")]
)
def test_only_tf32_rounds_products_of_float32(strategy: str, precision: str, untrained: Folder, clip: Clip) -> None:
    """Those of the sampler and of decoding; source, head pose and blinks are exact in every precision."""
    before = torch.backends.cudnn.conv.fp32_precision
    with pretended_cuda() as record:
        talk(untrained("dawn"), clip, strategy, DEVICE, precision=precision)
    assert record.operations and torch.backends.cudnn.conv.fp32_precision == before
    if precision != "tf32":
        assert not record.rounded
        return
    files = {where.partition(":")[0] for _, where in record.rounded}
    assert {"models/dawn/fast/blocks.py", "models/dawn/lfg_generator.py"} & files
    assert "models/dawn/pbnet.py" not in files and "models/dawn/region.py" not in files


@pytest.mark.parametrize("model", ["dit-head", "diffspeaker"])
def test_models_without_a_choice_of_precision_are_exact(model: str, cache_of: Folder, untrained: Folder) -> None:
    clips = Cache(cache_of(model)).clips("test")
    modality = MODELS[model].modality
    with pretended_cuda() as record:
        method = METHODS[model](Context(untrained(model), device=DEVICE, options={"steps": 2}, modality=modality))
        method.generate(Item(clips[0], clips, 0))
    assert record.operations["convolution"] and not record.rounded


def test_every_method_is_classified() -> None:
    assert set(METHODS) - UNTRAINED - set(TRAINED) == set(), "say in TRAINED or UNTRAINED whether it runs networks"
    assert set(MODELS) == set(SMALLEST) == set(TRAINED.values())


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_generates_as_on_the_cpu(name: str, cache_of: Folder, untrained: Folder) -> None:
    model = TRAINED[name]
    clips = Cache(cache_of(model)).clips("test")
    if MODELS[model].modality == "video":
        clips = [Clip(c.id, c.speaker, c.split, 8, {f: np.asarray(c[f])[:8] for f in FIELDS}) for c in clips]
    options = (
        {"steps": 2} | ({"segment": 4} if name == "dawn-sar" else {}) | ({"stride": 3} if name == "dawn-ttr" else {})
    )
    outputs = {}
    for device in ("cpu", DEVICE):
        with pretended_cuda() as record:
            modality = MODELS[model].modality
            method = METHODS[name](Context(untrained(model), device=device, options=options, modality=modality))
            outputs[device] = method.generate(Item(clips[0], clips, 0))
        assert set(record.devices) == ({1} if device == DEVICE else set())
    for field in ("frames", "vertices", "audio"):
        ours, theirs = getattr(outputs[DEVICE], field), getattr(outputs["cpu"], field)
        assert type(ours) is np.ndarray and ours.shape == theirs.shape
        np.testing.assert_allclose(ours.astype(float), theirs.astype(float), atol=1 if field == "frames" else 1e-5)
    assert outputs[DEVICE].frames.size + outputs[DEVICE].vertices.size


@pytest.mark.parametrize("model", list(MODELS))
def test_a_model_loads_onto_the_device_that_is_asked_for(model: str, untrained: Folder) -> None:
    with pretended_cuda() as record:
        for asked, index in (("cpu", None), ("cuda:1", 1), ("auto", 0)):
            generator = load_model(untrained(model), device=asked, model=model)
            tensors = [
                t for m in vars(generator).values() if isinstance(m, torch.nn.Module) for t in m.state_dict().values()
            ]
            assert tensors and {t.device.index for t in tensors} == {index}
            assert all(not m.training for m in vars(generator).values() if isinstance(m, torch.nn.Module))
        assert not record.operations.keys() - {"copy_", "_to_copy", "clone", "empty_like"}


def test_evidence_of_learning_is_computed_on_the_device(untrained: Folder, tiny_cache: Path) -> None:
    clips, run = Cache(tiny_cache).clips("test")[:1], untrained("dawn")
    theirs = signals(run, clips, seed=0, device="cpu")
    with pretended_cuda() as record:
        ours = signals(run, clips, seed=0, device=DEVICE)
    assert [type(s) for s in ours] == [type(s) for s in theirs] and set(record.devices) == {1}
    assert str(ours) == str(theirs)
