"""Every setting of `prepare` has its effect at the place that it names, and every recipe sets what it states.

`EFFECTS` has one entry for each field of `PrepareSettings`: a function that shows the effect. A new setting is added
here, or the first test fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media.asymmetric import DRAWN, HEIGHT, STRIP, AsymmetricClip, MarkedFaces, picture, turns_once, write_asymmetric
from media.marks import numbered
from pydantic import ValidationError
from walking import check_classified

from dawn_bench.cache import Cache, shard_facts
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.base import BLINK, EXTRACTORS, POSE, Extractor
from dawn_bench.pipelines.faces.base import FACE_BACKENDS
from dawn_bench.pipelines.media.decoders.base import DECODERS
from dawn_bench.pipelines.preparation import process
from dawn_bench.pipelines.preparation.group import ClipTools
from dawn_bench.pipelines.preparation.prepare import list_sources, prepare
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.recipes.base import RECIPES
from dawn_bench.pipelines.settings import PrepareSettings


@dataclass(frozen=True)
class Bench:
    """What an effect is shown with."""

    clip: AsymmetricClip
    folder: Path
    patch: pytest.MonkeyPatch

    def run(self, path: Path | None = None, **settings: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The arrays and facts of the clip with these settings."""
        chosen, sink = PrepareSettings.model_validate({"size": 64, **DRAWN, **settings}), MemorySink()
        meta = process_clip(Source("talk", "s", "test", path or self.clip.path), chosen, MarkedFaces(), sink)
        return sink.arrays, meta

    def refused(self, path: Path | None = None, **settings: Any) -> str:
        """The reason for which the clip is left out with these settings."""
        with pytest.raises(ItemError) as caught:
            self.run(path, **settings)
        return caught.value.reason

    def sources(self, names: list[str], **settings: Any) -> dict[str, Source]:
        """The sources of a folder with files of these names."""
        root = self.folder / "videos"
        root.mkdir(exist_ok=True)
        for name in names:
            (root / name).write_bytes(bytes(600))
        return {source.id: source for source in list_sources(root, PrepareSettings.model_validate(settings))}


def _size(bench: Bench) -> None:
    arrays, _ = bench.run(size=48)
    assert arrays["frames"].shape[1:] == (48, 48, 3) and arrays["face_mask"].shape[1:] == (48, 48)
    np.testing.assert_allclose(arrays["landmarks"], (bench.run()[0]["landmarks"] + 0.5) * 48 / 64 - 0.5, atol=1e-3)


def _crop(bench: Bench) -> None:
    sides = {crop: bench.run(crop=crop)[1]["crop_width"] for crop in ("auto", "face", "paper", "none")}
    assert sides == {"auto": 98, "face": 98, "paper": 208, "none": HEIGHT}
    with pytest.raises(ValidationError):
        PrepareSettings.model_validate({"crop": "published"})


def _face(bench: Bench) -> None:
    bench.patch.setitem(FACE_BACKENDS._items, "marked", MarkedFaces)
    settings = PrepareSettings(face="marked", size=64, **DRAWN)
    facts = ClipTools().facts(settings)
    assert (facts["face"], facts["face fingerprint"]) == ("marked", "marked/1")
    meta = ClipTools().process(Source("talk", "s", "test", bench.clip.path), settings, MemorySink())
    assert meta["face_backend"] == "marked"


def _person(bench: Bench) -> None:
    tracks = {"speaking": 1, "left": 0, "right": 1, "largest": 1, "1": 0, "2": 1}
    assert {who: bench.run(person=who, max_frames=36, extract=())[1]["track"] for who in tracks} == tracks


def _frames(bench: Bench) -> None:
    bench.patch.setitem(FACE_BACKENDS._items, "marked", MarkedFaces)
    frames = {}
    for kind in ("raw", "lossless"):
        settings = PrepareSettings(face="marked", size=64, frames=kind, extract=(), max_frames=12, **DRAWN)
        prepare(bench.clip.path.parent, bench.folder / kind, settings)
        cache = Cache(bench.folder / kind)
        row = cache.index.iloc[0]
        assert ("codec" in shard_facts(cache.root / row["frames.shard"])) == (kind == "lossless")
        frames[kind] = np.asarray(cache["talk"]["frames"])
    np.testing.assert_array_equal(frames["raw"], frames["lossless"])


