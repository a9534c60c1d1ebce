"""Every registered method: which parts of a clip it reads, what its seed does, lengths, order of clips, interruption.

A method that is new in the registry fails here until `READS` says what its output depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from fake_repos import PYTHON, fake_repo
from marked import marked_clip, marked_mesh
from scipy.io import wavfile
from untrained import dawn_run, diffspeaker_run, dit_head_run

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, Method, Modality, modalities_of
from dawn_bench.baselines.external import method as external_method
from dawn_bench.baselines.external import stage
from dawn_bench.baselines.external.adapter import bundled, read_adapter
from dawn_bench.baselines.external.process import Run
from dawn_bench.baselines.methods import dawn as dawn_method
from dawn_bench.baselines.outputs import OK, produce
from dawn_bench.clip import Clip
from dawn_bench.files import sha256_file
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pipelines.media.video import read_frames, write_video

#: `FIELD` in frame 0 or in `later` frames, of the clip itself or of the `next` clip of the set.
TRUTH = {"frames", "later frames", "audio"}
_SOURCE = {"frames", "pose", "blink", "bbox"}
_DAWN = {*_SOURCE, "audio", "logmel", "later logmel"}
_OF_NEXT = {"next audio", "next logmel", "next later logmel"}
#: What the output of each method depends on, by modality; the bundled external methods are of one kind.
READS: dict[tuple[str, Modality], set[str]] = {
    ("dawn", "video"): _DAWN,
    ("dawn-sar", "video"): _DAWN,
    ("dawn-ttr", "video"): _DAWN,
    ("dawn-true-pose", "video"): {*_DAWN, "later pose", "later blink"},
    ("dawn-shuffled", "video"): {*_SOURCE, *_OF_NEXT},
    ("dit-head", "video"): {*TRUTH, "landmarks", "later landmarks", "logmel", "later logmel"},
    ("dit-head-portrait", "video"): {"frames", "landmarks", "audio", "logmel", "later logmel"},
    ("dit-head-shuffled", "video"): {"frames", "later frames", "landmarks", "later landmarks", *_OF_NEXT},
    ("diffspeaker", "mesh"): {"template", "audio"},
    ("ground-truth", "video"): TRUTH,
    ("ground-truth", "mesh"): {"vertices", "later vertices"},
    ("ground-truth-reencoded", "video"): TRUTH,
    ("still", "video"): {"frames", "audio"},
    ("still", "mesh"): {"template"},
    ("shuffled-sound", "video"): {"frames", "later frames", "next audio"},
    ("shuffled-sound", "mesh"): {"template", "next template", "next vertices", "next later vertices"},
    **{(name, "video"): {"frames", "audio"} for name in bundled()},
}
#: Methods that draw random numbers; another seed is another output.
SAMPLES = {"dawn", "dawn-sar", "dawn-ttr", "dawn-true-pose", "dawn-shuffled", "diffspeaker"}
SAMPLES |= {
    "dit-head",
    "dit-head-portrait",
    "dit-head-shuffled",
    "sadtalker",
    "diffused-heads",
    "dreamtalk",
    "echomimic",
}
#: Options with which they are run here.
OPTIONS: dict[str, dict[str, object]] = {"dawn-sar": {"segment": 6}, "dawn-ttr": {"stride": 3}}

CASES = [(name, modality) for name in METHODS for modality in modalities_of(METHODS[name])]
every_method = pytest.mark.parametrize(("name", "modality"), CASES, ids=[f"{n}-{m}" for n, m in CASES])


class NoFace(FaceBackend):
    """Detects nothing, at once."""

    name = "no-face"

    def detect(self, frame: np.ndarray) -> np.ndarray:
        return np.zeros((0, 4), np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        raise AssertionError("there is no face")

    def fingerprint(self) -> str:
        return "no-face-1"


def in_process(name: str) -> Callable[..., Run]:
    """In place of an external command: as many frames as the sound has, of the portrait and the sound, at its place."""
    pattern = read_adapter(bundled()[name]).output.replace("**", "x").replace("*", "made")

    def run(argv: list[str], *, cwd: Path, **_: object) -> Run:
        inputs = cwd.parent / "in"
        picture = cv2.cvtColor(cv2.imread(str(inputs / "portrait.png")), cv2.COLOR_BGR2RGB)
        sound = wavfile.read(inputs / "sound.wav")[1].astype(int)
        seed = int(argv[2]) if argv[1].endswith("seeded.py") else 0
        seed = int(argv[argv.index("--seed") + 1]) if "--seed" in argv else seed
        shades = np.abs(sound).reshape(-1, 640).mean(1) / 99 + seed % 7
        frames = np.clip(picture[None] - shades[:, None, None, None], 0, 255).astype(np.uint8)
        path = Path(pattern.format(out=cwd.parent / "out"))
        path = path if path.is_absolute() else cwd / path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames, lossless=True)
        return Run(0, 0.1, None, "")

    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Untrained runs by the first word of the methods that they are of, and an installs file of every adapter."""
    root = tmp_path_factory.mktemp("runs")
    entries = {}
    for name, path in bundled().items():
        repo = fake_repo(root, name, weights=tuple(read_adapter(path).weights.values()))
        entries[name] = {"python": PYTHON, "repo": str(repo)}
    (root / "installs.yaml").write_text(yaml.safe_dump(entries))
    return {
        "dawn": dawn_run(root / "dawn", coarse=True),
        "dit": dit_head_run(root / "dit-head"),
        "diffspeaker": diffspeaker_run(root / "diffspeaker"),
        "installs": root / "installs.yaml",
    }


