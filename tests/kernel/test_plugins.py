"""One small distribution adds an item of every kind by entry points; each is used from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.registry import installed_plugins
from dawn_bench.reports.store import ResultsStore

ROOT = Path(__file__).resolve().parents[2]

ENTRY_POINTS = """
[dawn_bench.dataset]
acme = acme.dataset:Acme
[dawn_bench.extractor]
acme-light = acme.extractor:Light
acme-audio = acme.encoder:Loudness
pose-acme = acme.pose:Frontal
[dawn_bench.face_backend]
acme = acme.face:Centred
[dawn_bench.feature]
acme-mean = acme.feature:Mean
[dawn_bench.metric]
acme = acme.metric:Darkness
[dawn_bench.method]
acme = acme.method:build
[dawn_bench.model]
acme = acme.spec:SPEC
"""

MODULES = {
    "dataset": """
from dawn_bench.pipelines.datasets.base import Dataset, Source

class Acme(Dataset):
    name = "acme"

    def sources(self, root, settings):
        for path in sorted(root.glob("*.mp4")):
            yield Source(path.stem, speaker=path.stem, split="train" if path.stem == "one" else "test", video=path)
""",
    "extractor": """
import numpy as np
from dawn_bench.pipelines.extractors.base import Extractor

class Light(Extractor):
    name, needs = "acme-light", ("frames",)

    def fingerprint(self):
        return "acme-light-1"

    def run(self, arrays, *, size, n_frames):
        return {"light": np.asarray(arrays["frames"]).mean(axis=(1, 2, 3)).astype(np.float32)}
""",
    "encoder": """
import numpy as np
from dawn_bench.pipelines.extractors.base import AUDIO, Extractor

class Loudness(Extractor):
    name, needs, kind = "acme-audio", ("audio",), AUDIO

    def fingerprint(self):
        return "acme-audio-1"

    def run(self, arrays, *, size, n_frames):
        frames = arrays["audio"][: 640 * n_frames].reshape(n_frames, 640)
        return {"acme-audio": np.abs(frames.astype(np.float32)).mean(axis=1, keepdims=True).astype(np.float16)}
""",
    "pose": """
import numpy as np
from dawn_bench.pipelines.extractors.base import POSE, Extractor

class Frontal(Extractor):
    name, needs, kind = "pose-acme", ("landmarks",), POSE

    def fingerprint(self):
        return "pose-acme-1"

    def run(self, arrays, *, size, n_frames):
        return {"pose": np.full((n_frames, 7), 7, np.float32)}
""",
    "face": """
import numpy as np

class Centred:
    name = "acme"

    @staticmethod
    def missing():
        return None

    def fingerprint(self):
        return "acme-face-1"

    def detect(self, frame, *, expect=None):
        height, width = frame.shape[:2]
        return np.array([[width / 4, height / 4, 3 * width / 4, 3 * height / 4]], np.float32)

    def landmarks(self, frame, box):
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return ((box[:2] + box[2:]) / 2 + circle * (box[2:] - box[:2]) / 2).astype(np.float32)
""",
    "feature": """
import numpy as np
from dawn_bench.metrics.scoring.base import Feature

class Mean(Feature):
    name, fields = "acme-mean", ("frames",)

    def run(self, clip, given):
        return {"acme-mean": np.asarray(clip["frames"]).mean(axis=(1, 2, 3))}
""",
    "metric": """
from dawn_bench.metrics.scoring.base import Part, RatioMetric

class Darkness(RatioMetric):
    name, title, unit, higher_is_better, order = "acme", "Acme darkness", "levels", False, 5
    description = "How much darker the generated frames are than the true ones."
    needs = ("acme-mean",)

    def measure(self, generated, true):
        gap = true["acme-mean"] - generated["acme-mean"]
        return Part(float(gap.sum()), len(gap), len(gap))
""",
    "method": """
import numpy as np
from dawn_bench.baselines.base import Generated

