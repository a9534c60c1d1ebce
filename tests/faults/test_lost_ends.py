"""A lost last batch improves no score: methods are scored over the same frames, and what is missing is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_cache import write_tiny_cache

from dawn_bench.baselines.base import METHODS, Context, Generated, Item
from dawn_bench.baselines.formats import read_output
from dawn_bench.cache import Cache
from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.config import replace
from dawn_bench.metrics.features.i3d import Windows16, cut_windows
from dawn_bench.metrics.features.inception import Inception
from dawn_bench.metrics.features.pictures import Pictures
from dawn_bench.metrics.features.syncnet import SyncNetFeature
from dawn_bench.metrics.scoring.frames import length_without, missing_words
from dawn_bench.metrics.scoring.matching import cut
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports import tables
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.evaluate import Evaluated, Evaluation, evaluate_methods

#: Frames of a clip, and of a batch of a generator, at 25 a second.
LENGTH, BATCH = 63, 16
METRICS = ("psnr", "fvd16", "dr25", "lse-c", "lse-d")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ends") / "cache"
    return write_tiny_cache(folder, frames=LENGTH, splits=("train", "test", "test", "test", "test"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that see every pixel and sample, without networks."""

    def pixels(frames: np.ndarray) -> np.ndarray:
        return frames.reshape(len(frames), -1)[:, ::97].astype(np.float32) / 255

    def sound(clip: Clip) -> np.ndarray:
        return np.asarray(clip["audio"])[: clip.n_frames * SAMPLES_PER_FRAME].reshape(clip.n_frames, -1)[:, ::20] / 8000

    def windows(self: Any, clip: Clip, given: Any) -> dict[str, np.ndarray]:
        return {"i3d.16": pixels(cut_windows(clip["frames"], 16))[:, ::40]}

    def part(self: Any, part: str, clip: Clip, given: Any) -> dict[str, np.ndarray]:
        return {f"syncnet.{part}": (pixels(clip["frames"]) if part == "lip" else sound(clip))[:, :32]}

    looks = {"pictures.motion": np.array([9.0]), "pictures.face": np.ones(12, bool)}
    monkeypatch.setattr(Pictures, "run", lambda self, clip, given: looks)
    monkeypatch.setattr(Inception, "run", lambda self, clip, given: {"inception": pixels(clip["frames"])[:, :8]})
    monkeypatch.setattr(Windows16, "run", windows)
    monkeypatch.setattr(SyncNetFeature, "run_part", part)


@pytest.fixture
def methods(quick: None) -> Iterator[tuple[str, ...]]:
    """Generators whose pictures get worse along the clip, which keep all frames, lose the last batch, or all but 20."""
    lengths = {"whole": LENGTH, "cut": LENGTH - BATCH, "stump": 20}

    def method(method_name: str) -> type:
        class Drifting:
            name, method_class, licence, uses = method_name, "portrait", "mine", ("truth",)
            fingerprint = f"{method_name}/1"

            def __init__(self, context: Context) -> None: ...

            def generate(self, item: Item) -> Generated:
                frames = item.clip["frames"].astype(int)
                noise = np.random.default_rng(3).integers(-100, 100, frames.shape)
                growing = (np.linspace(0, 1, len(frames)) ** 4)[:, None, None, None]
                worse = np.clip(frames + noise * growing, 0, 255).astype(np.uint8)
                stop = LENGTH if item.clip.id in ("c1", "c2") else lengths[method_name]
                return Generated(worse[:stop], np.asarray(item.clip["audio"])[: stop * SAMPLES_PER_FRAME])

        return Drifting

    for name in lengths:
        METHODS.register(name)(method(name))
    yield tuple(lengths)
    for name in lengths:
        del METHODS._items[name]


def evaluated(cache: Path, out: Path, *names: str, **other: Any) -> tuple[Evaluated, dict[tuple[str, str], ScoreRow]]:
    job = Evaluation(cache=cache, out=out, device="cpu", methods=names, metrics=METRICS, weights="seeded", sanity=False)
    done = evaluate_methods(replace(job, **other))
    return done, {(row.method, row.metric): row for row in ResultsStore(out).rows()}


def test_a_lost_last_batch_improves_no_score(methods: None, cache: Path, tmp_path: Path) -> None:
    alone = evaluated(cache, tmp_path / "alone", "whole")[1]
    done, rows = evaluated(cache, tmp_path / "both", "whole", "cut")
    ends = {"c3": "47-62", "c4": "47-62"}
    for metric in METRICS:
        whole, short = rows["whole", metric], rows["cut", metric]
        assert short.frames_missing == ends and not whole.frames_missing
        assert "frames are missing at the end of 2 clips (47-62 of c3, 47-62 of c4)" in short.note
        assert short.value == whole.value and short.scope == whole.scope and short.n_frames == whole.n_frames
    assert rows["cut", "dr25"].failures == {"c3": "frames_missing", "c4": "frames_missing"}
    assert rows["whole", "dr25"].n_clips == 2 and rows["whole", "dr25"].coverage == 1
    assert rows["whole", "psnr"].n_frames == 2 * LENGTH + 2 * (LENGTH - BATCH)
    assert rows["whole", "psnr"].left_out == ends and alone["whole", "psnr"].left_out == {}
    assert "2 clips cut to the frames that all methods have" in rows["whole", "psnr"].note
    # without the level, the lost frames would have been an advantage
    assert rows["whole", "psnr"].value > alone["whole", "psnr"].value
    assert "frames are missing at the end of 2 clips (47-62 of c3, 47-62 of c4): cut" in done.summary
    pages = {
        p.suffix: p.read_text() for p in done.report.parent.iterdir() if p.suffix in (".html", ".md", ".tex", ".json")
    }
    for suffix, text in pages.items():
        assert "frames are missing at the end of 2 clips" in text, suffix
    assert {".html", ".md", ".tex"} <= set(pages)


