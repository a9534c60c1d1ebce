"""Long clips: passes that cover every frame once, memory of one pass, head motion that continues across passes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from dawn_bench.baselines.methods.dawn import source_of
from dawn_bench.cache import Cache
from dawn_bench.job import read_job
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.networks import Scene
from dawn_bench.models.dawn.options import DawnOptions, PassOptions, SamplingOptions
from dawn_bench.models.dawn.passes import LONGEST, OVERLAP, passes, stream
from dawn_bench.models.inputs import Portrait
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.generate import Generation

QUICK = SamplingOptions(steps=2)
HOUR = 90_000


@pytest.fixture(scope="module")
def generator(micro_run: Path) -> DawnGenerator:
    return DawnGenerator.load(micro_run)


def scene(generator: DawnGenerator, tiny_cache: Path, frames: int) -> Scene:
    clip = Cache(tiny_cache)["c4"]
    return generator.scene(source_of(clip), np.resize(clip["logmel"], (frames, 80)), seed=3)


@pytest.mark.parametrize("frames", [1, LONGEST, LONGEST + 1, 2 * LONGEST - OVERLAP, 4000, HOUR])
def test_passes_cover_every_frame_and_share_their_ends(frames: int) -> None:
    parts = passes(frames)
    assert parts[0].start == 0 and parts[-1].stop == frames
    assert all(part.stop - part.start <= LONGEST for part in parts)
    assert all(before.stop - after.start == OVERLAP for before, after in pairwise(parts))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= len(parts)  # no short last pass


def test_without_a_limit_there_is_one_pass() -> None:
    assert passes(HOUR, longest=None) == [slice(0, HOUR)]
    assert DawnOptions().pass_frames == LONGEST == 1500 and PassOptions().pass_frames is None
    assert DawnOptions.model_validate({"pass_seconds": "none"}).pass_frames is None
    assert DawnOptions(pass_seconds=12.5).pass_frames == 312


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ([], {}),
        (["--pass-seconds", "none"], {"pass_seconds": "none"}),
        (["--pass-seconds", "30"], {"pass_seconds": 30.0}),
        (["--set", "pass_seconds=20"], {"pass_seconds": 20.0}),
    ],
)
@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_the_flag_reaches_the_model(command: str, words: list[str], option: dict[str, object]) -> None:
    flags = {} if not words else {"pass_seconds": words[1]} if words[0] == "--pass-seconds" else {}
    sets = words[1:] if words[:1] == ["--set"] else []
    if command == "generate":
        fixed = {"audio": "a.wav", "out": "b.mp4", "checkpoint": "run", "device": "cpu"}
        job = read_job(Generation, fixed | flags, overrides=sets)[0]
        assert job.model_options == option
    else:
        assert (
            read_job(Evaluation, {"cache": "c", "out": "o", "device": "cpu"} | flags, overrides=sets)[0].method_options
            == option
        )


def test_a_generator_says_in_how_many_passes_it_speaks(
    generator: DawnGenerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    portrait = Portrait(np.zeros((32, 32, 3), np.uint8), np.zeros(7), np.zeros(2), np.array([8.0, 8, 24, 24]))
    monkeypatch.setattr("dawn_bench.models.dawn.generator.read_portrait", lambda *_, **__: (portrait, True))
    monkeypatch.setattr(
        "dawn_bench.models.dawn.generator.read_speech", lambda *_, **__: (np.zeros(640, np.int16), np.zeros((260, 80)))
    )
    notes = {s: generator.stream("me.png", "a.wav", pass_seconds=s).notes for s in ("none", 60, 5)}
    said = {s: [note for note in of_clip if "passes" in note] for s, of_clip in notes.items()}
    assert said["none"] == said[60] == []
    assert said[5] == ["0.2 minutes of speech: 3 passes of 5 s at most (--pass-seconds)"]


def test_a_clip_that_fits_one_pass_equals_the_generators(generator: DawnGenerator, tiny_cache: Path) -> None:
    clip = Cache(tiny_cache)["c4"]
    frames = np.concatenate(list(stream(generator, scene(generator, tiny_cache, 12), QUICK)))
    np.testing.assert_array_equal(
        frames, generator.talk(source_of(clip), np.resize(clip["logmel"], (12, 80)), seed=3, options=QUICK)
    )


def test_the_next_pass_begins_with_the_motion_that_is_there(
    generator: DawnGenerator, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    motions = []
    whole = generator.sample

    def sample(*arguments: object, **more: object) -> torch.Tensor:
        motions.append(whole(*arguments, **more))  # type: ignore[arg-type]
        return motions[-1]

    monkeypatch.setattr(generator, "sample", sample)
    pieces = list(stream(generator, scene(generator, tiny_cache, 47), QUICK, longest=20, overlap=4))
    assert len(motions) == len(passes(47, longest=20, overlap=4)) == 3
    assert sum(map(len, pieces)) == 47
    for before, after in pairwise(motions):
        torch.testing.assert_close(after[:, :, :4], before[:, :, -4:])
        assert not torch.equal(after[:, :, 4:8], before[:, :, -4:])


def test_an_hour_is_never_in_memory_at_once(
    generator: DawnGenerator, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, shown = [], []

    def sample(part: Scene, *_: object, **__: object) -> torch.Tensor:
        asked.append(part.cond_BFD.shape[1])
        return torch.zeros(1, 3, asked[-1], 8, 8)

    def show(_: Scene, z_B3Fhh: torch.Tensor, **__: object) -> np.ndarray:
        shown.append(z_B3Fhh.shape[2])
        return np.zeros((shown[-1], 2, 2, 3), np.uint8)

    monkeypatch.setattr(generator, "sample", sample)
    monkeypatch.setattr(generator, "show", show)
    short = scene(generator, tiny_cache, 2)
    long = replace(short, cond_BFD=short.cond_BFD[:, :1].expand(-1, HOUR, -1))
    pieces = stream(generator, long, QUICK)
    assert len(next(pieces)) <= 64 and len(asked) == 1  # pictures leave before the next pass begins
    assert sum(map(len, pieces)) + shown[0] == HOUR
    assert max(asked) <= LONGEST and max(shown) <= 64
