"""What a second `prepare` compares: every setting, every fact of the plan, and every field of a source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from fake_tools import FakeTools, write_video
from walking import another, check_classified, leaves

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.meshes.tools import MeshTools, Region
from dawn_bench.pipelines.preparation.group import ClipTools
from dawn_bench.pipelines.preparation.plan import CachePlan, check_same
from dawn_bench.pipelines.preparation.prepare import PrepareReport, prepare
from dawn_bench.pipelines.settings import PrepareSettings

HERE = Path(__file__).name
BASE = PrepareSettings(size=32, extract=("pose",))

#: Fields of `PrepareSettings` that a cache must have alike to be continued.
REFUSED = {
    "dataset", "size", "crop", "person", "frames", "pose", "blink", "on_cut", "max_gap", "min_frames", "max_frames",
    "max_mouth_covered", "max_yaw", "min_face_height", "min_face_in_frame", "min_sharpness", "decoder",
    "require_audio", "audio_track", "split", "labels", "seed",
}  # fmt: skip
#: Compared by the back end that it stands for; computed beside what is there; compared by what it sets.
BY_FACT, ADDED, BY_CONTENT = {"face"}, {"extract"}, {"like"}
#: Values of settings that are names in registries.
NAMES = {
    "dataset": "crema", "crop": "none", "face": "insightface", "person": "largest", "pose": "3ddfa",
    "blink": "one-pair", "decoder": "decord", "extract": ("pose", "late"), "like": "hallo",
}  # fmt: skip


class SpiedTools(FakeTools):
    """The stand-ins, which record the clips and settings that they process."""

    seen: ClassVar[list[tuple[Source, PrepareSettings]]] = []

    def process(self, source: Source, settings: PrepareSettings, sink: Any) -> dict[str, Any]:
        self.seen.append((source, settings))
        return super().process(source, settings, sink)


@pytest.fixture(autouse=True)
def processed() -> Iterator[list[tuple[Source, PrepareSettings]]]:
    SpiedTools.seen.clear()
    yield SpiedTools.seen


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """What the dataset lists, for the test to change."""
    for k, name in enumerate(("a", "b")):
        write_video(tmp_path / "videos" / f"{name}.mp4", frames=20 + k, value=k)
    sources = [Source(name, "s", "train", tmp_path / "videos" / f"{name}.mp4") for name in ("a", "b")]
    monkeypatch.setattr("dawn_bench.pipelines.preparation.prepare.list_sources", lambda *_: list(sources))
    return sources


def run(tmp_path: Path, settings: PrepareSettings = BASE, *, tools: Any = None) -> PrepareReport:
    return prepare(tmp_path / "videos", tmp_path / "cache", settings, tools=tools or SpiedTools())


def other_value(name: str, value: Any, annotation: Any) -> Any:
    return NAMES.get(name, another(value, annotation))


def contents(cache: Path) -> dict[str, bytes]:
    return {p.relative_to(cache).as_posix(): p.read_bytes() for p in sorted(cache.rglob("*")) if p.is_file()}


# --- settings --------------------------------------------------------------------------------------------------------


def test_each_setting_refuses_a_cache_of_another_value_or_has_a_reason_not_to(
    listed: list[Source], tmp_path: Path, processed: list[Any]
) -> None:
    check_classified(list(PrepareSettings.model_fields), f"{HERE}, REFUSED", REFUSED, BY_FACT, ADDED, BY_CONTENT)
    run(tmp_path)
    before = contents(tmp_path / "cache")
    processed.clear()
    for name, value, annotation in leaves(BASE):
        other = BASE.model_copy(update={name: other_value(name, value, annotation)})
        assert getattr(other, name) != value
        if name in REFUSED | BY_FACT:
            with pytest.raises(InputError, match=rf"was prepared with {name} \S+ \(now .*--overwrite") as caught:
                run(tmp_path, other)
            assert str(caught.value).count("(now") == 1, name
            assert contents(tmp_path / "cache") == before, name
        elif name in BY_CONTENT:
            assert run(tmp_path, other).resumed == 2
    assert processed == []
    assert run(tmp_path, BASE.model_copy(update={"extract": NAMES["extract"]})).resumed == 2
    cache = Cache(tmp_path / "cache")
    assert processed == [] and "late" in cache.fields
    assert cache.settings["fingerprints"]["extractor late"] == "1" == cache.settings["fingerprints"]["extractor pose"]


def test_the_value_of_a_cache_is_asked_for_again_and_auto_takes_it(listed: list[Source], tmp_path: Path) -> None:
    run(tmp_path, BASE.model_copy(update={"crop": "paper", "face": "dlib"}))
    assert run(tmp_path).resumed == 2  # auto
    with pytest.raises(InputError, match=r"crop 'paper' \(now 'face'\)"):
        run(tmp_path, BASE.model_copy(update={"crop": "face"}))


def test_each_setting_reaches_the_tools_the_plan_and_the_cache(
    listed: list[Source], tmp_path: Path, processed: list[tuple[Source, PrepareSettings]]
) -> None:
    update = {name: other_value(name, value, note) for name, value, note in leaves(BASE) if name != "on_cut"}
    changed = BASE.model_copy(update={**update, "extract": ("pose-3ddfa",), "on_cut": "split"})
    run(tmp_path, changed)
    assert {source.id for source, _ in processed} == {"a", "b"}
    assert all(settings == changed for _, settings in processed)
    plan = CachePlan.load(tmp_path / "cache")
    assert plan is not None and plan.settings == changed.model_dump(mode="json")
    recorded = Cache(tmp_path / "cache").settings
    assert recorded["settings"] == plan.settings
    assert (recorded["dataset"], recorded["size"]) == (changed.dataset, changed.size)
    assert recorded["fingerprints"] == {**plan.facts, **plan.added}
    assert (recorded["root"], recorded["fps"]) == (str(tmp_path / "videos"), 25)
    SpiedTools.seen.clear()
    (tmp_path / "cache" / "parts" / "00001.json").unlink()
    run(tmp_path, changed.model_copy(update={"like": None}))
    assert [(source.id, settings) for source, settings in processed] == [("b", changed)]  # those of the plan


def test_the_recipe_is_compared_by_its_settings(listed: list[Source], tmp_path: Path) -> None:
    run(tmp_path, BASE.model_copy(update={"size": 256, "crop": "paper"}))
    same = PrepareSettings(like="sadtalker", extract=("pose",))
    assert (same.size, same.crop) == (256, "paper") and run(tmp_path, same).resumed == 2
    with pytest.raises(InputError, match=r"size 256 \(now 512\)"):
        run(tmp_path, PrepareSettings(like="hallo", extract=("pose",)))


# --- facts and the plan ----------------------------------------------------------------------------------------------


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    backend = SimpleNamespace(name="dlib", fingerprint=lambda: "dlib-9")
    monkeypatch.setattr("dawn_bench.pipelines.faces.base.pick_backend", lambda name: backend)
    monkeypatch.setattr("dawn_bench.pipelines.faces.base.declared_weights", lambda name: ())
    monkeypatch.setattr("dawn_bench.pipelines.media.decoders.base.check_decoder", lambda name: f"{name} 1.0")
    return backend


def test_the_facts_of_a_cache_name_the_back_end_the_decoder_and_each_extractor(backend: SimpleNamespace) -> None:
    names = ("pose", "blink", "logmel", "masks", "blink-one-pair")
    settings = PrepareSettings().model_copy(update={"extract": names})
    facts = ClipTools().facts(settings)
    expected = {f"extractor {name}": EXTRACTORS[name]().fingerprint() for name in names}
    assert facts == {"face": "dlib", "face fingerprint": "dlib-9", **expected}
    decoded = ClipTools().facts(settings.model_copy(update={"decoder": "decord"}))
    assert decoded == {**facts, "decoder fingerprint": "decord 1.0"}


def test_what_needs_frames_is_computed_afterwards_and_no_other() -> None:
    names = tuple(name for name in EXTRACTORS if EXTRACTORS[name].__module__.startswith("dawn_bench."))
    late = ClipTools().afterwards(PrepareSettings().model_copy(update={"extract": names}))
    assert late == [name for name in names if "frames" in EXTRACTORS[name].needs] == ["pose-3ddfa"]


def test_each_fact_of_a_plan_is_compared(backend: SimpleNamespace, tmp_path: Path) -> None:
    settings = PrepareSettings(decoder="decord")
    facts = ClipTools().facts(settings)
    added = {"extractor late": "1"}
    plan = CachePlan("/videos", settings.model_dump(mode="json"), facts, (), added)

    def check(root: str = "/videos", **changes: str) -> None:
        check_same(plan, root=Path(root), settings=settings, facts={**facts, **added, **changes}, cache=tmp_path)

    check()
    for name in {**facts, **added}:
        with pytest.raises(InputError, match=rf"was prepared with {name} "):
            check(**{name: "another"})
    with pytest.raises(InputError, match=r"root '/videos' \(now '/elsewhere'\)"):
        check("/elsewhere")
    check(**{"extractor other": "1"})  # a new one is added


def test_each_field_of_a_plan_comes_back_from_the_disk(tmp_path: Path) -> None:
    check_classified([f.name for f in fields(CachePlan)], HERE, {"root", "settings", "facts", "groups", "added"})
    plan = CachePlan("/v", BASE.model_dump(mode="json"), {"face": "1"}, (("a", "b"), ("c",)), {"extractor late": "2"})
    plan.save(tmp_path)
    assert CachePlan.load(tmp_path) == plan
    again = plan.redone([Source("b", "s", "train", tmp_path / "b.mp4")])
    assert again.groups == (("a", "b"), ("c",), ("b",)) and again.owners() == {"a": 0, "b": 2, "c": 1}
    assert replace(again, groups=plan.groups) == plan


def test_each_part_of_a_mesh_dataset_is_a_fact_of_its_cache() -> None:
    ones = np.ones((4, 3), np.float32)
    lips = Region(np.array([0, 2], np.int32), "lve.txt 1")
    tools = MeshTools(25, 1, {"F1": ones}, {"lips": lips}, np.array([[0, 1, 2]], np.int32))
    check_classified(
        [f.name for f in fields(MeshTools)], HERE, {"fps", "templates", "regions", "triangles"}, {"stride"}
    )  # the stride is the dataset's, as its rate
    others = {
        "rate": replace(tools, fps=30),
        "template": replace(tools, templates={"F1": 2 * ones}),
        "subject": replace(tools, templates={"F2": ones}),
        "more subjects": replace(tools, templates={"F1": ones, "F2": ones}),
        "lips": replace(tools, regions={"lips": Region(np.array([0, 1], np.int32), "lve.txt 1")}),
        "upper": replace(tools, regions={"upper": lips}),
        "no region": replace(tools, regions={}),
        "triangles": replace(tools, triangles=np.array([[0, 2, 1]], np.int32)),
        "no triangles": replace(tools, triangles=None),
    }
    facts = [tools.facts(BASE), *(other.facts(BASE) for other in others.values())]
    assert len({tuple(sorted(fact.items())) for fact in facts}) == len(facts)
    swapped = replace(tools, templates=dict(reversed({"F1": ones, "F2": 2 * ones}.items())))
    assert swapped.facts(BASE) == replace(tools, templates={"F1": ones, "F2": 2 * ones}).facts(BASE)


# --- sources ---------------------------------------------------------------------------------------------------------

#: Fields of `Source`: those whose change makes the clip anew, those that only the index states, and those that a
#: dataset decides by the files alone.
REDONE = {"video", "audio", "start", "stop", "crop"}
RELISTED = {"speaker", "split"}
NEW_CLIP, OF_THE_FILES = {"id"}, {"problem", "cropped", "meta"}


def done(processed: Sequence[tuple[Source, Any]]) -> list[str]:
    return sorted(source.id for source, _ in processed)


def test_each_field_of_a_source_makes_the_clip_anew_or_has_a_reason_not_to(
    listed: list[Source], tmp_path: Path, processed: list[tuple[Source, Any]]
) -> None:
    check_classified([f.name for f in fields(Source)], f"{HERE}, REDONE", REDONE, RELISTED, NEW_CLIP, OF_THE_FILES)
    folder = tmp_path / "videos"
    for name in ("c.mp4", "d.wav", "e.wav"):
        write_video(folder / name, frames=25, value=ord(name[0]))
    listed[0] = replace(listed[0], start=0.2, stop=0.8, crop=(0, 0, 8, 8), audio=folder / "d.wav")
    run(tmp_path)
    others = {
        "video": folder / "c.mp4", "audio": folder / "e.wav", "start": 0.4, "stop": 0.64, "crop": (2, 0, 8, 8),
        "speaker": "t", "split": "test", "id": "z", "problem": None, "cropped": True, "meta": {"sentence": "DFA"},
    }  # fmt: skip
    for name, value in others.items():
        processed.clear()
        listed[0] = replace(listed[0], **{name: value})
        run(tmp_path)
        assert done(processed) == ([listed[0].id] if name in REDONE | NEW_CLIP else []), name
        clip = Cache(tmp_path / "cache")[listed[0].id]
        assert (clip.speaker, clip.split) == (listed[0].speaker, listed[0].split)
        assert clip.meta["source"] == listed[0].video.name and clip.meta["sound"] == listed[0].audio.name
        assert (clip.meta["start"], clip.meta["stop"]) == (listed[0].start, listed[0].stop)
        assert clip.meta["dataset_crop"] == " ".join(map(str, listed[0].crop or ()))
        processed.clear()
        run(tmp_path)
        assert processed == [], name


def test_what_an_earlier_index_does_not_state_is_not_compared(
    listed: list[Source], tmp_path: Path, processed: list[tuple[Source, Any]]
) -> None:
    """Caches of versions that recorded no stretch and no crop, and scenes, whose stretch is another than the clip's."""
    run(tmp_path)
    processed.clear()
    listed[0] = replace(listed[0], start=0.2, stop=0.6, crop=(0, 0, 8, 8))
    run(tmp_path)
    assert processed == []


