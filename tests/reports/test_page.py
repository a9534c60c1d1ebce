"""The report's files: self-contained, escaped, marked where stand-ins were at work, and refused in one line."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.errors import InputError
from dawn_bench.pipelines.media.audio import read_audio
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.reports import tables
from dawn_bench.reports.cards import cards
from dawn_bench.reports.drilldown import clip_names, drill_json, names_json, per_clip
from dawn_bench.reports.gallery import browser_copy, clip_rows
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.page import FILES, write_report
from dawn_bench.reports.plots import loss_curves
from dawn_bench.reports.sources import sources
from dawn_bench.reports.store import Facts, GalleryItem, LearningSignal, ResultsStore
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]
ODD = '<img src=x onerror=alert(1)> "q" & $y$'


def film(path: Path, *, side: int = 32, sound: bool = True) -> np.ndarray:
    """Ten lossless frames of a moving bar, with a tone; returns the frames."""
    frames = np.full((10, side, side, 3), 60, np.uint8)
    for k in range(10):
        frames[k, :, 2 * k : 2 * k + 8] = (200, 120, 40)
    tone = (9000 * np.sin(np.arange(6400) * 2 * np.pi * 440 / 16000)).astype(np.int16)
    write_video(path, frames, audio=tone if sound else None, lossless=True)
    return frames


@pytest.fixture
def store(tmp_path: Path, row: Make) -> ResultsStore:
    """A results folder with every kind of thing in it."""
    store = ResultsStore(tmp_path / "results")
    clips = {"a": 3.0, "b": 1.0, "c": None}
    store.append([row("dawn", 2.0, low=1.5, high=2.5, per_clip=clips), row(ODD, 3.0, note=ODD)])
    store.append(
        [row("still", 9.0, rankable=False, method_class="sanity"), row("dawn", 1.0, metric="my-own", unit="cm")]
    )
    store.append([row("dawn", 40.0, metric="fvd16", weights_state="seeded")])
    film(store.root / "dawn.mp4")
    film(store.root / "truth.mp4", sound=False)
    items = {"dawn": "dawn.mp4", "ground-truth": "truth.mp4", "still": "gone.mp4"}
    store.add_gallery([GalleryItem(clip_id=ODD, method=m, video=store.root / v) for m, v in items.items()])
    curve = [{"step": s, "total": 3.0 / s, "data_share": 0.1, "text": "x", "bad": float("nan")} for s in range(1, 60)]
    signal = LearningSignal(signal="PSNR", value=27.0, baseline=25.0, passed=True, note=ODD)
    facts = Facts(
        title=ODD, notes=[ODD], curves={ODD: curve}, learning=[signal], dataset={"clips": 3, "of": ["a", "b"]}
    )
    store.set_facts(facts)
    return store


class Page(HTMLParser):
    """Collects tags with their attributes, and what an `<img>` of ours would look like had it not been escaped."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_loads_nothing_from_anywhere(store: ResultsStore, tmp_path: Path) -> None:
    paths = write_report(store.root, tmp_path / "out")
    assert [p.name for p in paths] == list(FILES.values()) and all(p.stat().st_size > 100 for p in paths)
    text = paths[0].read_text(encoding="utf-8")
    page = Page(text)
    known = {address for s in sources().values() for address in (s.paper, s.code) if address}
    loads = [
        v
        for tag, attributes in page.tags
        for k, v in attributes.items()
        if not (tag == "a" and k == "href" and v in known)  # a link loads nothing before a reader follows it
        if k in ("src", "href", "xlink:href", "srcset", "poster", "data", "action")
    ]
    assert loads and all(v is not None and v.startswith(("data:video/mp4;base64,", "#")) for v in loads)
    assert not re.search(r"@import|url\((?!#)", text)
    assert {t for t, _ in page.tags} & {"link", "iframe", "object", "embed", "img", "image"} == set()
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = [a["href"] for t, a in page.tags if t == "a" and a["href"] not in known]
    assert {str(t)[1:] for t in targets} <= set(ids)