class Darker:
    name, method_class, licence, uses, fingerprint = "acme", "portrait", "MIT", ("truth",), "acme/1"

    def generate(self, item):
        return Generated(np.asarray(item.clip["frames"]) // 2, np.asarray(item.clip["audio"]))

def build(context):
    return Darker()
""",
    "spec": """
from dawn_bench.models.spec import CheckpointKind, Lazy, ModelSpec

SPEC = ModelSpec(
    name="acme",
    title="Acme",
    modality="video",
    stages={"light": Lazy("acme.model:LightStage")},
    presets=("tiny",),
    preset=Lazy("acme.model:preset"),
    fit_to_cache=Lazy("acme.model:fit_to_cache"),
    facts=Lazy("acme.model:facts"),
    checkpoints={"acme-light": CheckpointKind(Lazy("acme.model:LightConfig"), Lazy("acme.model:Light"))},
    options=Lazy("acme.model:Options"),
    load=Lazy("acme.model:load"),
    released=Lazy("acme.model:is_released"),
)
""",
    "model": """
import numpy as np
import torch

from dawn_bench.config import Config
from dawn_bench.models.checkpoint import load_checkpoint, save_checkpoint
from dawn_bench.models.generator import Generator, TalkingStream
from dawn_bench.models.inputs import read_speech
from dawn_bench.pipelines.extractors.base import audio_encoder_of
from dawn_bench.training.data import training_ids
from dawn_bench.training.stage import LoopConfig

class LightConfig(Config):
    width: int = 1

class LightTraining(Config):
    model: LightConfig = LightConfig()
    loop: LoopConfig = LoopConfig(steps=3, batch_size=2, log_every=1)

class Settings(Config):
    preset: str = "tiny"
    note: str = ""
    light: LightTraining | None = LightTraining()

class Options(Config):
    size: int = 32

class Light(torch.nn.Linear):
    def __init__(self, config):
        super().__init__(config.width, 1)
        self.config = config

def preset(name):
    return Settings(preset=name)

def fit_to_cache(settings, cache):
    return settings

def facts(cache):
    return {"audio_encoder": audio_encoder_of(next(iter(cache)))}

def is_released(path):
    return False

class LightStage:
    name = "light"

    def __init__(self, cache, settings, *, run, seed, device):
        self.cache, self.config, self.ids = cache, settings.light, training_ids(cache)
        self.loop, self.module = self.config.loop, Light(self.config.model)

    def batch(self, step):
        clip = self.cache[self.ids[0]]
        at = slice(2 * step, 2 * step + 2)
        sound = np.asarray(clip[audio_encoder_of(clip)][at], np.float32) / 1e4
        light = np.asarray(clip["light"][at], np.float32)[:, None] / 255
        return {"clip": torch.zeros(2, dtype=torch.long), "x": torch.from_numpy(sound), "y": torch.from_numpy(light)}

    def losses(self, batch, generator):
        return {"total": (self.module(batch["x"]) - batch["y"]).square().mean()}

    def parameter_groups(self):
        return [list(self.module.parameters())]

    def save(self, path, provenance):
        save_checkpoint(path, self.module, config=self.config.model, kind="acme-light", provenance=provenance)

class Flicker(Generator):
    options_class = Options

    def __init__(self, module, encoder):
        self.module, self.encoder = module, encoder

    def stream(self, image, audio, *, seed=0, max_seconds=None, face="auto", **options):
        size = self.options(options).size
        sound, features = read_speech(audio, encoder=self.encoder, max_seconds=max_seconds)
        frames = np.full((len(features), size, size, 3), 90, np.uint8)
        return TalkingStream(iter([frames]), len(frames), sound, 25)

def load(path, *, device):
    module, provenance = load_checkpoint(path / "light" / "model.safetensors", "acme-light")
    return Flicker(module, provenance["audio_encoder"])
""",
}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installed distribution."""
    site = tmp_path_factory.mktemp("site")
    info = site / "acme-1.5.dist-info"
    for folder in (info, site / "acme"):
        folder.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "acme" / "__init__.py").touch()
    for name, text in MODULES.items():
        (site / "acme" / f"{name}.py").write_text(text)
    return site