def test_a_scene_is_not_taken_for_another_stretch_and_its_clips_crop_counts(
    listed: list[Source], tmp_path: Path, processed: list[tuple[Source, Any]]
) -> None:
    write_video(listed[0].video, frames=24, then="cut2")
    listed[0] = replace(listed[0], crop=(0, 0, 8, 8))
    split = BASE.model_copy(update={"on_cut": "split"})
    run(tmp_path, split)
    processed.clear()
    run(tmp_path, split)
    assert processed == []
    listed[0] = replace(listed[0], crop=(0, 2, 8, 8))
    run(tmp_path, split)
    assert done(processed) == ["a@000", "a@001"]
    write_video(listed[0].video, frames=24)
    run(tmp_path, split)
    assert Cache(tmp_path / "cache").ids() == ["a", "b"]  # no scene of the group that counts no more


@pytest.mark.parametrize("keep_time", [False, True])
@pytest.mark.parametrize("same_size", [False, True])
def test_a_changed_file_is_noticed_by_content_alone(
    same_size: bool, keep_time: bool, listed: list[Source], tmp_path: Path, processed: list[tuple[Source, Any]]
) -> None:
    run(tmp_path)
    video, state = listed[0].video, listed[0].video.stat()
    processed.clear()
    write_video(video, frames=20, value=7 if same_size else 70)
    assert (video.stat().st_size == state.st_size) == same_size
    if keep_time:
        os.utime(video, ns=(state.st_atime_ns, state.st_mtime_ns))
    run(tmp_path)
    assert done(processed) == ["a"]
    processed.clear()
    os.utime(video)
    moved = video.with_name("moved.mp4")
    video.rename(moved)
    listed[0] = replace(listed[0], video=moved)
    run(tmp_path)
    assert processed == []  # another time and another name, and the same content
