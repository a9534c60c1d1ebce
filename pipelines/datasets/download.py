"""Videos of a published list, one by one through yt-dlp, for users with the network.

A video that is there is not asked for again, so a run that was stopped goes on when it is started once more. What
cannot be had is written down with its reason in `download.tsv` beside the videos, and `--list-missing` reads it.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import VIDEO_SUFFIXES, write_atomic
from dawn_bench.progress import meter

LOG_FILE = "download.tsv"
#: After so many videos in a row that the network or the site refused, the others are not tried.
PATIENCE = 5
_WAIT = {"no_network", "refused"}
#: What the site says, in lower case, by reason; the first that fits.
_SAYINGS = {
    "refused": ("not a bot", "429", "too many requests", "rate-limited", "forbidden"),
    "no_network": ("resolve", "timed out", "unreachable", "connection", "urlopen error", "network"),
    "private": ("private video",),
    "age_restricted": ("confirm your age", "age-restricted"),
    "not_in_your_country": ("country", "your location", "geo restrict"),
    "removed": ("unavailable", "removed", "terminated", "no longer available", "does not exist", "not available"),
}


@dataclass(frozen=True)
class Video:
    """One video of the list: a name for its file, its id at YouTube ("": not published), the height that is wanted."""

    name: str
    youtube: str
    height: int | None

    @property
    def stem(self) -> str:
        """The name of its file without ending; the id in brackets is how yt-dlp itself names files."""
        return f"{self.name} [{self.youtube}]"


#: Puts one video into a folder as `STEM.ENDING`; raises `ItemError` when it cannot be had.
Fetch = Callable[[Video, Path], None]


def download(videos: Sequence[Video], folder: Path, *, fetch: Fetch) -> list[tuple[str, str, str]]:
    """Bring what is not in `folder` yet; returns (name, reason, detail) of what could not be had.

    Raises `InputError` when the network is away or the site refuses several videos in a row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.stem for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES}
    todo = [video for video in videos if video.stem not in there]
    log = {stem: row for stem, row in read_log(folder).items() if stem not in there}
    in_vain = 0
    with meter("download", total=len(videos), unit="videos") as bar:
        bar.advance(len(videos) - len(todo), note=f"{len(videos) - len(todo)} are there already")
        for video in todo:
            try:
                if not video.youtube:
                    raise ItemError("no_address", "the published list has no address for it")
                fetch(video, folder)
                log.pop(video.stem, None)
                in_vain = 0
            except ItemError as error:
                log[video.stem] = video.name, error.reason, " ".join(error.detail.split())
                in_vain = in_vain + 1 if error.reason in _WAIT else 0
                bar.say(f"{video.name}  {error.reason}: {log[video.stem][2]}")
            write_log(folder, log)
            bar.advance()
            if in_vain == PATIENCE:
                raise InputError(
                    f"{PATIENCE} videos in a row could not be had ({log[video.stem][2]}).",
                    hint="Run it again later: it goes on where it stopped.",
                )
    return sorted(log[video.stem] for video in todo if video.stem in log)


def read_log(folder: Path) -> dict[str, tuple[str, str, str]]:
    """(name, reason, detail) by file stem of what could not be had; empty where nothing was tried."""
    path = folder / LOG_FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {stem: (name, reason, detail) for stem, name, reason, detail in csv.reader(file, delimiter="\t")}


def write_log(folder: Path, log: dict[str, tuple[str, str, str]]) -> None:
    """Write the log, so that it is old or new and never half."""
    text = "".join("\t".join((stem, *row)) + "\n" for stem, row in sorted(log.items()))
    write_atomic(folder / LOG_FILE, text.encode())


def youtube(cookies: Path | None = None) -> Fetch:
    """Fetching through yt-dlp; raises `InputError` where it is not installed.

    Takes the best picture up to the wanted height with its sound. `cookies` is a file in Netscape form, for videos
    that ask for a login.
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
    """A short reason from what yt-dlp says; `failed` for what it never said before."""
    text = message.lower()
    return next((reason for reason, sayings in _SAYINGS.items() if any(s in text for s in sayings)), "failed")


def once(videos: Iterable[Video]) -> list[Video]:
    """The list without second mentions of one address: two talks may be one video."""
    seen: dict[str, Video] = {}
    for video in videos:
        seen.setdefault(video.youtube or video.name, video)
    return list(seen.values())


class _Silent:
    """yt-dlp's messages go nowhere: its errors come as exceptions."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...
