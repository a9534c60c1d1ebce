"""A results folder shows its own videos and logs only, whatever its lists name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.errors import InputError
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports.gallery import clip_rows
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import Facts, GalleryItem, ResultsStore

SECRET = "secret-7f3a"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a private video and a private log next to a results folder with one video of its own."""
    frames = np.full((3, 32, 32, 3), 90, np.uint8)
    (tmp_path / "results" / "outputs").mkdir(parents=True)
    for path in ("private.mp4", "results/outputs/own.mp4"):
        write_video(tmp_path / path, frames)
    points = [{"step": k, SECRET: float(k)} for k in range(5)]
    (tmp_path / "private.jsonl").write_text("".join(f"{json.dumps(p)}\n" for p in points))
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["{home}/private.mp4", "../private.mp4", "outputs/../../private.mp4", "link.mp4", "up/private.mp4", "rows", "",
     "pipe.mp4", "/dev/stdin", "notes.txt", "a\0.mp4"],
)  # fmt: skip
def test_the_gallery_shows_videos_of_the_folder_only(home: Path, name: str) -> None:
    results = home / "results"
    (results / "rows").mkdir()
    (results / "notes.txt").write_bytes((home / "private.mp4").read_bytes())
    (results / "link.mp4").symlink_to(home / "private.mp4")
    (results / "up").symlink_to("..")
    os.mkfifo(results / "pipe.mp4")
    items = [
        {"clip_id": "c", "method": "theirs", "video": name.format(home=home)},
        {"clip_id": "c", "method": "own", "video": "outputs/own.mp4"},
    ]
    (results / "gallery.json").write_text(json.dumps(items))
    theirs, own = clip_rows(ResultsStore(results).gallery())[0].players
    assert (theirs.method, theirs.uri) == ("theirs", None) and theirs.note
    assert own.uri is not None
    page = write_report(results, home / "report", formats=["html"])[0].read_text()
    assert page.count("data:video/mp4") == 1


@pytest.mark.parametrize(
    "name", ["{home}/private.jsonl", "../private.jsonl", "link.jsonl", "pipe.jsonl", "notes.txt", "rows", "a\0.jsonl"]
)
def test_loss_curves_are_read_from_the_folder_only(home: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    results = home / "results"
    (results / "rows").mkdir()
    (results / "notes.txt").write_bytes((home / "private.jsonl").read_bytes())
    (results / "link.jsonl").symlink_to(home / "private.jsonl")
    os.mkfifo(results / "pipe.jsonl")
    (results / "facts.json").write_text(json.dumps({"curves": {"lfg": name.format(home=home)}}))
    page = write_report(results, home / "report", formats=["html"])[0].read_text()
    assert SECRET not in page
    assert "the report omits" in capsys.readouterr().err


@pytest.mark.parametrize(
    "point",
    [
        {"step": "x", "a": 1.0},
        {"step": None, "a": 1},
        {"a": 10**400},
        {"a": float("nan")},
        {"a": {}},
        [["a", 1]],
        3,
        "x",
    ],
)
def test_a_forged_point_of_a_curve_is_left_out(home: Path, point: object) -> None:
    results = home / "results"
    log = "".join(f"{json.dumps(p)}\n" for p in [point, *({"step": k, "loss": float(k)} for k in range(3))])
    (results / "log.jsonl").write_text(log)
    (results / "facts.json").write_text(json.dumps({"curves": {"lfg": "log.jsonl"}}))
    assert "<svg" in write_report(results, home / "report", formats=["html"])[0].read_text()


def test_videos_and_logs_from_elsewhere_are_kept_in_the_folder(home: Path) -> None:
    """`evaluate --outputs` names files of the user; the results folder then shows them, also after a move."""
    store = ResultsStore(home / "results")
    for _ in range(2):
        store.add_gallery([GalleryItem(clip_id="c", method="mine", video=home / "private.mp4")])
        store.set_facts(Facts(curves={"lfg": home / "private.jsonl"}))
    (home / "private.mp4").unlink()
    (home / "private.jsonl").unlink()
    (home / "results").rename(home / "moved")
    moved = ResultsStore(home / "moved")
    assert clip_rows(moved.gallery())[0].players[0].uri is not None
    assert len(moved.curve(moved.facts().curves["lfg"])) == 5
    assert sorted(p.name for p in (home / "moved" / "gallery" / "mine").iterdir()) == ["c.mp4"]


@pytest.mark.parametrize("linked", ["gallery", "gallery/mine"])
def test_nothing_is_kept_through_a_link(home: Path, linked: str) -> None:
    link, victim = home / "results" / linked, home / "victim"
    (victim / "mine").mkdir(parents=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim)
    with pytest.raises(InputError, match="link"):
        ResultsStore(home / "results").add_gallery(
            [GalleryItem(clip_id="c", method="mine", video=home / "private.mp4")]
        )
    assert not list(victim.rglob("*.mp4"))


def test_rows_that_cannot_be_read_are_named_and_left_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = home / "results" / "rows"
    rows.mkdir()
    os.mkfifo(rows / "pipe.jsonl")
    (rows / "gone.jsonl").symlink_to("nowhere")
    (rows / "folder.jsonl").mkdir()
    assert ResultsStore(home / "results").rows() == []
    err = capsys.readouterr().err
    assert all(f"{name}.jsonl: cannot be read" in err for name in ("pipe", "gone", "folder"))


@pytest.mark.parametrize(
    "facts",
    [
        {"timings": {"a": float("inf")}}, {"timings": {"a": -1e308}}, {"timings": {"a": float("nan")}},
        {"dataset": {"a": json.loads("[" * 900 + "]" * 900)}}, {"machine": {"a": {"b": json.loads("[" * 9 + "]" * 9)}}},
        {"curves": {f"c{k}": [{"step": 1, "a": 1}, {"step": 2, "a": 1}] for k in range(400)}},
        {"curves": {"c": [{"step": 1, "a": json.loads("[" * 900 + "]" * 900)}]}},
    ],
    ids=range(7),
)  # fmt: skip
def test_facts_that_no_page_can_show_are_one_line(home: Path, facts: dict[str, object]) -> None:
    (home / "results" / "facts.json").write_text(json.dumps({"title": "t", **facts}))
    with pytest.raises(InputError, match=rf"facts\.json: entry '{next(iter(facts))}.*Correct or delete it\.$") as error:
        write_report(home / "results", home / "report")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"value": 1e308}, {"value": -1e16}, {"value": float("inf")}, {"low": 1e300}, {"coverage": 5.0},
        {"coverage": float("nan")}, {"n_clips": -5}, {"per_clip": {"a": 1e300}}, {"over_time": [1e300]},
        {"cost": {"load_s": 1e300}}, {"wall_seconds": float("inf")},
    ],
    ids=str,
)  # fmt: skip
def test_rows_with_impossible_numbers_are_left_out(
    home: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"method": "m", "dataset": "d", "split": "s", "protocol": "p", "metric": "psnr", "value": 1.0, "n_clips": 1,
           "n_frames": 1, "fingerprint": "f"}  # fmt: skip
    store = ResultsStore(home / "results")
    (store.root / "rows").mkdir()
    (store.root / "rows" / "a.jsonl").write_text("".join(f"{json.dumps(row | c)}\n" for c in ({}, change)))
    assert [r.value for r in store.rows()] == [1.0]
    assert "line 2 is damaged" in capsys.readouterr().err
    assert write_report(store.root, home / "report")
