"""The compiled U-Net: clips of many lengths take few graphs, none runs without the compiler, the pixels stay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from marked import marked_clip
from torch import Tensor
from untrained import dawn_run

from dawn_bench.baselines.methods.dawn import source_of
from dawn_bench.models.dawn.fast import compiled
from dawn_bench.models.dawn.fast.compiled import Compiled, padded_length
from dawn_bench.models.dawn.fast.unet import FastUNet
from dawn_bench.models.dawn.generator import DawnGenerator, SamplingOptions


class Counting:
    """A backend that runs graphs as they are: how many there are, and how often they run."""

    def __init__(self) -> None:
        self.graphs = self.runs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1

        def run(*arguments: Any) -> Any:
            self.runs += 1
            return graph.forward(*arguments)

        return run


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    backend = Counting()
    monkeypatch.setattr(compiled, "BACKEND", backend)
    compiled._say.cache_clear()
    compiled.STEPS.clear()
    torch._dynamo.reset()
    yield backend
    torch._dynamo.reset()


def test_lengths_are_few_and_little_longer() -> None:
    lengths = {frames: padded_length(frames) for frames in range(1, 1501)}
    assert all(frames <= length < frames + max(8, frames / 4) for frames, length in lengths.items())
    assert len(set(lengths.values())) == 26
    assert [padded_length(n) for n in (1, 8, 9, 64, 65, 128, 129, 200, 1500)] == [8, 8, 16, 64, 80, 128, 160, 224, 1536]
    assert all(padded_length(length) == length for length in lengths.values())


class Doubling:
    """A step of any length."""

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return x * 2 + t


def test_twelve_shapes_are_twelve_graphs(counting: Counting, caplog: pytest.LogCaptureFixture) -> None:
    """Of PyTorch's own limit there would be eight, and then none."""
    for count in [*range(1, 13), *range(1, 13)]:
        x = torch.randn(3, count, 2, 2)
        assert torch.equal(Compiled(Doubling())(x, torch.tensor([5])), x * 2 + 5)
    assert (counting.graphs, counting.runs) == (12, 24)
    assert compiled.STEPS == {"compiled": 24}
    assert not [record for record in caplog.records if record.name == compiled.__name__]


@pytest.mark.parametrize("cause", ["limit", "backend"])
def test_what_does_not_compile_runs_all_the_same_and_is_said_once(
    cause: str, counting: Counting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    if cause == "backend":
        monkeypatch.setattr(compiled, "BACKEND", broken)
    else:
        monkeypatch.setattr(compiled, "GRAPHS", 2)
    with caplog.at_level(logging.WARNING, logger=compiled.__name__):
        for count in range(1, 6):
            x, step = torch.randn(3, count, 2, 2), Compiled(Doubling())
            for _ in range(2):
                assert torch.equal(step(x, torch.tensor([5])), x * 2 + 5)
    said = [record.getMessage() for record in caplog.records if record.name == compiled.__name__]
    assert len(said) == 1 and said[0].startswith("the U-Net runs without the compiler (")
    assert ("no C++ compiler" if cause == "backend" else "recompile limit") in said[0]
    assert counting.runs == compiled.STEPS["compiled"] == (0 if cause == "backend" else 4)
    assert compiled.STEPS.total() == 10


@pytest.mark.parametrize(
    ("frames", "real", "window"), [(16, 9, 7), (40, 33, 3), (112, 100, 40), (16, 16, 7), (8, 1, None)]
)
@torch.no_grad()
def test_padding_changes_nothing_in_the_clip(
    frames: int, real: int, window: int | None, networks: DawnGenerator
) -> None:
    unet = networks.a2v.diffusion.denoise_fn
    config, generator = networks.a2v.config, torch.Generator().manual_seed(frames)
    cond = torch.randn(frames, config.condition_dim, generator=generator)
    x = torch.randn(3, frames, 8, 8, generator=generator) * 3
    source = torch.rand(config.source_dim, 8, 8, generator=generator)
    scene = {"source_CHW": source, "mask_MHW": torch.rand(config.mask_dims[1], 8, 8, generator=generator)}
    fast = FastUNet(unet)
    clip = fast.prepare(cond_FD=cond[:real], win_width=window, **scene)(x[:, :real], torch.tensor([30]))
    padded = fast.prepare(cond_FD=cond, win_width=window, real=real, **scene)(x, torch.tensor([30]))
    assert padded.isfinite().all()
    torch.testing.assert_close(padded[:, :real], clip, rtol=0, atol=1e-4 * float(clip.abs().max()))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> DawnGenerator:
    return DawnGenerator.load(dawn_run(tmp_path_factory.mktemp("compiled") / "run"))


def test_nine_lengths_are_two_graphs_and_the_same_pixels(
    networks: DawnGenerator, counting: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    sound = np.asarray(marked_clip(1, 20)["logmel"], np.float32)
    source, options = source_of(marked_clip(0, 3)), SamplingOptions(steps=2)
    for frames in (9, 10, 11, 12, 13, 14, 15, 16, 20):
        eager = networks.talk(source, sound[:frames], seed=frames, options=options)
        ours = networks.talk(source, sound[:frames], seed=frames, options=options.model_copy(update={"compile": True}))
        difference = np.abs(ours.astype(int) - eager)  # the order of sums differs, so a value may round otherwise
        assert ours.shape == eager.shape and difference.max() <= 1 and difference.mean() < 1e-3
    assert (counting.graphs, counting.runs) == (2, 9 * 2)
    assert not [record for record in caplog.records if record.name == compiled.__name__]
