"""Which clips, frames and outputs reach scoring: what all methods solved, limits themselves, takes, pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from marked import marked_clip, marked_mesh
from spies import Spies

from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.outputs import OK, Output
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.files import sha256_file
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.matching import FileLoad
from dawn_bench.models.dawn.options import SamplingOptions
from dawn_bench.models.dawn.strategies import SarOptions
from dawn_bench.results import ScoreRow
from dawn_bench.workflow import entries, pairing, scoring
from dawn_bench.workflow.differences import RunFacts, _sampling
from dawn_bench.workflow.entries import Entry, entry_of
from dawn_bench.workflow.levelling import level_of
from dawn_bench.workflow.paper_rows import NO_WINDOW
from dawn_bench.workflow.pieces import cut_piece, cut_pieces, pieces_of, repeated
from dawn_bench.workflow.scoring import Scoring, averaged, clip_failures, common_clips, score_entry

CLIPS = [marked_clip(k, 10 + k) for k in range(4)]


def entry(name: str, *solved: str, kind: str = "portrait", **more: Any) -> Entry:
    outputs = {i: Path(f"{name}/{i}.mp4") for i in solved}
    failures = {c.id: "crash" for c in CLIPS if c.id not in solved}
    loaders = {i: FileLoad(path, lambda: CLIPS[0]) for i, path in outputs.items()}
    return Entry(name, kind, outputs, failures, (loaders,), outputs, **more)  # type: ignore[arg-type]


def row(method: str = "m", metric: str = "psnr", **more: Any) -> ScoreRow:
    fields = {"dataset": "d", "split": "test", "protocol": "p", "fingerprint": "f", "n_clips": 4, "n_frames": 46}
    return ScoreRow.model_validate({**fields, "value": 1.0, "method": method, "metric": metric, **more})


@pytest.mark.parametrize(("least", "ranked"), [(0.5, True), (0.51, False), (0.0, True), (1.0, False)])
def test_a_method_that_solved_exactly_the_least_share_is_ranked(least: float, ranked: bool) -> None:
    half, all_of_them = entry("half", "c1", "c3"), entry("all", "c0", "c1", "c2", "c3")
    common, left_out = common_clips([half, all_of_them], CLIPS, min_coverage=least)
    assert [c.id for c in common] == (["c1", "c3"] if ranked else ["c0", "c1", "c2", "c3"])
    assert left_out == ({} if ranked else {"half": "not ranked: solved 2 of 4 clips"})


def test_sanity_rows_take_no_clip_from_the_others_and_disjoint_methods_are_not_ranked() -> None:
    sanity = entry("still", "c0", kind="sanity")
    common, left_out = common_clips([sanity, entry("m", "c2", "c1")], CLIPS, min_coverage=0.5)
    assert [c.id for c in common] == ["c1", "c2"] and not left_out
    apart = [entry("a", "c0", "c1"), entry("b", "c2", "c3"), entry("none")]
    common, left_out = common_clips(apart, CLIPS, min_coverage=0.5)
    assert common == CLIPS and set(left_out) == {"a", "b"}
    assert common_clips([entry("none")], CLIPS, min_coverage=0.0) == (CLIPS, {})


SCORING = Scoring(
    "crema", "dev", PAPER_DAWN, ("psnr",), "seeded", "meta", 13, data="hash", data_name="cache", min_share=0.4
)


class Store:
    """Keeps what is stored."""

    def __init__(self, root: Path) -> None:
        self.root, self.rows, self.gallery = root, list[ScoreRow](), list[Any]()

    def append(self, rows: Any) -> None:
        self.rows += rows

    def add_gallery(self, items: Any) -> None:
        self.gallery += items


def scored(
    given: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> tuple[list[ScoreRow], list[dict[str, Any]], Store]:
    spies, store = Spies(monkeypatch), Store(tmp_path)
    values = iter([2.0, 5.0])

    def score(method: str, *_: Any, **settings: Any) -> list[ScoreRow]:
        value = next(values)
        return [
            row(method, value=value, low=value - 1, high=value + 3, note="own", per_clip={"c1": value, "c2": 2 * value})
        ]

    spies.watch(scoring, "score_method", returns=score)
    rows = score_entry(given, CLIPS, SCORING, store, **more)  # type: ignore[arg-type]
    return rows, spies.of("score_method"), store


def test_every_setting_and_the_right_outputs_reach_the_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = entry("m", "c1", "c2", cost={"load_s": 3.0}, notes=("remark",), origins={"": "k"})
    (tmp_path / "c1.mp4").write_bytes(b"one")
    given = replace(given, outputs={**given.outputs, "c1": tmp_path / "c1.mp4"})
    (result,), (call,), store = scored(given, tmp_path, monkeypatch, common=CLIPS[1:3], lengths={"c2": 7})
    assert set(call["generated"]) == {"c1", "c2"} and call["generated"]["c2"] is given.takes[0]["c2"]
    assert call["truth"] == CLIPS[1:3] and call["n_requested"] == 4 and call["failures"] is given.failures
    settings = {name: call[name] for name in ("dataset", "split", "metrics", "weights", "device", "seed", "min_share")}
    assert settings == {name: getattr(SCORING, name) for name in settings}
    assert call["protocol"] is PAPER_DAWN and call["lengths"] == {"c2": 7} and call["rankable"]
    assert call["features_dir"] == tmp_path / "features" and call["method_class"] == "portrait"
    assert result.outputs == {"c0": "", "c1": sha256_file(tmp_path / "c1.mp4")[:16], "c2": "", "c3": ""}
    assert (result.data, result.data_name, result.origins, result.cost) == ("hash", "cache", {"": "k"}, {"load_s": 3.0})
    assert result.note == "own; over the 2 of 4 clips that all methods solved; remark" and result.not_ranked == ""
    assert store.rows == [result]
    assert {(i.clip_id, i.method, i.video, i.data) for i in store.gallery} == {
        (c, "m", path, "hash") for c, path in given.videos.items()
    }


def test_what_is_not_ranked_says_why_and_sanity_rows_never_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (result,), (call,), _ = scored(entry("m", "c1"), tmp_path, monkeypatch, not_ranked="not ranked: too few")
    assert not call["rankable"] and call["truth"] == CLIPS
    assert result.note == "not ranked: too few; own" and result.not_ranked == "not ranked: too few"
    _, (call,), _ = scored(entry("m", "c1", kind="sanity"), tmp_path, monkeypatch)
    assert not call["rankable"] and call["method_class"] == "sanity"
    _, (call,), _ = scored(entry("m", "c1", kind="reference"), tmp_path, monkeypatch)
    assert not call["rankable"]


def test_rows_that_replace_others_keep_their_failures_and_coverage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"psnr": row(coverage=0.75, failures={"c0": "crash"}, frames_missing={"c3": "9-12"})}
    (result,), _, _ = scored(entry("m", "c1", "c2"), tmp_path, monkeypatch, common=CLIPS[1:3], before=before)
    assert result.coverage == 0.75 and result.failures == {"c0": "crash"} and result.frames_missing == {"c3": "9-12"}
    assert "that could be measured for all methods" in result.note and "(9-12 of c3)" in result.note


def test_takes_are_scored_one_by_one_and_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = entry("m", "c1", "c2")
    takes = ({"c1": 1, "c2": 2}, {"c1": 3, "c2": 4})
    (result,), calls, _ = scored(replace(given, takes=takes), tmp_path, monkeypatch)  # type: ignore[arg-type]
    assert [call["generated"] for call in calls] == list(takes)
    assert (result.value, result.low, result.high) == (3.5, 2.5, 6.5)
    assert result.per_clip == {"c1": 3.5, "c2": 7.0}
    unknown = [
        [row(value=1.0, per_clip={"a": 1.0, "b": None})],
        [row(value=None, per_clip={"a": 2.0, "b": 3.0}, left_out={"b": "all"})],
    ]
    (mean,) = averaged(unknown)
    assert mean.value is None and mean.per_clip == {"a": 1.5, "b": None} and mean.left_out == {"b": "all"}
    assert averaged([[row(over_time=[1.0])]])[0].over_time == [1.0]


def test_a_clip_fails_where_every_metric_fails_on_it_for_one_reason() -> None:
    rows = [
        row(failures={"c1": "bad_output", "c2": "frames_missing"}),
        row(failures={"c1": "bad_output", "c3": "no_face"}),
    ]
    assert clip_failures(entry("m", "c1", "c2", "c3"), rows) == {"c0": "crash", "c1": "bad_output"}
    assert clip_failures(entry("m", "c0", "c1", "c2", "c3"), []) == {}


def level(rows: Mapping[str, ScoreRow], metric: str = "psnr", *, least: float = 0.5, **more: Any) -> Any:
    given = {
        name: entry(name, "c0", "c1", "c2", "c3", kind="sanity" if name == "ground-truth" else "portrait")
        for name in rows
    }
    return level_of(given, {n: {metric: r} for n, r in rows.items()}, CLIPS, metric, excluded=more, min_coverage=least)


def test_a_metric_is_compared_over_the_clips_and_frames_that_all_have() -> None:
    a = row("a", left_out={"c0": "all", "c3": "3"}, frames_missing={"c1": "8-10"})
    b = row("b", left_out={"c2": "all"}, frames_missing={"c1": "9-10", "c2": "5-11"})
    result = level({"a": a, "b": b})
    assert (result.shared, result.lengths, result.apart, result.differs) == ({"c1", "c3"}, {"c1": 8}, {}, True)
    same = level({"a": row("a"), "b": row("b")})
    assert (same.shared, same.lengths, same.differs) == ({"c0", "c1", "c2", "c3"}, {}, False)
    shorter = row("a", frames_missing={"c0": "9"})
    assert level({"a": shorter, "b": shorter}).differs is False  # both lack the same frame
    assert level({"a": shorter, "b": row("b")}).lengths == {"c0": 9}
    excluded = level({"a": a, "b": b}, b="solved too few")
    assert excluded.shared == {"c1", "c2", "c3"} and excluded.lengths == {"c1": 8}
    whole = level({"a": shorter, "b": row("b")}, "dr25")
    assert whole.lengths == {}


@pytest.mark.parametrize(("least", "apart"), [(0.5, False), (0.51, True)])
def test_a_metric_measured_on_exactly_the_least_share_is_ranked(least: float, apart: bool) -> None:
    half = row("half", left_out={"c0": "all", "c1": "all"})
    result = level({"half": half, "b": row("b")}, least=least)
    assert result.apart == ({"half": "measured on 2 of 4 clips"} if apart else {})
    assert result.shared == ({"c0", "c1", "c2", "c3"} if apart else {"c2", "c3"})


def test_the_ground_truth_counts_where_it_is_the_target() -> None:
    truth = row("ground-truth", left_out={"c3": "all"}, aim="truth")
    assert level({"m": row("m"), "ground-truth": truth}).shared == {"c0", "c1", "c2"}
    higher = row("ground-truth", left_out={"c3": "all"}, aim="higher")
    assert level({"m": row("m"), "ground-truth": higher}).shared == {"c0", "c1", "c2", "c3"}
    none = level(
        {"a": row("a", left_out={"c0": "all", "c1": "all"}), "b": row("b", left_out={"c2": "all", "c3": "all"})}
    )
    assert not none.shared and set(none.apart) == {"a", "b"}


def test_windows_and_segments_that_just_hold_the_longest_clip_are_named() -> None:
    """13 frames: the first is the source, so 12 to either side are all that a frame can attend to."""
    longest = max(c.n_frames for c in CLIPS)
    windows = {
        f"w{n}": SamplingOptions(window=n) for n in (longest - 2, longest - 1, longest, NO_WINDOW - 1, NO_WINDOW)
    }
    runs = {label: RunFacts("nar", options, {}, "hubert") for label, options in windows.items()}
    (sentence,) = _sampling("d", CLIPS, runs)
    assert longest == 13 and sentence == (
        "Windows: no clip is longer than 13 frames, so these see all of it: w12; w13; w999999."
    )
    for segment, whole in ((12, False), (13, True), (14, True)):
        notes = _sampling("d", CLIPS, {"s": RunFacts("sar", SarOptions(segment=segment), {}, "hubert")})
        assert f"SAR: segments of {segment} frames" in notes[0]
        assert any("each is one segment" in note for note in notes) == whole
    for steps, noted in ((19, True), (20, False), (21, True)):
        notes = _sampling("d", CLIPS, {"n": RunFacts("nar", SamplingOptions(steps=steps), {}, "hubert")})
        assert notes == ([f"Sampling: {steps} steps. The released code: 20."] if noted else [])


class Mine:
    """A method of which only its name and class are looked at."""

    licence, uses, fingerprint = "l", ("source",), "1"

    def __init__(self, kind: str = "portrait") -> None:
        self.name, self.method_class = "mine", kind

    def remarks(self, clip: Clip) -> tuple[str, ...]:
        return (f"remark on {clip.id}",)


def test_an_entry_has_the_outputs_that_are_good_and_what_they_cost() -> None:
    """Clips of 10 and 12 frames were generated: 0.88 s of video."""
    results = {
        "c0": Output(
            "c0", OK, Path("c0.mp4"), 5.0, "", load_seconds=1.0, notes=("short",), facts={"portrait": "cached"}
        ),
        "c1": Output("c1", "oom", None, 99.0, "", load_seconds=50.0),
        "c2": Output("c2", OK, Path("c2.mp4"), 7.0, "", load_seconds=2.0),
        "c3": Output("c3", "crash", Path("c3.mp4"), 7.0, ""),
    }
    scorable = entry_of(Mine(), results, CLIPS, build_seconds=4.0)  # type: ignore[arg-type]
    assert (
        dict(scorable.outputs) == {"c0": Path("c0.mp4"), "c2": Path("c2.mp4")} and scorable.videos == scorable.outputs
    )
    assert scorable.failures == {"c1": "oom", "c3": "crash"} and scorable.ranked and scorable.notes == ("remark on c0",)
    assert scorable.cost == pytest.approx({"generate_s_per_s": (5 + 7 - 3) / 0.88, "load_s": 4 + 3 / 2})
    (loads,) = scorable.takes
    assert set(loads) == {"c0", "c2"} and all(isinstance(load, FileLoad) for load in loads.values())
    for clip, load in loads.items():
        call = load.read.keywords | dict(zip(("path", "truth"), load.read.args, strict=True))  # type: ignore[union-attr]
        assert call["path"] == Path(f"{clip}.mp4") and call["truth"].id == clip and call["start"] is None
        assert call["notes"] == (("short", "cached") if clip == "c0" else ()) and load.start == 0  # type: ignore[union-attr]
    assert entry_of(Mine("sanity"), results, CLIPS).cost == {}  # type: ignore[arg-type]


def test_meshes_have_a_loader_for_each_take(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [marked_mesh(k, 6) for k in range(5)]
    drawn = Spies(monkeypatch)
    drawn.watch(entries, "draw_mesh", returns=None)
    results = {c.id: Output(c.id, OK, Path(f"{c.id}.npy"), 1.0, "", facts={"takes": 3}) for c in clips}
    scorable = entry_of(Mine("mesh"), results, clips)  # type: ignore[arg-type]
    assert [{load.keywords["take"] for load in loads.values()} for loads in scorable.takes] == [{0}, {1}, {2}]  # type: ignore[union-attr]
    calls = drawn.of("draw_mesh")
    assert [(c["path"], c["truth"].id, c["target"]) for c in calls] == [
        (Path(f"m{k}.npy"), f"m{k}", Path(f"m{k}.mp4")) for k in range(3)
    ]
    assert set(scorable.videos) == {"m0", "m1", "m2"}


def test_pieces_of_a_users_whole_file_are_read_at_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = marked_clip(1, 30)
    pieces = [cut_piece(whole, start, start + 10) for start in (0, 10, 20)]
    loads = entries.loaders_of(
        dict.fromkeys([p.id for p in pieces], Path("c1.mp4")), pieces, starts={p.id: p.first_frame for p in pieces}
    )
    assert [load.start for load in loads.values()] == [0, 10, 20]  # type: ignore[union-attr]
    assert [load.read.keywords["start"] for load in loads.values()] == [0, 10, 20]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("length", "remainder", "spans"),
    [
        (10, "drop", [(0, 10), (10, 20)]),
        (10, "half", [(0, 10), (10, 20), (20, 25)]),  # five frames are half a piece
        (10, "keep", [(0, 10), (10, 20), (20, 25)]),
        (11, "half", [(0, 11), (11, 22)]),
        (11, "keep", [(0, 11), (11, 22), (22, 25)]),
        (25, "drop", [(0, 25)]),
        (26, "half", [(0, 25)]),
        (26, "keep", [(0, 25)]),
        (99, "half", [(0, 25)]),
        (26, "drop", []),
    ],
)
def test_pieces_have_their_own_frames_of_every_array(length: int, remainder: Any, spans: list[tuple[int, int]]) -> None:
    clip = marked_clip(2, 25)
    pieces = pieces_of([clip], length, remainder=remainder)
    assert [(p.first_frame, p.first_frame + p.n_frames) for p in pieces] == spans
    for piece, (start, stop) in zip(pieces, spans, strict=True):
        whole = (start, stop) == (0, 25)
        assert (piece is clip) == whole and piece.whole_id == "c2" and piece.whole_frames == 25
        assert piece.id == ("c2" if whole else f"c2_f{start:05d}")
        for field, values in clip.arrays.items():
            rate = 640 if field == "audio" else 1
            np.testing.assert_array_equal(piece[field], values[start * rate : stop * rate])
    hashes = [(p.meta["frames_sha256"], p.meta["audio_sha256"]) for p in pieces]
    assert len(set(sum(hashes, ()))) == 2 * len(pieces)


def test_what_cannot_be_cut_is_refused_and_whole_clips_stay() -> None:
    assert cut_pieces(CLIPS, PAPER_DAWN) == CLIPS and cut_pieces([], PAPER_DAWN.in_pieces(10)) == []
    with pytest.raises(InputError, match="this cache has meshes"):
        cut_pieces([marked_mesh(0, 20)], PAPER_DAWN.in_pieces(10))
    exact: ScoringProtocol = PAPER_DAWN.in_pieces(13, "drop")
    assert [c.id for c in cut_pieces(CLIPS, exact)] == ["c3"]
    with pytest.raises(InputError, match=r"no chosen clip has 14 frames \(longest: 13\)"):
        cut_pieces(CLIPS, PAPER_DAWN.in_pieces(14, "drop"))


@pytest.mark.parametrize("length", [9, 10, 25])
def test_a_repeated_clip_begins_again_after_its_end(length: int) -> None:
    clip = repeated(CLIPS[0], length, name="again")
    assert (clip.id, clip.n_frames, clip.speaker) == ("again", length, "s0")
    for field, values in CLIPS[0].arrays.items():
        rate = 640 if field == "audio" else 1
        np.testing.assert_array_equal(clip[field], np.concatenate([values] * 3)[: length * rate])
    assert "frames_sha256" not in clip.meta


def test_a_cache_takes_the_run_of_its_size_and_sound_and_then_of_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, size: int, encoder: str = "logmel", dataset: str = "", cache: str = "") -> pairing._Trained:
        return pairing._Trained(Path(name), size, encoder, dataset, cache)

    def cache(size: int, dataset: str = "hdtf", **more: Any) -> Any:
        settings = {"dataset": dataset, "size": size, **more}
        return SimpleNamespace(
            size=size, fields=("logmel", "frames"), settings=settings, root=Path(f"{dataset}-{size}")
        )

    def paired(caches: list[Any], *runs: pairing._Trained) -> list[str | None]:
        monkeypatch.setattr(pairing._Trained, "of", classmethod(lambda cls, path: {r.run: r for r in runs}[path]))
        chosen = pairing.paired(caches, [r.run for r in runs])
        return [None if path is None else str(path) for path in chosen]

    small, large, crema = cache(128), cache(256), cache(128, "crema")
    assert paired([small, large]) == [None, None]
    assert paired([small, large], run("one", 64)) == ["one", "one"]  # a single one is everybody's
    assert paired([small, large], run("b", 256), run("a", 128)) == ["a", "b"]
    assert paired([small, crema], run("c", 128, dataset="crema"), run("h", 128, dataset="hdtf")) == ["h", "c"]
    mine = pairing.fingerprint(small.settings)
    with pytest.raises(InputError, match="fits hdtf-128 as well as"):
        paired([small], run("a", 128), run("b", 128))
    with pytest.raises(InputError, match="trained at 128 px on hubert features"):
        paired([small], run("a", 128), run("b", 128, "hubert"))
    assert paired([small, crema], run("same", 128, dataset="x", cache=mine), run("kind", 128, dataset="crema")) == [
        "same",
        "kind",
    ]
    other = cache(128, seed=2)  # of the same dataset
    theirs = pairing.fingerprint(other.settings)
    both = run("a", 128, dataset="hdtf", cache=theirs), run("b", 128, dataset="hdtf", cache=mine)
    assert paired([small, other], *both) == ["b", "a"]
    with pytest.raises(InputError, match="b: was trained at 512 px"):
        paired([small], run("a", 128), run("b", 512))


class Theirs(External):
    """An external method, which loads its models for every item."""

    def __init__(self) -> None:
        self.name, self.method_class = "theirs", "portrait"


def test_an_external_method_is_not_charged_for_the_start_of_the_suite() -> None:
    results = {"c0": Output("c0", OK, Path("c0.mp4"), 5.0, "", load_seconds=1.5)}
    assert entry_of(Theirs(), results, CLIPS, build_seconds=40.0).cost["load_s"] == 1.5


def test_a_mesh_method_has_as_many_takes_as_its_richest_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training subject is spoken for in one style, an unseen one in each."""
    monkeypatch.setattr(entries, "draw_mesh", lambda *_: None)
    clips, takes = [marked_mesh(k, 6) for k in range(3)], {"m0": 1, "m1": 4, "m2": 2}
    results = {c.id: Output(c.id, OK, Path(f"{c.id}.npy"), 1.0, "", facts={"takes": takes[c.id]}) for c in clips}
    assert len(entry_of(Mine("mesh"), results, clips).takes) == 4  # type: ignore[arg-type]