class _Stub(Extractor):
    needs = ("landmarks",)

    def fingerprint(self) -> str:
        """A constant."""
        return "stub"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """A field of a value that no other source gives."""
        width = 7 if self.kind == POSE else 2
        return {self.kind: np.full((len(arrays["landmarks"]), width), 7, np.float32)}


def _source_of(bench: Bench, *, kind: str) -> None:
    stub = type("Stub", (_Stub,), {"name": f"{kind}-stub", "kind": kind})
    assert "pose" in EXTRACTORS  # the built-in ones are registered first
    bench.patch.setitem(EXTRACTORS._items, f"{kind}-stub", stub)
    arrays, _ = bench.run(**{kind: "stub"})
    other = {POSE: "blink", BLINK: "pose"}[kind]
    assert (arrays[kind] == 7).all() and not (arrays[other] == 7).any()
    assert f"{kind}-stub" in PrepareSettings.model_validate({kind: "stub"}).extract


def _blink(bench: Bench) -> None:
    _source_of(bench, kind=BLINK)
    arrays, _ = bench.run(blink="one-pair", extract=("blink",))
    points = arrays["landmarks"]
    for side, (up, down, corner, other) in enumerate([(43, 47, 42, 45), (37, 41, 36, 39)]):  # left, right
        lids, corners = (np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in ((up, down), (corner, other)))
        np.testing.assert_allclose(arrays["blink"][:, side], lids / corners, rtol=1e-3)
    assert not np.allclose(arrays["blink"], bench.run(extract=("blink",))[0]["blink"], atol=1e-3)


def _extract(bench: Bench) -> None:
    always = {"frames", "audio", "landmarks", "bbox", "valid"}
    for chosen, fields in {
        (): set(),
        ("blink",): {"blink"},
        ("masks", "logmel"): {"face_mask", "lip_mask", "logmel"},
    }.items():
        assert bench.run(extract=chosen)[0].keys() == always | fields
    assert bench.run()[0].keys() == always | {"pose", "blink", "logmel", "face_mask", "lip_mask"}
    assert ClipTools().afterwards(PrepareSettings(pose="3ddfa")) == ["pose-3ddfa"]


def _on_cut(bench: Bench) -> None:
    pictures = [picture(number) for number in range(80)]
    for number in range(50, 80):
        pictures[number][:-STRIP] = 255 - pictures[number][:-STRIP]
    path = write_asymmetric(bench.folder / "cut.mkv", pictures, None)
    silent = {"require_audio": False, "extract": ()}
    assert bench.run(path, on_cut="keep", **silent)[1]["cut_frames"] == "25"
    assert bench.refused(path, on_cut="quarantine", **silent) == bench.refused(path, on_cut="split", **silent) == "cut"
    source, tools = Source("c", "s", "test", path, start=0.2), ClipTools()
    scenes = tools.scenes(source, PrepareSettings(on_cut="split"))
    assert [scene.start for scene in scenes] == pytest.approx([0.2, 1])
    assert [scene.stop for scene in scenes] == pytest.approx([1, 1.6])
    for how in ("keep", "quarantine"):
        assert tools.scenes(source, PrepareSettings(on_cut=how)) == [source]


def _max_gap(bench: Bench) -> None:
    assert bench.run(max_gap=5, extract=())[1]["interpolated"] == 5
    assert bench.refused(max_gap=4) == "no_face"


def _min_frames(bench: Bench) -> None:
    assert bench.run(min_frames=40, extract=())[1]["n_frames"] == 40
    assert bench.refused(min_frames=41) == "too_short"


def _max_frames(bench: Bench) -> None:
    for most, there in ((39, 39), (40, 40), (41, 40)):
        arrays, _ = bench.run(max_frames=most, extract=())
        assert {name: len(rows) for name, rows in arrays.items()} == {
            "frames": there, "audio": 640 * there, "landmarks": there, "bbox": there, "valid": there
        }  # fmt: skip
    assert bench.refused(max_frames=9) == "too_short"


