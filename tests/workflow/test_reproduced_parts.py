"""Tables over several datasets and frame sizes, what they say differs from the paper, and lengths of pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from micro import micro_train
from tiny_cache import write_tiny_cache
from typer.testing import CliRunner

from dawn_bench.baselines.methods import dawn as dawn_methods
from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.baselines.methods.ground_truth import GroundTruth
from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.errors import InputError
from dawn_bench.metrics.functional.sync import UNUSED, distances, sync
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow import scoring
from dawn_bench.workflow.differences import LSE_BY_LENGTH
from dawn_bench.workflow.pairing import paired
from dawn_bench.workflow.paper_protocol import settings_notes
from dawn_bench.workflow.paper_rows import ROWS, paper_table
from dawn_bench.workflow.reproduce import Reproduction, reproduce
from dawn_bench.workflow.reproduced import Reproduced
from dawn_bench.workflow.sample_counts import equal_windows

pytestmark = pytest.mark.usefixtures("cheap_scores")

#: What `cache.json` records of a cache prepared by default, and of one prepared as DAWN's.
DEFAULT = {
    "settings": {"crop": "face", "split": "identity"},
    "fingerprints": {
        "face": "dlib", "face fingerprint": "dlib-1", "extractor pose": "pose-2-x", "extractor blink": "blink-1",
    },
}  # fmt: skip
LIKE_DAWN = {
    "settings": {"crop": "paper", "split": "published"},
    "fingerprints": {
        "face": "dlib", "face fingerprint": "dlib-1", "extractor pose-3ddfa": "tddfa-1",
        "extractor blink-one-pair": "blink-one-pair-1", "extractor hubert": "hubert-1",
    },
}  # fmt: skip


def cache_of(
    root: Path, dataset: str, *, size: int = 32, facts: Mapping[str, Any] | None = None, **changes: Any
) -> Path:
    """A tiny cache that says it is of `dataset`."""
    write_tiny_cache(root, size=size, **changes)
    settings = json.loads((root / "cache.json").read_text())
    (root / "cache.json").write_text(json.dumps({**settings, "dataset": dataset, **(facts or {})}))
    return root


def run(table: int, cache: Path | tuple[Path, ...], out: Path, **changes: Any) -> Reproduced:
    job = {"table": table, "cache": cache, "out": out, "device": "cpu", "max_clips": 1, "options": {"steps": 2}}
    return reproduce(Reproduction(**(job | changes)))


def ran(table: Reproduced) -> list[tuple[str, int, str]]:
    return [(line.dataset, line.size, line.label) for line in table.lines if line.asked]


def test_one_table_holds_every_dataset_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generated: list[int] = []
    real = GroundTruth.generate

    def noting(self: GroundTruth, item: Any) -> Any:
        generated.append(item.clip["frames"].shape[1])
        return real(self, item)

    monkeypatch.setattr(GroundTruth, "generate", noting)
    small, large = cache_of(tmp_path / "h32", "hdtf"), cache_of(tmp_path / "h48", "hdtf", size=48)
    crema, out = cache_of(tmp_path / "c32", "crema", frames=24), tmp_path / "out"
    alone = run(1, small, out)
    assert ran(alone) == [("hdtf", 32, "Ground truth")] and "| data |" not in alone.markdown()
    assert alone.dataset == "hdtf" and "in brackets the paper's on HDTF." in alone.markdown()
    both = run(1, (crema, large), out)
    wanted = [(d, s, "Ground truth") for d, s in (("crema", 32), ("hdtf", 32), ("hdtf", 48))]
    assert ran(both) == wanted and generated == [32, 32, 48]
    text = (out / "table1.md").read_text()
    assert text == both.markdown() and text.count("# Table 1") == 1
    for dataset, size, value in (("crema", 32, "(5.88)"), ("hdtf", 32, "(7.95)"), ("hdtf", 48, "(7.95)")):
        assert re.search(rf"\| {dataset}, {size} px \| Ground truth \| 1 \|.*{re.escape(value)}", text)
        assert f"\nWhat differs from the paper, {dataset}, {size} px:\n\n* Data: {dataset}, 1 clip" in text
    assert "on CREMA beside crema, 32 px; on HDTF beside hdtf, 32 px" in text
    assert "SadTalker (hdtf, 32 px)" in text and len(both.lines) == 6 + 8 + 8
    # the outputs of two sizes do not overwrite each other: nothing is generated again
    assert ran(run(1, (small, crema, large), out)) == wanted and len(generated) == 3
    files = [item.video for item in ResultsStore(out).gallery()]
    assert len(files) == len(set(files)) == 3 and all(file.is_file() for file in files)
    stored = json.loads((out / "table1.json").read_text())
    assert [(p["dataset"], p["size"], p["compared"]) for p in stored["parts"]] == [
        ("crema", 32, "crema"),
        ("hdtf", 32, "hdtf"),
        ("hdtf", 48, "hdtf"),
    ]
    notes = ResultsStore(out).facts().notes
    assert [note.partition(":")[0].rpartition("other methods, ")[2] for note in notes] == [
        "crema, 32 px",
        "hdtf, 32 px",
        "hdtf, 48 px",
    ]


def test_a_table_of_an_earlier_version_keeps_its_rows(tmp_path: Path) -> None:
    line = {"label": "DAWN", "ours": {"fid": 12.5}, "published": {"fid": 9.6}, "made": 41, "asked": 41}
    line |= {"stand_ins": [], "reason": "", "remark": ""}
    sentence = "Data: hdtf, 41 clips of split test, 133210 frames, 128 px. The paper: CREMA and HDTF."
    old = {"number": 1, "title": "Comparison with other methods", "dataset": "hdtf", "columns": ["fid"]}
    out = tmp_path / "out"
    out.mkdir()
    (out / "table1.json").write_text(json.dumps(old | {"lines": [line], "differences": [sentence]}))
    table = run(1, cache_of(tmp_path / "cache", "hdtf"), out)
    assert ran(table) == [("hdtf", 32, "Ground truth"), ("hdtf", 128, "DAWN")] and sentence in table.differences
    assert "| hdtf, 128 px | DAWN | 41 | 12.5 (9.6) |" in (out / "table1.md").read_text()
    (out / "table1.json").write_text('{"lines": 3}')
    with pytest.raises(InputError, match=r"table1\.json: .*Delete it"):
        run(1, tmp_path / "cache", out)


def test_a_resolution_is_one_row_once_its_cache_has_been_run(
    tmp_path: Path, micro_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {None: None, 128: 32, 256: 48}
    monkeypatch.setitem(ROWS, 7, tuple(replace(row, size=sizes[row.size]) for row in ROWS[7]))
    small, large = cache_of(tmp_path / "s", "hdtf"), cache_of(tmp_path / "l", "hdtf", size=48)
    micro_train(large, tmp_path / "run")
    first = run(7, small, tmp_path / "out", checkpoint=micro_run)
    assert [(line.size, line.label, bool(line.asked)) for line in first.lines] == [
        (32, "Ground truth", True),
        (32, "DAWN, 128 px", True),
        (32, "DAWN, 256 px", False),
    ]
    assert "run it on a cache of 48 px" in first.lines[2].reason
    table = run(7, (small, large), tmp_path / "out", checkpoint=(micro_run, tmp_path / "run"))
    assert [(line.size, line.label, bool(line.asked)) for line in table.lines] == [
        (32, "Ground truth", True),
        (32, "DAWN, 128 px", True),
        (48, "Ground truth", True),
        (48, "DAWN, 256 px", True),
    ]


def test_two_caches_of_one_part_are_refused(tmp_path: Path) -> None:
    caches = (cache_of(tmp_path / "a", "hdtf"), cache_of(tmp_path / "b", "hdtf"))
    with pytest.raises(InputError, match=r"b: is a second cache of hdtf at 32 px"):
        run(1, caches, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_cache_takes_the_run_that_was_trained_on_it(tmp_path: Path, micro_run: Path, tiny_cache: Path) -> None:
    other = cache_of(tmp_path / "other", "hdtf")
    micro_train(other, tmp_path / "run", stage="lfg")
    micro_train(other, tmp_path / "run", stage="a2v-1")
    runs = [tmp_path / "run", micro_run]
    assert paired([Cache(tiny_cache), Cache(other)], runs) == [micro_run, tmp_path / "run"]
    assert paired([Cache(tiny_cache), Cache(other)], [micro_run]) == [micro_run, micro_run]
    assert paired([Cache(tiny_cache)], []) == [None]
    with pytest.raises(InputError, match=r"run: was trained at 32 px on logmel features, which is not what any cache"):
        paired([Cache(tiny_cache)], runs)
    third = Cache(cache_of(tmp_path / "third", "crema"))
    with pytest.raises(InputError, match=r"run: fits .*third as well as .*run does\. Give one of them to each call"):
        paired([third], runs)


def test_the_command_takes_several_caches_and_lengths(tmp_path: Path) -> None:
    words = ["reproduce", "table3", "--out", str(tmp_path / "out"), "--length", "10,20", "--length", "5"]
    for name in ("hdtf", "crema"):
        words += ["--cache", str(cache_of(tmp_path / name, name))]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    for part in ("hdtf, 32 px", "crema, 32 px"):
        for length, count in ((10, 6), (20, 2), (5, 12)):
            assert f"| {part} | Ground truth, {length} frames | {count} |" in done.stdout
    config = tmp_path / "job.yaml"
    config.write_text(json.dumps({"cache": [str(tmp_path / "hdtf"), str(tmp_path / "crema")], "length": [15]}))
    done = CliRunner().invoke(app, ["reproduce", "table3", "--out", str(tmp_path / "o"), "--config", str(config)])
    assert done.exit_code == 0 and "| crema, 32 px | Ground truth, 15 frames | 4 |" in done.stdout


def notes_of(cache: Path, **changes: Any) -> list[str]:
    opened = Cache(cache)
    settings: dict[str, Any] = {"dataset": "hdtf", "audio": {"logmel"}, "piece": 200, "pieces": False}
    return settings_notes(opened, opened.clips("test"), **(settings | changes))


def test_what_differs_most_from_the_paper_is_said_in_order(tmp_path: Path) -> None:
    notes = notes_of(cache_of(tmp_path / "default", "hdtf", facts=DEFAULT, frames=230))
    assert [note.partition(":")[0] for note in notes] == [
        *("Crop", "Head pose", "Blinks", "Face back end", "Audio features", "Frame size", "Split"),
        *(
            "To prepare data as the paper did",
            "As in the paper",
            "Not stated in the paper, and fixed here by the protocol",
        ),
    ]
    text = " ".join(notes)
    assert "Crop: a square around the face. The paper: the whole frame resized" in text and "(Section 4.1)" in text
    assert "Head pose: fitted to the 68 landmarks (pose-2-x). The paper: 3DDFA_V2 (Section 3.4" in text
    assert "two pairs of lid points of each eye (blink-1). The paper: the eye aspect ratio of one pair" in text
    assert "Face back end: dlib. The paper: FaceBoxes" in text
    assert "Audio features: logmel. The paper: HuBERT-large" in text
    assert "Split: test of hdtf, 2 clips, no person in both parts. The paper: a random 9:1 split" in text
    assert "As in the paper: piece length." in text and "prepare --like dawn" in text
    whole = notes_of(tmp_path / "default", piece=None)
    assert "Piece length: whole clips. The paper: 200 frames (Section 4.1)." in whole
    whole = notes_of(tmp_path / "default", piece=200, dataset="crema")
    assert "Piece length: at most 200 frames. The paper: whole clips (Section 4.1)." in whole
    assert not any("iece length" in note for note in notes_of(tmp_path / "default", pieces=True))


def test_what_is_as_in_the_paper_is_one_sentence(tmp_path: Path) -> None:
    cache = cache_of(
        tmp_path / "dawn", "hdtf", size=128, facts=LIKE_DAWN, splits=("train", *["test"] * 41), hubert=True
    )
    notes = notes_of(cache, audio={"hubert"})
    same = "As in the paper: crop, head pose, blinks, audio features, frame size, split, piece length."
    assert same in notes and [note.partition(":")[0] for note in notes] == [
        "Face back end",
        "As in the paper",
        "Not stated in the paper, and fixed here by the protocol",
    ]


def test_a_cache_that_records_nothing_says_so(tmp_path: Path) -> None:
    notes = notes_of(cache_of(tmp_path / "old", "hdtf"))
    for name in ("Crop", "Head pose", "Blinks", "Face back end"):
        assert any(note.startswith(f"{name}: not recorded. The paper: ") for note in notes), name


def test_the_data_of_published_weights_is_not_known(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def released(checkpoint, *, device, stage=None):  # type: ignore[no-untyped-def]
        generator = DawnGenerator.load(checkpoint, device=device)
        generator.facts = {"lfg": {"size": 32}, "a2v": {"audio_encoder": "logmel"}, "pbnet": {}}
        return generator

    assert "not known" not in " ".join(run(7, tiny_cache, tmp_path / "a", checkpoint=micro_run).differences)
    monkeypatch.setattr(dawn_methods, "load_generator", released)
    text = " ".join(run(7, tiny_cache, tmp_path / "b", checkpoint=micro_run).differences)
    assert "Data of the published weights: not known." in text


def test_scores_of_other_files_than_the_published_networks_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded = scoring.score_method

    def of_own_files(*arguments, **settings):  # type: ignore[no-untyped-def]
        return [r.model_copy(update={"weights_state": "user"}) for r in seeded(*arguments, **settings)]

    cache = cache_of(tmp_path / "cache", "hdtf")
    sentence = "use networks that are not the published files: not comparable with a paper."
    assert sentence not in " ".join(run(1, cache, tmp_path / "a").differences)
    monkeypatch.setattr(scoring, "score_method", of_own_files)
    assert any(note.endswith(sentence) and "LSE-C" in note for note in run(1, cache, tmp_path / "b").differences)


def test_what_a_model_was_not_trained_on_is_a_remark_of_its_row(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "head pose: the model was trained on pose-3ddfa; this is pose (pose-2-x), another convention"
    monkeypatch.setattr(Dawn, "remarks", lambda self, clip: (note,))
    table = run(7, tiny_cache, tmp_path, checkpoint=micro_run)
    assert {line.label: line.remark for line in table.lines if line.asked} == {"Ground truth": "", "DAWN, 32 px": note}
    assert f"\nRemarks:\n\n* DAWN, 32 px: {note}\n" in table.markdown()


def test_rows_of_a_length_have_a_ground_truth_and_equal_windows(tmp_path: Path, micro_run: Path) -> None:
    cache = cache_of(tmp_path / "cache", "tiny", frames=100)
    lengths = (40, 70, 100, 200)
    table = run(3, cache, tmp_path / "out", checkpoint=micro_run, lengths=lengths)
    assert [line.label for line in table.lines] == [
        label for n in lengths for label in (f"Ground truth, {n} frames", f"DAWN, {n} frames")
    ]
    lines = {line.label: line for line in table.lines}
    truth, dawn = lines["Ground truth, 40 frames"], lines["DAWN, 40 frames"]
    assert set(truth.ours) == {"lse-c", "lse-d"} and dawn.published["lse-c"] == 5.76
    assert (dawn.made, dawn.asked) == (2, 2) and dawn.counts["FID frames"] == 80
    assert truth.counts == {"LSE windows": 70}  # a piece of 40 frames has 35
    assert "no chosen clip has 200 frames (longest: 100)" in lines["DAWN, 200 frames"].reason
    # two pieces of 40 frames have one window of 32 frames each, a piece of 70 or 100 two or three
    fvd = {r.method: r.protocol for r in ResultsStore(tmp_path / "out").rows() if r.metric.startswith("fvd")}
    changes = {protocol.partition("+")[2] for protocol in fvd.values()}
    assert set(fvd) == {f"dawn-{n}-frames" for n in (40, 70, 100)}
    assert len(changes) == 1 and "" not in changes
    text = table.markdown()
    assert "| row | pieces | FID |" in text and "FVD16 windows | FVD32 windows | LSE windows |" in text
    assert "FVD: 2 windows of each row, drawn with seed 0" in text and LSE_BY_LENGTH in text
    with pytest.raises(InputError, match=r"table 1 have no inference length\. --length is for table3 and table5"):
        run(1, cache, tmp_path / "out", lengths=(40,))


def test_clips_that_are_too_short_for_a_length_are_counted(tmp_path: Path) -> None:
    cache = cache_of(tmp_path / "cache", "tiny", frames=60)
    opened = Cache(cache)
    assert equal_windows(paper_table(3, (40, 60)), opened.clips("test")) == 2
    clips = opened.clips("test")
    clips[0] = clips[0].__class__(clips[0].id, "s", "test", 40, clips[0].arrays)
    assert equal_windows(paper_table(3, (40, 60)), clips) is None  # one piece of 60 frames has one window
    assert equal_windows(paper_table(3, (7500,)), clips) is None and equal_windows(paper_table(1), clips) is None


def test_lse_of_the_same_embeddings_falls_with_the_length_of_pieces() -> None:
    """The figures of the sentence: distance d at a wrong offset, m at the right one, length r of the lip embedding."""
    printed = [float(v) for v in re.findall(r"\d\.\d\d", LSE_BY_LENGTH)]
    assert printed == [6.62, 7.32, 7.53, 7.65, 7.68]
    m, d, r = 6.0, 13.746, 13.746 - 4.927
    rng = np.random.default_rng(0)
    n, dim = 600, 2400
    basis = np.linalg.qr(rng.standard_normal((dim, n + 1)))[0].T
    # audio windows are orthogonal to each other; a lip window is r long, d from other audio windows, m from its own
    long = np.sqrt(d**2 - r**2)
    shared = (r**2 + long**2 - m**2) / (2 * long)
    audio = basis[:n] * long
    lip = basis[:n] * shared + basis[n] * np.sqrt(r**2 - shared**2)
    values = []
    for frames in (40, 100, 200, 400, 600):
        windows = frames - UNUSED
        values.append(sync(distances(lip[:windows], audio[:windows]).mean(axis=0)).confidence)
    np.testing.assert_allclose(values, printed, atol=0.02)
    np.testing.assert_allclose(
        values, [d - m - 8 / (f - UNUSED) * (d - r) for f in (40, 100, 200, 400, 600)], atol=1e-3
    )


@pytest.fixture(scope="module")
def one_stage(tiny_cache: Path, micro_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of the first stage only and of the second stage only, under the presets of the ablations."""
    runs = {}
    second = ("a2v_1.min_frames=3", "a2v_1.random_source=true")
    for name, changes in (("only-stage-1", ()), ("only-stage-2", second)):
        folder = tmp_path_factory.mktemp(name)
        for stage in ("lfg", "pbnet"):
            (folder / stage).symlink_to(micro_run / stage)
        micro_train(tiny_cache, folder, f"preset=micro+{name}", "a2v_2=null", *changes, stage="a2v-1")
        runs[name] = folder
    return runs