def run(*words: str, plugins: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line with the distribution installed, or without it."""
    path = os.pathsep.join(map(str, (*([plugins] if plugins else []), ROOT)))
    code = ("-c", words[1]) if words[0] == "python" else ("-m", "dawn_bench", *words)
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
    return subprocess.run([sys.executable, *code], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def cache(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache prepared with the distribution's dataset, face back end, pose source, audio encoder and extractor."""
    videos, out = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("prepared") / "cache"
    rng = np.random.default_rng(0)
    for name in ("one", "two", "zoo"):
        tone = (8000 * np.sin(np.arange(12 * 640) / 20)).astype(np.int16)
        write_video(videos / f"{name}.mp4", rng.integers(0, 256, (12, 64, 64, 3), np.uint8), audio=tone)
    words = ["--dataset", "acme", "--face", "acme", "--pose", "acme", "--extract", "acme-audio,acme-light"]
    words += ["--max-yaw", "180", "--max-covered", "1", "--min-face-height", "0"]  # its face is a circle
    answer = run("prepare", "--root", str(videos), "--cache", str(out), "--size", "32", *words, "--jobs", "1",
                 plugins=plugins)  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return out


def test_prepare_uses_dataset_face_back_end_pose_source_and_extractors(cache: Path, plugins: Path) -> None:
    prepared = Cache(cache)
    assert prepared.ids("train") == ["one"] and prepared.ids("test") == ["two", "zoo"]
    clip = prepared["one"]
    assert clip["light"].shape == (12,) and clip["acme-audio"].shape == (12, 1) and (clip["pose"] == 7).all()
    facts = prepared.settings["fingerprints"]
    assert facts["face"] == "acme" and facts["face fingerprint"] == "acme-face-1"
    code = (
        "from pathlib import Path\nfrom dawn_bench.cache import Cache\n"
        "from dawn_bench.pipelines.extractors.base import audio_encoder_of\n"
        f"print(audio_encoder_of(Cache(Path({str(cache)!r}))['one']))"
    )
    answer = run("python", code, plugins=plugins)
    assert answer.stdout.strip() == "acme-audio", answer.stderr  # before the stand-in `logmel`


def test_evaluate_uses_method_metric_and_feature_and_any_report_shows_them(
    cache: Path, plugins: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    words = ("--method", "acme", "--metrics", "acme,psnr", "--no-sanity")
    answer = run("evaluate", "--cache", str(cache), "--out", str(results), *words, plugins=plugins)
    assert answer.returncode == 0, answer.stderr
    row = next(r for r in ResultsStore(results).rows() if r.metric == "acme")
    assert row.method == "acme" and row.n_clips == 2 and row.value is not None and row.value > 10

    answer = run("report", str(results), "--out", str(tmp_path / "report"))  # where the metric is not installed
    assert answer.returncode == 0, answer.stderr
    text = (tmp_path / "report" / "report.md").read_text()
    head = next(line for line in text.splitlines() if line.startswith("| method"))
    assert head.index("PSNR") < head.index("Acme darkness ↓")  # it names no group, so it stands behind these
    page = (tmp_path / "report" / "report.html").read_text()
    assert "How much darker the generated frames are than the true ones." in page


def test_train_and_generate_use_the_model_and_its_audio_encoder(cache: Path, plugins: Path, tmp_path: Path) -> None:
    run_folder, clip = tmp_path / "run", tmp_path / "talk.mp4"
    answer = run("train", "--model", "acme", "--cache", str(cache), "--out", str(run_folder), "--device", "cpu",
                 plugins=plugins)  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    losses = [json.loads(line)["total"] for line in (run_folder / "light" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 3 and np.isfinite(losses).all()

    speech = tmp_path / "speech.wav"
    with wave.open(str(speech), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((8000 * np.sin(np.arange(10 * 640) / 20)).astype(np.int16).tobytes())
    words = ("--image", "any.png", "--audio", str(speech), "--checkpoint", str(run_folder), "--out", str(clip))
    answer = run("generate", *words, "--device", "cpu", plugins=plugins)
    assert answer.returncode == 0, answer.stderr
    assert read_frames(clip).shape == (10, 32, 32, 3)


@pytest.mark.parametrize(
    "words, nearest",
    [
        (("prepare", "--root", ".", "--cache", "c", "--face", "acmee"), "acme"),
        (("prepare", "--root", ".", "--cache", "c", "--dataset", "acmee"), "acme"),
        (("prepare", "--root", ".", "--cache", "c", "--extract", "acme-audoi"), "acme-audio"),
    ],
)
def test_misspelt_names_get_the_plug_ins_too(words: tuple[str, ...], nearest: str, plugins: Path) -> None:
    answer = run(*words, plugins=plugins)
    assert answer.returncode == 2 and f"Did you mean {nearest}" in answer.stderr


def test_plug_ins_are_listed_with_their_distribution(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(plugins)
    assert ("dawn_bench.metric", "acme, from acme 1.5") in installed_plugins()


def test_a_plug_in_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    info = tmp_path / "broken-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[dawn_bench.dataset]\nx = no_such_package:X\n")
    answer = run("prepare", "--root", ".", "--cache", "c", "--dataset", "x", plugins=tmp_path)
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1
    assert "no_such_package:X" in answer.stderr and "uninstall broken" in answer.stderr


def test_broken_plug_ins_are_named_and_cost_only_themselves(tiny_cache: Path, tmp_path: Path) -> None:
    info = tmp_path / "broken-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n")
    points = {"metric": "x = no_such_package:X\ny = json:JSONDecoder", "method": "z = broken_method:build"}
    (info / "entry_points.txt").write_text("".join(f"[dawn_bench.{k}]\n{v}\n" for k, v in points.items()))
    (tmp_path / "broken_method.py").write_text("raise RuntimeError('no GPU\\nhere')")
    words = ("--method", "still", "--metrics", "PSNR", "--no-sanity", "--out", str(tmp_path / "out"), "--device", "cpu")
    answer = run("evaluate", "--cache", str(tiny_cache), *words, plugins=tmp_path)
    assert answer.returncode == 0, answer.stderr
    lines = [line for line in answer.stderr.splitlines() if "plug-in" in line]
    assert sorted(line.partition(" of the group ")[0] for line in lines) == [
        "warning: the plug-in 'broken_method:build'",
        "warning: the plug-in 'json:JSONDecoder'",
        "warning: the plug-in 'no_such_package:X'",
    ]
    assert all(line.endswith("Repair or uninstall broken.") for line in lines)
    assert "(it is no Metric)" in answer.stderr and "(RuntimeError: no GPU here)" in answer.stderr
    answer = run("evaluate", "--cache", str(tiny_cache), *words[:2], "--metrics", "y", *words[4:], plugins=tmp_path)
    assert answer.returncode == 2 and "error: --metrics: the plug-in 'json:JSONDecoder'" in answer.stderr
