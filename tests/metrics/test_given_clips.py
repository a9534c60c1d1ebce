"""Clips that a user gives: which side is encoded, at what rate a clip plays; and what a row says of its run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy_world import install, talk

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.scoring import compare, extraction, scorer
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.clip_sets import clip_set
from dawn_bench.metrics.scoring.compare import compute_metrics
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.models.generator import TalkingClip


def pictures(n: int = 4, *, level: int = 50) -> np.ndarray:
    return np.full((n, 24, 32, 3), level, np.uint8) + np.arange(n, dtype=np.uint8)[:, None, None, None]


@pytest.mark.parametrize("metric", [name for name in METRICS if METRICS[name].unpaired or not METRICS[name].compares])
def test_of_two_sets_each_side_is_measured_as_its_own(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matching with itself encodes the generated side; the reference stays as it is."""
    seen: dict[int, str] = {}

    def matched(generated: Clip, true: Clip, protocol: Any) -> tuple[Clip, Clip, list[str]]:
        return replace(generated, id="output"), replace(true, id="true"), []

    class Looking(SimpleNamespace):
        """In place of the features: notes which clip is looked at, by the level of its first frame."""

        def arrays(self, metric: Any, clip: Clip, other: Clip) -> Any:
            seen[int(clip["frames"][0, 0, 0, 0])] = f"{clip.id} {other.id}"
            raise ItemError("seen", "as far as this goes")

    facts = {"fingerprints": lambda metric: {}, "weights_state": lambda metric: "none"}
    monkeypatch.setattr(compare, "matched", matched)
    monkeypatch.setattr(compare, "Extraction", lambda *_, **__: Looking(**facts))
    given = {"paired": False, "weights": "seeded", "device": "cpu", "metrics": metric}
    score = compute_metrics(
        generated=[pictures(level=10), pictures(level=20)], reference=[pictures(level=30)], **given
    )[metric]  # type: ignore[arg-type]
    assert seen == {10: "output output", 20: "output output", 30: "true true"}
    assert score.failures == {"0000": "seen", "0001": "seen", "reference/0000": "seen"} and score.coverage == 0


@pytest.mark.parametrize("fps", [25, 30, 60])
def test_a_generated_clip_plays_at_its_own_rate_and_a_mesh_is_its_vertices(fps: int) -> None:
    sound, mesh = np.zeros(640 * 5, np.int16), np.zeros((8, 6, 3), np.float32)
    frames = pictures(round(fps / 5))
    (video,) = clip_set([TalkingClip(frames, sound, fps)], side="generated").clips
    assert video.fps == fps and video.source["frames"] is frames and video.source["audio"] is sound  # type: ignore[index]
    (one,) = clip_set([TalkingClip(frames, sound[:0], fps, vertices=mesh)], side="generated").clips
    assert one.fps == fps and set(one.source) == {"vertices", "audio"} and one.source["vertices"] is mesh  # type: ignore[arg-type,index]
    clip, notes = video.read()
    assert clip.n_frames == 5 and bool(notes) == (fps != 25)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A second passes each time that scoring looks at the clock."""
    ticks = count()
    for module in (extraction, scorer):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    yield


@pytest.mark.usefixtures("clock")
def test_a_row_states_the_machine_and_all_the_seconds_that_its_features_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "device_name", lambda device: f"machine of {device}")
    clips = [Clip(name, "s", "test", 4, {"frames": pictures(level=k)}) for k, name in enumerate("abc")]
    rows = score_method("m", clips, clips, dataset="d", split="test", metrics=["psnr", "ssim"], rankable=False)
    assert [row.wall_seconds for row in rows] == [3 + 1, 3 + 1]  # both share one feature of three clips
    assert {row.device for row in rows} == {"machine of cpu"}


def test_what_pictures_must_show_is_asked_for_each_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """A still picture cannot win PSNR: its score is ranked beside one of blinks that is not."""
    install(monkeypatch)
    monkeypatch.setattr(scorer.Pictures, "objection", lambda self, shows: " and ".join(sorted(shows)))
    clips = [talk("a", 26, seed=0), talk("b", 26, seed=1)]
    names = ["psnr", "blink", "ssim", "csim"]
    rows = score_method("m", clips, clips, dataset="d", split="test", metrics=names)
    assert {row.metric: row.not_ranked for row in rows} == {n: " and ".join(sorted(METRICS[n].shows)) for n in names}
    assert {row.not_ranked for row in rows} == {"", "face and motion"}
    rows = score_method("m", clips, clips, dataset="d", split="test", metrics=names, rankable=False)
    assert {row.not_ranked for row in rows} == {""}