def reasons(table: Reproduced) -> dict[str, str]:
    return {line.label: line.reason for line in table.lines}


def test_swapped_runs_of_one_stage_are_refused(
    one_stage: dict[str, Path], tiny_cache: Path, micro_run: Path, tmp_path: Path
) -> None:
    first, second = (f"only stage {n}, true pose and blink" for n in (1, 2))
    right = run(4, tiny_cache, tmp_path / "right", checkpoint=micro_run, variants=one_stage)
    assert reasons(right)[first] == reasons(right)[second] == ""
    swapped = dict(zip(one_stage, reversed(one_stage.values()), strict=True))
    wrong = run(4, tiny_cache, tmp_path / "wrong", checkpoint=micro_run, variants=swapped)
    assert reasons(wrong)[first].endswith("this run is the ablation only-stage-2, so it is not this row.")
    assert reasons(wrong)[second].endswith("this run is the ablation only-stage-1, so it is not this row.")
    assert not any(r.method.startswith("dawn-only") for r in ResultsStore(tmp_path / "wrong").rows())
    other = run(7, tiny_cache, tmp_path / "other", checkpoint=one_stage["only-stage-1"])
    assert "is the ablation only-stage-1, so it is not this row" in reasons(other)["DAWN, 32 px"]


def test_a_stage_under_another_preset_is_known_by_its_settings(
    tiny_cache: Path, micro_run: Path, tmp_path: Path
) -> None:
    for stage in ("lfg", "pbnet", "a2v-1"):  # the first stage of a run of both
        (tmp_path / stage).symlink_to(micro_run / stage)
    table = run(4, tiny_cache, tmp_path / "out", checkpoint=micro_run, variants={"only-stage-2": tmp_path})
    assert "is the ablation only-stage-1" in reasons(table)["only stage 2, true pose and blink"]


def test_a_run_without_a_coarse_model_is_not_that_of_ttr(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    table = run(2, tiny_cache, tmp_path / "out", variants={"ttr": micro_run})
    assert "this run has no coarse model, so it is not this row" in reasons(table)["TTR"]
