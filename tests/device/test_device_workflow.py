"""Whole commands on a CUDA device: `evaluate` gives the rows of the CPU, `prepare` its cache, `generate` its clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pretended.device import pretended_cuda
from pretended.networks import publish_hubert

from dawn_bench import weights
from dawn_bench.cache import Cache
from dawn_bench.devices import chosen_device
from dawn_bench.metrics.scoring.compare import compute_metrics
from dawn_bench.models import inputs
from dawn_bench.models.loading import load_model
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.generate import Generation, generate
from dawn_bench.workflow.generate_list import generate_list
from dawn_bench.workflow.quickstart import PLANS, run_quickstart
from dawn_bench.workflow.reproduce import reproduce
from dawn_bench.workflow.reproduction import Reproduction
from dawn_bench.workflow.train import train


def rows(out: Path) -> dict[tuple[str, str], ScoreRow]:
    return {(row.method, row.metric): row for row in ResultsStore(out).rows()}


def test_evaluate_on_the_device_gives_the_rows_of_the_cpu(
    tiny_cache: Path, untrained: Callable[[str], Path], tmp_path: Path
) -> None:
    def evaluated(device: str) -> Path:
        out = tmp_path / device.partition(":")[0]
        job = Evaluation(
            cache=tiny_cache, out=out, device=device, methods=("dawn",), checkpoint=untrained("dawn"), sanity=False,
            metrics=("psnr", "lpips"), weights="seeded", max_clips=2, options={"steps": 2},
        )  # fmt: skip
        assert not evaluate_methods(job).failed
        return out

    expected = rows(evaluated("cpu"))
    with pretended_cuda() as record:
        out = evaluated("cuda:1")
        assert set(record.devices) == {1} and record.operations["convolution"]
        ours = rows(out)
        record.clear()
        evaluated("cuda:0")  # the other card of the machine
        assert not record.operations["convolution"], "outputs and features do not depend on the card"
        assert {key: row.fingerprint for key, row in rows(out).items()} == {k: r.fingerprint for k, r in ours.items()}
    assert ours.keys() == expected.keys() == {("dawn", "psnr"), ("dawn", "lpips")}
    for key, row in ours.items():
        assert type(row.value) is float and row.value == pytest.approx(expected[key].value, rel=2e-3)
        assert row.per_clip == pytest.approx(expected[key].per_clip, rel=2e-3)
        assert (row.n_clips, row.n_frames, row.coverage) == (2, 60, 1.0)
        assert row.device == "Pretended GPU 1" and expected[key].device.startswith("cpu ")
        assert row.fingerprint != expected[key].fingerprint


class Reached(Exception):
    """A command came to its first step."""


#: By command: its first step, and how it is called on a device.
COMMANDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "evaluate": (
        "dawn_bench.workflow.evaluate.Cache",
        lambda device: evaluate_methods(Evaluation(cache="c", out="o", device=device)),
    ),
    "reproduce": (
        "dawn_bench.workflow.reproduce.check_job",
        lambda device: reproduce(Reproduction(cache="c", out="o", device=device, table=1)),
    ),
    "train": (
        "dawn_bench.workflow.train.check_stages",
        lambda device: train(Cache.__new__(Cache), None, out=Path("o"), stages=["all"], seed=0, device=device),
    ),
    "quickstart": (
        "dawn_bench.workflow.quickstart._claim",
        lambda device: run_quickstart(Path("o"), PLANS["tiny"], jobs=1, device=device),
    ),
    "compute_metrics": (
        "dawn_bench.metrics.scoring.compare.find_protocol",
        lambda device: compute_metrics(generated="a", metrics="psnr", device=device),
    ),
    "generate": (
        "dawn_bench.workflow.generate.model_of",
        lambda device: generate(Generation(audio="a.wav", out="a.mp4", checkpoint="run", device=device)),
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_all_that_a_command_calls_computes_on_its_device(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step, call = COMMANDS[command]
    devices: list[str] = []

    def first(*_: object, **__: object) -> None:
        devices.append(chosen_device())
        raise Reached

    monkeypatch.setattr(step, first)
    with pretended_cuda():
        for device in ("cuda:1", "cpu"):
            with pytest.raises(Reached):
                call(device)
        assert devices == ["cuda:1", "cpu"] and chosen_device() == "cuda"


def files_of(cache: Path) -> dict[str, bytes]:
    """The content of every file of a cache."""
    return {p.relative_to(cache).as_posix(): p.read_bytes() for p in cache.rglob("*") if p.is_file()}


@pytest.fixture
def talk(tiny_cache: Path, tmp_path: Path) -> dict[str, Any]:
    """A portrait and speech of eight frames, by the arguments of a generation."""
    clip = Cache(tiny_cache).clips("test")[0]
    cv2.imwrite(str(tmp_path / "face.png"), np.asarray(clip["frames"][0])[..., ::-1])
    write_wav(tmp_path / "speech.wav", np.asarray(clip["audio"])[: 8 * 640])
    return {"image": tmp_path / "face.png", "audio": tmp_path / "speech.wav", "crop": "paper", "steps": 1}


def test_generate_on_the_device_writes_the_clip_of_the_cpu(
    talk: dict[str, Any], untrained: Callable[[str], Path], tmp_path: Path
) -> None:
    given = {**talk, "checkpoint": untrained("dawn")}
    generate(Generation(**given, out=tmp_path / "cpu.mp4", device="cpu"))
    expected = read_frames(tmp_path / "cpu.mp4").astype(int)
    with pretended_cuda() as record:
        for device, index in (("cuda:1", 1), ("auto", 0)):
            record.clear()
            generate(Generation(**given, out=tmp_path / f"{index}.mp4", device=device))
            assert set(record.devices) == {index}
            assert np.abs(read_frames(tmp_path / f"{index}.mp4") - expected).mean() < 1
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()


def test_what_a_generation_reads_is_computed_on_its_device(
    talk: dict[str, Any], untrained: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Portrait, driving video and speech; of the command, and of a generator that is used from Python."""
    devices: list[str] = []
    real = inputs.read_portrait

    def spy(*args: Any, **options: Any) -> Any:
        devices.append(chosen_device())
        return real(*args, **options)

    monkeypatch.setattr("dawn_bench.models.dawn.generator.read_portrait", spy)
    with pretended_cuda():
        given = {**talk, "checkpoint": untrained("dawn"), "out": tmp_path / "a.mp4"}
        generate(Generation(**given, device="cuda:1"))
        loaded = load_model(untrained("dawn"), device="cuda:1")
        loaded.stream(talk["image"], talk["audio"], crop="paper")
        load_model(untrained("dawn"), device="cpu").stream(talk["image"], talk["audio"], crop="paper")
        assert devices == ["cuda:1", "cuda:1", "cpu"] and chosen_device() == "cuda"


