"""Damage to generated outputs and cached features: a changed byte never reaches a score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from dawn_bench.baselines.base import Generated, Item
from dawn_bench.baselines.outputs import ITEMS_FILE, produce
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.scoring.feature_cache import FeatureCache
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods


class Negative:
    """The true frames as a negative; counts its calls."""

    name, method_class, licence, fingerprint, uses = "negative", "portrait", "of the tests", "1", ("truth",)

    def __init__(self) -> None:
        self.calls: list[str] = []

    def generate(self, item: Item) -> Generated:
        self.calls.append(item.clip.id)
        return Generated(255 - item.clip["frames"], np.asarray(item.clip["audio"]))


@pytest.fixture(scope="module")
def clips(tiny_cache: Path) -> list[Clip]:
    return Cache(tiny_cache).clips("test")


def flip(path: Path, at: float = 0.5) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def forget_hashes(folder: Path) -> None:
    """Make the records those of an earlier version."""
    records = [json.loads(line) for line in (folder / ITEMS_FILE).read_text().splitlines()]
    for record in records:
        del record["sha256"]
    (folder / ITEMS_FILE).write_text("".join(json.dumps(r) + "\n" for r in records))


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_damaged_output_is_generated_again(clips: list[Clip], tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    path = produce(Negative(), clips, tmp_path, seed=0)["c4"].path
    assert path is not None
    whole = path.read_bytes()
    damage(path)
    again = Negative()
    assert produce(again, clips, tmp_path, seed=0)["c4"].status == "ok"
    assert again.calls == ["c4"] and path.read_bytes() == whole


def test_outputs_of_an_earlier_version_are_kept_unless_they_cannot_be_read(clips: list[Clip], tmp_path: Path) -> None:
    outputs = produce(Negative(), clips, tmp_path, seed=0)
    forget_hashes(tmp_path / "negative")
    cut(tmp_path / "negative" / "c5.mp4")
    again = Negative()
    assert produce(again, clips, tmp_path, seed=0)["c4"].sha256 == outputs["c4"].sha256
    assert again.calls == ["c5"]
    flip(tmp_path / "negative" / "c4.mp4")  # by now it has a hash
    produce(again, clips, tmp_path, seed=0)
    assert again.calls == ["c5", "c4"]


def test_damage_between_two_evaluations_changes_no_score(tiny_cache: Path, tmp_path: Path) -> None:
    job = Evaluation(
        cache=tiny_cache, out=tmp_path / "r", methods=("still",), metrics=("psnr",), sanity=False, device="cpu"
    )
    before = [(r.value, r.per_clip) for r in evaluate_methods(job).rows]
    for path in [*(job.out / "features").glob("images-*/*.safetensors"), *(job.out / "outputs").rglob("*.mp4")]:
        flip(path, 0.98)
    (matched,) = (job.out / "features" / "matched").iterdir()
    stored = matched.read_bytes()
    changed = stored.replace(b'n_frames\\":30', b'n_frames\\":10')
    assert changed != stored
    matched.write_bytes(changed)
    assert [(r.value, r.per_clip) for r in evaluate_methods(job).rows] == before
    assert all(row.failures == {} for row in ResultsStore(job.out).rows())


def test_a_score_whose_digits_changed_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = ScoreRow(
        method="m", dataset="d", split="test", protocol="p", metric="psnr", value=24.6, n_clips=1, n_frames=1,
        fingerprint="f", created="2026-01-01T00:00:00+00:00", per_clip={"é": 24.6},
    )  # fmt: skip
    store = ResultsStore(tmp_path)
    store.append([row, row.model_copy(update={"metric": "ssim"})])
    assert store.rows()[0] == row
    path = next((tmp_path / "rows").iterdir())
    path.write_text(path.read_text().replace("24.6", "26.9", 1))
    assert [r.metric for r in store.rows()] == ["ssim"]
    assert "line 1 is damaged" in capsys.readouterr().err
    path.write_text(row.model_dump_json() + "\n")  # of an earlier version
    assert store.rows() == [row]


@pytest.mark.parametrize("at", [0.02, 0.3, 0.6, 0.999])
def test_a_damaged_feature_file_counts_as_absent(tmp_path: Path, at: float) -> None:
    cache, arrays = FeatureCache(tmp_path), {"a": np.arange(64, dtype=np.float32).reshape(8, 8)}
    cache.put("f", "1", "key", arrays)
    cache.flush()
    np.testing.assert_array_equal(cache.get("f", "1", "key")["a"], arrays["a"])  # type: ignore[index]
    flip(next(tmp_path.rglob("*.safetensors")), at)
    assert FeatureCache(tmp_path).get("f", "1", "key") is None


def test_a_damaged_reason_counts_as_absent(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.put_failure("f", "1", "key", ItemError("no_face", "no face in 30 frames"))
    cache.flush()
    with pytest.raises(ItemError, match="no face in 30"):
        cache.get("f", "1", "key")
    path = next(tmp_path.rglob("*.safetensors"))
    path.write_bytes(path.read_bytes().replace(b"in 30", b"in 31"))
    assert FeatureCache(tmp_path).get("f", "1", "key") is None


def test_feature_files_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    path = tmp_path / "f-1" / "key.safetensors"
    path.parent.mkdir()
    path.write_bytes(save({"a": np.ones((2, 3), np.float32)}))
    assert cache.get("f", "1", "key")["a"].shape == (2, 3)  # type: ignore[index]
    path.with_name("other.json").write_text('{"reason": "no_face", "detail": "none"}')
    with pytest.raises(ItemError, match="none"):
        cache.get("f", "1", "other")
