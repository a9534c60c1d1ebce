"""Arrays of a cache have the type and shape of their field; another one is the cache's fault, not a method's."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from safetensors.numpy import load_file, save_file
from tiny_cache import write_tiny_cache

from dawn_bench.cache import INDEX_FILE, SETTINGS_FILE, Cache
from dawn_bench.clip import LARGEST
from dawn_bench.packed import BITS_CODEC, CODEC, OFFSETS
from dawn_bench.pipelines.preparation.maintain import verify
from dawn_bench.readers import DamageError
from dawn_bench.workflow.evaluate import evaluate_methods
from dawn_bench.workflow.evaluation import Evaluation

CHANGES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "one frame more": ("frames", lambda a: np.concatenate([a, a[:1]])),
    "one frame less": ("frames", lambda a: a[:-1]),
    "float": ("frames", lambda a: a.astype(np.float32)),
    "signed": ("frames", lambda a: a.view(np.int8)),
    "grey": ("frames", lambda a: a[..., :1]),
    "other size": ("frames", lambda a: a[:, ::2, ::2]),
    "float sound": ("audio", lambda a: a.astype(np.float32)),
    "stereo": ("audio", lambda a: np.stack([a, a])),
    "boxes": ("bbox", lambda a: a[:, :2]),
    "valid": ("valid", lambda a: a.astype(np.float32)),
}


def forged(root: Path, field: str, array: np.ndarray, **facts: object) -> Path:
    """A cache in which `c4` has another `field`, stated in the index and with its checksum."""

    index = pd.read_parquet(root / INDEX_FILE).set_index("id", drop=False)
    tensors = {"c4": np.ascontiguousarray(array)}
    (root / field / f"{field}-00009.safetensors").unlink(missing_ok=True)
    save_file(tensors, root / field / f"{field}-00009.safetensors")
    values = {"shard": f"{field}/{field}-00009.safetensors", "key": "c4", "dtype": str(array.dtype),
              "shape": list(array.shape), "sha256": hashlib.sha256(tensors["c4"].tobytes()).hexdigest()}  # fmt: skip
    for name, value in values.items():
        index.at["c4", f"{field}.{name}"] = value
    index.to_parquet(root / INDEX_FILE)
    return root


@pytest.mark.parametrize("change", CHANGES)
def test_the_cache_is_named(change: str, tiny_cache: Path, tmp_path: Path) -> None:
    field, edit = CHANGES[change]
    root = Path(shutil.copytree(tiny_cache, tmp_path / "c"))
    forged(root, field, edit(np.array(Cache(root)["c4"][field])))
    with pytest.raises(DamageError, match=rf"{field}-00009\.safetensors: {field} of clip c4 is \w+ \(.*\), not "):
        Cache(root)["c4"][field]
    assert [(i, f) for i, f, _ in verify(root).faults] == [("c4", field)]
    job = Evaluation(cache=root, out=tmp_path / "r", methods=("still",), metrics=("psnr",), sanity=False, device="cpu")
    if field == "frames":
        with pytest.raises(DamageError, match="frames of clip c4: is"):
            evaluate_methods(job)
        assert not (job.out / "rows").exists()


def test_packed_frames_that_would_fill_the_memory(tiny_cache: Path, tmp_path: Path) -> None:
    """A few KB that state 40 pictures of 8000 px."""
    root = Path(shutil.copytree(tiny_cache, tmp_path / "c"))
    frame = pyarrow.Codec("zstd").compress(bytes(10_000), asbytes=True)
    data, offsets = np.frombuffer(frame * 30, np.uint8), np.arange(31, dtype=np.int64) * len(frame)
    row = [LARGEST + 1, LARGEST + 1, 3]
    (root / "frames" / "frames-00000.safetensors").unlink()
    save_file({"c4": data, f"c4{OFFSETS}": offsets}, root / "frames" / "frames-00000.safetensors",
              metadata={"codec": CODEC, "row": json.dumps(row)})  # fmt: skip
    with pytest.raises(DamageError, match="damaged table of packed frames"):
        Cache(root)["c4"]["frames"]
    facts = json.loads((root / SETTINGS_FILE).read_text())
    (root / SETTINGS_FILE).write_text(json.dumps(facts | {"size": LARGEST + 1}))
    with pytest.raises(DamageError, match="entry 'size'"):
        Cache(root)


#: Tensors and metadata of the lip masks of clips of 30 frames of 32 px, in place of uint8 (30,32,4) and row [32, 32].
MASKS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str, str]] = {
    "a frame more": (lambda a: np.concatenate([a, a[:1]]), "[32, 32]", r"lip_mask .*c4"),
    "a frame less": (lambda a: a[:-1], "[32, 32]", r"lip_mask .*c4"),
    "no frames": (lambda a: a[:0], "[32, 32]", r"lip_mask .*c4"),
    "another size": (lambda a: a[:, :16, :2].copy(), "[16, 16]", r"lip_mask .*c4"),
    "narrower than its bits": (lambda a: a, "[32, 25]", r"lip_mask .*c4"),
    "wider than its bits": (lambda a: a, "[32, 1024]", "damaged table of packed masks"),
    "higher than its bits": (lambda a: a, "[1024, 32]", "damaged table of packed masks"),
    "a gigapixel": (lambda a: a, f"[{10**9}, {10**9}]", "damaged table of packed masks"),
    "negative": (lambda a: a, "[-32, -32]", "damaged table of packed masks"),
    "no number": (lambda a: a, '["32", true]', "damaged table of packed masks"),
    "three sides": (lambda a: a, "[32, 32, 3]", "damaged table of packed masks"),
    "no list": (lambda a: a, '{"0": 32}', "damaged table of packed masks"),
    "no JSON": (lambda a: a, "[32, 32", "damaged table of packed masks"),
    "nested": (lambda a: a, "[" * 100_000, "damaged table of packed masks"),
    "signed": (lambda a: a.view(np.int8), "[32, 32]", "damaged table of packed masks"),
    "words": (lambda a: a.view(np.int32), "[32, 32]", "damaged table of packed masks"),
    "flat": (lambda a: a.reshape(-1), "[32, 32]", "damaged table of packed masks"),
}


@pytest.mark.parametrize("change", MASKS)
def test_packed_masks_that_are_none_name_the_shard(change: str, tmp_path: Path) -> None:
    """The index states what the clip should have, so that only the shard is at fault."""
    edit, row, message = MASKS[change]
    root = write_tiny_cache(tmp_path / "c", masks=True)
    shard = root / "lip_mask" / "lip_mask-00000.safetensors"
    tensors = {key: edit(bits) for key, bits in load_file(shard).items()}
    save_file(tensors, shard, metadata={"codec": BITS_CODEC, "row": row})
    with pytest.raises(DamageError, match=message) as caught:
        np.asarray(Cache(root)["c4"]["lip_mask"])
    assert "\n" not in str(caught.value) and "cache verify" in caught.value.hint
    assert ("c4", "lip_mask") in [(i, f) for i, f, _ in verify(root).faults]


def test_a_mask_stored_without_packing_is_checked_like_any_field(tmp_path: Path) -> None:
    root = write_tiny_cache(tmp_path / "c", masks=True)
    masks = np.asarray(Cache(root)["c4"]["lip_mask"])
    forged(root, "lip_mask", masks)
    assert np.array_equal(Cache(root)["c4"]["lip_mask"], masks) and not verify(root).faults
    forged(root, "lip_mask", masks.astype(np.uint8))
    with pytest.raises(DamageError, match=r"lip_mask of clip c4 is uint8 \(30,32,32\), not bool"):
        Cache(root)["c4"]["lip_mask"]
