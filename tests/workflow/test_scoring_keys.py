"""What reaches the scorer from an evaluation, and what its rows say about outputs and clips."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow import levelling
from dawn_bench.workflow import scoring as module
from dawn_bench.workflow.entries import Entry
from dawn_bench.workflow.scoring import Scoring, averaged, identity, score_entry

CLIPS = [Clip(name, "s", "test", 2, {"frames": np.zeros((2, 4, 4, 3), np.uint8)}) for name in "abc"]
SCORING = Scoring(
    dataset="hdtf", split="valid", protocol=protocol("paper-dawn-tracked"), metrics=("ssim",), weights="files",
    device="cuda", seed=7, data="0123", data_name="my-cache", min_share=0.25,
)  # fmt: skip
#: Settings that the scorer is given under their own name; the others are written to the rows.
GIVEN = {"dataset", "split", "protocol", "metrics", "weights", "device", "seed", "min_share"}


def scored_row(method: str, **fields: Any) -> ScoreRow:
    given = {"dataset": "hdtf", "split": "valid", "protocol": "p", "metric": "ssim", "value": 0.5, "n_clips": 2}
    return ScoreRow.model_validate(given | {"method": method, "n_frames": 4, "fingerprint": "f"} | fields)


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """Outputs of two of three clips, in one file each."""
    outputs = {}
    for name in "ab":
        outputs[name] = tmp_path / f"{name}.mp4"
        outputs[name].write_bytes(name.encode())
    loaders = {name: lambda name=name: name for name in "ab"}
    return Entry("mine", "dub", outputs, {"c": "oom"}, (loaders,), {"a": outputs["a"]}, {"load_s": 2.0}, ("a remark",),
                 {"": "made so"})  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What the scorer is given."""
    given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def scored(*arguments: Any, **settings: Any) -> list[ScoreRow]:
        given.append((arguments, settings))
        return [scored_row(arguments[0], note="of the scorer", coverage=0.5, failures={"c": "oom"})]

    monkeypatch.setattr(module, "score_method", scored)
    return given


@pytest.mark.parametrize("field", [field.name for field in fields(Scoring)])
def test_each_setting_reaches_the_scorer_or_the_rows(
    field: str, entry: Entry, calls: list[Any], tmp_path: Path
) -> None:
    (row,) = score_entry(entry, CLIPS, SCORING, ResultsStore(tmp_path / "r"))
    place = calls[0][1] if field in GIVEN else dict(row)
    assert place[field] == getattr(SCORING, field)


def test_an_entry_reaches_the_scorer_and_its_rows_say_what_was_scored(
    entry: Entry, calls: list[Any], tmp_path: Path
) -> None:
    store = ResultsStore(tmp_path / "r")
    (row,) = score_entry(entry, CLIPS, SCORING, store, lengths={"a": 1})
    (name, loaders, truth), settings = calls[0]
    assert (name, [c.id for c in truth], list(loaders)) == ("mine", ["a", "b", "c"], ["a", "b"])
    assert loaders["a"]() == "a" and settings["lengths"] == {"a": 1} and settings["n_requested"] == 3
    assert settings["failures"] == {"c": "oom"} and settings["method_class"] == "dub" and settings["rankable"]
    assert settings["features_dir"] == tmp_path / "r" / "features"
    digests = {name: hashlib.sha256(name.encode()).hexdigest()[:16] for name in "ab"}
    assert row.outputs == {**digests, "c": ""}
    assert (row.origins, row.cost, row.note) == ({"": "made so"}, {"load_s": 2.0}, "of the scorer; a remark")
    assert [stored.model_copy(update={"created": ""}) for stored in store.rows()] == [row]
    (item,) = store.gallery()
    assert (item.clip_id, item.method, item.data) == ("a", "mine", "0123")