def _limit(bench: Bench, *, name: str, fact: str, reason: str, above: bool) -> None:
    """The value of the clip itself is on the good side; the next one is not."""
    path = bench.clip.path
    if fact in ("mouth_covered", "face_in_frame"):
        pictures = [picture(number) for number in range(80)]
        if fact == "mouth_covered":  # in one of the looks at which the speaker is there
            pictures[48][20:-STRIP] = 120
        else:  # the right edge of the picture goes through the face
            pictures = [rgb[:, :150].copy() for rgb in pictures]
            for number, rgb in enumerate(pictures):
                rgb[-STRIP:] = numbered(number, width=150, height=STRIP)
        path = write_asymmetric(bench.folder / "other.mkv", pictures, None)
    usual: dict[str, Any] = {"extract": (), "require_audio": False, "crop": "none", "min_face_in_frame": 0, **DRAWN}
    value = bench.run(path, **usual)[1][fact]
    assert 0 < value < 1 or fact in ("yaw", "face_height")
    whole = name == "min_face_height"
    exact = int(value) if whole else value
    assert bench.run(path, **{**usual, name: exact})[1][fact] == value
    past = exact + 1 if whole else np.nextafter(value, -1 if above else np.inf)
    assert bench.refused(path, **{**usual, name: past}) == reason


def _decoder(bench: Bench) -> None:
    class Refuses:
        @staticmethod
        def missing() -> None:
            """Nothing."""

        @staticmethod
        def version() -> str:
            """Of no library."""
            return "1"

        def __init__(self, path: Path, *, stream: int) -> None:
            raise RuntimeError("the stub was asked")

    assert "decord" in DECODERS
    bench.patch.setitem(DECODERS._items, "stub", Refuses)  # type: ignore[arg-type]
    assert bench.refused(decoder="stub") == "decoder_differs"
    assert (
        ClipTools().facts(PrepareSettings(decoder="stub", face="dlib", extract=()))["decoder fingerprint"] == "stub-1-1"
    )


def _require_audio(bench: Bench) -> None:
    path = write_asymmetric(bench.folder / "mute.mkv", [picture(number) for number in range(40)], None)
    assert bench.refused(path) == "no_audio"
    arrays, meta = bench.run(path, require_audio=False, extract=())
    assert (meta["has_audio"], meta["silent"], meta["audio_seconds"], meta["audio_tracks"]) == (False, True, 0, 0)
    assert len(arrays["audio"]) == 640 * 20 and not arrays["audio"].any()


def _audio_track(bench: Bench) -> None:
    assert bench.run(audio_track=1, extract=())[1]["audio_track"] == 1
    assert bench.refused(audio_track=2) == "no_track"
    assert bench.refused(audio_track=2, require_audio=False) == "no_track"


def _dataset(bench: Bench) -> None:
    names = ["1001_DFA_ANG_XX.mp4", "1015_ITS_SAD_XX.mp4", "talk.mp4"]
    assert {i: s.speaker for i, s in bench.sources(names, dataset="crema").items()} == {
        "1001_DFA_ANG_XX": "1001", "1015_ITS_SAD_XX": "1015"
    }  # fmt: skip
    assert bench.sources(names).keys() == {"1001_DFA_ANG_XX", "1015_ITS_SAD_XX", "talk"}


def _labels(bench: Bench) -> None:
    table = bench.folder / "people.csv"
    table.write_text("file,speaker,split\na.mp4,anna,val\nb.mp4,ben,train\n")
    listed = bench.sources(["a.mp4", "b.mp4"], labels=table)
    assert {i: (s.speaker, s.split) for i, s in listed.items()} == {"a": ("anna", "val"), "b": ("ben", "train")}
    names = [f"c{k:02d}.mp4" for k in range(36)]
    table.write_text("\n".join(["file,speaker", *(f"{name},p{k % 12}" for k, name in enumerate(names))]))
    splits: dict[str, set[str]] = {}
    for source in bench.sources(names, labels=table).values():
        splits.setdefault(source.speaker, set()).add(source.split)
    people = {f"p{k}" for k in range(12)}  # each in one part alone, and both parts have some
    assert all(len(splits[name]) == 1 for name in people) and {*map(min, splits.values())} == {"train", "test"}


def _seed(bench: Bench) -> None:
    names = [f"c{k:02d}.mp4" for k in range(30)]
    tests = [{i for i, s in bench.sources(names, seed=seed).items() if s.split == "test"} for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2] and all(tests)


def _split(bench: Bench) -> None:
    from dawn_bench.pipelines.datasets.hdtf import lists, person

    known = lists()
    shared = next(i for i in known["clips"] if i in known["dawn_test"] and person(i) not in known["identity_test"])
    splits = {
        split: bench.sources([f"{shared}.mp4"], dataset="hdtf", split=split)[shared].split
        for split in ("published", "identity")
    }
    assert splits == {"published": "test", "identity": "train"}


def _like(bench: Bench) -> None:
    arrays, meta = bench.run(like="dit-head", size=64, extract=("blink",))
    assert meta["crop"] == "face" and arrays.keys() >= {"blink"}
    assert PrepareSettings(like="dit-head").size == 256


