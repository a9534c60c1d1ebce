"""Every writer of a finished file, as a function that brings a folder from one version to the next.

`tests/faults/test_durable.py` tries them, and finds the places of the product that are in none of these lists: a place
that gives a file its final name belongs into `WRITERS`, one that writes by other means into `OTHERWISE` of
`write_sites.py`, with the reason why that is no danger.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_tools import FakeTools
from fake_tools import write_video as write_fake_video
from micro import micro_train
from tiny_cache import write_tiny_cache
from weight_files import write_layout
from write_sites import LOSSY

from dawn_bench import hashes, weights, weights_add, weights_fetch
from dawn_bench.baselines.base import Generated, Item
from dawn_bench.baselines.mesh_files import draw_mesh, write_mesh
from dawn_bench.baselines.outputs import produce
from dawn_bench.clip import Clip
from dawn_bench.config import Config
from dawn_bench.errors import ItemError
from dawn_bench.files import write_atomic
from dawn_bench.metrics.scoring import matching
from dawn_bench.metrics.scoring.feature_cache import FeatureCache
from dawn_bench.models.checkpoint import save_checkpoint
from dawn_bench.models.generator import Generator, TalkingStream
from dawn_bench.pipelines.datasets.download import Video, download
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.meshes.write import is_to_be_written, write_meshes
from dawn_bench.pipelines.preparation.compact import compact
from dawn_bench.pipelines.preparation.export import export
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import Facts, GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.storage import writing
from dawn_bench.training.holdout import Holdout, write_holdout
from dawn_bench.training.logger import TrainingLogger, drop_after
from dawn_bench.training.resume import save_state, write_model
from dawn_bench.workflow import quickstart
from dawn_bench.workflow.generate import Generation
from dawn_bench.workflow.generate_list import ClipJob
from dawn_bench.workflow.own_inputs import export_inputs
from dawn_bench.workflow.reproduced import Reproduced
from dawn_bench.workflow.spent import Spent

#: Logs, by the ends of their names; see `OTHERWISE`.
LOGS = ("items.jsonl", "metrics.jsonl", "validation.jsonl", "gallery.jsonl")


@dataclass(frozen=True)
class Writer:
    """`write(folder, version)` brings a folder from version 0, or nothing, to version 1.

    Args:
        sites: the functions of the product that give files their names in it, as `path:function`.
        names: patterns of the finished files of version 1, in the order in which they get their names: all of the
            first before any of the second.
        tried: whether it is killed and failed at every operation; else it takes too long.
        every: at how many of its operations: at each, each second, ...
        same: whether the bytes of version 1 are always the same.
        sweeps: whether the next run removes what a killed one left.
    """

    write: Callable[[Path, int], None]
    sites: tuple[str, ...]
    names: tuple[str, ...]
    tried: bool = True
    every: int = 1
    same: bool = True
    sweeps: bool = False

    @property
    def lossy(self) -> bool:
        return set(self.sites) <= set(LOSSY)


class Settings(Config):
    """Any settings."""

    value: int = 0


FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
SOUND = np.arange(3 * 640, dtype=np.int16)
NETWORK = "vgg19"


def _module(version: int) -> torch.nn.Linear:
    torch.manual_seed(version)
    return torch.nn.Linear(40, 40)


def _checkpoint(folder: Path, version: int) -> None:
    save_checkpoint(folder / "m.safetensors", _module(version), config=Settings(), kind="x", provenance={})


def _state(folder: Path, version: int) -> None:
    module = _module(version)
    save_state(folder / "state.pt", version, module, [torch.optim.AdamW(module.parameters())], None, {})


def _model_again(folder: Path, version: int) -> None:
    def save(path: Path) -> None:
        save_checkpoint(path, _module(version), config=Settings(), kind="x", provenance={"steps": 1})

    write_model(folder / "model.safetensors", save, steps=1, finished=version == 1)


def _best(folder: Path, version: int) -> None:
    logger = TrainingLogger.__new__(TrainingLogger)
    logger.out, logger.best = folder, None
    logger.save = lambda path, module, step: save_checkpoint(
        path, module, config=Settings(), kind="x", provenance={"steps": step}
    )
    logger._note_best(_module(version), version, "psnr", {"psnr": float(version)}, split="val", smaller=False)


def _log(folder: Path, version: int) -> None:
    log = folder / "curve.txt"
    if not version:
        log.write_text("".join(f'{{"step": {k}}}\n' for k in range(9)))
    drop_after(log, 9 - 3 * version)


class _Talks(Generator):
    """Frames that depend on the seed alone."""

    def stream(self, image: object, audio: object, *, seed: int = 0, **_: object) -> TalkingStream:
        return TalkingStream(iter([FRAMES + np.uint8(seed)]), len(FRAMES), SOUND, 25)


def _listed(folder: Path, version: int) -> None:
    """One clip of a list and its record."""
    clip = Generation(audio=Path("a.wav"), out=folder / "a.mp4", checkpoint=Path("run"), seed=version)
    ClipJob(2, clip, f"key {version}")._written(_Talks())


def _training(folder: Path, version: int) -> None:
    if not (folder / "cache").exists():
        write_tiny_cache(folder / "cache", splits=("train", "train"))
    if version:
        micro_train(folder / "cache", folder / "run", stage="pbnet")


def _prepare(folder: Path, version: int) -> None:
    for k in range(1 + version):
        write_fake_video(folder.parent / "v" / f"{k}.mp4", frames=3, value=k)
    settings = PrepareSettings(size=32, extract=("pose", "late")[: 1 + version])
    prepare(folder.parent / "v", folder / "c", settings, tools=FakeTools())


def _compact(folder: Path, version: int) -> None:
    if version:
        compact(folder / "c")
        return
    for clips in range(2):
        write_fake_video(folder.parent / "v" / f"{clips}.mp4", frames=3, value=clips)
        prepare(folder.parent / "v", folder / "c", PrepareSettings(size=32, extract=("pose",)), tools=FakeTools())


def _export(folder: Path, version: int, *, form: str = "files") -> None:
    if not version:
        write_tiny_cache(folder / "c", frames=3, splits=("train", "test"))
    else:
        export(folder / "c", folder / "out", format=form)  # type: ignore[arg-type]


def _parts(folder: Path, version: int) -> None:
    with Spent(folder / "timings.json").part(f"part {version}"):
        pass


def _inputs(folder: Path, version: int) -> None:
    if not version:
        write_tiny_cache(folder / "c", frames=3, splits=("train", "test"))
    else:
        export_inputs(folder / "c", folder / "out")


def _produce(folder: Path, version: int) -> None:
    class Method:
        name, method_class, licence, uses, fingerprint = "m", "portrait", "", (), str(version)

        def generate(self, item: Item) -> Generated:
            return Generated(FRAMES + np.uint8(version), SOUND)

    arrays = {"frames": FRAMES, "audio": SOUND}
    produce(Method(), [Clip(f"c{k}", "s", "test", 3, arrays) for k in range(2)], folder, seed=0)  # type: ignore[arg-type]


def _mesh(folder: Path, version: int) -> None:
    template = np.random.default_rng(0).normal(size=(1, 600, 3)).astype(np.float32)
    clip = Clip("a", "s", "test", 3, {"template": template, "audio": SOUND})
    write_mesh(folder / "a.npy", np.repeat(template, 3, 0)[None] + np.float32(0.001 * version), clip)
    draw_mesh(folder / "a.npy", clip, folder / "drawn.mp4")


def _features(folder: Path, version: int) -> None:
    cache = FeatureCache(folder)
    cache.put("fid", "1", "key", {"x": np.full((40, 40), version)})
    cache.put_failure("fid", "1", "other", ItemError("no_face", f"{version}"))
    cache.flush()


def _matched(folder: Path, version: int) -> None:
    video = folder / ".given.mp4"
    if not video.exists():
        write_video(video, FRAMES, lossless=True)
    clip = Clip("a", "s", "test", 3 - version, {"frames": FRAMES[: 3 - version]})
    matcher = matching.Matcher(folder=folder)
    matcher(matching.FileLoad(video, lambda: clip), clip)
    matcher.flush()


def _score(version: int) -> ScoreRow:
    return ScoreRow(method="m", dataset="d", split="s", protocol="p", metric="psnr", value=version, n_clips=1,
                    n_frames=1, fingerprint="f", created="2026-01-01T00:00:00+00:00")  # fmt: skip


def _store(folder: Path, version: int) -> None:
    outside = folder.parent / f"{folder.name}-outside"
    outside.mkdir(exist_ok=True)
    (outside / "log.jsonl").write_text(json.dumps({"step": version}))
    (outside / f"{version}.mp4").write_bytes(b"video %d" % version)
    store = ResultsStore(folder)
    store.add_gallery([GalleryItem(clip_id="a", method="m", video=outside / f"{version}.mp4")])
    store.set_facts(Facts(title=f"{version}", curves={"s": outside / "log.jsonl"}))


def _report(folder: Path, version: int) -> None:
    if not (folder / "r" / "rows").exists():
        ResultsStore(folder / "r").append([_score(3)])
    ResultsStore(folder / "r").set_facts(Facts(title=f"title {version}"))
    write_report(folder / "r", folder / "report", formats=("md", "csv", "json", "latex", "html")[: 4 + version])


def _added(folder: Path, version: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(weights.ENVIRONMENT, str(folder))
        given = write_layout(folder.parent / "given" / weights.entry(NETWORK).file, NETWORK, version + 1)
        weights_add.add(given, replace=True)


def _fetched(folder: Path, version: int, *, packed: bool = False) -> None:
    data = bytes([65 + version]) * 6000
    sent, facts = data, {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "url": "https://x/y"}
    if packed:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("net.pth", data)
        sent = buffer.getvalue()
        facts |= {"member": "net.pth", "archive_sha256": hashlib.sha256(sent).hexdigest()}
    entry = replace(weights.entry(NETWORK), mirrors=(), **facts)

    def transfer(url: str, partial: Path, **other: object) -> bool:
        with writing(partial):
            partial.write_bytes(sent)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(weights.ENVIRONMENT, str(folder))
        patch.setattr(weights, "WEIGHTS", [entry])
        patch.setattr(weights_fetch, "transfer", transfer)
        weights_fetch.download(NETWORK)


def _noted(folder: Path, version: int) -> None:
    folder.chmod(0o700)
    given = folder.parent / "given.bin"
    given.write_bytes(b"x" * (version + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "notes_folder", lambda: folder)
        hashes.known_hashes(given)


def _downloaded(folder: Path, version: int) -> None:
    def fetch(video: Video, to: Path) -> None:
        if video.name == "gone":
            raise ItemError("removed", f"{version}")
        write_atomic(to / f"{video.stem}.mp4", b"video")

    download([Video("a", "1", None), Video("gone", "2", None)][: 2 * version], folder, fetch=fetch)


class _EnoughError(Exception):
    """The quickstart came as far as the test looks."""


def _quickstart(folder: Path, version: int) -> None:
    def dataset(root: Path, **other: object) -> None:
        root.mkdir(exist_ok=True)
        write_video(root / "a.mp4", FRAMES)

    def prepared(*given: object, **other: object) -> None:
        raise _EnoughError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart, "write_embedded", dataset)
        patch.setattr(quickstart, "prepare", prepared)
        try:
            if version:
                quickstart.run_quickstart(folder, quickstart.plan_for("tiny", seed=0), jobs=1, device="cpu")
        except _EnoughError:
            return


def _embedded(folder: Path, version: int) -> None:
    if version:
        write_embedded(folder, speakers=1, clips=1, seconds=1, size=96, seed=0, jobs=1)


def _meshes(folder: Path, version: int) -> None:
    if version and is_to_be_written(folder):
        write_meshes(folder, subjects=1, train=1, test=1, seconds=1.0)


_PLAN, _FILES = "pipelines/preparation/plan.py", "pipelines/preparation"
_VIDEO = "pipelines/media/video.py:write_video"
WRITERS = {
    "settings": Writer(
        lambda folder, version: Settings(value=version).to_yaml(folder / "s.yaml"),
        ("dawn_bench/config.py:Config.to_yaml",),
        ("s.yaml",),
    ),
    "checkpoint": Writer(
        _checkpoint, ("dawn_bench/models/checkpoint.py:save_checkpoint",), ("m.safetensors",), same=False),
    "state": Writer(_state, ("dawn_bench/training/resume.py:save_state",), ("state.pt",), same=False),
    "model again": Writer(
        _model_again, ("dawn_bench/training/resume.py:write_model",), ("model.safetensors",), same=False),
    "best": Writer(
        _best,
        ("dawn_bench/training/logger.py:TrainingLogger._note_best",), ("best.safetensors", "best.json"),
        same=False
    ),
    "held-out clips": Writer(
        lambda folder, version: write_holdout(folder / "s", Holdout(clips=("a", "b")[: version + 1])),
        ("dawn_bench/training/holdout.py:write_holdout",),
        ("s/*.json",),
    ),
    "times of parts": Writer(
        _parts, ("dawn_bench/workflow/spent.py:Spent.part",), ("timings.json",), same=False),
    "training log": Writer(_log, ("dawn_bench/training/logger.py:drop_after",), ("curve.txt",)),
    "training": Writer(
        _training,
        ("dawn_bench/training/loop.py:_write_folder", "dawn_bench/workflow/train.py:train"),
        ("run/settings-*.yaml", "run/*/config.yaml", "run/*/state.pt", "run/*/model.safetensors"),
        tried=False,
    ),
    "cache": Writer(
        _prepare,
        (
            f"{_FILES}/shards.py:_FieldFile.close", f"{_PLAN}:CachePlan.save", f"{_PLAN}:write_part",
            f"{_FILES}/index.py:write_index",
        ),
        ("c/plan.json", "c/frames/*", "c/parts/?????.json", "c/late/*-00000.*", "c/parts/late/00000.json",
         "c/late/*-00001.*", "c/parts/late/00001.json", "c/index.parquet",
         "c/cache.json"),
        every=9,
        sweeps=True,
    ),
    "compacted cache": Writer(
        _compact,
        (
            f"{_FILES}/compact.py:compact", f"{_FILES}/compact.py:_begin", f"{_FILES}/compact.py:_merge",
            f"{_FILES}/compact.py:_rewrite_index", f"{_FILES}/shards.py:merge_shards", f"{_PLAN}:CachePlan.save",
        ),
        ("c/parts/.compacting/intent.json", "c/frames/*-00002.*", "c/parts/.compacting/00002.json",
         "c/parts/.compacting/plan.json", "c/plan.json", "c/index.parquet"),
        tried=False,  # `test_a_run_that_was_stopped_anywhere_goes_on`
    ),
    "export of files": Writer(_export, (f"{_FILES}/export.py:export",), ("out/c?",), every=7, sweeps=True),
    "export of tars": Writer(
        lambda folder, version: _export(folder, version, form="webdataset"),
        (f"{_FILES}/export.py:export",),
        ("out/*.tar",),
        sweeps=True,
    ),
    "inputs": Writer(
        _inputs,
        tuple(f"dawn_bench/workflow/own_inputs.py:{n}" for n in ("export_inputs", "_claim", "_fill", "_write_picture")),
        ("out/inputs.json", "out/c1", "out/clips.csv"),
        tried=False,  # `test_a_stopped_export_goes_on_and_no_clip_is_written_twice`
    ),
    "outputs": Writer(_produce, (_VIDEO,), ("m/c0.mp4", "m/items.jsonl")),
    "listed clip": Writer(
        _listed,
        (_VIDEO, "dawn_bench/workflow/generate_list.py:ClipJob._written"),
        ("a.mp4", "a.mp4.json"),
        sweeps=True,
    ),
    "mesh": Writer(_mesh, ("pipelines/meshes/files.py:write_npy", _VIDEO), ("a.npy", "drawn.mp4")),
    "sound": Writer(
        lambda folder, version: write_wav(folder / "a.wav", SOUND + np.int16(version)),
        ("pipelines/media/audio.py:write_wav",),
        ("a.wav",),
    ),
    "features": Writer(
        _features, ("metrics/scoring/shards.py:_write",), ("*/*.shard.safetensors",),
    ),
    "matched outputs": Writer(_matched, ("metrics/scoring/shards.py:_write",), ("*.shard.safetensors",)),
    "gallery and facts": Writer(
        _store,
        tuple(f"reports/store.py:ResultsStore.{name}" for name in ("_kept", "_kept_curve", "_write")),
        ("gallery/m/a.mp4", "gallery.json", "curves/s.jsonl", "facts.json"),
    ),
    "report": Writer(_report, ("reports/page.py:_write",), ("report/report.md",), tried=False),
    "table": Writer(
        lambda folder, version: Reproduced(3, f"title {version}", ("psnr",)).write(folder),
        ("dawn_bench/workflow/reproduced.py:Reproduced.write",),
        ("table3.md", "table3.json"),
    ),
    "weights added": Writer(_added, ("dawn_bench/weights_add.py:add",), (weights.entry(NETWORK).file,)),
    "weights fetched": Writer(_fetched, ("dawn_bench/weights_fetch.py:download",), (weights.entry(NETWORK).file,)),
    "weights unpacked": Writer(
        lambda folder, version: _fetched(folder, version, packed=True),
        ("dawn_bench/weights_fetch.py:_unpack",),
        (weights.entry(NETWORK).file,),
    ),
    "hashes": Writer(_noted, ("dawn_bench/hashes.py:known_hashes",), ("*.json",), same=False),
    "downloads": Writer(_downloaded, ("pipelines/datasets/download.py:write_log",), ("a [[]1].mp4", "*.tsv")),
    "quickstart": Writer(
        _quickstart,
        ("dawn_bench/workflow/quickstart.py:_claim", "dawn_bench/workflow/quickstart.py:_dataset"),
        ("quickstart.json", "dataset/a.mp4", "dataset/complete"),
        sweeps=True,
    ),
    "embedded clips": Writer(
        _embedded,
        ("pipelines/synthetic/write.py:write_embedded", "pipelines/synthetic/write.py:_render_clip"),
        ("VideoFlash/*.mp4", "AudioWAV/*.wav", "truth/*.npz", "*.csv", "README.txt"),
        tried=False,
    ),
    "embedded meshes": Writer(
        _meshes,
        ("pipelines/meshes/write.py:write_meshes", "pipelines/meshes/write.py:_write_ply",
         "pipelines/meshes/files.py:write_npy"),
        ("vertices_npy/*.npy", "templates.pkl", "README.txt"),
        every=13,
    ),
}  # fmt: skip