def test_a_part_of_the_clips_is_scored_and_the_rows_say_so(entry: Entry, calls: list[Any], tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    (row,) = score_entry(entry, CLIPS, SCORING, store, common=CLIPS[1:2], not_ranked="not ranked: too few")
    (_, loaders, truth), settings = calls[0]
    assert [c.id for c in truth] == ["b"] == list(loaders) and settings["n_requested"] == 3
    assert not settings["rankable"] and row.not_ranked == "not ranked: too few"
    assert row.note == "not ranked: too few; of the scorer; over the 1 of 3 clips that all methods solved; a remark"
    assert set(row.outputs) == set("abc")


def test_rows_that_are_scored_again_keep_what_is_known_of_the_clips_they_lack(
    entry: Entry, calls: list[Any], tmp_path: Path
) -> None:
    before = {"ssim": scored_row("mine", coverage=0.75, failures={"x": "no_face"}, frames_missing={"a": "1"})}
    (row,) = score_entry(entry, CLIPS, SCORING, ResultsStore(tmp_path), common=CLIPS[:1], before=before)
    assert row.coverage == 0.75 and row.failures == {"x": "no_face", "c": "oom"} and row.frames_missing == {"a": "1"}
    assert "over the 1 of 3 clips that could be measured for all methods" in row.note and "1 of a" in row.note


@pytest.mark.parametrize("changed", ["content", "path", "file missing", "none"])
def test_the_hash_of_an_output_is_that_of_its_file(
    changed: str, entry: Entry, calls: list[Any], tmp_path: Path
) -> None:
    (before,) = score_entry(entry, CLIPS, SCORING, ResultsStore(tmp_path / "1"))
    path = entry.outputs["b"]
    if changed == "content":
        path.write_bytes(b"c")
    elif changed == "path":
        entry = replace(entry, outputs={**entry.outputs, "b": path.rename(tmp_path / "renamed.mp4")})
    elif changed == "file missing":
        path.unlink()
    (after,) = score_entry(entry, CLIPS, SCORING, ResultsStore(tmp_path / "2"))
    assert (before.outputs["b"] == after.outputs["b"]) == (changed in ("path", "none"))
    assert before.outputs["a"] == after.outputs["a"]


META = {"frames_sha256": "1", "audio_sha256": "2", "vertices_sha256": "3", "source_sha256": "4", "tracks": 1}
TRUTH = [replace(clip, meta=META | {"frames_sha256": f"f{k}"}) for k, clip in enumerate(CLIPS)]
#: By change of the true clips: whether they are another dataset then.
DATA: dict[str, tuple[Callable[[list[Clip]], list[Clip]], bool]] = {
    "nothing": (lambda c: c, False),
    "another id": (lambda c: [*c[:2], replace(c[2], id="d")], True),
    "another length": (lambda c: [*c[:2], replace(c[2], n_frames=3)], True),
    "a clip fewer": (lambda c: c[:2], True),
    "contents exchanged": (lambda c: [replace(c[0], meta=c[1].meta), replace(c[1], meta=c[0].meta), c[2]], True),
    "another speaker": (lambda c: [*c[:2], replace(c[2], speaker="t")], False),
    **{
        f"another {key}": (lambda c, key=key: [*c[:2], replace(c[2], meta={**c[2].meta, key: "0"})], key in
                           ("frames_sha256", "audio_sha256", "vertices_sha256"))
        for key in META
    },
}  # fmt: skip


def cache_of(clips: list[Clip], root: Path = Path("caches/crema")) -> Any:
    return SimpleNamespace(root=root, name=root.name, clips=lambda split: clips if split == "test" else clips[:1])


@pytest.mark.parametrize("change", DATA)
def test_the_data_of_a_row_are_the_true_clips_of_its_split(change: str) -> None:
    edit, other = DATA[change]
    assert (identity(cache_of(edit(TRUTH)), "test") != identity(cache_of(TRUTH), "test")) == other
    data, name = identity(cache_of(TRUTH, Path("elsewhere/hdtf")), "test")
    assert (data, name) == (identity(cache_of(TRUTH), "test")[0], "hdtf")
    assert identity(cache_of(TRUTH), "valid")[0] != data


def test_takes_are_averaged_value_by_value_and_keep_the_rest_of_the_first() -> None:
    """A value that one take lacks is lacking: a mean over fewer takes is another number."""
    one = scored_row("m", low=0.1, high=0.9, per_clip={"a": 1.0, "b": 2.0}, left_out={"a": "1"}, over_time=[1.0])
    two = scored_row("m", value=1.0, low=0.3, high=1.1, per_clip={"a": 3.0, "b": None}, left_out={"b": "all"})
    (mean,) = averaged([[one], [two]])
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.75, 0.2, 1.0))
    assert mean.per_clip == {"a": 2.0, "b": None} and mean.left_out == {"a": "1", "b": "all"} and mean.over_time == []
    same = set(ScoreRow.model_fields) - {"value", "low", "high", "per_clip", "left_out", "over_time"}
    assert all(getattr(mean, name) == getattr(one, name) for name in same)
    assert averaged([[one]]) == [one]


def test_only_metrics_over_other_clips_are_scored_again_and_over_those_that_all_have(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SSIM is undefined for clip a of one method; the other one's output of clip b ends early, in both metrics."""
    entries = {name: replace(entry, name=name) for name in ("one", "two")}
    lost = {"left_out": {"b": "1"}, "frames_missing": {"b": "1"}}
    rows = {
        "one": {m: scored_row("one", metric=m, **({"left_out": {"a": "all"}} if m == "ssim" else {}))
                for m in ("psnr", "ssim", "lpips")},
        "two": {m: scored_row("two", metric=m, **(lost if m != "lpips" else {})) for m in ("psnr", "ssim", "lpips")},
    }  # fmt: skip
    again: list[tuple[Any, ...]] = []

    def scored(entry: Entry, clips: Any, part: Scoring, store: Any, *, common: Any, before: Any, lengths: Any) -> Any:
        again.append((entry.name, tuple(part.metrics or ()), [c.id for c in common], lengths))
        assert replace(part, metrics=SCORING.metrics) == SCORING and before is rows[entry.name]
        return [scored_row(entry.name, metric=m, value=0.25) for m in part.metrics or ()]

    monkeypatch.setattr(levelling, "score_entry", scored)
    changed = levelling.levelled(entries, rows, CLIPS[:2], CLIPS[:2], SCORING, ResultsStore(tmp_path), excluded={},
                                 min_coverage=0.5)  # fmt: skip
    assert sorted(again) == [
        ("one", ("psnr",), ["a", "b"], {"b": 1}), ("one", ("ssim",), ["b"], {"b": 1}),
        ("two", ("psnr",), ["a", "b"], {"b": 1}), ("two", ("ssim",), ["b"], {"b": 1}),
    ]  # fmt: skip
    values = {name: {m: row.value for m, row in by_metric.items()} for name, by_metric in changed.items()}
    assert values["one"] == values["two"] == {"psnr": 0.25, "ssim": 0.25, "lpips": 0.5}
