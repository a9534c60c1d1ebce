"""Evaluation end to end on a tiny cache: sanity rows, a user's folder, a user's method; nothing is done twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_repos import PYTHON, fake_repo
from tiny_cache import write_tiny_cache
from typer.testing import CliRunner

from dawn_bench.baselines.base import METHODS, SANITY, Context, Generated, Item
from dawn_bench.baselines.external.adapter import bundled, read_adapter
from dawn_bench.cache import Cache
from dawn_bench.cli import app, main
from dawn_bench.config import replace
from dawn_bench.errors import InputError
from dawn_bench.pipelines.media.video import probe, write_video
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.own_inputs import export_inputs

CHEAP = ("psnr", "ssim")


@pytest.fixture(scope="module")
def mine(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's outputs: the true clips, darker."""
    folder = tmp_path_factory.mktemp("mine")
    for clip in Cache(tiny_cache).clips("test"):
        write_video(folder / f"{clip.id}.mp4", clip["frames"] // 2, audio=np.asarray(clip["audio"]), lossless=True)
    return folder


@pytest.fixture
def job(tiny_cache: Path, mine: Path, tmp_path: Path) -> Evaluation:
    return Evaluation(
        cache=tiny_cache, out=tmp_path / "results", device="cpu", methods=("mine",), outputs=mine, metrics=CHEAP
    )


def test_sanity_rows_and_a_users_folder_are_scored_side_by_side(job: Evaluation) -> None:
    done = evaluate_methods(job)
    rows = {(r.method, r.metric): r for r in ResultsStore(job.out).rows()}
    assert set(rows) == {(m, k) for m in (*SANITY, "mine") for k in CHEAP}
    psnr = {m: rows[m, "psnr"] for m in (*SANITY, "mine")}
    assert psnr["ground-truth"].value == 100 > psnr["ground-truth-reencoded"].value > psnr["still"].value
    assert psnr["mine"].rankable and not psnr["still"].rankable
    assert all(r.coverage == 1 and r.n_clips == 2 and r.n_frames == 60 for r in psnr.values())
    assert done.failed == [] and done.report.is_file() and done.report.suffix == ".html"
    assert any(line.startswith("mine: psnr ") for line in done.summary)
    gallery = {(i.clip_id, i.method) for i in ResultsStore(job.out).gallery()}
    assert ("c4", "mine") in gallery and ("c5", "still") in gallery


def test_networks_that_are_for_research_only_are_named_beside_their_scores(job: Evaluation) -> None:
    done = evaluate_methods(replace(job, metrics=("psnr", "csim"), weights="seeded", sanity=False))
    rows = {row.metric: row for row in ResultsStore(job.out).rows()}
    assert rows["psnr"].research_only == [] and "dlib-68" in rows["csim"].research_only
    sentence = "csim: computed with dlib-68, whose licence is: trained on iBUG 300-W: not for commercial use."
    assert sentence in done.summary and sentence in done.report.read_text()
    assert "arcface-r50" not in "".join(done.summary)  # its stand-in has no licence


def test_a_second_run_makes_nothing_and_adds_nothing_twice(job: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate_methods(job)
    monkeypatch.setattr(
        "dawn_bench.baselines.outputs._generate_one", lambda *a: pytest.fail("an output was made twice")
    )
    monkeypatch.setattr(
        "dawn_bench.metrics.features.images.Images.run", lambda *a: pytest.fail("a feature was computed twice")
    )
    second = evaluate_methods(job)
    rows = ResultsStore(job.out).rows()
    assert len(rows) == len(CHEAP) * 5
    assert [(r.method, r.metric, r.value, r.fingerprint) for r in first.rows] == [
        (r.method, r.metric, r.value, r.fingerprint) for r in second.rows
    ]


def test_missing_and_damaged_outputs_are_counted_and_named(job: Evaluation, mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "c4.mp4").write_bytes(b"no video")
    broken = evaluate_methods(replace(job, outputs=folder, sanity=False))
    assert sorted(broken.failed) == [("mine", "c4", "bad_output"), ("mine", "c5", "missing")]
    assert {(r.value, r.coverage) for r in broken.rows} == {(None, 0.0)}
    assert broken.unsolved == ("mine",) and broken.summary[-1] == "mine solved none of 2 clips"
    (folder / "c4.mp4").write_bytes((mine / "c4.mp4").read_bytes())
    half = evaluate_methods(replace(job, outputs=folder, sanity=False))
    assert half.failed == [("mine", "c5", "missing")]
    assert {r.coverage for r in half.rows} == {0.5} and half.unsolved == ()
    assert "failed: mine, c5: missing" in half.summary


def test_a_method_that_solves_nothing_ends_the_command_with_a_code_of_its_own(
    mine: Path, tiny_cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    for path in mine.iterdir():
        (folder / path.name).write_bytes(b"no video")
    words = ["evaluate", "--method", "mine,still", "--outputs", str(folder), "--cache", str(tiny_cache)]
    words += ["--out", str(tmp_path / "r"), "--metrics", "psnr", "--jobs", "1"]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 4 and "mine solved none of 2 clips\n" in ended.output
    values = {r.method: r.value for r in ResultsStore(tmp_path / "r").rows()}
    assert values.pop("mine") is None and len(values) == 4 and None not in values.values()
    assert CliRunner().invoke(app, [*words, "--strict"]).exit_code == 4


def test_a_truncated_file_is_detected_when_it_is_decoded(job: Evaluation, mine: Path, tmp_path: Path) -> None:
    """Its header is good, so only scoring finds out."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in mine.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    data = bytearray((mine / "c4.mp4").read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle:] = bytes(len(data) - middle)
    (folder / "c4.mp4").write_bytes(data)
    probe(folder / "c4.mp4")
    done = evaluate_methods(replace(job, outputs=folder, sanity=False))
    assert done.failed == [("mine", "c4", "bad_output")]
    assert {(r.coverage, r.n_clips) for r in done.rows} == {(0.5, 1)}
    assert [r.failures for r in done.rows] == [{"c4": "bad_output"}] * 2


@pytest.fixture
def negative() -> Iterator[None]:
    """A new method, ten lines long."""

    @METHODS.register("negative")
    class Negative:
        name, method_class, licence, uses = "negative", "portrait", "mine", ("truth",)
        fingerprint = "negative/1"

        def __init__(self, context: Context) -> None: ...

        def generate(self, item: Item) -> Generated:
            if item.clip.id == "c5":
                raise ValueError("it does not like this one")
            return Generated(255 - item.clip["frames"], np.asarray(item.clip["audio"]))

    yield
    del METHODS._items["negative"]


def test_a_new_method_in_ten_lines_is_evaluated(negative: None, job: Evaluation) -> None:
    done = evaluate_methods(replace(job, methods=("negative", "mine"), sanity=False))
    assert [(r.method, r.metric) for r in done.rows] == [(m, k) for m in ("negative", "mine") for k in CHEAP]
    assert done.failed == [("negative", "c5", "crash")]
    assert done.rows[0].coverage == 0.5 and done.rows[2].coverage == 1
    assert [r.failures for r in done.rows] == [{"c5": "crash"}] * 2 + [{}] * 2


def test_all_methods_are_scored_over_the_clips_that_all_solved(negative: None, job: Evaluation, tmp_path: Path) -> None:
    done = evaluate_methods(replace(job, methods=("negative", "mine")))
    rows = {(r.method, r.metric): r for r in done.rows}
    mine, other, truth = (rows[m, "psnr"] for m in ("mine", "negative", "ground-truth"))
    assert [r.n_clips for r in (mine, other, truth)] == [1, 1, 1]
    assert (mine.coverage, other.coverage, truth.coverage) == (1, 0.5, 1)
    assert mine.fingerprint == other.fingerprint and "over the 1 of 2 clips that all methods solved" in mine.note
    assert other.cost["generate_s_per_s"] > 0 and 0 <= other.cost["load_s"] < 1 and not truth.cost
    strict = evaluate_methods(replace(job, methods=("negative", "mine"), min_coverage=0.9))
    rows = {(r.method, r.metric): r for r in strict.rows}
    assert rows["mine", "psnr"].n_clips == 2 and rows["mine", "psnr"].rankable
    assert rows["negative", "psnr"].n_clips == 1 and not rows["negative", "psnr"].rankable
    assert "not ranked: solved 1 of 2 clips" in rows["negative", "psnr"].note


def test_an_external_method_is_run_from_a_methods_file(job: Evaluation, tmp_path: Path) -> None:
    repo = fake_repo(tmp_path, "wav2lip", weights=tuple(read_adapter(bundled()["wav2lip"]).weights.values()))
    file = tmp_path / "methods.yaml"
    file.write_text(
        f"wav2lip: {{python: {PYTHON}, repo: '{repo}'}}\nlips: {{python: {PYTHON}, repo: '{repo}', adapter: wav2lip}}\n"
    )
    asked = replace(job, methods=("wav2lip", "lips"), outputs=None, installs=file, sanity=False)
    rows = {r.method: r for r in evaluate_methods(asked).rows if r.metric == "psnr"}
    assert set(rows) == {"wav2lip", "lips"}
    assert {(r.method_class, r.coverage, r.n_frames) for r in rows.values()} == {("static-lips", 1, 54)}
    assert "fewer frames than requested (2 clips)" in rows["lips"].note and rows["lips"].cost["generate_s_per_s"] > 0
    assert (job.out / "logs" / "lips" / "c4.log").is_file()


def test_a_method_that_crops_in_its_own_way_has_a_second_row(job: Evaluation, tmp_path: Path) -> None:
    repo = fake_repo(tmp_path, "sadtalker", weights=("checkpoints/x",))
    file = tmp_path / "methods.yaml"
    file.write_text(f"sadtalker: {{python: {PYTHON}, repo: '{repo}'}}\n")
    done = evaluate_methods(replace(job, methods=("sadtalker",), outputs=None, installs=file, sanity=False))
    rows = {r.method: r for r in done.rows if r.metric == "psnr"}
    assert set(rows) == {"sadtalker", "sadtalker-aligned"}
    native, aligned = rows["sadtalker"], rows["sadtalker-aligned"]
    assert native.coverage == 1 and native.rankable and native.cost["load_s"] > 0
    # the drawn faces of this cache are no faces to a detector: the second row notes it and the first is unaffected
    assert (aligned.coverage, aligned.value, aligned.rankable) == (0, None, False)
    assert ("sadtalker-aligned", "c4", "no_face") in done.failed


def test_outputs_of_a_known_method_have_its_class_and_names_of_their_own(
    job: Evaluation, mine: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for path in mine.iterdir():
        (folder / f"{path.stem}_x_{path.stem}.mp4").write_bytes(path.read_bytes())
    theirs = replace(job, methods=("wav2lip",), outputs=folder, naming="{clip}_*_{clip}", sanity=False)
    assert {(r.method_class, r.coverage) for r in evaluate_methods(theirs).rows} == {("static-lips", 1.0)}
    with pytest.raises(InputError, match=r"Expected for example c4\.mp4"):
        evaluate_methods(replace(theirs, naming="{clip}"))


def test_dawn_is_evaluated_from_a_run(job: Evaluation, micro_run: Path) -> None:
    dawn = replace(job, methods=("dawn",), outputs=None, checkpoint=micro_run, options={"steps": 2}, sanity=False)
    done = evaluate_methods(dawn)
    assert {(r.method, r.coverage) for r in done.rows} == {("dawn", 1.0)}
    assert set(ResultsStore(job.out).facts().curves) == {"lfg", "a2v-1", "a2v-2", "pbnet"}


def test_max_clips_scores_only_the_first_clips(job: Evaluation) -> None:
    done = evaluate_methods(replace(job, max_clips=1, sanity=False))
    assert {r.n_clips for r in done.rows} == {1}


def test_scores_of_stand_ins_come_with_the_command_that_brings_the_networks(job: Evaluation) -> None:
    squeeze = {"metrics": ("lpips", "psnr"), "protocol_set": ("lpips_net=squeeze",), "weights": "seeded"}
    done = evaluate_methods(replace(job, max_clips=1, sanity=False, **squeeze))
    (line,) = (line for line in done.summary if line.startswith("* computed with stand-in networks"))
    command = "dawn-bench weights fetch --for evaluate --set metrics=lpips --set 'protocol_set=[lpips_net=squeeze]'"
    assert line.endswith(command)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": None}, r"no method called 'mine'.*Of your own method, give the mp4s: --outputs FOLDER"),
        ({"outputs": None, "methods": ("stil",)}, r"'stil'\. Did you mean still"),
        ({"split": "holdout"}, r"has no split 'holdout'\. Known: test, train"),
        ({"metrics": ("psrn",)}, r"metric called 'psrn'\. Did you mean psnr"),
        ({"protocol": "home-made"}, "home-made"),
        ({"methods": ("dawn",)}, "outputs of no method"),
        ({"methods": ("mine", "yours")}, "outputs of mine and yours"),
        (
            {"methods": ("still",), "outputs": None, "mapping": Path("m.csv")},
            "--mapping describes the files of --outputs",
        ),
        ({"methods": ("dawn",), "outputs": None}, "--checkpoint"),
        ({"cache": Path("nowhere")}, "nowhere: does not exist"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_work(change: dict, message: str, job: Evaluation) -> None:
    with pytest.raises(InputError, match=message) as caught:
        evaluate_methods(replace(job, **change))
    assert "\n" not in str(caught.value) and not job.out.exists()


def test_a_cache_without_test_clips_says_how_to_score_or_make_some(job: Evaluation, tmp_path: Path) -> None:
    cache = write_tiny_cache(tmp_path / "train-only", splits=("train",))
    with pytest.raises(InputError, match=r"no clip in split 'test'\. Score others with --split train, or .*--labels"):
        evaluate_methods(replace(job, cache=cache))
    with pytest.raises(InputError, match=r"--split train"):
        export_inputs(cache, tmp_path / "items")


def test_outputs_of_other_clips_are_refused(job: Evaluation, mine: Path, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "holiday.mp4").write_bytes((mine / "c4.mp4").read_bytes())
    with pytest.raises(InputError, match=r"no file named like a clip of split 'test'.*c4\.mp4"):
        evaluate_methods(replace(job, outputs=tmp_path / "else"))


def test_exit_codes_of_the_command(
    job: Evaluation, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 although an output is missing, 3 when that is not acceptable, 2 where nothing can be done."""

    def evaluate(*words: object) -> tuple[int, str]:
        common = ("--cache", job.cache, "--out", job.out, "--metrics", "psnr", "--no-sanity", "--method", "mine")
        monkeypatch.setattr(sys, "argv", ["dawn-bench", "evaluate", *map(str, (*common, *words))])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), "".join(capsys.readouterr())

    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "c4.mp4").write_bytes((mine / "c4.mp4").read_bytes())
    code, text = evaluate("--outputs", folder)
    assert code == 0 and "failed: mine, c5: missing" in text and "report: " in text
    code, text = evaluate("--outputs", folder, "--strict")
    assert code == 3 and "Traceback" not in text
    code, text = evaluate("--outputs", tmp_path / "absent")
    assert code == 2 and text.startswith("error: ") and text.count("\n") == 1
