"""Downloads the videos of a published list through yt-dlp.

Existing videos are skipped, so interrupted downloads resume. Failures are logged with their reason in `download.tsv`
next to the videos; `--list-missing` reads that log.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import VIDEO_SUFFIXES, write_atomic
from dawn_bench.progress import meter
from dawn_bench.readers import read_text

LOG_FILE = "download.tsv"
#: The download stops after this many consecutive failures of the network or refusals by the site.
PATIENCE = 5
_RETRIABLE = {"no_network", "refused"}
#: Substrings of lower-case error messages by reason; the first match counts.
_MESSAGES = {
    "refused": ("not a bot", "429", "too many requests", "rate-limited", "forbidden"),
    "no_network": ("resolve", "timed out", "unreachable", "connection", "urlopen error", "network"),
    "private": ("private video",),
    "age_restricted": ("confirm your age", "age-restricted"),
    "not_in_your_country": ("country", "your location", "geo restrict"),
    "removed": ("unavailable", "removed", "terminated", "no longer available", "does not exist", "not available"),
}


@dataclass(frozen=True)
class Video:
    """One video of the list: file name, YouTube id ("": not published) and preferred height in pixels."""

    name: str
    youtube: str
    height: int | None

    @property
    def stem(self) -> str:
        """The file name without suffix; the id in brackets follows yt-dlp's own naming."""
        return f"{self.name} [{self.youtube}]"


#: Downloads one video into a folder as `STEM.SUFFIX`; raises `ItemError` when it is not available.
Fetch = Callable[[Video, Path], None]


def download(videos: Sequence[Video], folder: Path, *, fetch: Fetch) -> list[tuple[str, str, str]]:
    """Download the videos missing in `folder`; returns (name, reason, detail) of those that failed.

    Raises `InputError` after `PATIENCE` consecutive network failures or refusals by the site.
    """
    folder.mkdir(parents=True, exist_ok=True)
    present = {path.stem for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES}
    todo = [video for video in videos if video.stem not in present]
    log = {stem: row for stem, row in read_log(folder).items() if stem not in present}
    failed_in_a_row = 0
    with meter("download", total=len(videos), unit="videos", done=len(videos) - len(todo)) as bar:
        bar.advance(0, note=f"{len(videos) - len(todo)} are already downloaded")
        for video in todo:
            try:
                if not video.youtube:
                    raise ItemError("no_address", "the published list has no address for it")
                fetch(video, folder)
                log.pop(video.stem, None)
                failed_in_a_row = 0
            except ItemError as error:
                log[video.stem] = video.name, error.reason, " ".join(error.detail.split())
                failed_in_a_row = failed_in_a_row + 1 if error.reason in _RETRIABLE else 0
                bar.say(f"{video.name}  {error.reason}: {log[video.stem][2]}")
            write_log(folder, log)
            bar.advance()
            if failed_in_a_row == PATIENCE:
                raise InputError(
                    f"{PATIENCE} consecutive videos could not be downloaded ({log[video.stem][2]}).",
                    hint="Run it again later: the download resumes.",
                )
    return sorted(log[video.stem] for video in todo if video.stem in log)


def read_log(folder: Path) -> dict[str, tuple[str, str, str]]:
    """(name, reason, detail) of failed downloads by file stem; empty without a log."""
    path = folder / LOG_FILE
    try:
        text = read_text(path, hint="Delete it.")
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0]: (row[1], row[2], row[3]) for row in rows if len(row) == 4}


def write_log(folder: Path, log: dict[str, tuple[str, str, str]]) -> None:
    """Write the log atomically."""
    text = "".join("\t".join((stem, *row)) + "\n" for stem, row in sorted(log.items()))
    write_atomic(folder / LOG_FILE, text.encode())


def youtube(cookies: Path | None = None) -> Fetch:
    """A `Fetch` through yt-dlp; raises `InputError` where yt-dlp or ffmpeg is not installed.

    Takes the best video up to the preferred height, with sound. `cookies` is a file in Netscape format, for videos
    that require a login.
    """
    try:
        import yt_dlp
    except ImportError:
        raise InputError("downloading needs yt-dlp.", hint="pip install 'dawn-bench[download]'") from None
    if shutil.which("ffmpeg") is None:
        raise InputError(
            "downloading needs the ffmpeg command: without it YouTube gives 360 lines at most.",
            hint="Install ffmpeg, for example: apt install ffmpeg",
        )

    def fetch(video: Video, folder: Path) -> None:
        settings: dict[str, Any] = {
            "outtmpl": {"default": video.stem.replace("%", "%%") + ".%(ext)s"},
            "paths": {"home": str(folder), "temp": str(folder / ".partial")},
            "format": "bestvideo*+bestaudio/best",
            "format_sort": [f"res:{video.height or 1080}", "ext:mp4:m4a"],
            "merge_output_format": "mp4",
            "cookiefile": None if cookies is None else str(cookies),
            "noplaylist": True,
            "no_color": True,
            "noprogress": True,
            "quiet": True,
            "logger": _Silent(),
        }
        try:
            with yt_dlp.YoutubeDL(settings) as downloader:
                downloader.download([f"https://www.youtube.com/watch?v={video.youtube}"])
        except yt_dlp.utils.DownloadError as error:
            raise ItemError(reason_of(str(error)), str(error).removeprefix("ERROR: ")) from None

    return fetch


def reason_of(message: str) -> str:
    """The short reason for a yt-dlp error message; `failed` for an unknown one."""
    text = message.lower()
    return next((reason for reason, parts in _MESSAGES.items() if any(part in text for part in parts)), "failed")


def once(videos: Iterable[Video]) -> list[Video]:
    """The list without duplicate addresses: two talks may share one video."""
    seen: dict[str, Video] = {}
    for video in videos:
        seen.setdefault(video.youtube or video.name, video)
    return list(seen.values())


class _Silent:
    """Discards yt-dlp's messages; its errors are raised as exceptions."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...
