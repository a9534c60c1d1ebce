"""The scorer: one row a metric, failures that cost only themselves, features that are never computed twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stored_features import stored_keys

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.features.images import Images
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.feature_cache import FeatureCache, content_hash
from dawn_bench.metrics.scoring.matching import FileLoad, matched
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.results import ScoreRow

METRICS = ("psnr", "ssim")


def clip(name: str, n_frames: int = 6, *, seed: int = 0, side: int = 32) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (n_frames, side, side, 3), dtype=np.uint8)
    return Clip(name, "s", "test", n_frames, {"frames": frames, "audio": np.zeros(n_frames * 640, np.int16)})


TRUTH = [clip(name, seed=i) for i, name in enumerate("abcd")]
GENERATED = [clip(name, seed=i + 10) for i, name in enumerate("abcd")]


def rows(generated, **changes):  # type: ignore[no-untyped-def]
    settings = {"dataset": "d", "split": "test", "metrics": METRICS, "weights": "seeded"} | changes
    return {row.metric: row for row in score_method("m", generated, TRUTH, **settings)}


def failing(error: ItemError) -> Callable[[], Clip]:
    def load() -> Clip:
        raise error

    return load


def test_a_row_records_the_provenance_of_its_number() -> None:
    row = rows(GENERATED)["ssim"]
    assert (row.method, row.dataset, row.split, row.protocol) == ("m", "d", "test", "paper-dawn")
    assert (row.n_clips, row.n_frames, row.coverage, row.weights_state) == (4, 24, 1.0, "none")
    assert row.low < row.value < row.high and set(row.per_clip) == set("abcd")
    assert row.versions["numpy"] and row.device and row.created


def test_a_clip_that_fails_or_is_missing_costs_no_other() -> None:
    whole = rows(GENERATED)["psnr"]
    loaders = {c.id: (lambda c=c: c) for c in GENERATED[:3]} | {"b": failing(ItemError("timeout", "took too long"))}
    row = rows(loaders)["psnr"]
    assert row.coverage == 0.5 and row.n_clips == 2
    assert row.per_clip == {"a": whole.per_clip["a"], "b": None, "c": whole.per_clip["c"], "d": None}
    assert "2 clips failed: timeout (b), missing (d)" in row.note
    assert row.fingerprint != whole.fingerprint
    assert row.failures == {"b": "timeout", "d": "missing"} and whole.failures == {}


def test_coverage_is_over_all_clips_that_the_method_was_given() -> None:
    """`TRUTH` is a part of eight clips: one of it and one of the others failed."""
    row = rows(GENERATED[1:], failures={"a": "oom", "z": "no_face"}, n_requested=8)["psnr"]
    assert row.failures == {"a": "oom", "z": "no_face"} and row.coverage == 6 / 8 and row.n_clips == 3
    assert "1 clip failed: oom (a)" in row.note and "z" not in row.per_clip


def test_a_row_of_an_earlier_version_is_read() -> None:
    line = rows(GENERATED)["psnr"].model_dump(mode="json")
    del line["failures"]
    assert ScoreRow.model_validate(line).failures == {}


def test_shorter_and_smaller_outputs_are_matched_and_noted() -> None:
    short = Clip("a", "s", "test", 4, {"frames": TRUTH[0]["frames"][:4], "audio": TRUTH[0]["audio"]})
    small = Clip("b", "s", "test", 6, {"frames": TRUTH[1]["frames"][:, ::2, ::2], "audio": TRUTH[1]["audio"]})
    row = rows([short, small])["psnr"]
    assert row.per_clip["a"] == 100 and row.per_clip["b"] < 40
    assert row.n_frames == 10
    assert "frame counts differ, compared over the shorter (1 clip)" in row.note
    assert "resized from 16x16 to 32x32 (1 clip)" in row.note
    produced, true, _ = matched(TRUTH[2], Clip("c", "s", "test", 2, {k: TRUTH[2][k][:2] for k in ("frames",)}))
    assert produced.n_frames == true.n_frames == 2 and len(produced["audio"]) == 1280


@pytest.mark.parametrize(
    "frames",
    [np.full((6, 32, 32, 3), np.nan, np.float32), np.zeros((6, 32, 32), np.uint8), np.zeros((0, 32, 32, 3), np.uint8)],
    ids=["NaN", "grey", "empty"],
)
def test_unusable_frames_fail_their_clip_in_one_line(frames: np.ndarray) -> None:
    bad = Clip("a", "s", "test", len(frames), {"frames": frames})
    row = rows([bad, *GENERATED[1:]])["psnr"]
    assert row.coverage == 0.75 and "bad_output (a)" in row.note and row.value is not None


def test_a_one_frame_clip_is_scored() -> None:
    one = [Clip(c.id, "s", "test", 1, {"frames": c["frames"][:1]}) for c in GENERATED]
    assert rows(one)["ssim"].n_frames == 4


def test_features_are_computed_once_and_shared_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    run = Images.run
    monkeypatch.setattr(Images, "run", lambda self, a, b: calls.append(a.id) or run(self, a, b))
    first = rows(GENERATED, features_dir=tmp_path)
    assert len(calls) == 4  # two metrics, one feature
    again = rows([clip(c.id, seed=i + 10) for i, c in enumerate(GENERATED)], features_dir=tmp_path)
    assert len(calls) == 4
    assert [again[m].value for m in METRICS] == [first[m].value for m in METRICS]
    assert [again[m].fingerprint for m in METRICS] == [first[m].fingerprint for m in METRICS]
    rows([clip("a", seed=77), *GENERATED[1:]], features_dir=tmp_path)
    assert len(calls) == 5


def test_a_failure_is_cached_and_a_damaged_file_is_recomputed(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.put("f", "0", "k", {"x": np.arange(3.0), "empty": np.zeros((0, 4), np.float32)})
    loaded = cache.get("f", "0", "k")
    assert loaded is not None and loaded["x"].tolist() == [0, 1, 2] and loaded["empty"].shape == (0, 4)
    assert cache.get("f", "1", "k") is None
    cache.flush()
    next(tmp_path.rglob("*.safetensors")).write_bytes(b"\x10")
    assert FeatureCache(tmp_path).get("f", "0", "k") is None
    assert cache.get("f", "0", "k") is None
    cache.put_failure("f", "0", "bad", ItemError("no_face", "none found"))
    with pytest.raises(ItemError, match="no_face"):
        cache.get("f", "0", "bad")


def test_the_content_hash_follows_the_content_and_the_caches_own_hash_is_the_same() -> None:
    import hashlib

    assert content_hash(GENERATED[0], "frames") == content_hash(clip("other", seed=10), "frames")
    assert content_hash(GENERATED[0], "frames") != content_hash(GENERATED[1], "frames")
    digest = hashlib.sha256(GENERATED[0]["frames"].tobytes()).hexdigest()
    known = Clip("a", "s", "test", 6, {}, meta={"frames_sha256": digest})
    assert content_hash(known, "frames") == content_hash(GENERATED[0], "frames")


def test_a_file_is_decoded_once_for_all_later_runs(tmp_path: Path) -> None:
    from dawn_bench.baselines.formats import read_output
    from dawn_bench.pipelines.media.video import write_video

    decoded = []

    def stored(seed: int) -> dict[str, FileLoad]:
        file_loads = {}
        for i, true in enumerate(TRUTH):
            path = tmp_path / f"{true.id}.mp4"
            produced = clip(true.id, 5 if i == 0 else 6, seed=seed + i, side=64)
            write_video(path, produced["frames"], lossless=True)
            file_loads[true.id] = FileLoad(path, lambda p=path, t=true: decoded.append(t.id) or read_output(p, t))
        return file_loads

    loads = stored(10)
    first = rows(loads, features_dir=tmp_path / "f")
    assert sorted(decoded) == list("abcd")
    again = rows(loads, features_dir=tmp_path / "f")
    assert sorted(decoded) == list("abcd")  # the same metrics: from the features alone
    assert [again[m].fingerprint for m in METRICS] == [first[m].fingerprint for m in METRICS]
    assert [(again[m].value, again[m].note) for m in METRICS] == [(first[m].value, first[m].note) for m in METRICS]
    assert "compared over the shorter (1 clip)" in again["psnr"].note and "resized from 64x64" in again["psnr"].note
    more = rows(loads, features_dir=tmp_path / "f", metrics=(*METRICS, "psnr"))
    assert more["ssim"].value == first["ssim"].value and sorted(decoded) == list("abcd")
    rows(loads, features_dir=tmp_path / "f", metrics=("lse-d",))  # a new feature needs the pictures: decoded once more
    assert sorted(decoded) == sorted("abcd" * 2)
    rows(loads, features_dir=tmp_path / "f", metrics=("lse-d",))  # too few frames for it have no feature to read
    assert decoded[8:] == ["a"]
    del decoded[8:]
    rows(stored(20), features_dir=tmp_path / "f")  # other files under the same names
    assert sorted(decoded) == sorted("abcd" * 3)
    rows(loads)  # without a folder nothing is remembered
    assert len(decoded) == 16


def test_features_of_the_truth_are_shared_between_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dawn_bench.metrics.features.inception import Inception

    calls = []
    monkeypatch.setattr(
        Inception,
        "run",
        lambda self, c, given: calls.append(c.id) or {"inception": np.zeros((c.n_frames, 4), np.float32)},
    )
    for method_seed in (10, 20, 30):
        produced = [clip(name, seed=i + method_seed) for i, name in enumerate("abcd")]
        rows(produced, metrics=("fid",), features_dir=tmp_path)
    assert len(calls) == 4 + 3 * 4  # the truth once, each method once


def test_protocol_fields_leave_out_the_source_frame_and_code_once_more() -> None:
    skipping, coded = (protocol("paper-dawn", (field,)) for field in ("skip_first=2", "transcode=h264"))
    produced, true, _ = matched(GENERATED[0], TRUTH[0], skipping)
    assert np.array_equal(produced["frames"], GENERATED[0]["frames"][2:]) and np.array_equal(
        true["frames"], TRUTH[0]["frames"][2:]
    )
    assert len(produced["audio"]) == 4 * 640
    assert rows(GENERATED, protocol=skipping)["psnr"].n_frames == 16
    with pytest.raises(ItemError, match="only 2 frames"):
        matched(GENERATED[0], clip("a", 2), skipping)
    perfect = rows(TRUTH, protocol=coded)["psnr"]
    assert perfect.value < 60 and perfect.protocol.startswith("paper-dawn+")


def test_nothing_to_compare_is_an_input_error() -> None:
    with pytest.raises(InputError, match="true clip"):
        rows([clip("z")])
    with pytest.raises(InputError, match="psnr"):
        rows(GENERATED, metrics=("psrn",))


def test_a_missing_field_fails_only_the_metrics_that_need_it() -> None:
    silent = [Clip(c.id, "s", "test", c.n_frames, {"frames": c["frames"]}) for c in GENERATED]
    by_metric = rows(silent, metrics=("psnr", "lse-c"))
    assert by_metric["psnr"].coverage == 1.0
    assert (
        by_metric["lse-c"].value is None
        and by_metric["lse-c"].coverage == 0.0
        and "no_audio" in by_metric["lse-c"].note
    )


def test_stand_in_weights_are_noted_and_equal_clips_have_fid_0(tmp_path: Path) -> None:
    row = rows([*TRUTH[:3], clip("d", seed=3)], metrics=("fid",), features_dir=tmp_path)["fid"]
    assert row.value == pytest.approx(0, abs=1e-6) and row.weights_state == "seeded"
    assert "24 frames, at least 2049" in row.note
    assert len(stored_keys(tmp_path)) == 4  # generated and true clips have the same content
    other = rows([*TRUTH[:3], clip("d", seed=99)], metrics=("fid",), features_dir=tmp_path)["fid"]
    assert other.value > 1 and other.fingerprint == row.fingerprint
