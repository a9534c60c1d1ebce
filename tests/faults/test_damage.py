"""Every file of a cache, a run and a results folder, damaged in seeded ways: readers answer, or raise one line.

The guard for the whole kind: nothing but `InputError` and `ItemError` may leave a reader, whatever the bytes are.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fake_tools import FakeTools, write_video
from micro import micro_settings, micro_train
from safetensors.torch import load_file, save_file
from tiny_cache import write_tiny_cache
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_leaves

from dawn_bench.baselines.external.adapter import installs
from dawn_bench.baselines.outputs import Output, append_item, read_items
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError, ItemError
from dawn_bench.job import read_job
from dawn_bench.metrics.scoring.feature_cache import FeatureCache
from dawn_bench.models.checkpoint import load_checkpoint, read_metadata, save_checkpoint
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig
from dawn_bench.models.notes import training_notes
from dawn_bench.models.spec import MODELS
from dawn_bench.pipelines.preparation.maintain import stats, verify
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.readers import DamageError
from dawn_bench.reports.store import Facts, GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.training.logger import drop_after, read_best
from dawn_bench.training.resume import claim, restore, save_state
from dawn_bench.training.signals import loss_falls
from dawn_bench.workflow.evaluate import evaluate_methods
from dawn_bench.workflow.evaluation import Evaluation

#: Seeds for each file; each seed is one kind of damage at one place.
SEEDS = range(24)


def damage(data: bytes, seed: int) -> bytes:
    """`data` damaged in one of a dozen ways."""
    rng = random.Random(seed)
    at = rng.randrange(max(1, len(data)))
    kinds: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: data[:at],
        lambda: data[: len(data) // 2],
        lambda: data[:at] + rng.randbytes(8) + data[at + 8 :],
        lambda: rng.randbytes(len(data)),
        lambda: bytes(len(data)),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode("latin-1").encode("utf-16"),
        lambda: b"[" * 100_000,
        lambda: b"null",
        lambda: b"[1, NaN, -Infinity, 1e999, " + b"9" * 5000 + b"]",
        lambda: b'{"a": ' * 50_000,
        lambda: _other_value(data, rng),
        lambda: _other_value(data, rng),
        lambda: _other_value(data, rng),
        lambda: _without(data, rng),
        lambda: data[at:] + data[:at],
        lambda: data + data,
        lambda: b"a: [1,\n\xff\xfe",
        lambda: (len(data) * 1000).to_bytes(8, "little") + data[8:],
        lambda: (2**63).to_bytes(8, "little") + data[8:],
        lambda: data.replace(b"shape", b"shapf", 1).replace(b"F32", b"F31", 1),
        lambda: data.replace(b"[0,", b"[9,", 1),
        lambda: _other_value(data, rng),
    ]
    return kinds[seed % len(kinds)]()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from _places(value[key], (*path, key))


def _edited(data: bytes, rng: random.Random, edit: Callable[[Any, Any], None]) -> bytes:
    """JSON, or the first line of JSON lines, with one entry changed; other bytes as they are."""
    head, separator, rest = data.partition(b"\n") if data.count(b"\n{") else (data, b"", b"")
    try:
        content = json.loads(head)
        place = rng.choice(list(_places(content)))
    except (ValueError, IndexError):
        return data[: len(data) // 3]
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    edit(inner, place[-1])
    return json.dumps(content).encode() + separator + rest


def _other_value(data: bytes, rng: random.Random) -> bytes:
    values = (None, [], {}, "x", -1, 10**400, 1.5, float("nan"), True, [[[]]], {"a": {"b": 1}}, "../../x", "~")

    def edit(inner: Any, key: Any) -> None:
        inner[key] = rng.choice(values)

    return _edited(data, rng, edit)


def _without(data: bytes, rng: random.Random) -> bytes:
    return _edited(data, rng, lambda inner, key: inner.pop(key))


def survives(read: Callable[[], object], where: str) -> InputError | None:
    """Run a reader; its error is one line of ours, or the damage was harmless."""
    try:
        read()
    except ItemError:
        return None
    except InputError as error:
        text = str(error)
        assert "\n" not in text and len(text) < 900, where
        assert "weights_only" not in text and "bug in dawn-bench" not in text, where
        return error
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    return None


def attack(folder: Path, files: list[str], read: Callable[[], object]) -> int:
    """Damage each file in every way and run the reader; the number of refusals."""
    refusals = 0
    for name in files:
        path = folder / name
        whole = path.read_bytes()
        for seed in SEEDS:
            path.write_bytes(damage(whole, seed))
            refusals += survives(read, f"{name}, seed {seed}") is not None
        path.unlink()
        survives(read, f"{name}, absent")
        path.write_bytes(whole)
    read()  # whole again
    return refusals


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_tiny_cache(tmp_path / "cache", size=16, frames=6, splits=("train", "test"))


def _read_all(root: Path) -> None:
    cache = Cache(root)
    for clip in cache:
        for field in clip.fields:
            np.asarray(clip[field])
    stats(root)


def test_a_cache(small: Path) -> None:
    files = ["cache.json", "index.parquet", "frames/frames-00000.safetensors", "pose/pose-00000.safetensors"]
    assert attack(small, files, lambda: _read_all(small)) > 40
    attack(small, files, lambda: verify(small))


def test_damaged_pixels_of_packed_frames_name_the_shard(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "a.mp4", frames=12, value=1)
    settings = PrepareSettings(size=32, extract=("pose",), frames="lossless")
    prepare(tmp_path / "v", tmp_path / "c", settings, tools=FakeTools())
    (name,) = (p.relative_to(tmp_path / "c").as_posix() for p in (tmp_path / "c" / "frames").iterdir())
    assert attack(tmp_path / "c", [name], lambda: _read_all(tmp_path / "c")) > 8
    shard = tmp_path / "c" / name
    data = bytearray(shard.read_bytes())
    data[-5000:-2000] = bytes(3000)
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"frames-00000\.safetensors: .*cache verify"):
        _read_all(tmp_path / "c")


@pytest.mark.parametrize("field", ["frames", "audio", "landmarks"])
def test_true_clips_of_other_content_are_not_scored(field: str, small: Path, tmp_path: Path) -> None:
    """Scores and outputs are stored under the hashes of the index: they would stay wrong when the cache is mended."""
    job = Evaluation(cache=small, out=tmp_path / "r", methods=("still",), metrics=("psnr",), sanity=False, device="cpu")
    shard = small / field / f"{field}-00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9] + bytes([whole[-9] ^ 16]) + whole[-8:])
    with pytest.raises(DamageError, match=rf"{field} of clip c1: checksum differs in {shard.name}.*cache verify"):
        evaluate_methods(job)
    assert not job.out.exists()
    shard.write_bytes(whole)
    score = evaluate_methods(job).rows[0].value
    index = pd.read_parquet(small / "index.parquet")
    index.drop(columns=[c for c in index.columns if c.endswith(".sha256")]).to_parquet(small / "index.parquet")
    assert evaluate_methods(job).rows[0].value == score


@pytest.mark.parametrize("column", ["id", "n_frames", "status", "frames.shard", "frames.key", "frames.shape", "split"])
@pytest.mark.parametrize("value", [None, 7, "x", -1.5, [1]], ids=str)
def test_an_index_of_other_types(column: str, value: object, small: Path) -> None:
    index = pd.read_parquet(small / "index.parquet")
    index[column] = [value] * len(index)
    index.to_parquet(small / "index.parquet")
    survives(lambda: _read_all(small), column)
    survives(lambda: verify(small), column)
    index.drop(columns=column).to_parquet(small / "index.parquet")
    survives(lambda: _read_all(small), column)
    survives(lambda: verify(small), column)


def test_verify_lists_every_fault_in_place_of_dying(small: Path) -> None:
    index = pd.read_parquet(small / "index.parquet")
    pd.concat([index, index[:1]]).to_parquet(small / "index.parquet")
    (small / "cache.json").write_text("{")
    (small / "pose/pose-00000.safetensors").write_bytes(b"\xff" * 100)
    faults = {(clip, field): what for clip, field, what in verify(small).faults}
    assert "not a readable" in faults["c1", "pose"] or "cannot be read" in faults["c1", "pose"]
    assert faults["c0", ""] == "is there 2 times" and "JSON" in faults["cache.json", ""]
    with pytest.raises(InputError, match=r"cache\.json: cannot be read as JSON"):
        Cache(small)
    (small / "index.parquet").write_bytes(b"")
    assert ("index.parquet", "") in {fault[:2] for fault in verify(small).faults}


def test_a_preparation_that_goes_on(tmp_path: Path) -> None:
    for k in range(2):
        write_video(tmp_path / "v" / f"{k}.mp4", frames=6, value=k)
    settings, cache = PrepareSettings(size=32, extract=("pose",)), tmp_path / "c"

    def again() -> None:
        prepare(tmp_path / "v", cache, settings, tools=FakeTools())

    again()
    kept = tmp_path / "kept"
    shutil.copytree(cache, kept)

    def once() -> None:
        try:
            again()
        finally:  # a damaged plan is extended, not repaired
            for name in ("plan.json", "parts/00000.json", "parts/00001.json"):
                damaged.setdefault(name, (cache / name).exists())

    damaged: dict[str, bool] = {}
    refusals = 0
    for name in ("plan.json", "parts/00000.json"):
        whole = (kept / name).read_bytes()
        for seed in SEEDS:
            shutil.rmtree(cache)
            shutil.copytree(kept, cache)
            (cache / name).write_bytes(damage(whole, seed))
            refusals += survives(once, f"{name}, seed {seed}") is not None
    assert refusals > 20


@pytest.fixture(scope="module")
def run(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("damage") / "run"
    micro_train(tiny_cache, out, "pbnet.loop.validate_every=2", stage="pbnet")
    return out


def test_a_run(run: Path, tiny_cache: Path, tmp_path: Path) -> None:
    """The readers that `--resume`, `generate` and the report go through, on every file of a stage."""
    shutil.copytree(run, tmp_path / "run")
    stage = tmp_path / "run" / "pbnet"
    cache = Cache(tiny_cache)
    settings = MODELS["dawn"].fit_to_cache(micro_settings("pbnet.loop.validate_every=2"), cache).pbnet
    (tmp_path / "copy.jsonl").write_bytes(damage((stage / "metrics.jsonl").read_bytes(), 3))

    def read() -> None:
        claim(stage, settings, resume=True)
        load_checkpoint(stage / "model.safetensors", "pbnet")
        training_notes(tmp_path / "run", title="x", main="pbnet", stages=("pbnet",))
        read_best(stage / "best.json")
        drop_after(tmp_path / "copy.jsonl", 2)
        loss_falls(tmp_path / "run", "pbnet")

    assert attack(stage, ["config.yaml", "model.safetensors", "best.json", "metrics.jsonl"], read) > 50


def test_a_state(tmp_path: Path) -> None:
    """Of a module with a moving average, after one step of AdamW: refused, or restored to the last bit.

    The archive pads its records and names them after the temporary file, so where a damaged byte lies differs by run.
    """

    def fresh() -> tuple[torch.nn.Module, list[torch.optim.Optimizer], AveragedModel]:
        module = torch.nn.Linear(7, 5)
        return module, [torch.optim.AdamW(module.parameters())], AveragedModel(module, use_buffers=True)

    module, optimizers, mean = fresh()
    module(torch.ones(1, 7)).sum().backward()
    optimizers[0].step()
    path = tmp_path / "state.pt"
    save_state(path, 4, module, optimizers, mean, {"seed": 0})
    data = path.read_bytes()

    def read() -> None:
        parts = fresh()
        assert restore(tmp_path, *parts, origin={"seed": 0}, steps=4) == 4
        again = tmp_path / "again.pt"
        save_state(again, 4, *parts, {"seed": 0})
        restored, saved = (tree_leaves(torch.load(file, weights_only=True)) for file in (again, BytesIO(data)))
        assert len(restored) == len(saved)
        assert all(
            torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(restored, saved, strict=True)
        )

    read()
    for seed in SEEDS:
        path.write_bytes(damage(data, seed))
        error = survives(read, f"state.pt, seed {seed}")
        assert error is None or "state.pt" in str(error), seed
        assert error is not None or seed in (3, *range(6, len(SEEDS))), seed
    path.write_bytes(data)
    edits: list[Callable[[dict[str, Any]], Any]] = [
        lambda s: s.pop("step"),
        lambda s: s.update(step="x"),
        lambda s: s.update(step=-1),
        lambda s: s.update(step=99),
        lambda s: s.update(origin=None),
        lambda s: s.update(module={}),
        lambda s: s.update(module=[1]),
        lambda s: s.update(optimizers=[]),
        lambda s: s["optimizers"][0].update(param_groups=[]),
        lambda s: s["optimizers"][0]["state"][0].update(exp_avg=torch.zeros(1)),
        lambda s: s["optimizers"][0]["state"][0].pop("exp_avg_sq"),
        lambda s: s["module"].update(dict.fromkeys(s["module"], torch.zeros(2, 2))),
        lambda s: s["module"].update(dict.fromkeys(s["module"], 3)),
        lambda s: s.update(average=None),
    ]
    for number, edit in enumerate(edits):
        path.write_bytes(data)
        state = torch.load(path, weights_only=True)
        edit(state)
        torch.save(state, path)
        assert survives(read, f"edit {number}") is not None, number
    path.write_bytes(data)
    read()


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_half_model_is_not_a_finished_one(kept: float, run: Path, tiny_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    model = tmp_path / "run" / "pbnet" / "model.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[: int(kept * len(whole))])
    micro_train(tiny_cache, tmp_path / "run", "pbnet.loop.validate_every=2", stage="pbnet", resume=True)
    assert _tensors(model) == _tensors(run / "pbnet" / "model.safetensors") and not list(model.parent.glob(".*.tmp"))
    assert load_checkpoint(model, "pbnet")[1]["steps"] == 4


def test_one_bit_of_a_finished_model_is_mended_from_the_state(run: Path, tiny_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    model = tmp_path / "run" / "pbnet" / "model.safetensors"
    whole = bytearray(model.read_bytes())
    model.write_bytes(whole[:-7] + bytes([whole[-7] ^ 4]) + whole[-6:])
    micro_train(tiny_cache, tmp_path / "run", "pbnet.loop.validate_every=2", stage="pbnet", resume=True)
    assert _tensors(model) == _tensors(run / "pbnet" / "model.safetensors")


def test_one_bit_of_a_model_that_is_only_loaded_is_told(tmp_path: Path) -> None:
    """Generation would go on with other weights; a file of an earlier version has no hash and is still read."""
    config = PBNetConfig.fixed(audio_dim=5, audio_latent_dim=8, pose_latent_dim=8, latent_dim=4, ff_size=8, head_dim=4)
    module, path = PBNet(config), tmp_path / "model.safetensors"
    save_checkpoint(path, module, config=config, kind="pbnet", provenance={})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in np.linspace(header, len(whole) - 1, 9).astype(int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamageError, match=r"model\.safetensors: is damaged: its content does not match its hash"):
            load_checkpoint(path, "pbnet")
    path.write_bytes(whole.replace(b'max_distance\\": 128', b'max_distance\\": 129', 1))
    assert path.read_bytes() != whole
    with pytest.raises(DamageError, match="its content does not match its hash"):
        load_checkpoint(path, "pbnet")
    path.write_bytes(whole)
    facts = {key: text for key, text in read_metadata(path).items() if key != "sha256"}
    save_file({key: tensor.clone() for key, tensor in module.state_dict().items()}, path, metadata=facts)
    assert load_checkpoint(path, "pbnet")[1] == {}


def _tensors(path: Path) -> dict[str, bytes]:
    return {key: tensor.numpy().tobytes() for key, tensor in load_file(path).items()}


def test_a_trained_model_without_its_state_is_never_overwritten(run: Path, tiny_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "pbnet" / "state.pt").unlink()
    model = tmp_path / "run" / "pbnet" / "model.safetensors"
    before = model.read_bytes()
    for resume, message in ((False, "already holds a training run"), (True, r"no state\.pt to continue from")):
        with pytest.raises(InputError, match=message):
            micro_train(tiny_cache, tmp_path / "run", "pbnet.loop.validate_every=2", stage="pbnet", resume=resume)
    assert model.read_bytes() == before


def _row(**changes: Any) -> ScoreRow:
    facts = {"method": "m", "dataset": "d", "split": "test", "protocol": "p", "metric": "psnr", "value": 1.0}
    return ScoreRow.model_validate(facts | {"n_clips": 1, "n_frames": 9, "fingerprint": "f"} | changes)


def test_a_results_folder(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    store.append([_row(), _row(metric="ssim")])
    store.add_gallery([GalleryItem(clip_id="c", method="m", video=tmp_path / "c.mp4")])
    (tmp_path / "curve.jsonl").write_text('{"step": 1, "total": 2.0}\n{"step": 2, "total": 1.0}\n')
    store.set_facts(Facts(title="t", notes=["n"], curves={"s": tmp_path / "curve.jsonl"}, timings={"a": 1.0}))
    for clip in ("a", "b"):
        append_item(tmp_path, Output(clip, "ok", tmp_path / f"{clip}.mp4", 1.0, "key", facts={"takes": 2}))
    rows = str(next((tmp_path / "rows").iterdir()).relative_to(tmp_path))

    def read() -> None:
        fresh = ResultsStore(tmp_path)
        fresh.rows(), fresh.gallery()
        for curve in fresh.facts().curves.values():
            fresh.curve(curve)
        assert all(output.takes >= 1 for output in read_items(tmp_path).values())

    assert attack(tmp_path, ["gallery.json", "facts.json", "curve.jsonl", "items.jsonl", rows], read) > 20


def test_cached_features_count_as_absent(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.put("f", "1", "a", {"x": np.ones((3, 2), np.float32)})
    cache.put_failure("f", "1", "b", ItemError("no_face", "none"))
    cache.flush()

    def read() -> None:
        cache = FeatureCache(tmp_path)
        for key in ("a", "b"):
            try:
                arrays = cache.get("f", "1", key)
            except ItemError as error:
                assert isinstance(error.reason, str)
            else:
                assert arrays is None or all(np.asarray(v).dtype.kind in "fiub" for v in arrays.values())

    (shard,) = (tmp_path / "f-1").iterdir()
    assert attack(tmp_path / "f-1", [shard.name], read) == 0


#: Each of these ended as a fault of dawn-bench.
YAML = [
    "a: [1,", "[" * 3000, "a: !!python/object/apply:os.system [ls]", "a: 2026-13-45", "a: !!int ''", "a: !!bool no!",
    "a: !!timestamp x", "? [1]\n: 2", "&a [*a]", "a: 1" + "0" * 5000, "\ta: 1", "a: b: c", "a: \x00", "- 1", "7",
    "&a [x, x, x, x, x, x, x, x, x, x]\n", "a: &a {b: *a}", "<<: 3",
    "\n".join(["a0: &a0 [1, 1]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 40))]),
]  # fmt: skip


@pytest.mark.parametrize("text", YAML, ids=range(len(YAML)))
def test_yaml(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    error = survives(lambda: installs(path), text[:30])
    assert error is None or str(path) in str(error)
    needed = {"cache": "c", "out": "o"}
    error = survives(lambda: read_job(Evaluation, needed, file=path), text[:30])
    assert error is not None and str(path) in str(error)
    for flags, overrides in (({"options": [f"a={text}"]}, ()), ({}, (f"options={text}",)), ({}, (f"seed={text}",))):
        survives(lambda f=flags, o=overrides: read_job(Evaluation, needed | f, overrides=o), text[:30])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_text_of_another_encoding_is_named_and_a_byte_order_mark_is_not_minded(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("note: Müller\n", encoding=encoding)
    with pytest.raises(InputError, match=r"x\.yaml: .*UTF-8"):
        read_job(Evaluation, {"cache": "c", "out": "o"}, file=path)
    path.write_text("seed: 3\n", encoding="utf-8-sig")
    assert read_job(Evaluation, {"cache": "c", "out": "o"}, file=path)[0].seed == 3


def test_verify_lists_a_shard_elsewhere_and_does_not_open_it(small: Path) -> None:
    index = pd.read_parquet(small / "index.parquet")
    index.loc[0, "pose.shard"] = "../elsewhere.safetensors"
    index.to_parquet(small / "index.parquet")
    report = verify(small)
    assert [(clip, field) for clip, field, _ in report.faults] == [("c0", "pose")] and report.arrays == 15
    assert "has the shard '../elsewhere.safetensors'" in report.faults[0][2]
