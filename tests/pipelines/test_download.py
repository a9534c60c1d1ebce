"""Downloading the published list with a fake yt-dlp: requests, files, log and messages."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.datasets.base import DATASETS
from dawn_bench.pipelines.datasets.download import LOG_FILE, PATIENCE, Video, download, read_log, reason_of
from dawn_bench.pipelines.datasets.hdtf import raw_videos
from dawn_bench.pipelines.settings import PrepareSettings


class DownloadError(Exception):
    """yt-dlp's exception."""


class FakeDownloader:
    """Writes a file or raises, as yt-dlp does."""

    asked: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    refusals: ClassVar[dict[str, str]] = {}

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def __enter__(self) -> FakeDownloader:
        return self

    def __exit__(self, *what: object) -> None:
        pass

    def download(self, urls: list[str]) -> None:
        (url,) = urls
        key = url.removeprefix("https://www.youtube.com/watch?v=")
        self.asked.append((key, self.settings))
        if key in self.refusals:
            raise DownloadError(f"ERROR: [youtube] {key}: {self.refusals[key]}")
        name = self.settings["outtmpl"]["default"].replace("%(ext)s", "mp4").replace("%%", "%")
        (Path(self.settings["paths"]["home"]) / name).write_bytes(b"video")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeDownloader]:
    module = SimpleNamespace(YoutubeDL=FakeDownloader, utils=SimpleNamespace(DownloadError=DownloadError))
    monkeypatch.setitem(sys.modules, "yt_dlp", module)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(FakeDownloader, "asked", [])
    monkeypatch.setattr(FakeDownloader, "refusals", {})
    return FakeDownloader


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Lists of five talks: two share one video, one has no address."""
    lists = tmp_path / "HDTF" / "HDTF_dataset"
    lists.mkdir(parents=True)
    names = {"One": "A", "Two": "B", "Twin": "B", "Three": "C"}
    address = "".join(f"{name} https://www.youtube.com/watch?v={11 * key}\n" for name, key in names.items())
    (lists / "WDA_video_url.txt").write_text("\ufeff" + address, encoding="utf-8")
    talks = [*names, "Lost"]
    (lists / "WDA_annotion_time.txt").write_text("".join(f"{name}.mp4 0:00-0:10 0:20-0:30 \n" for name in talks))
    (lists / "WDA_crop_wh.txt").write_text("".join(f"{name}_{k}.mp4 0 9 0 9\n" for name in talks for k in range(2)))
    heights = {"One": 720, "Three": 0}
    (lists / "WDA_resolution.txt").write_text("".join(f"{name}.mp4 {heights.get(name, 1080)}\n" for name in talks))
    return tmp_path / "HDTF"


def command(*words: str) -> Any:
    from dawn_bench.cli.download import download

    app = typer.Typer()
    app.command("download")(download)
    return CliRunner().invoke(app, list(words))


def test_each_address_is_requested_once_at_its_height(root: Path, fake: type[FakeDownloader]) -> None:
    result = command("--root", str(root))
    assert result.exit_code == 0, result.output
    assert [key for key, _ in fake.asked] == ["A" * 11, "B" * 11, "C" * 11]
    assert [settings["format_sort"][0] for _, settings in fake.asked] == ["res:720", "res:1080", "res:1080"]
    assert result.stdout.splitlines()[0] == "WDA_Lost\tno_address\tthe published list has no address for it"
    assert "3 of 4 videos" in result.output and "unavailable: 1 no_address" in result.output
    assert sorted(path.name for path in (root / "raw").glob("*.mp4"))[0] == f"WDA_One [{'A' * 11}].mp4"
    listed = {source.id for source in DATASETS["hdtf"]().sources(root, PrepareSettings(dataset="hdtf"))}
    assert {f"WDA_{name}_{k:03d}" for name in ("One", "Two", "Twin") for k in range(2)} <= listed


def test_a_second_run_requests_only_missing_videos(root: Path, fake: type[FakeDownloader]) -> None:
    fake.refusals["B" * 11] = "Private video. Sign in if you've been granted access to this video"
    first = command("--root", str(root))
    assert "WDA_Two\tprivate\t" in first.stdout
    gone = {i: reason for i, reason, _ in DATASETS["hdtf"]().missing(root, PrepareSettings(dataset="hdtf"))}
    assert gone["WDA_Two_000"] == gone["WDA_Twin_001"] == "private" and gone["WDA_KatieHill_000"] == "not_downloaded"
    fake.asked.clear()
    fake.refusals.clear()
    assert "2 of 4 videos" not in command("--root", str(root), "--only", "WDA_One").output
    assert not fake.asked and "WDA_Two [BBBBBBBBBBB]" in read_log(root / "raw")  # another talk's reason is kept
    second = command("--root", str(root))
    assert [key for key, _ in fake.asked] == ["B" * 11] and "private" not in second.output
    assert (root / "raw" / LOG_FILE).read_text().count("\n") == 1


def test_the_log_keeps_the_reasons_of_videos_that_are_still_missing_and_no_other(
    root: Path, fake: type[FakeDownloader]
) -> None:
    fake.refusals.update({"B" * 11: "Private video.", "C" * 11: "Video unavailable."})
    command("--root", str(root))
    stems = [f"WDA_{name} [{key * 11}]" for name, key in (("One", "A"), ("Two", "B"), ("Three", "C"))]
    assert set(stems[1:]) < read_log(root / "raw").keys()
    (root / "raw" / f"{stems[2]}.mkv").write_bytes(b"got elsewhere")
    (root / "raw" / f"{stems[0]}.mp4").unlink()
    command("--root", str(root), "--only", "WDA_One")
    assert stems[1] in (log := read_log(root / "raw")) and not {stems[0], stems[2]} & log.keys()


@pytest.mark.parametrize("given", [False, True])
def test_what_yt_dlp_is_asked_for(root: Path, tmp_path: Path, fake: type[FakeDownloader], given: bool) -> None:
    """One video with its sound as mp4, unfinished parts in a folder of their own, the user's cookies if any."""
    cookies = tmp_path / "cookies.txt"
    cookies.touch()
    assert command("--root", str(root), *(["--cookies", str(cookies)] if given else [])).exit_code == 0
    assert fake.asked
    for key, settings in fake.asked:
        assert settings["cookiefile"] == (str(cookies) if given else None)
        assert settings["paths"] == {"home": str(root / "raw"), "temp": str(root / "raw" / ".partial")}
        assert (settings["format"], settings["merge_output_format"]) == ("bestvideo*+bestaudio/best", "mp4")
        assert settings["noplaylist"] and settings["outtmpl"]["default"].endswith(f"[{key}].%(ext)s")


