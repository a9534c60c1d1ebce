"""Outputs driven by silence: what methods are given, whose rows they are in, and that they cost nothing unasked."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from dawn_bench.baselines.base import METHODS, SANITY, Generated, Item
from dawn_bench.baselines.methods.still import Still
from dawn_bench.baselines.silence import Silent, features_of_silence, silent
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.config import replace
from dawn_bench.errors import InputError, ItemError
from dawn_bench.extractor_record import Extracted
from dawn_bench.metrics.features.landmarks import Landmarks
from dawn_bench.metrics.features.pictures import Pictures as Looks
from dawn_bench.pipelines.extractors.logmel import log_mel
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.workflow import evaluate
from dawn_bench.workflow.entries import method_of
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods


class Talker:
    """Grey pictures as bright as a frame is loud, with a tremble that no sound drives; notes what it is given."""

    name, method_class, licence, uses, fingerprint = "talker", "portrait", "none", ("source", "audio"), "talker/1"
    given: ClassVar[list[Item]] = []

    def generate(self, item: Item) -> Generated:
        self.given.append(item)
        sound = np.asarray(item.clip["audio"])
        loud = np.abs(sound.astype(float)).reshape(item.clip.n_frames, -1).mean(axis=1) / 60
        bright = 40 + loud + 10 * (np.arange(len(loud)) % 2)
        frames = np.broadcast_to(bright[:, None, None, None], (len(loud), 32, 32, 3)).round().astype(np.uint8)
        return Generated(np.ascontiguousarray(frames), sound)


def mouth_of_brightness(self: Landmarks, clip: Clip, given: object) -> dict[str, np.ndarray]:
    """Landmarks whose mouth is as wide open as the picture is bright."""
    points = np.zeros((clip.n_frames, 68, 2), np.float32)
    points[:, 16, 0] = 255
    points[:, 61:64, 1] = np.asarray(clip["frames"]).mean(axis=(1, 2, 3))[:, None]
    points[:, 65:68] = [0, 0]
    found = {"landmarks.found": np.ones(clip.n_frames, bool), "landmarks.tracks": np.array([1])}
    return {"landmarks.dlib": points, **found}


def nothing_to_object(self: Looks, clip: Clip, given: object) -> dict[str, np.ndarray]:
    """Faces and motion in every picture, without a detector."""
    return {"pictures.face": np.ones(1, bool), "pictures.motion": np.full(1, 9.0)}


@pytest.fixture
def job(tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    monkeypatch.setattr(Landmarks, "run", mouth_of_brightness)
    monkeypatch.setattr(Looks, "run", nothing_to_object)
    monkeypatch.setattr(evaluate, "write_report", lambda out, folder: [folder / "report.html"])
    Talker.given = []
    METHODS.register("talker")(lambda context: Talker())
    out, metrics = tmp_path / "results", ("psnr", "silence-leak")
    return Evaluation(cache=tiny_cache, out=out, device="cpu", methods=("talker",), metrics=metrics, jobs=1)


def deviation(frames: np.ndarray) -> float:
    return float(np.asarray(frames).mean(axis=(1, 2, 3)).std())


def test_the_leak_is_of_outputs_driven_by_silence_and_stands_in_the_methods_own_row(job: Evaluation) -> None:
    done = evaluate_methods(job)
    rows = {(row.method, row.metric): row for row in done.rows}
    clips = list(Cache(job.cache).clips("test"))
    assert set(rows) == {(m, k) for m in (*SANITY, "talker") for k in job.metrics}
    leak = rows["talker", "silence-leak"]
    # what is left in silence is the tremble of 5 grey levels to either side
    true = [deviation(clip["frames"]) for clip in clips]
    assert leak.value == pytest.approx(5 * len(clips) / sum(true), rel=1e-2)
    assert leak.n_clips == 2 and leak.coverage == 1 and leak.rankable
    assert leak.outputs == rows["talker", "psnr"].outputs, "it belongs to the outputs that the other rows are of"
    assert rows["still", "silence-leak"].value == 0
    for name, why in (("ground-truth", "it takes no sound"), ("shuffled-sound", "it takes the sound of other clips")):
        row = rows[name, "silence-leak"]
        assert row.value is None and row.note == f"needs outputs driven by silence: {why}"
    assert {item.clip["audio"].any() for item in Talker.given} == {True, False} and len(Talker.given) == 4
    folders = {path.name for path in (job.out / "outputs").iterdir()}
    assert folders == {*SANITY, "talker", "still+silence", "talker+silence"}
    Talker.given.clear()
    again = evaluate_methods(job)
    assert not Talker.given and [r.value for r in again.rows] == [r.value for r in done.rows]


def test_without_the_metric_nothing_is_generated_twice_and_other_scores_are_the_same(job: Evaluation) -> None:
    job = replace(job, sanity=False)
    plain = evaluate_methods(replace(job, metrics=("psnr",), out=job.out / "plain"))
    assert len(Talker.given) == 2 and all(item.clip["audio"].any() for item in Talker.given)
    assert not list((job.out / "plain").rglob("*+silence"))
    both = {row.method: row.value for row in evaluate_methods(job).rows if row.metric == "psnr"}
    assert {row.method: row.value for row in plain.rows} == both


def test_a_users_own_outputs_have_no_silence_and_the_note_says_so(job: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for clip in Cache(job.cache).clips("test"):
        write_video(tmp_path / "mine" / f"{clip.id}.mp4", clip["frames"], lossless=True)
    mine = replace(job, methods=("mine",), outputs=tmp_path / "mine", sanity=False)
    rows = {row.metric: row for row in evaluate_methods(mine).rows}
    assert rows["psnr"].value is not None and rows["silence-leak"].value is None
    assert rows["silence-leak"].note.startswith("needs outputs driven by silence: ")


def test_progress_says_which_pass_is_of_silence(job: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_methods(replace(job, sanity=False))
    lines = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("score ")]
    assert list(dict.fromkeys(lines)) == ["score talker", "score talker+silence"]


def test_what_parts_have_generated_is_scored_without_the_method(
    job: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, sanity=False)
    expected = {(r.method, r.metric): r.value for r in evaluate_methods(replace(job, out=job.out / "at once")).rows}
    for part in ("1/2", "2/2"):
        evaluate_methods(replace(job, part=part))
    monkeypatch.setattr("dawn_bench.baselines.outputs._generate_one", lambda *_: pytest.fail("it generates"))
    monkeypatch.setattr(Landmarks, "run", lambda *_: pytest.fail("it computes"))
    folded = evaluate_methods(replace(job, fold=True))
    assert {(r.method, r.metric): r.value for r in folded.rows} == expected


def test_a_method_that_fails_on_silence_keeps_its_other_scores(
    job: Evaluation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Talker.generate

    def generate(self: Talker, item: Item) -> Generated:
        if not item.clip["audio"].any() and item.clip.id == "c4":
            raise ItemError("no_speech", "nothing to say")
        return real(self, item)

    monkeypatch.setattr(Talker, "generate", generate)
    done = evaluate_methods(replace(job, sanity=False))
    rows = {row.metric: row for row in done.rows}
    assert rows["psnr"].coverage == 1 and rows["psnr"].n_clips == 2
    leak = rows["silence-leak"]
    assert leak.failures == {"c4": "no_speech"} and (leak.method, leak.n_clips) == ("talker", 1)
    assert leak.note.startswith("driven by silence: ") and "driven by silence" not in rows["psnr"].note
    said = capsys.readouterr().err
    assert "talker+silence, c4: no_speech" in said and "talker, c4" not in said


def test_the_silent_clip_has_silence_of_the_same_length_and_its_features(tiny_cache: Path) -> None:
    clip = next(iter(Cache(tiny_cache).clips("test")))
    quiet = silent(clip)
    assert len(quiet["audio"]) == len(clip["audio"]) and not quiet["audio"].any()
    assert np.array_equal(quiet["logmel"], log_mel(quiet["audio"], clip.n_frames))
    assert np.array_equal(quiet["frames"], clip["frames"]) and quiet.id == clip.id
    other = replace_record(clip, Extracted("logmel", "logmel-0"))
    with pytest.raises(ItemError, match="of another version: logmel-0"):
        features_of_silence(other, "logmel")


def replace_record(clip: Clip, recorded: Extracted) -> Clip:
    return Clip(clip.id, clip.speaker, clip.split, clip.n_frames, clip.arrays, extractors={"logmel": recorded})


def test_a_worker_builds_the_silent_method_from_its_name(job: Evaluation) -> None:
    method = method_of("still+silence", job, "video")
    assert isinstance(method, Silent) and isinstance(method.spoken, Still) and method.name == "still+silence"
    assert method.fingerprint != method.spoken.fingerprint and not hasattr(method, "reads")


def test_a_method_that_is_called_like_a_silent_one_is_refused(job: Evaluation) -> None:
    METHODS.register("talker+silence")(lambda context: Talker())
    with pytest.raises(InputError, match=r"talker\+silence is called like talker driven by silence"):
        evaluate_methods(replace(job, methods=("talker", "talker+silence"), sanity=False))