def test_an_output_that_lacks_its_end_is_marked_without_others_too(quick: None, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for clip in Cache(cache).clips("test"):
        stop = LENGTH - BATCH * (clip.id == "c3")
        sound = np.asarray(clip["audio"])[: stop * SAMPLES_PER_FRAME]
        write_video(tmp_path / "mine" / f"{clip.id}.mp4", clip["frames"][:stop], audio=sound, lossless=True)
    done, rows = evaluated(cache, tmp_path / "out", "mine", outputs=tmp_path / "mine", sanity=True)
    for metric in METRICS:
        assert rows["mine", metric].frames_missing == {"c3": "47-62"}
        if metric != "dr25":  # the references are cut too; of DR the method lacks a clip
            assert rows["ground-truth", metric].left_out == rows["mine", metric].left_out == {"c3": "47-62"}
        assert not rows["ground-truth", metric].frames_missing
    assert "frames_missing" in done.report.read_text() and "frames_missing" in "".join(done.summary)
    again = evaluated(cache, tmp_path / "out", "mine", outputs=tmp_path / "mine", sanity=True)[1]
    assert {k: r.value for k, r in again.items()} == {k: r.value for k, r in rows.items()}


def test_a_stump_shortens_nobody_else(methods: None, cache: Path, tmp_path: Path) -> None:
    done, rows = evaluated(cache, tmp_path / "out", "whole", "stump", min_coverage=0.6)
    stump = rows["stump", "psnr"]
    assert stump.failures == {"c3": "frames_missing", "c4": "frames_missing"} and stump.coverage == 0.5
    assert rows["whole", "psnr"].n_frames == 4 * LENGTH and not rows["whole", "psnr"].left_out
    assert "measured on 2 of 4 clips" in stump.not_ranked
    assert {("stump", "c3", "frames_missing"), ("stump", "c4", "frames_missing")} <= set(done.failed)


@pytest.mark.parametrize("fps", [3, 12, 24, 25, 30, 60, 120])
@pytest.mark.parametrize("n_frames", [LENGTH, 50])
def test_outputs_of_every_rate_have_all_frames_or_say_which_are_lost(
    fps: int, n_frames: int, cache: Path, tmp_path: Path
) -> None:
    true = cut(Cache(cache)["c1"], 0, n_frames)
    seconds, batch = n_frames / 25, BATCH / 25
    for name, end in (("whole", seconds), ("cut", seconds - batch)):
        count = int(end * fps + 1e-6)  # of a generator that leaves no partial picture
        shown = np.minimum((np.arange(count) / fps * 25 + 1e-6).astype(int), n_frames - 1)
        write_video(tmp_path / f"{name}.mp4", true["frames"][shown], fps=fps, lossless=True)
    whole, short = (read_output(tmp_path / f"{name}.mp4", true) for name in ("whole", "cut"))
    assert whole.n_frames == n_frames
    assert 25 / fps - 1 <= n_frames - short.n_frames - BATCH + 25 / fps <= 2 * 25 / fps + 1
    assert short.n_frames < n_frames and "frames_missing" not in "".join(whole.notes)


def test_a_picture_that_lasts_beyond_the_last_frame_stays(cache: Path, tmp_path: Path) -> None:
    true = Cache(cache)["c1"]
    write_video(tmp_path / "x.mp4", true["frames"][::8][:7], fps=25 / 8, lossless=True)
    output = read_output(tmp_path / "x.mp4", true)
    assert output.n_frames == LENGTH and any("its last picture stays" in note for note in output.notes)
    write_video(tmp_path / "y.mp4", true["frames"][: LENGTH - 1], lossless=True)
    assert read_output(tmp_path / "y.mp4", true).n_frames == LENGTH - 1


def test_texts_of_missing_frames() -> None:
    assert missing_words({}) == "" and length_without("", 60) == 60
    assert length_without("48-59", 60) == 48 and length_without("59", 60) == 59
    assert missing_words({"b": "59"}) == "frames are missing at the end of 1 clip (59 of b)"


def test_an_old_row_has_no_missing_frames() -> None:
    fields = ("method", "dataset", "split", "protocol", "metric", "fingerprint")
    row = ScoreRow.model_validate({**dict.fromkeys(fields, "x"), "value": 1.0, "n_clips": 1, "n_frames": 2})
    assert row.frames_missing == {} and "frames are missing" not in tables.markdown(leaderboards([row]))


def test_vertex_numbers_are_not_cut_with_the_frames() -> None:
    arrays = {"vertices": np.zeros((9, 4, 3)), "template": np.zeros((1, 4, 3)), "lips": np.zeros((1, 2), np.int32)}
    part = cut(Clip("m", "s", "test", 9, arrays), 1, 5)
    assert part["vertices"].shape[0] == 4 and part["lips"].shape == (1, 2) and part["template"].shape == (1, 4, 3)