def test_a_list_is_generated_on_the_device(
    talk: dict[str, Any], untrained: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "items.csv").write_text("image,audio,out\nface.png,speech.wav,a.mp4\nface.png,speech.wav,b.mp4\n")
    given = {"items": tmp_path / "items.csv", "checkpoint": untrained("dawn"), "crop": "paper", "steps": 1}
    generate(Generation(**talk, checkpoint=given["checkpoint"], out=tmp_path / "cpu.mp4", device="cpu"))
    with pretended_cuda() as record:
        done = generate_list(Generation(**given, devices=("cuda:1",)))
        assert set(record.devices) == {1} and len(done.written) == 2
        record.clear()
        assert len(generate_list(Generation(**given, device="cuda:0")).kept) == 2
        assert not record.operations, "a clip does not depend on the card"
    assert np.abs(read_frames(tmp_path / "a.mp4").astype(int) - read_frames(tmp_path / "cpu.mp4")).mean() < 1


def test_prepare_on_the_device_writes_the_cache_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    publish_hubert(tmp_path / "weights")
    root = write_embedded(tmp_path / "set", speakers=1, clips=1, seconds=1.0, size=96, seed=1)
    settings = PrepareSettings(dataset="embedded", size=64, extract=("pose", "hubert"))
    expected = prepare(root, tmp_path / "cpu", settings)
    with pretended_cuda() as record:
        prepare(root, tmp_path / "chosen", settings, device="cpu")
        assert not record.operations, "the CPU was chosen"
        report = prepare(root, tmp_path / "gpu", settings, device="cuda:1")
        assert set(record.devices) == {1}
        record.clear()
        prepare(root, tmp_path / "other", settings, devices=["cuda:0"])
        assert set(record.devices) == {0}
    assert (report.ok, report.quarantined) == (expected.ok, {}) and report.ok
    assert record.launches and not record.rounded
    assert files_of(tmp_path / "chosen") == files_of(tmp_path / "cpu")
    assert files_of(tmp_path / "other") == files_of(tmp_path / "gpu"), "the bytes do not depend on the card"
    assert files_of(tmp_path / "gpu")["plan.json"] == files_of(tmp_path / "cpu")["plan.json"]
    ours, theirs = Cache(tmp_path / "gpu"), Cache(tmp_path / "cpu")
    for clip, other in zip(ours, theirs, strict=True):
        assert clip.fields == other.fields and "hubert" in clip
        for field in clip.arrays:
            value, reference = np.asarray(clip[field]), np.asarray(other[field])
            assert value.dtype == reference.dtype
            np.testing.assert_allclose(value.astype(float), reference.astype(float), rtol=2e-3, atol=2e-3)
