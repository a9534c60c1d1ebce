"""`dawn-bench download`: the videos of a published list, for users with the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def download(
    root: Annotated[Path, typer.Option(help="Folder with the published lists, at any depth; videos go to ROOT/raw.")],
    dataset: Annotated[str, typer.Option(help="hdtf: from its lists of YouTube addresses.")] = "hdtf",
    only: Annotated[list[str] | None, typer.Option(help="Only this talk, as WDA_KatieHill; repeat it.")] = None,
    cookies: Annotated[Path | None, typer.Option(help="Cookie file for videos that ask for a login.")] = None,
) -> None:
    """Download the videos of HDTF through yt-dlp, and list what cannot be had, each with its reason.

    Get the lists first: git clone https://github.com/MRzzm/HDTF. Run the same command again to go on where it stopped.

    Example: dawn-bench download --root HDTF
    """
    from collections import Counter

    from dawn_bench.errors import InputError
    from dawn_bench.pipelines.datasets.download import download as run
    from dawn_bench.pipelines.datasets.download import youtube
    from dawn_bench.pipelines.datasets.hdtf import RAW_FOLDER, raw_videos
    from dawn_bench.progress import console

    if dataset == "crema":
        raise InputError(
            "CREMA-D is not on YouTube.",
            hint="git clone https://github.com/CheyneyComputerScience/CREMA-D, and there: git lfs pull",
        )
    if dataset != "hdtf":
        raise InputError(f"there is nothing to download for {dataset!r}.", hint="Known: hdtf.")
    if cookies is not None and not cookies.is_file():
        raise InputError("does not exist.", path=cookies, hint="Check --cookies.")
    videos = raw_videos(root, only=only or [])
    gone = run(videos, root / RAW_FOLDER, fetch=youtube(cookies))
    for row in gone:
        typer.echo("\t".join(row))
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(reason for _, reason, _ in gone).items())
    console().print(
        f"{len(videos) - len(gone)} of {len(videos)} videos are in {root / RAW_FOLDER}"
        + (f"; not to be had: {counts}" if counts else ""),
        markup=False,
    )