@pytest.fixture
def build(runs: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Method]:
    """Builds a method from its untrained run, or with its command in this process."""
    monkeypatch.setattr(dawn_method, "face_backend", lambda *_: (NoFace(), []))

    def built(name: str, modality: Modality = "video") -> Method:
        run = runs.get(name.split("-")[0])
        options = {} if run is None else {"steps": 1, **({"eta": 1.0} if name.startswith("dit") else {})}
        options |= OPTIONS.get(name, {})
        if name in bundled():
            monkeypatch.setattr(external_method, "run", in_process(name))
            monkeypatch.setattr(stage, "read_matlab", lambda path, keys: {key: np.ones((5, 2)) for key in keys})
        context = Context(run, "cpu", 0, options, runs["installs"], tmp_path / "logs", modality)
        method = METHODS[name](context)
        if isinstance(method, external_method.External):  # portraits of the cache's size take less time
            method.adapter = method.adapter.model_copy(update={"portrait_size": None})
        return method

    return built


def a_set(modality: Modality) -> list[Clip]:
    """Three clips of different lengths."""
    clip = marked_mesh if modality == "mesh" else marked_clip
    return [clip(0, 16), clip(1, 14), clip(2, 13)]


def changed(clips: list[Clip], part: str) -> list[Clip]:
    """The set with one part changed: `later frames` of the first clip, `next audio` of the second."""
    *when, field = part.split(" ")
    place = int("next" in when)
    span = slice(1, None) if "later" in when else slice(None if field in ("audio", "template") else 1)
    values = np.array(clips[place].arrays[field])
    values[span] = 255 - values[span] if values.dtype == np.uint8 else values[span] * 0.5 + 2
    clips = list(clips)
    clips[place] = replace(clips[place], arrays={**clips[place].arrays, field: values})
    return clips


def content(output: Generated) -> bytes:
    return output.frames.tobytes() + output.audio.tobytes() + output.vertices.tobytes()


@every_method
def test_a_method_depends_on_what_it_declares_and_on_nothing_else(
    name: str, modality: Modality, build: Callable[..., Method]
) -> None:
    assert (name, modality) in READS, f"Say in READS of this file what the output of {name} depends on."
    method, clips = build(name, modality), a_set(modality)

    def outputs(of: list[Clip]) -> bytes:
        return content(method.generate(Item(of[0], of, 0)))

    plain = outputs(clips)
    fields = [f for f in clips[0].arrays if f != "valid"]
    parts = [f"{p}{f}" for f in fields for p in ("", "later ", "next ", "next later ")]
    parts = [p for p in parts if not ("later" in p and p.endswith(("audio", "template")))]
    reads, uses = READS[name, modality], set(method.uses)
    assert {part for part in reads if outputs(changed(clips, part)) == plain} == set()
    assert outputs(reduce(changed, [part for part in parts if part not in reads], clips)) == plain
    # noise of its own for each clip, where a method draws any; commands have the seed of the run
    renamed = [replace(clips[0], id="another"), *clips[1:]]
    assert (outputs(renamed) != plain) == (name in SAMPLES and name not in bundled())
    # what it reads is what it declares
    later = {part for part in reads if part.startswith("later ") and "logmel" not in part}
    assert any(part.startswith("next ") for part in reads) == ("others" in uses)
    assert not later or uses & {"truth", "masked-truth", "pose"}
    assert not later & {"later frames", "later vertices"} or uses & {"truth", "masked-truth"}
    assert ("audio" in reads) <= bool(uses & {"audio", "truth"})


@every_method
def test_the_seed_the_order_of_clips_and_a_stop_in_between(
    name: str, modality: Modality, build: Callable[..., Method], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seed is another output only of methods that sample; all else is the same bytes, of every right clip."""
    method, clips = build(name, modality), a_set(modality)[:2]

    def hashes(folder: str, of: list[Clip], *, seed: int = 0) -> dict[str, str]:
        outputs = produce(method, of, tmp_path / folder, seed=seed)
        assert [o.status for o in outputs.values()] == [OK] * len(of), outputs
        for clip in of:
            path = outputs[clip.id].path
            assert path is not None and path.stem == clip.id
            length = np.load(path).shape[1] if modality == "mesh" else len(read_frames(path))
            assert length == clip.n_frames
        return {clip: sha256_file(output.path) for clip, output in outputs.items() if output.path is not None}

    first = hashes("first", clips)
    assert len(set(first.values())) == len(clips)
    other = hashes("other", clips, seed=1)
    assert {clip for clip in first if first[clip] != other[clip]} == (set(first) if name in SAMPLES else set())
    real = type(method).generate

    def stopped(self: Method, item: Item) -> Generated:
        if item.clip is clips[0]:
            raise KeyboardInterrupt
        return real(self, item)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(method), "generate", stopped)
        produce(method, clips[::-1], tmp_path / "stopped", seed=0)
    assert hashes("stopped", clips[::-1]) == first


def modules_of(holder: Any) -> list[torch.nn.Module]:
    """The networks of a method, or of the generator that it holds."""
    inside = [
        value
        for name in ("generator", "dubber")
        if (inner := getattr(holder, name, None))
        for value in vars(inner).values()
    ]
    return [value for value in (*vars(holder).values(), *inside) if isinstance(value, torch.nn.Module)]


@pytest.mark.parametrize("name", [name for name in METHODS if name not in bundled()])
def test_networks_are_on_the_device_of_the_context(
    name: str, build: Callable[..., Method], runs: Mapping[str, Path]
) -> None:
    modality, run = modalities_of(METHODS[name])[0], runs.get(name.split("-")[0])
    method = METHODS[name](Context(run, "meta", options={} if run is None else {"steps": 1}, modality=modality))
    networks = modules_of(method)
    assert bool(networks) == (run is not None)
    assert {parameter.device.type for network in networks for parameter in network.parameters()} <= {"meta"}
