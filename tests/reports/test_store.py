"""The results store keeps what was written, even if its last line is damaged."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from dawn_bench.errors import InputError
from dawn_bench.reports.store import Facts, GalleryItem, LearningSignal, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.storage import StorageError

Make = Callable[..., ScoreRow]


def test_rows_come_back_as_they_were_and_the_last_of_a_score_wins(tmp_path: Path, row: Make) -> None:
    first = ResultsStore(tmp_path)
    first.append([row("dawn", 9.0, per_clip={"a": 1.5, "b": None}, versions={"torch": "2"}), row("still", 20.0)])
    first.append([row("dawn", 8.0, metric="fvd16")])
    again = ResultsStore(tmp_path)
    again.append([row("dawn", 7.0, fingerprint="f1"), row("dawn", 5.0, protocol="other")])
    stored = ResultsStore(tmp_path).rows()
    assert [(r.method, r.metric, r.protocol, r.value) for r in stored] == [
        ("still", "fid", "paper-dawn", 20.0),
        ("dawn", "fvd16", "paper-dawn", 8.0),
        ("dawn", "fid", "paper-dawn", 7.0),
        ("dawn", "fid", "other", 5.0),
    ]
    assert len(list((tmp_path / "rows").iterdir())) == 2  # a file per run
    assert stored[0] == row("still", 20.0)


def test_a_later_score_wins_over_an_earlier_one_in_a_newer_file(tmp_path: Path, row: Make) -> None:
    slow, quick = ResultsStore(tmp_path), ResultsStore(tmp_path)
    quick.append([row("dawn", 1.0, created="2026-01-01T00:00:01+00:00")])
    slow.append([row("dawn", 2.0, created="2026-01-01T00:00:02+00:00")])
    assert [r.value for r in ResultsStore(tmp_path).rows()] == [2.0]


def test_a_row_without_a_time_gets_one(tmp_path: Path, row: Make) -> None:
    ResultsStore(tmp_path).append([row("dawn", 1.0, created="")])
    assert ResultsStore(tmp_path).rows()[0].created.startswith("2")


@pytest.mark.parametrize("tail", [b'{"method": "dawn", "val', b"\x00\xff\x00", b"[1, 2]", b'{"method": "dawn"}'])
def test_a_damaged_tail_costs_only_itself(
    tmp_path: Path, row: Make, capsys: pytest.CaptureFixture[str], tail: bytes
) -> None:
    store = ResultsStore(tmp_path)
    store.append([row("dawn", 9.0), row("still", 20.0)])
    path = next((tmp_path / "rows").iterdir())
    path.write_bytes(path.read_bytes() + tail)
    ResultsStore(tmp_path).append([row("dit-head", 10.0)])
    assert {r.method for r in ResultsStore(tmp_path).rows()} == {"dawn", "still", "dit-head"}
    warning = capsys.readouterr().err
    assert warning.startswith("warning: ") and "line 3 is damaged" in warning and warning.count("\n") == 1


def test_gallery_replaces_by_clip_and_method_and_moves_with_its_folder(tmp_path: Path) -> None:
    old, video = tmp_path / "old", tmp_path / "old" / "videos" / "a.mp4"
    store = ResultsStore(old)
    store.add_gallery([GalleryItem(clip_id="a", method="dawn", video=video, note="first")])
    outside = tmp_path / "b.mp4"
    newer = GalleryItem(clip_id="a", method="dawn", video=video)
    store.add_gallery([newer, GalleryItem(clip_id="b", method="dawn", video=outside)])
    old.rename(tmp_path / "new")
    items = ResultsStore(tmp_path / "new").gallery()
    assert [(i.clip_id, i.video, i.note) for i in items] == [
        ("a", tmp_path / "new" / "videos" / "a.mp4", ""),
        ("b", outside, ""),
    ]


def test_facts_merge_by_key(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    log = tmp_path / "lfg" / "metrics.jsonl"
    log.parent.mkdir()
    log.write_text('{"step": 1, "total": 3.0}\n{"step": 2, "to')
    store.set_facts(Facts(title="A", timings={"train": 2.0}, curves={"lfg": log}))
    signal = LearningSignal(signal="PSNR", value=27.0, baseline=25.0, passed=True)
    store.set_facts(Facts(timings={"evaluate": 3.0}, curves={"pbnet": [{"step": 1, "total": 2}]}, learning=[signal]))
    facts = ResultsStore(tmp_path).facts()
    assert facts.title == "A" and facts.timings == {"train": 2.0, "evaluate": 3.0} and facts.learning == [signal]
    assert facts.curves == {"lfg": Path("lfg/metrics.jsonl"), "pbnet": [{"step": 1, "total": 2}]}
    assert store.curve(facts.curves["lfg"]) == [{"step": 1, "total": 3.0}]


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"titel": "x"}), json.dumps({"timings": {"train": "long"}})])
def test_unfit_facts_are_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "facts.json").write_text(text)
    with pytest.raises(InputError, match=r"facts\.json") as caught:
        ResultsStore(tmp_path).facts()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("room", [0, 40])
def test_a_disk_that_fills_up_costs_only_the_rows_that_are_being_stored(room: int, tmp_path: Path, row: Make) -> None:
    """The same run stored rows before: those of its earlier methods and metrics."""
    store = ResultsStore(tmp_path)
    store.append([row("dawn", 9.0), row("still", 20.0)])
    (path,) = (tmp_path / "rows").iterdir()
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with pytest.raises(StorageError):
            store.append([row("dit-head", 10.0)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    store.append([row("dit-head", 11.0)])
    assert {r.method: r.value for r in ResultsStore(tmp_path).rows()} == {"dawn": 9.0, "still": 20.0, "dit-head": 11.0}
