"""`prepare()` end to end with tiny stand-in tools: what is in the cache, continuing, and refusing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_tools import FakeTools, write_video
from safetensors.numpy import load_file

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.executor import Engine, run
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.preparation.group import GroupJob, process_group
from dawn_bench.pipelines.preparation.maintain import stats
from dawn_bench.pipelines.preparation.plan import read_part
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

SETTINGS = PrepareSettings(size=32, extract=("pose",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """24 clips: 22 good, one without a face, one that fails."""
    then = {3: "no_face", 7: "crash"}
    for k in range(24):
        write_video(tmp_path / "videos" / f"s{k % 3}" / f"clip{k:02d}.mp4", frames=5 + k, value=k, then=then.get(k, ""))
    return tmp_path / "videos"


def contents(cache: Path) -> dict[str, str]:
    """sha256 of every file of a cache but its lock."""
    return {
        path.relative_to(cache).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_the_cache_has_the_usable_clips_and_the_reasons_of_the_others(root: Path, tmp_path: Path) -> None:
    report = prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    assert (report.ok, report.quarantined, report.resumed) == (22, {"no_face": 1, "failed": 1}, 0)
    cache = Cache(tmp_path / "c")
    assert report.frames == sum(clip.n_frames for clip in cache) == sum(5 + k for k in range(24) if k not in (3, 7))
    clip = cache["s1__clip10"]
    assert (clip.n_frames, clip.speaker, clip.meta["source"]) == (15, "s1__clip10", "s1/clip10.mp4")
    assert clip.meta["source_sha256"] == hashlib.sha256((root / "s1/clip10.mp4").read_bytes()).hexdigest()
    assert json.loads(clip.meta["tracks"]) == [1, 2]
    noise = np.random.default_rng(10).integers(0, 256, (15, 32, 32, 3), dtype=np.uint8)
    assert clip["frames"].shape == noise.shape and clip["audio"].shape == (15 * 640,)
    assert cache.quarantined() == [
        ("s0__clip03", "no_face", "no face in any frame"),
        ("s1__clip07", "failed", "RuntimeError: a fault of the decoder"),
    ]
    assert set(cache.index["split"]) == {"train", "test"}


@pytest.mark.parametrize("frames", ["raw", "lossless"])
def test_every_record_is_that_of_its_clip(root: Path, tmp_path: Path, frames: str) -> None:
    """Several clips share a shard, and one field comes later; each frame, sample and pose is that of its own clip."""
    first = SETTINGS.model_copy(update={"frames": frames})
    for settings in (first, first.model_copy(update={"extract": ("pose", "late")})):
        prepare(root, tmp_path / "c", settings, tools=FakeTools())
    cache = Cache(tmp_path / "c")
    assert len(cache) == 22 and len(set(cache.index["frames.shard"].dropna())) < 22
    for clip in cache:
        value = int(clip.id[-2:])
        rng, count = np.random.default_rng(value), 5 + value
        noise = np.concatenate([rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8) for _ in range(count)])
        assert clip.n_frames == count and np.array_equal(np.asarray(clip["frames"]), noise)
        assert np.array_equal(clip["audio"], np.arange(640 * count) + 7 * value)
        assert np.array_equal(clip["pose"][:, 0], np.arange(count)) and (clip["pose"][:, 1:3] == (value, 3)).all()
        if count % 7:  # the extractor refuses the others
            assert np.array_equal(clip["late"][:, :3], clip["pose"][:, :3]) and (clip["late"][:, 3] == 32).all()
        assert ("late" in clip) == bool(count % 7)


def test_a_row_states_which_part_of_a_file_its_clip_is(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", frames=20)
    parts = {
        "whole": {},
        "end": {"start": 0.4},
        "begin": {"stop": 0.8},
        "middle": {"start": 0.2, "stop": 0.6, "crop": (3, 1, 40, 20)},
    }
    sources = {name: Source(name, f"s-{name}", "val", tmp_path / "v.mp4", **part) for name, part in parts.items()}
    job = GroupJob(tmp_path / "c", tmp_path, 0, tuple(parts), sources, SETTINGS, FakeTools())
    process_group(job)
    stated = {
        row["id"]: [row.get(key, "-") for key in ("start", "stop", "dataset_crop")] for row in read_part(job.part)
    }
    assert stated == {
        "whole": ["-", "-", "-"],
        "end": [0.4, None, "-"],
        "begin": [0.0, 0.8, "-"],
        "middle": [0.2, 0.6, "3 1 40 20"],
    }
    facts = {(row["speaker"], row["split"], row["source"]) for row in read_part(job.part)}
    assert facts == {(f"s-{name}", "val", "v.mp4") for name in parts}


def test_plain_pandas_and_safetensors_read_it(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    index = pd.read_parquet(tmp_path / "c" / "index.parquet").set_index("id")
    row = index.loc["s2__clip20"]
    frames = load_file(tmp_path / "c" / row["frames.shard"])[row["frames.key"]]
    assert list(frames.shape) == list(row["frames.shape"]) == [25, 32, 32, 3]
    assert hashlib.sha256(frames.tobytes()).hexdigest() == row["frames.sha256"]
    assert index["status"].value_counts().to_dict() == {"ok": 22, "quarantined": 2}


def test_two_workers_write_the_same_bytes_as_one(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path / "one", SETTINGS, tools=FakeTools(), jobs=1)
    prepare(root, tmp_path / "two", SETTINGS, tools=FakeTools(), jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_run_does_nothing_and_new_clips_are_added(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    before = contents(tmp_path / "c")
    report = prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    assert (report.resumed, report.ok) == (24, 22)
    assert contents(tmp_path / "c") == before
    write_video(root / "new.mp4", frames=9)
    report = prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    assert (report.resumed, report.ok) == (24, 23)
    after = contents(tmp_path / "c")
    assert {k: v for k, v in after.items() if k in before and k not in ("plan.json", "index.parquet")} == {
        k: v for k, v in before.items() if k not in ("plan.json", "index.parquet")
    }
    assert Cache(tmp_path / "c")["new"].n_frames == 9


def test_an_extractor_added_later_computes_that_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    before = contents(tmp_path / "c")

    def never(*args: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(FakeTools, "process", never)
    more = SETTINGS.model_copy(update={"extract": ("pose", "hubert")})
    report = prepare(root, tmp_path / "c", more, tools=FakeTools())
    without = sum((5 + k) % 7 == 0 for k in range(24) if k not in (3, 7))
    assert report.incomplete == {"hubert": without} and report.ok == 22
    cache = Cache(tmp_path / "c")
    assert cache["s1__clip10"]["hubert"].shape == (15, 4) and "hubert" not in cache["s0__clip09"]
    same = {k: v for k, v in contents(tmp_path / "c").items() if "safetensors" in k and "hubert" not in k}
    assert same == {k: v for k, v in before.items() if "safetensors" in k}
    assert cache.settings["fingerprints"]["extractor hubert"] == "1"
    # prepared without it, it stays; and the fields do not depend on when they were computed
    prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    assert "hubert" in Cache(tmp_path / "c").fields


def test_an_extractor_that_needs_frames_runs_in_the_first_run_too(root: Path, tmp_path: Path) -> None:
    both = SETTINGS.model_copy(update={"extract": ("pose", "late")})
    prepare(root, tmp_path / "c", both, tools=FakeTools(), jobs=2)
    assert Cache(tmp_path / "c")["s1__clip10"]["late"].shape == (15, 4)


def test_other_settings_are_refused_and_overwrite_makes_it_anew(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "c"
    prepare(root, cache, SETTINGS, tools=FakeTools())
    larger = SETTINGS.model_copy(update={"size": 48})
    with pytest.raises(InputError, match=r"with size 32 \(now 48\).*--overwrite"):
        prepare(root, cache, larger, tools=FakeTools())
    with pytest.raises(InputError, match=r"with face fingerprint '1' \(now '2'\)"):
        prepare(root, cache, SETTINGS, tools=FakeTools(version="2"))
    prepare(root, cache, larger, tools=FakeTools(), overwrite=True)
    prepare(root, tmp_path / "fresh", larger, tools=FakeTools())
    assert contents(cache) == contents(tmp_path / "fresh")


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no video")
    cases = {
        "does not exist": (tmp_path / "nowhere", tmp_path / "c"),
        "is not a folder": (empty / "notes.txt", tmp_path / "c"),
        "has no clip in the layout": (empty, tmp_path / "c"),
    }
    for says, (root, cache) in cases.items():
        with pytest.raises(InputError, match=says):
            prepare(root, cache, SETTINGS, tools=FakeTools())
        assert not cache.exists()
    write_video(tmp_path / "v" / "a.mp4", frames=3)
    with pytest.raises(InputError, match="folder with other files"):
        prepare(tmp_path / "v", empty, SETTINGS, tools=FakeTools(), overwrite=True)
    assert (empty / "notes.txt").exists()
    with pytest.raises(InputError, match="is a file"):
        prepare(tmp_path / "v", empty / "notes.txt", SETTINGS, tools=FakeTools())
    with pytest.raises(InputError, match=r"no dataset called 'foldr'\. Did you mean folder"):
        prepare(tmp_path / "v", tmp_path / "c", SETTINGS.model_copy(update={"dataset": "foldr"}), tools=FakeTools())


def test_when_no_clip_can_be_used_the_reasons_are_given(tmp_path: Path) -> None:
    for k in range(3):
        write_video(tmp_path / "v" / f"{k}.mp4", frames=3, then="no_face")
    (tmp_path / "v" / "3.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 4 clips could be used \(1 empty_file, 3 no_face\)"):
        prepare(tmp_path / "v", tmp_path / "c", SETTINGS, tools=FakeTools())
    assert len(Cache(tmp_path / "c").quarantined()) == 4


class Greedy(FakeTools):
    """Needs more memory than there is for one clip, and one extractor for another."""

    def process(self, source: Source, settings: PrepareSettings, sink: Any) -> dict[str, Any]:
        """Fails once a part of the clip is written."""
        meta = super().process(source, settings, sink)
        if source.id == "s2__clip05":
            raise MemoryError
        return meta

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        """Fails for the clip of 15 frames."""
        if n_frames == 15:
            raise MemoryError
        return super().extract(name, arrays, size=size, n_frames=n_frames)


def test_a_clip_that_needs_too_much_memory_is_left_out_alone(root: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"extract": ("pose", "late")})
    report = prepare(root, tmp_path / "c", settings, tools=Greedy())
    assert report.quarantined == {"no_face": 1, "failed": 1, "oom": 1} and report.ok == 21
    cache = Cache(tmp_path / "c")
    assert ("s2__clip05", "oom", "it needs more memory than there is") in cache.quarantined()
    assert "late" not in cache["s1__clip10"] and "late" in cache["s2__clip11"]
    assert ("s1__clip10", "late", "oom: it needs more memory than there is") in stats(tmp_path / "c")["without"]


def test_a_file_that_vanished_after_planning_is_quarantined(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    (tmp_path / "c" / "parts" / "00000.json").unlink()
    gone = next(path for path in sorted(root.rglob("*.mp4")))
    gone.unlink()
    report = prepare(root, tmp_path / "c", SETTINGS, tools=FakeTools())
    assert report.quarantined["missing_file"] == 1


def test_missing_engines_give_an_installation_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    job = GroupJob(tmp_path, tmp_path, 0, (), {}, SETTINGS, FakeTools())
    for engine in ("dask", "ray"):
        with pytest.raises(InputError, match="pip install"):
            list(run([job], workers=1, engine=engine))


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_local_cluster_writes_the_same_bytes(
    root: Path, tmp_path: Path, engine: Engine, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))  # Ray's workers begin elsewhere
    prepare(root, tmp_path / "one", SETTINGS, tools=FakeTools())
    prepare(root, tmp_path / "two", SETTINGS, tools=FakeTools(), jobs=2, engine=engine)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    write_video(root / "killer.mp4", frames=9, then="die")
    report = prepare(root, tmp_path / "two", SETTINGS, tools=FakeTools(), jobs=2, engine=engine)
    assert (report.ok, report.resumed, report.quarantined["worker_died"]) == (22, 24, 1)
