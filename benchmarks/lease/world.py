"""What the parts of a lease share: sizes, seeded networks, and caches without video, sound files or face detection."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # the other benchmarks

from dawn_cuda import released_widths, seeded

from dawn_bench.cache import INDEX_FILE, OK, SCHEMA_VERSION, SETTINGS_FILE, Cache
from dawn_bench.config import resolve_config
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.pipelines.preparation.shards import ShardWriter


@dataclass(frozen=True)
class Lease:
    """Where a part runs, in which sizes, and where it keeps its files. `seconds` is its limit."""

    device: str
    tiny: bool
    folder: Path
    reference: Path
    seconds: float
    pretended: bool = False

    @property
    def side(self) -> int:
        """Side of the pictures in pixels."""
        return 32 if self.tiny else 128


def say(line: str) -> None:
    """Print one line, now."""
    print(line, flush=True)


#: The widths of the shortest run: overrides of the small presets.
TINY_A2V = {"dim": 8, "dim_mults": (1, 2), "heads": 2, "head_dim": 4, "cross_heads": 2, "cross_head_dim": 4}
_A2V = ("model.dim=8", "model.dim_mults=[1,2]", "model.heads=2", "model.head_dim=4", "model.norm_groups=4",
        "loop.batch_size=2", "frames=4", "min_frames=null")  # fmt: skip
TINY_STAGES: Mapping[str, tuple[str, ...]] = {
    "lfg": ("loop.batch_size=2",),
    "a2v-1": _A2V,
    "a2v-2": _A2V,
    "pbnet": ("loop.batch_size=2", "frames=24"),
    "diffspeaker": ("loop.batch_size=2", "frames=8"),
    "vqgan-face": ("loop.batch_size=2",),
    "vqgan-masked": ("loop.batch_size=2",),
    "dit": ("loop.batch_size=2", "scale_frames=2"),
}
#: The preset of each model that a lease measures, and that of a tiny one.
PRESETS = {"dawn": ("dawn-128", "small"), "dit-head": ("paper", "tiny"), "diffspeaker": ("vocaset-hubert", "tiny")}
#: Every training stage, as `model:stage`.
STAGES = (
    *("dawn:lfg", "dawn:a2v-1", "dawn:a2v-2", "dawn:pbnet"),
    *("dit-head:vqgan-face", "dit-head:vqgan-masked", "dit-head:dit", "diffspeaker:diffspeaker"),
)
#: Settings of stages that train without files that nobody may pass on: no published weights, no colours by chance.
_ALONE = {
    "lfg": ("perceptual=seeded", "flip=false"),
    "vqgan-face": ("perceptual=seeded", "flip=false"),
    "vqgan-masked": ("perceptual=seeded", "flip=false"),
    "diffspeaker": ("pretrained=false", "own_subjects=true"),
}
_NO_JITTER = ("jitter.brightness=0", "jitter.contrast=0", "jitter.saturation=0", "jitter.hue=0")


def settings_of(lease: Lease, model: str, stage: str, *changes: str) -> tuple[Any, Cache]:
    """The settings of a model and its cache, with `changes` of one stage."""
    cache = Cache(cache_of(lease, model))
    preset = MODELS[model].preset(PRESETS[model][lease.tiny])
    overrides = [] if model != "dawn" else [f"{stage_key(s)}.{c}" for s in ("lfg", "a2v-1") for c in _NO_JITTER]
    for name in MODELS[model].stages:
        if getattr(preset, stage_key(name)) is None:
            continue
        chosen = [*_ALONE.get(name, ()), *(TINY_STAGES.get(name, ()) if lease.tiny else ())]
        chosen += list(changes) if name == stage else []
        if name == "a2v-2" and model == "dawn":
            chosen += _NO_JITTER
        overrides += [f"{stage_key(name)}.{change}" for change in chosen]
    return MODELS[model].fit_to_cache(resolve_config(preset, overrides=overrides), cache), cache


def build_stage(lease: Lease, model: str, name: str, *changes: str, run: Path | None = None) -> Any:
    """A stage; those before it are written without training where their models are missing in the folder `run`."""
    run = run or lease.folder / f"run-{model}"
    settings, cache = settings_of(lease, model, name, *changes)
    spec = MODELS[model]
    for earlier in spec.stages:
        if earlier == name:
            break
        path = run / earlier / "model.safetensors"
        if earlier in {"pbnet", "a2v-ttr"} or path.is_file() or getattr(settings, stage_key(earlier)) is None:
            continue
        stage = spec.stage(earlier)(cache, settings, run=run, seed=0, device=lease.device)
        path.parent.mkdir(parents=True, exist_ok=True)
        stage.save(path, {**spec.facts(cache), "stage": earlier, "steps": 0, "model": model})
    return spec.stage(name)(cache, settings, run=run, seed=0, device=lease.device)


def talker(lease: Lease) -> DawnGenerator:
    """DAWN with seeded weights, at the released widths or tiny ones."""
    torch.manual_seed(0)  # for what is not filled: the encoder of the face mask
    if not lease.tiny:
        return released_widths(lease.side, device=lease.device)
    from dawn_bench.models.dawn.a2v import A2VFDM
    from dawn_bench.models.dawn.a2v_config import A2VConfig
    from dawn_bench.models.dawn.lfg import LFG, HourglassConfig, LFGConfig
    from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig

    small = HourglassConfig(block_expansion=4, max_features=8, num_blocks=2)
    parts = {"region": small, "flow": small, "background": small}
    lfg = LFG(LFGConfig.reference(num_regions=2, block_expansion=4, max_features=16, num_bottleneck_blocks=1, **parts))
    a2v = A2VFDM(A2VConfig.fixed(**TINY_A2V, audio_dim=16, source_dim=lfg.config.latent_channels))
    pbnet = PBNet(PBNetConfig.fixed(audio_dim=16, audio_latent_dim=16, pose_latent_dim=8, latent_dim=8, head_dim=4))
    return seeded(lfg, a2v, pbnet, size=lease.side, device=lease.device)


def cache_of(lease: Lease, model: str) -> Path:
    """A cache that a model trains on; written at the first call."""
    meshes = MODELS[model].modality == "mesh"
    root = lease.folder / ("meshes" if meshes else "faces")
    if (root / SETTINGS_FILE).is_file():
        return root
    clips = [_mesh(lease, n) if meshes else _face(lease, n) for n in range(4)]
    ids, rows = [f"c{n}" for n in range(len(clips))], []
    root.mkdir(parents=True, exist_ok=True)
    with ShardWriter(root, number=0, ids=ids) as writer:
        for name, clip in zip(ids, clips, strict=True):
            writer.begin(name)
            for field, values in clip.items():
                writer.append(field, values)
            stored = {f"{f}.{k}": v for f, entry in writer.finish().items() for k, v in entry.items()}
            length = len(clip["vertices" if meshes else "frames"])
            rows.append({"id": name, "speaker": name, "split": "train", "n_frames": length} | stored)
            rows[-1] |= {"status": OK, "reason": "", "detail": ""}
        writer.close()
    pd.DataFrame(rows).to_parquet(root / INDEX_FILE)
    facts = {"schema": SCHEMA_VERSION, "dataset": "lease", "size": lease.side, "fps": 30 if meshes else 25}
    (root / SETTINGS_FILE).write_text(json.dumps(facts))
    return root


def _face(lease: Lease, number: int) -> dict[str, np.ndarray]:
    """A clip of smooth noise with the tracks of a head."""
    rng, side, frames = np.random.default_rng(number), lease.side, 30 if lease.tiny else 220
    coarse = torch.from_numpy(rng.random((1, 3, frames // 8 + 2, 8, 8), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (frames, side, side), mode="trilinear")[0].permute(1, 2, 3, 0)
    points = (0.5 + 0.25 * rng.standard_normal((68, 2)).clip(-1, 1)) * side + np.zeros((frames, 1, 1))
    encoders = {"logmel": 80} if lease.tiny else {"hubert": 1024, "wav2vec2": 768}
    points[:, 48:] = (0.4 + 0.2 * rng.random((20, 2))) * side
    return {
        "frames": (smooth.numpy() * 255).astype(np.uint8),
        "audio": rng.integers(-9000, 9000, frames * 640).astype(np.int16),
        **{name: rng.standard_normal((frames, width)).astype(np.float16) for name, width in encoders.items()},
        "pose": rng.standard_normal((frames, 7)).astype(np.float32),
        "blink": rng.random((frames, 2)).astype(np.float32),
        "landmarks": points.astype(np.float32),
        "bbox": np.concatenate([points.min(1), points.max(1)], 1).astype(np.float32),
        "valid": np.ones(frames, bool),
    }


def _mesh(lease: Lease, number: int) -> dict[str, np.ndarray]:
    rng, frames, vertices = np.random.default_rng(number), 12 if lease.tiny else 120, 5 if lease.tiny else 5023
    template = rng.standard_normal((1, vertices, 3)).astype(np.float32)
    return {
        "vertices": template + 0.01 * rng.standard_normal((frames, vertices, 3)).astype(np.float32),
        "template": template,
        "audio": rng.integers(-9000, 9000, round(frames * 16000 / 30)).astype(np.int16),
        "lips": np.array([[0, 1]], np.int32),
        "upper": np.array([[3, 4]], np.int32),
    }
