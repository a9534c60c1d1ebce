"""`dawn-bench download`: the videos of a published list."""

from __future__ import annotations

from dawn_bench.cli.job import job_command
from dawn_bench.cli.output import show
from dawn_bench.workflow.jobs import Download


@job_command(Download)
def download(job: Download) -> None:
    """Download the videos of HDTF through yt-dlp, and list those that are not available, with the reason.

    Get the lists first: git clone https://github.com/MRzzm/HDTF. The same command continues an interrupted download.

    Example: dawn-bench download --root HDTF
    """
    from collections import Counter

    from dawn_bench.errors import InputError
    from dawn_bench.pipelines.datasets.download import download as run
    from dawn_bench.pipelines.datasets.download import youtube
    from dawn_bench.pipelines.datasets.hdtf import RAW_FOLDER, raw_videos
    from dawn_bench.terminal import console

    if job.dataset == "crema":
        raise InputError(
            "CREMA-D is not on YouTube.",
            hint="git clone https://github.com/CheyneyComputerScience/CREMA-D, and there: git lfs pull",
        )
    if job.dataset != "hdtf":
        raise InputError(f"there is nothing to download for {job.dataset!r}.", hint="Known: hdtf.")
    if job.cookies is not None and not job.cookies.is_file():
        raise InputError("does not exist.", path=job.cookies, hint="Check --cookies.")
    folder = job.root / RAW_FOLDER
    videos = raw_videos(job.root, only=list(job.only))
    gone = run(videos, folder, fetch=youtube(job.cookies))
    there = len(videos) - len(gone)
    unavailable = [dict(zip(("video", "reason", "detail"), row, strict=True)) for row in gone]
    show({"folder": folder, "videos": len(videos), "there": there, "unavailable": unavailable}, map("\t".join, gone))
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(reason for _, reason, _ in gone).items())
    console().print(
        f"{there} of {len(videos)} videos are in {folder}" + (f"; unavailable: {counts}" if counts else ""),
    )
