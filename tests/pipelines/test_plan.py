"""The plan: every clip in one group, balanced, and the same for the same sources."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from dawn_bench.errors import InputError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.preparation import plan as plan_module
from dawn_bench.pipelines.preparation.plan import CachePlan, check_same, estimate_seconds, make_groups
from dawn_bench.pipelines.settings import PrepareSettings


def _sources(seconds: list[float]) -> list[Source]:
    return [
        Source(id=f"clip{k:04d}", speaker="s", split="train", video=Path("v.mp4"), start=1.0, stop=1.0 + length)
        for k, length in enumerate(seconds)
    ]


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40, 500])
def test_groups_hold_every_clip_once_in_order(count: int) -> None:
    sources = _sources([random.Random(k).uniform(1, 60) for k in range(count)])
    groups = make_groups(sources, size=32)
    assert [clip_id for group in groups for clip_id in group] == [source.id for source in sources]
    assert len(groups) == min(count, 16) and all(groups)
    shuffled = random.Random(0).sample(sources, count)
    assert make_groups(shuffled, size=32) == groups


def test_groups_are_about_as_large_as_a_shard_should_be() -> None:
    lengths = [random.Random(k).uniform(1, 4) for k in range(2000)]
    groups = make_groups(_sources(lengths), size=128)
    frame_bytes = 25 * 128 * 128 * 3
    place, sizes = 0, []
    for group in groups:
        sizes.append(sum(lengths[place : place + len(group)]) * frame_bytes / 2**20)
        place += len(group)
    assert len(groups) == round(sum(sizes) / 256) > 16
    assert all(240 < size < 272 for size in sizes)


def test_one_giant_clip_does_not_starve_the_others() -> None:
    groups = make_groups(_sources([5000.0] + [1.0] * 99), size=64)
    assert groups[0] == ("clip0000",)
    assert max(len(group) for group in groups[1:]) <= 90


def test_broken_containers_do_not_stop_planning(tmp_path: Path) -> None:
    sources = []
    for k in range(20):
        path = tmp_path / f"{k}.mp4"
        path.write_bytes(bytes(range(k)))
        sources.append(Source(id=str(k), speaker="s", split="train", video=path))
    sources.append(Source(id="gone", speaker="s", split="train", video=tmp_path / "gone.mp4"))
    assert sum(map(len, make_groups(sources, size=128))) == 21


def test_a_plan_survives_the_disk_and_grows_at_its_end(tmp_path: Path) -> None:
    settings = PrepareSettings(size=64, labels=Path("x.csv"))
    sources = _sources([1.0] * 20)
    plan = CachePlan(
        "/videos", settings.model_dump(mode="json"), {"face": "dlib"}, make_groups(sources[:18], size=64), {}
    )
    plan.save(tmp_path)
    again = CachePlan.load(tmp_path)
    assert again == plan
    assert again.grown(sources[:18]) == plan
    grown = again.grown(sources)
    assert grown.groups[: len(plan.groups)] == plan.groups
    assert [i for group in grown.groups[len(plan.groups) :] for i in group] == ["clip0018", "clip0019"]
    assert CachePlan.load(tmp_path / "elsewhere") is None


def test_a_plan_grows_by_groups_of_the_size_of_its_own_frames() -> None:
    sources = _sources([10.0] * 60)
    plan = CachePlan("/videos", PrepareSettings(size=512).model_dump(mode="json"), {}, (), {})
    assert plan.grown(sources).groups == plan.redone(sources).groups == make_groups(sources, size=512)
    assert len(plan.grown(sources).groups) > 2 * len(make_groups(sources, size=128))


def test_lengths_of_whole_files_are_estimated_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the median of the rates of files that are opened, less what lies before the clip; parts state theirs."""
    seconds = {"a": 10.0, "b": 10.0, "c": 60.0}
    monkeypatch.setattr(plan_module, "_container_seconds", lambda video: seconds.get(video.stem))
    for name, size in {"a": 1000, "b": 2000, "c": 3000, "d": 700}.items():
        (tmp_path / f"{name}.mp4").write_bytes(bytes(size))

    def source(name: str, video: str, **more: Any) -> Source:
        return Source(id=name, speaker="s", split="train", video=tmp_path / f"{video}.mp4", **more)

    sources = [source(name, name) for name in "abd"]
    sources += [source("late", "c", start=4.0), source("part", "a", start=1.0, stop=3.5)]
    sources.append(source("broken", "a", problem=("empty_file", "")))
    expected = {"a": 10.0, "b": 20.0, "d": 7.0, "late": 26.0, "part": 2.5, "broken": 1e-3}
    assert estimate_seconds(sources) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "facts", "says"),
    [
        (PrepareSettings(size=64), {}, "was prepared with size 128 (now 64)."),
        (PrepareSettings(crop="none", seed=3), {}, "crop 'auto' (now 'none'), seed 0 (now 3)"),
        (PrepareSettings(), {"face": "insightface"}, "face 'dlib' (now 'insightface')"),
        (PrepareSettings(), {"extractor pose": "2"}, "extractor pose '1' (now '2')"),
        (PrepareSettings(), {"extractor hubert": "2"}, "extractor hubert '1' (now"),
    ],
)
def test_differences_are_named(settings: PrepareSettings, facts: dict[str, str], says: str) -> None:
    there = {"face": "dlib", "extractor pose": "1"}
    plan = CachePlan("/videos", PrepareSettings().model_dump(mode="json"), there, (), {"extractor hubert": "1"})
    with pytest.raises(InputError) as caught:
        check_same(plan, root=Path("/videos"), settings=settings, facts={**there, **facts}, cache=Path("c"))
    assert says in str(caught.value) and "--overwrite" in str(caught.value)
    new = {**there, "extractor other": "1"}
    check_same(plan, root=Path("/videos"), settings=PrepareSettings(extract=()), facts=new, cache=Path("c"))