EFFECTS: dict[str, Callable[[Bench], None]] = {
    "dataset": _dataset,
    "like": _like,
    "size": _size,
    "crop": _crop,
    "face": _face,
    "person": _person,
    "frames": _frames,
    "pose": partial(_source_of, kind=POSE),
    "blink": _blink,
    "extract": _extract,
    "on_cut": _on_cut,
    "max_gap": _max_gap,
    "min_frames": _min_frames,
    "max_frames": _max_frames,
    "max_mouth_covered": partial(
        _limit, name="max_mouth_covered", fact="mouth_covered", reason="mouth_covered", above=True
    ),
    "max_yaw": partial(_limit, name="max_yaw", fact="yaw", reason="profile", above=True),
    "min_face_height": partial(_limit, name="min_face_height", fact="face_height", reason="tiny_face", above=False),
    "min_face_in_frame": partial(
        _limit, name="min_face_in_frame", fact="face_in_frame", reason="cut_face", above=False
    ),
    "min_sharpness": partial(_limit, name="min_sharpness", fact="sharpness", reason="blurred", above=False),
    "decoder": _decoder,
    "require_audio": _require_audio,
    "audio_track": _audio_track,
    "split": _split,
    "labels": _labels,
    "seed": _seed,
}


def test_every_setting_has_an_effect_that_is_tested() -> None:
    assert EFFECTS.keys() == PrepareSettings.model_fields.keys(), "add the setting to EFFECTS of this file"


@pytest.mark.parametrize("name", list(EFFECTS))
def test_a_setting_has_its_effect(
    name: str, asymmetric: AsymmetricClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "turns_to_upright", turns_once)
    EFFECTS[name](Bench(asymmetric, tmp_path, monkeypatch))


#: Of each setting that is a number: its default, the least and the largest value; None for no limit.
NUMBERS: dict[str, tuple[float | None, float | None, float | None]] = {
    "size": (128, 32, 1024),
    "max_gap": (5, 0, None),
    "min_frames": (10, 1, None),
    "max_frames": (None, 1, None),
    "max_mouth_covered": (0.8, 0, 1),
    "max_yaw": (45, 0, 180),
    "min_face_height": (20, 0, None),
    "min_face_in_frame": (0.6, 0, 1),
    "min_sharpness": (0, 0, None),
    "audio_track": (None, 1, None),
    "seed": (0, None, None),
}
#: The defaults of the others.
USUAL: dict[str, Any] = {
    "dataset": "folder", "like": None, "crop": "auto", "face": "auto", "person": "speaking", "frames": "raw",
    "pose": "landmarks", "blink": "two-pairs", "extract": ("pose", "blink", "logmel", "masks"), "on_cut": "keep",
    "decoder": "pyav", "require_audio": True, "split": "published", "labels": None,
}  # fmt: skip


def test_defaults_and_limits_of_the_settings_are_those_of_the_guide() -> None:
    check_classified(list(PrepareSettings.model_fields), f"{Path(__file__).name}, NUMBERS or USUAL", NUMBERS, USUAL)
    usual = PrepareSettings()
    assert {name: getattr(usual, name) for name in USUAL} == USUAL
    for name, (default, least, most) in NUMBERS.items():
        assert getattr(usual, name) == default, name
        step = 0.001 if isinstance(getattr(usual, name), float) or name == "max_yaw" else 1
        for limit, beyond in ((least, -step), (most, step)):
            if limit is None:
                assert getattr(PrepareSettings.model_validate({name: beyond * 10**6}), name) == beyond * 10**6, name
                continue
            assert getattr(PrepareSettings.model_validate({name: limit}), name) == limit
            with pytest.raises(ValidationError):
                PrepareSettings.model_validate({name: limit + beyond})


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_sets_what_it_states_and_nothing_else(name: str) -> None:
    chosen, usual = PrepareSettings(like=name), PrepareSettings()
    for field in PrepareSettings.model_fields:
        stated = RECIPES[name].settings.get(field, getattr(usual, field))
        if field == "like":
            stated = name
        if field == "extract":  # `pose` and `blink` stand for the source that is chosen
            sources = {"pose": chosen.pose, "blink": chosen.blink}
            plain = {"pose": "landmarks", "blink": "two-pairs"}
            stated = tuple(n if sources.get(n, "") == plain.get(n, "") else f"{n}-{sources[n]}" for n in stated)
        assert getattr(chosen, field) == stated, field