def test_the_same_results_give_the_same_bytes(store: ResultsStore, tmp_path: Path) -> None:
    first, second = (write_report(store.root, tmp_path / name) for name in ("one", "two"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_stand_ins_are_marked_on_value_table_and_card(store: ResultsStore, tmp_path: Path) -> None:
    (path,) = write_report(store.root, tmp_path / "out", formats=["html"])
    text = path.read_text(encoding="utf-8")
    (banner,) = re.findall(r'<p class="banner warn">(.*?)</p>', text)
    assert tables.STAND_IN in banner
    (cell,) = re.findall(r'<td[^>]*data-value="40.0".*?</td>', text, flags=re.DOTALL)
    assert "stand-in" in cell and "best" not in cell
    (cell,) = re.findall(r'<td[^>]*data-value="2.0".*?</td>', text, flags=re.DOTALL)
    assert "stand-in" not in cell and 'class="num best"' in cell


def test_a_page_without_stand_ins_has_no_banner(row: Make, tmp_path: Path) -> None:
    ResultsStore(tmp_path).append([row("a", 1.0), row("b", 2.0)])
    (path,) = write_report(tmp_path, tmp_path / "out", formats=["html"])
    assert tables.STAND_IN not in path.read_text(encoding="utf-8")


def test_metrics_without_a_text_get_a_card_from_their_rows(row: Make) -> None:
    rows = [
        row("dawn", 1.0, metric="my-own", unit="cm", higher_is_better=True),
        row("dawn", 2.0),
        row("b", 1.0, note="n"),
    ]
    fid, own = cards(rows)
    assert (own.label, own.unit, own.aim, own.what) == ("my-own", "cm", "higher", "")
    assert fid.label == "FID" and fid.aim == "lower" and fid.notes == ("n",) and fid.states == ("canonical",)


def test_worst_clips_come_first(row: Make) -> None:
    (board,) = leaderboards(
        [row("dawn", 2.0, per_clip={"a": 1.0, "b": 3.0, "c": None}), row("b", 3.0, per_clip={"a": 5.0})]
    )
    (drill,) = per_clip(board)
    assert drill.methods == ["dawn", "b"]
    assert drill.lines == [("c", [None, None]), ("b", [3.0, None]), ("a", [1.0, 5.0])]


def test_no_text_ends_the_data_of_clips(row: Make) -> None:
    odd = "</script><!--<script>,&\udce9"
    (board,) = leaderboards([row(odd, 2.0, per_clip={odd: 1.25, "plain": None})])
    (drill,) = per_clip(board)
    names = clip_names([drill])
    for text in (names_json(names), drill_json(drill, names)):
        assert "<" not in text
    shown = "</script><!--<script>,&\\xe9"
    assert json.loads(names_json(names)) == [shown, "plain"]
    assert json.loads(drill_json(drill, names)) == {"methods": [shown], "clips": [1, 0], "values": [",1.25"]}


def test_a_page_of_many_clips_is_small_and_has_no_cell_of_them(row: Make, tmp_path: Path) -> None:
    clips = [f"clip-{k:04d}" for k in range(1000)]
    values = np.random.default_rng(0).normal(30, 2, (12, 3, 1000))
    store = ResultsStore(tmp_path)
    store.append(
        row(f"m{m}", float(own.mean()), metric=f"own-{k}", per_clip=dict(zip(clips, own.tolist(), strict=True)))
        for m, of_metrics in enumerate(values)
        for k, own in enumerate(of_metrics)
    )
    (path,) = write_report(tmp_path, tmp_path / "out", formats=["html"])
    text = path.read_text(encoding="utf-8")
    assert text.count("clip-0500") == 1  # once a table, not once a metric
    assert sum(tag in ("td", "th") for tag, _ in Page(text).tags) < 900
    bare = ResultsStore(tmp_path / "bare")
    bare.append(r.model_copy(update={"per_clip": {}}) for r in store.rows())
    (without,) = write_report(bare.root, tmp_path / "out-bare", formats=["html"])
    assert (path.stat().st_size - without.stat().st_size) / values.size < 7  # bytes a value, names included


def test_browser_copies_play_in_browsers_and_keep_picture_and_sound(tmp_path: Path) -> None:
    import av

    frames = film(tmp_path / "lossless.mp4", side=31)
    data, height, width = browser_copy(tmp_path / "lossless.mp4")
    assert (height, width) == (32, 32)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(data)
    with av.open(str(copy)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
    back = read_frames(copy)
    assert back.shape == (10, 32, 32, 3)
    assert np.abs(back[:, :31, :31].astype(int) - frames).mean() < 6
    assert len(read_audio(copy)) > 5000


def test_the_gallery_lists_the_truth_first_and_notes_missing_videos(store: ResultsStore) -> None:
    more = [GalleryItem(clip_id=f"clip{i}", method="dawn", video=store.root / "dawn.mp4") for i in range(3)]
    (store.root / "broken.mp4").write_bytes(b"no video")
    more.append(GalleryItem(clip_id="clip0", method="broken", video=store.root / "broken.mp4"))
    rows = clip_rows([*store.gallery(), *more], clips=2)
    assert [r.clip_id for r in rows] == [ODD, "clip0"]
    assert [(p.method, p.uri is not None) for p in rows[0].players] == [
        ("ground-truth", True),
        ("dawn", True),
        ("still", False),
    ]
    assert rows[0].players[2].note == "the video is missing: gone.mp4"
    assert rows[1].players[1].uri is None and "unreadable" in rows[1].players[1].note
    head = base64.b64decode(str(rows[0].players[0].uri).partition("base64,")[2])[:12]
    assert head[4:8] == b"ftyp"


def test_curves_draw_losses_only() -> None:
    points = [
        {"step": s, "total": 2.0 / s, "lip": 1.0, "data_share": 0.5, "lr": 1e-4, "grad_norm": 1.0} for s in range(1, 9)
    ]
    svg = loss_curves(points, name="a2v")
    assert svg is not None and ">total<" in svg and ">lip<" in svg
    assert not re.search(r">(data_share|lr|grad_norm)<", svg) and "#0102" not in svg and "<metadata" not in svg
    assert loss_curves([{"step": 1, "total": float("nan")}], name="x") is None


@pytest.mark.parametrize("make", [False, True])
def test_missing_and_empty_results_are_one_line(tmp_path: Path, make: bool) -> None:
    root = tmp_path / "results"
    if make:
        root.mkdir()
    with pytest.raises(InputError, match="results") as caught:
        write_report(root, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_unknown_formats_and_tables_are_refused(store: ResultsStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pdf"):
        write_report(store.root, tmp_path / "out", formats=["pdf"])
    with pytest.raises(InputError, match="table 2"):
        write_report(store.root, tmp_path / "out", published=[2])


def test_json_holds_whole_rows(store: ResultsStore, tmp_path: Path) -> None:
    (path,) = write_report(store.root, tmp_path / "out", formats=["json"])
    lines = json.loads(path.read_text(encoding="utf-8"))["leaderboards"][0]["lines"]
    assert ScoreRow.model_validate(lines[0]["scores"][0]["row"]).per_clip == {"a": 3.0, "b": 1.0, "c": None}


def test_errors_are_drawn_along_the_clip_and_cost_is_shown(row: Make, tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    cost = {"generate_s_per_s": 3.25, "load_s": 2.0}
    store.append(
        [row("ours", 20.0, metric="psnr", over_time=[22.0, 20.0, 18.0], cost=cost), row("theirs", 19.0, metric="psnr")]
    )
    text = next(p for p in write_report(tmp_path, tmp_path / "out") if p.suffix == ".html").read_text()
    assert "Along the clip" in text and "seconds from the start" in text and ">3.25<" in text
    assert "3.25" in (tmp_path / "out" / "report.md").read_text()
    store = ResultsStore(tmp_path / "plain")
    store.append([row("ours", 20.0, metric="psnr")])
    text = next(p for p in write_report(tmp_path / "plain", tmp_path / "o2") if p.suffix == ".html").read_text()
    assert "Along the clip" not in text and "s/s" not in text