def test_videos_elsewhere_below_the_root_are_not_requested(root: Path, fake: type[FakeDownloader]) -> None:
    (root / "mine").mkdir()
    (root / "mine" / "WDA_One.mp4").write_bytes(b"video")
    (root / "mine" / f"{'B' * 11}.mp4").write_bytes(b"video")
    assert [video.name for video in raw_videos(root)] == ["WDA_Three", "WDA_Lost"]


def test_a_network_failure_ends_the_run(root: Path, fake: type[FakeDownloader]) -> None:
    lists = root / "HDTF_dataset"
    names = [f"Talk{k}" for k in range(2 * PATIENCE)]
    (lists / "WRA_video_url.txt").write_text("".join(f"{n} https://youtu.be/{k:011d}\n" for k, n in enumerate(names)))
    (lists / "WRA_annotion_time.txt").write_text("".join(f"{n}.mp4 0:00-0:10\n" for n in names))
    fake.refusals.update({f"{k:011d}": "Unable to download webpage: Failed to resolve" for k in range(len(names))})
    error = command("--root", str(root)).exception
    assert (
        isinstance(error, InputError)
        and "consecutive videos could not be downloaded" in str(error)
        and "Failed to resolve" in str(error)
    )
    assert len(fake.asked) == 3 + PATIENCE


@pytest.mark.parametrize("reason", ["removed", "private", "failed", "no_address"])
def test_a_failure_of_the_video_itself_begins_the_count_again(tmp_path: Path, reason: str) -> None:
    """The network and the site answered: only failures in a row without such an answer end the run."""
    other = PATIENCE - 1
    asked: list[str] = []

    def fetch(video: Video, folder: Path) -> None:
        asked.append(video.name)
        raise ItemError(reason if video.name == f"v{other}" else "refused", "429")

    addresses = ["" if k == other and reason == "no_address" else f"{k:011d}" for k in range(2 * PATIENCE - 1)]
    videos = [Video(f"v{k}", address, None) for k, address in enumerate(addresses)]
    failed = download(videos, tmp_path / "raw", fetch=fetch)
    assert [name for name, *_ in failed] == sorted(video.name for video in videos)
    assert {name: why for name, why, _ in failed}[f"v{other}"] == reason
    assert len(asked) == len(videos) - (reason == "no_address")


def test_a_video_between_failures_begins_the_count_again(tmp_path: Path) -> None:
    good = PATIENCE - 1
    asked: list[str] = []

    def fetch(video: Video, folder: Path) -> None:
        asked.append(video.name)
        if len(asked) - 1 != good:
            raise ItemError("no_network", "timed out")

    videos = [Video(f"v{k}", f"{k:011d}", None) for k in range(2 * PATIENCE - 1)]
    failed = download(videos, tmp_path / "raw", fetch=fetch)
    assert asked == [video.name for video in videos] and len(failed) == 2 * PATIENCE - 2
    with pytest.raises(InputError, match="consecutive"):
        download([*videos, Video("v99", "x" * 11, None)], tmp_path / "raw", fetch=fetch)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Video unavailable", "removed"),
        ("This video has been removed by the uploader", "removed"),
        ("account associated with this video has been terminated", "removed"),
        ("Private video. Sign in", "private"),
        ("Sign in to confirm your age. This video may be inappropriate", "age_restricted"),
        ("Sign in to confirm you're not a bot", "refused"),
        ("The uploader has not made this video available in your country", "not_in_your_country"),
        ("HTTP Error 429: Too Many Requests", "refused"),
        ("<urlopen error [Errno -2] Name or service not known>", "no_network"),
        ("Requested format is something new", "failed"),
    ],
)
def test_reasons(message: str, reason: str) -> None:
    assert reason_of(f"ERROR: [youtube] AAAAAAAAAAA: {message}") == reason


def test_missing_requirements_are_a_one_line_error(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(*words: str) -> str:
        error = command(*words).exception
        assert isinstance(error, InputError)
        return str(error)

    (tmp_path / "empty").mkdir()
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    assert says("--root", str(root)) == "downloading needs yt-dlp. pip install 'dawn-bench[download]'"
    monkeypatch.setitem(sys.modules, "yt_dlp", SimpleNamespace())
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "needs the ffmpeg command" in says("--root", str(root))
    assert "does not exist" in says("--root", str(tmp_path / "nowhere"))
    assert "Clone the published lists first" in says("--root", str(tmp_path / "empty"))
    assert "no talk is called 'WDA_Four'" in says("--root", str(root), "--only", "WDA_Four")
    assert "git lfs pull" in says("--root", str(root), "--dataset", "crema")
    assert "Known: hdtf" in says("--root", str(root), "--dataset", "folder")
