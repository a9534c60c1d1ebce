"""`cache compact`: fewer shards, the same arrays, whoever reads meanwhile, and however often it is stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_tools import FakeTools, write_video

import dawn_bench.pipelines.preparation.compact as module
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.locks import exclusive
from dawn_bench.pipelines.preparation.compact import compact
from dawn_bench.pipelines.preparation.maintain import verify
from dawn_bench.pipelines.preparation.plan import CachePlan
from dawn_bench.pipelines.preparation.prepare import PrepareReport, prepare
from dawn_bench.pipelines.settings import PrepareSettings

SETTINGS = PrepareSettings(size=32, extract=("pose", "late"), frames="lossless", on_cut="split")


def again(root: Path, tools: FakeTools | None = None) -> PrepareReport:
    return prepare(root / "v", root / "c", SETTINGS, tools=tools or FakeTools())


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A cache that grew twice: clips in scenes, one without a face, and one that was processed again."""
    for k in range(7):
        write_video(tmp_path / "v" / f"{k:02d}.mp4", frames=6 + k, value=k, then={3: "no_face", 5: "cut2"}.get(k, ""))
    again(tmp_path)
    write_video(tmp_path / "v" / "03b.mp4", frames=8, value=50)
    write_video(tmp_path / "v" / "06.mp4", frames=9, value=70)
    again(tmp_path)
    return tmp_path


def content(cache: Cache) -> dict[tuple[str, str], str]:
    return {
        (clip.id, field): hashlib.sha256(np.ascontiguousarray(clip[field]).tobytes()).hexdigest()
        for clip in cache
        for field in clip.fields
    }


def facts(cache: Cache) -> list[dict[str, object]]:
    rows = cache.index[[name for name in cache.index.columns if not name.endswith(".shard")]]
    return [{k: str(v) for k, v in row.items()} for row in rows.to_dict("records")]


class Untouched(FakeTools):
    """Fails where a clip is processed or extracted again."""

    def process(self, source, settings, sink):  # type: ignore[no-untyped-def]
        raise AssertionError(f"{source.id} is processed again")

    def extract(self, *given, **named):  # type: ignore[no-untyped-def]
        raise AssertionError("a field is extracted again")


def test_few_shards_hold_the_same_arrays(grown: Path) -> None:
    before, shards = Cache(grown / "c"), sorted((grown / "c").glob("*/*.safetensors"))
    arrays, rows = content(before), facts(before)
    report = compact(grown / "c")
    after = Cache(grown / "c")
    assert (report.before, report.after) == (8, 1) and len(shards) > 30
    assert len(list((grown / "c").glob("*/*.safetensors"))) == 5
    assert content(after) == arrays and facts(after) == rows
    checked = verify(grown / "c")
    assert (checked.faults, checked.loose, checked.arrays) == ((), (), len(arrays))
    assert compact(grown / "c").after == 1
    assert {path.name for path in (grown / "c" / "parts").iterdir()} == {"late", "00009.json"}


def test_prepare_goes_on_from_the_merged_groups(grown: Path) -> None:
    compact(grown / "c")
    report = again(grown, Untouched())
    assert report.resumed == report.clips == 9 and not verify(grown / "c").loose
    write_video(grown / "v" / "99.mp4", frames=8, value=99)
    assert (again(grown).resumed, len(Cache(grown / "c"))) == (9, 9)
    write_video(grown / "v" / "02.mp4", frames=12, value=22)
    assert again(grown).resumed == 9 and Cache(grown / "c")["02"].n_frames == 12
    arrays = content(Cache(grown / "c"))
    assert compact(grown / "c").after == 1 and content(Cache(grown / "c")) == arrays
    assert again(grown, Untouched()).resumed == 10


def test_a_source_that_changed_before_the_merge_is_processed_again(grown: Path) -> None:
    write_video(grown / "v" / "01.mp4", frames=11, value=11)
    compact(grown / "c")
    assert again(grown).resumed == 8 and Cache(grown / "c")["01"].n_frames == 11


def test_who_has_the_cache_open_goes_on_reading(grown: Path) -> None:
    opened, arrays = Cache(grown / "c"), content(Cache(grown / "c"))
    some = opened["01"]["frames"]
    compact(grown / "c")
    assert content(opened) == arrays and some.shape == (7, 32, 32, 3)
    write_video(grown / "v" / "01.mp4", frames=11, value=11)
    again(grown)
    compact(grown / "c")
    with pytest.raises(InputError, match=r"frames of clip 01 is another\. Open it again"):
        opened.shards = type(opened.shards)(opened.root)  # as in a process that has no file of it mapped
        opened["01"]["frames"]
    assert np.array_equal(opened["02"]["pose"], Cache(grown / "c")["02"]["pose"])


def test_a_cache_that_is_prepared_or_not_finished_is_refused(grown: Path) -> None:
    with exclusive(grown / "c", doing="prepared", hint=""), pytest.raises(InputError, match="is being prepared"):
        compact(grown / "c")
    (grown / "c" / "parts" / "late" / "00002.json").unlink()
    with pytest.raises(InputError, match=r"not prepared to its end\. Run the same prepare"):
        compact(grown / "c")
    (grown / "c" / "plan.json").unlink()
    with pytest.raises(InputError, match="has no plan"):
        compact(grown / "c")


def test_full_groups_stay_where_they_are(grown: Path) -> None:
    """Groups of half a shard and more are not copied."""
    plan = CachePlan.load(grown / "c")
    lengths = {row.id: row.n_frames for row in Cache(grown / "c")}
    alone = [n for n in plan.current() if plan.groups[n] in (("04",), ("03b",))]
    kept = {path: path.stat().st_ino for n in alone for path in (grown / "c" / "frames").glob(f"*-{n:05d}.*")}
    report = compact(grown / "c", shard_bytes=2 * 32 * 32 * 3 * min(lengths["04"], lengths["03b"]))
    assert 2 < report.after < report.before and len(kept) == 2
    assert {path: path.stat().st_ino for path in kept} == kept


class Stop(BaseException):
    """The process is killed."""


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the n-th step that changes the disk be the last of a process."""
    left = [0]

    def count(step: Callable[..., object]) -> Callable[..., object]:
        def counted(*given: object, **named: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise Stop
            return step(*given, **named)

        return counted

    for owner, name in (("pathlib.Path", "replace"), ("pathlib.Path", "unlink"), ("pathlib.Path", "mkdir"),
                        ("shutil", "rmtree"), ("os", "utime")):  # fmt: skip
        target = __import__(owner.partition(".")[0])
        target = target.Path if owner.endswith("Path") else target
        monkeypatch.setattr(target, name, count(getattr(target, name)))
    return lambda steps: left.__setitem__(0, steps)


@pytest.mark.parametrize("who", ["compact", "prepare"])
def test_a_run_that_was_stopped_anywhere_goes_on(who: str, grown: Path, stop: Callable[[int], None]) -> None:
    arrays = content(Cache(grown / "c"))
    steps, stopped = 3, 0
    while True:
        stop(steps)
        try:
            compact(grown / "c")
        except Stop:
            stopped += 1
        else:
            stop(0)
            break
        stop(0)
        assert content(Cache(grown / "c")) == arrays
        if who == "prepare":
            assert again(grown, Untouched()).resumed == 9
            checked = verify(grown / "c")
            assert not checked.faults and not checked.loose
        steps += 5
    assert stopped >= 4
    checked = verify(grown / "c")
    assert not checked.faults and not checked.loose and not (grown / "c" / "parts" / module.WORK).exists()
    assert content(Cache(grown / "c")) == arrays and len(list((grown / "c" / "pose").iterdir())) == 1
