"""The page in a real browser: it sorts, filters, plays and opens. Runs where Chromium is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import CHROMIUM, Browser

from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser: Browser, tmp_path: Path, row: Callable[..., ScoreRow]) -> Browser:
    store = ResultsStore(tmp_path)
    values = {"dawn": 2.0, "dit-head": 10.0, "a method with a rather long name of its own": None, "sadtalker": 3.0}
    rows = [row(m, v, low=v and v - 1, high=v and v + 1) for m, v in values.items()]
    rows += [row(m, 1.0, metric=k) for m in values for k in ("fvd16", "lse-c", "lse-d", "csim", "psnr", "ssim")]
    store.append([*rows, row("still", 1.0, rankable=False), row("dawn", 5.0, dataset="hdtf")])
    frames = np.random.default_rng(0).integers(0, 255, (50, 32, 32, 3), dtype=np.uint8)
    sound = (6000 * np.sin(np.arange(32000) / 6)).astype(np.int16)
    for name in ("ground-truth", "dawn"):
        write_video(tmp_path / f"{name}.mp4", frames, audio=sound)
        store.add_gallery([GalleryItem(clip_id="clip", method=name, video=tmp_path / f"{name}.mp4")])
    (path,) = write_report(tmp_path, tmp_path / "out", formats=["html"])
    browser.open(path)
    return browser


def shown(page: Browser, group: str = "ranked") -> list[str]:
    return page.run(
        f"""[...document.querySelectorAll('.board')][0].checkVisibility() ?
        [...document.querySelectorAll('.board')[0].querySelectorAll('[data-group="{group}"] tr[data-method]')]
        .filter(r => r.checkVisibility()).map(r => r.dataset.method) : []"""
    )


def test_it_sorts_within_groups(page: Browser) -> None:
    fid = "document.querySelector('.scores th[data-label=FID] button').click()"
    page.run(fid)
    odd = "a method with a rather long name of its own"
    assert shown(page) == ["dawn", "sadtalker", "dit-head", odd]
    page.run(fid)
    assert shown(page) == ["dit-head", "sadtalker", "dawn", odd]  # by number, not by text; undefined stays last
    assert page.run("document.querySelector('.scores th[data-label=FID]').getAttribute('aria-sort')") == "descending"
    assert shown(page, "sanity") == ["still"]
    page.run("document.querySelector('.scores th.name button').click()")
    assert shown(page) == [odd, "dawn", "dit-head", "sadtalker"]


def test_it_filters(page: Browser) -> None:
    page.run("filter.value = 'Da'; filter.dispatchEvent(new Event('input'))")
    assert shown(page) == ["dawn"] and shown(page, "sanity") == []
    page.run("filter.value = ''; filter.dispatchEvent(new Event('input'))")
    page.run("document.querySelector('input.group[value=sanity]').click()")
    assert len(shown(page)) == 4 and shown(page, "sanity") == []
    page.run("document.querySelector('input.metric[value=FID]').click()")
    cells = "[...document.querySelectorAll('.scores [data-label=FID]')]"
    assert page.run(f"{cells}.length") > 0 and page.run(f"{cells}.filter(c => c.checkVisibility()).length") == 0
    page.run("dataset.value = 'hdtf'; dataset.dispatchEvent(new Event('input'))")
    assert shown(page) == []
    assert page.run("[...document.querySelectorAll('.board')].filter(b => b.checkVisibility()).length") == 1


def test_one_button_plays_all_videos_in_step(page: Browser) -> None:
    state = page.run(
        """(async () => {
        const wait = ms => new Promise(done => setTimeout(done, ms));
        const videos = [...document.querySelectorAll('video')];
        for (let i = 0; i < 100 && !videos.every(v => v.readyState >= 3); i++) await wait(50);
        const button = document.querySelector('.play');
        button.click();
        for (let i = 0; i < 100 && !videos.every(v => v.currentTime > 0.3); i++) await wait(20);
        const muted = () => videos.map(v => v.muted);
        const during = {times: videos.map(v => v.currentTime), muted: muted(), text: button.textContent};
        document.querySelectorAll('input[type=radio]')[1].click();
        const swapped = muted();
        button.click();
        const paused = videos.map(v => v.paused);
        const slider = document.querySelector('.seek');
        slider.value = 0.5;
        slider.dispatchEvent(new Event('input'));
        await wait(200);
        return {during, swapped, paused, sought: videos.map(v => v.currentTime), length: videos.map(v => v.duration)};
        })()"""
    )
    times = state["during"]["times"]
    assert min(times) > 0.3 and abs(times[0] - times[1]) < 0.15
    assert "Pause" in state["during"]["text"] and state["paused"] == [True, True]
    assert state["during"]["muted"] == [False, True] and state["swapped"] == [True, False]
    assert state["sought"] == pytest.approx([x / 2 for x in state["length"]], abs=0.1)


def test_scores_per_clip_are_built_sorted_and_filtered_on_demand(
    browser: Browser, tmp_path: Path, row: Callable[..., ScoreRow]
) -> None:
    odd = "<b>odd & co</b>"
    first: dict[str, float | None] = {f"clip{k:03d}": (37 * k % 120) / 3 - 5 for k in range(119)} | {odd: None}
    second = {clip: 4.5 for clip in first if clip != "clip007"}
    rows = [("one", first), ("two", second)]
    store = ResultsStore(tmp_path)
    store.append([row(m, 9.0 - k, metric="psnr", higher_is_better=True, per_clip=v) for k, (m, v) in enumerate(rows)])
    (path,) = write_report(tmp_path, tmp_path / "out", formats=["html"])
    browser.open(path)
    inner = "document.querySelector('details.inner')"

    def cells() -> list[list[str]]:
        rows = f"[...{inner}.querySelectorAll('tbody tr')]"
        return browser.run(f"{rows}.map(row => [...row.children].map(cell => cell.textContent))")

    def turn(script: str) -> str:
        browser.run(f"{inner}.querySelector({script}; new Promise(done => setTimeout(done, 20))")
        return browser.run(f"{inner}.querySelector('output').textContent")

    def press(name: str) -> str:
        return turn(f"'.view').querySelectorAll('.controls button')[{['back', 'next'].index(name)}].click()")

    def find(name: str) -> str:
        return turn(f"'input').value = '{name}'; {inner}.querySelector('input').dispatchEvent(new Event('input'))")

    shown = {c: ["–" if v is None else f"{v:.2f}".replace("-", "−") for v in (first[c], second.get(c))] for c in first}
    ordered = [odd, *sorted((c for c in first if first[c] is not None), key=lambda c: (first[c] or 0.0, c))]
    assert cells() == []
    browser.run(f"{inner}.parentElement.open = {inner}.open = true; new Promise(done => setTimeout(done, 100))")
    assert cells() == [[c, *shown[c]] for c in ordered[:50]]
    assert press("next") == "clips 51–100 of 120" and press("next") == "clips 101–120 of 120"
    assert cells() == [[c, *shown[c]] for c in ordered[100:]]
    assert browser.run(f"[...{inner}.querySelectorAll('.controls button')].map(b => b.disabled)") == [False, True]
    assert press("back") == "clips 51–100 of 120"
    head = "'thead th:nth-child(2) button').click()"
    assert turn(head) == "clips 1–50 of 120" and [c for c, *_ in cells()] == ordered[1:51]
    turn(head)
    assert [c for c, *_ in cells()] == ordered[:-51:-1]
    assert find("CLIP00") == "clips 1–10 of 10"
    assert [c for c, *_ in cells()] == [c for c in reversed(ordered) if c.startswith("clip00")]
    assert ["clip007", shown["clip007"][0], "–"] in cells()
    assert find("nobody") == "no clip of this name" and cells() == []
    browser.run(f"{inner}.open = false; new Promise(done => setTimeout(done, 100))")
    assert browser.run(f"{inner}.querySelectorAll('table').length") == 0


@pytest.mark.parametrize("width", [420, 1280])
def test_nothing_sticks_out_or_overlaps(page: Browser, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    assert page.run("document.documentElement.scrollWidth") <= width
    overlaps = page.run(
        """(() => {
        const bad = [];
        for (const cell of document.querySelectorAll('.scores tbody td, .scores th, dd, dt, figcaption, .chip'))
            if (cell.checkVisibility() && cell.scrollWidth > cell.clientWidth + 1) bad.push(cell.textContent.trim());
        for (const svg of document.querySelectorAll('svg.plot')) {
            const outer = svg.getBoundingClientRect();
            const boxes = [...svg.querySelectorAll('text')].map(t => [t.getBoundingClientRect(), t.textContent.trim()]);
            boxes.forEach(([a, x], i) => {
                if (a.left < outer.left - 1 || a.right > outer.right + 1) bad.push('cut: ' + x);
                boxes.slice(i + 1).forEach(([b, y]) => {
                    if (a.right > b.left + 1 && b.right > a.left + 1 && a.bottom > b.top + 2 && b.bottom > a.top + 2)
                        bad.push(x + ' / ' + y);
                });
            });
        }
        return bad;
        })()"""
    )
    page.call("Emulation.clearDeviceMetricsOverride")
    assert overlaps == []
