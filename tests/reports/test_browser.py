"""The page in a real browser: it sorts, filters, plays and opens. Runs where Chromium is installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import CHROMIUM, Browser

from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow

#: axe-core's single file, from the environment or from `npm install axe-core` in the checkout.
AXE = Path(os.environ.get("DAWN_BENCH_AXE", Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"))

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


def test_no_column_is_cut_off_and_hidden_ones_are_one_click_away(page: Browser) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=700, height=900, deviceScaleFactor=1, mobile=False)
    state = page.run(
        """(() => {
        const scroll = document.querySelector('.scroll'), line = document.querySelector('.folded');
        const visible = what => [...scroll.querySelectorAll(what)].filter(head => head.checkVisibility());
        const shown = () => visible('th[data-label]').map(head => head.dataset.label);
        const fits = () => scroll.scrollWidth <= scroll.clientWidth;
        const heads = () => visible('.heads [data-group]').map(head => [head.textContent, head.colSpan]);
        dispatchEvent(new Event('resize'));
        const first = [shown(), fits(), heads()];
        const offer = line.querySelector('button'), asked = offer.textContent;
        offer.click();
        const second = [shown(), fits()];
        [...line.querySelectorAll('button')].find(b => b.textContent === 'all columns').click();
        return {first, asked, second, all: shown().length};
        })()"""
    )
    page.call("Emulation.clearDeviceMetricsOverride")
    labels, fits, heads = state["first"]
    assert fits and 0 < len(labels) < 7 and state["all"] == 7
    assert sum(span for _, span in heads) == len(labels)
    assert {title for title, _ in heads} <= {"Lips and sound", "Picture", "Identity"}
    assert (
        state["second"][1] and {*state["asked"].split(", ")} <= {*state["second"][0]} and labels != state["second"][0]
    )


def test_a_plot_shows_the_clip_that_is_pointed_at(
    browser: Browser, tmp_path: Path, row: Callable[..., ScoreRow]
) -> None:
    clips = {f"clip{k}": float(k) for k in range(9)} | {"<i>odd</i>": 20.0}
    store = ResultsStore(tmp_path)
    store.append([row(m, 9.0 - k, metric="psnr", higher_is_better=True, per_clip=clips) for k, m in enumerate("ab")])
    (path,) = write_report(tmp_path, tmp_path / "out", formats=["html"])
    browser.open(path)
    state = browser.run(
        """(async () => {
        const tip = document.querySelector('.tip');
        const key = (node, name) => node.dispatchEvent(new KeyboardEvent('keydown', {key: name}));
        const words = () => [tip.hidden, ...[...tip.children].map(c => c.textContent)];
        const figure = document.querySelector('figure.score');
        key(figure, 'ArrowDown');
        const mean = words();
        const inner = document.querySelector('details.inner');
        inner.parentElement.open = inner.open = true;
        await new Promise(done => setTimeout(done, 100));
        const strip = inner.querySelector('canvas.strip'), box = strip.getBoundingClientRect();
        strip.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 2, clientY: box.top + 12}));
        const last = words();
        key(strip, 'ArrowLeft');
        const before = words();
        key(strip, 'Escape');
        return {mean, last, before, status: inner.querySelector('[role=status]').textContent};
        })()"""
    )
    assert state["mean"][:4] == [False, "clip0", "weakest of a: 0.00", "best: <i>odd</i>, 20.00"]
    assert state["last"][:4] == [False, "<i>odd</i>", "a: 20.00", "b: 20.00"]
    assert state["before"][1:3] == ["clip8", "a: 8.00"] and state["status"] == "clip8; a: 8.00"


def test_the_difference_to_the_truth_is_drawn(page: Browser) -> None:
    state = page.run(
        """(async () => {
        const videos = [...document.querySelectorAll('video')];
        const wait = ms => new Promise(done => setTimeout(done, ms));
        for (let i = 0; i < 100 && !videos.every(v => v.readyState >= 3); i++) await wait(50);
        document.querySelector('.look[value=difference]').click();
        const mean = picture => {
            const data = picture.getContext('2d').getImageData(0, 0, picture.width, picture.height).data;
            return data.reduce((sum, value, k) => sum + (k % 4 < 3 ? value : 0), 0) / data.length;
        };
        const means = videos.map(v => mean(v.nextElementSibling)), looks = document.querySelectorAll('.look').length;
        return {hidden: videos.map(v => v.hidden), means, looks};
        })()"""
    )
    true, same = state["means"]
    assert state["hidden"] == [True, True] and true > 50 and same < true / 5 and state["looks"] == 2


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm install axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding_of_axe(page: Browser, scheme: str) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.run(
        "document.querySelectorAll('details').forEach(d => { d.open = true; }); new Promise(d => setTimeout(d, 100))"
    )
    page.run(f"{AXE.read_text(encoding='utf-8')};0")
    findings = page.run(
        "axe.run(document).then(r => r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html.slice(0, 120))]))"
    )
    page.call("Emulation.setEmulatedMedia", features=[])
    assert [f for f in findings if f[0] in ("serious", "critical")] == []


def test_in_print_all_is_unfolded_but_tables_of_many_pages(
    browser: Browser, tmp_path: Path, row: Callable[..., ScoreRow]
) -> None:
    visible = "document.querySelector('#facts details table').checkVisibility()"
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        for count, printed in ((60, True), (61, False)):
            store = ResultsStore(tmp_path / f"{count}")
            store.append([row(f"m{k}", float(k)) for k in range(count)])
            (path,) = write_report(store.root, tmp_path / f"{count} out", formats=["html"])
            browser.open(path)
            assert browser.run("document.querySelector('.terms dl').checkVisibility()")
            assert browser.run(visible) == printed
            browser.run("document.querySelector('#facts details').open = true")
            assert browser.run(visible)  # what a reader opened is printed
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
