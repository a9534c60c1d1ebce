"""`dawn-bench cache`: check, count, compact and export a prepared cache. It has no job and takes no `--config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dawn_bench.cli.job import OnceCommand

app = typer.Typer(
    no_args_is_help=True,
    help="Check, count, compact and export a prepared cache.\n\nExample: dawn-bench cache stats my-cache",
)

_Root = Annotated[Path, typer.Argument(metavar="CACHE", help="Folder of the cache.")]


@app.command(cls=OnceCommand)
def verify(root: _Root) -> None:
    """Read all data and compare every checksum with the index. Exit code 2 when data are damaged.

    Example: dawn-bench cache verify my-cache
    """
    from dawn_bench.errors import InputError
    from dawn_bench.pipelines.preparation.maintain import verify as check
    from dawn_bench.progress import console
    from dawn_bench.text import counted

    report = check(root)
    screen = console()
    for clip_id, field, what in report.faults:
        screen.print(f"{clip_id}  {field}: {what}" if field else f"{clip_id}: {what}")
    for name in report.loose:
        screen.print(f"{name}: belongs to no clip")
    if report.faults:
        arrays = sum(field != "" for _, field, _ in report.faults)
        others = len(report.faults) - arrays
        kinds = [f"{arrays} of {report.arrays} arrays damaged"] if arrays else []
        kinds += [f"{counted(others, 'fault')} of its index or settings"] if others else []
        what = f"{', '.join(kinds)}."
        raise InputError(what, path=root, hint="Prepare it again with --overwrite.")
    left_out = f"; {counted(report.left_out, 'clip')} left out" if report.left_out else ""
    checked = f"{counted(report.clips, 'clip')}, {counted(report.arrays, 'array')}"
    screen.print(f"{checked}, all checksums match{left_out}")


@app.command(cls=OnceCommand)
def stats(root: _Root) -> None:
    """Show clips, hours, face coverage, bytes per field, and the reason for every clip that was left out.

    Example: dawn-bench cache stats my-cache
    """
    from rich.table import Table

    from dawn_bench.pipelines.preparation.maintain import stats as count
    from dawn_bench.progress import console
    from dawn_bench.text import counted

    facts, screen = count(root), console()
    clips, speakers = counted(facts["clips"], "clip"), counted(facts["speakers"], "speaker")
    screen.print(f"{facts['dataset']}, {facts['size']} px, {clips} of {speakers}")
    table = Table("split", "clips", "speakers", "frames", "hours", box=None, pad_edge=False)
    for name, row in facts["splits"].items():
        table.add_row(name, *(str(row[k]) for k in ("clips", "speakers", "frames")), f"{row['hours']:.3f}")
    screen.print(table)
    if facts["frames_with_face"] is not None:
        screen.print(f"face found in {100 * facts['frames_with_face']:.1f} % of the frames")
    table = Table("field", "clips", "MB", box=None, pad_edge=False)
    for name, size in facts["bytes"].items():
        table.add_row(name, str(facts["clips_with"][name]), f"{size / 1e6:.1f}")
    for name, clips in facts["computed"].items():
        table.add_row(name, str(clips), "-")
    screen.print(table)
    if facts["computed"]:
        names = " and ".join(facts["computed"])
        screen.print(f"{names}: computed when read; prepare with --extract masks stores them")
    for name, value in facts["fingerprints"].items():
        screen.print(f"{name}: {value}")
    if facts["quarantined"]:
        screen.print(f"\n{counted(len(facts['quarantined']), 'clip')} left out")
        for clip_id, reason, detail in facts["quarantined"]:
            screen.print(f"  {clip_id}  {' '.join(f'{reason}: {detail}'.split())}")
    if facts["without"]:
        screen.print("\nclips that lack the output of an extractor")
        for clip_id, name, why in facts["without"]:
            screen.print(f"  {clip_id}  no {name}: {' '.join(why.split())}")


@app.command(cls=OnceCommand)
def compact(root: _Root) -> None:
    """Merge the small shards of a cache that grew in many steps. Nothing is computed again; a stopped run goes on.

    Example: dawn-bench cache compact my-cache
    """
    from dawn_bench.pipelines.preparation.compact import compact as merge
    from dawn_bench.progress import console

    report = merge(root)
    if report.before == report.after:
        console().print("nothing to merge")
    else:
        console().print(f"merged: {report.after} shards of each field in place of {report.before}")


@app.command(cls=OnceCommand)
def export(
    root: _Root,
    out: Annotated[Path, typer.Option(help="New or empty folder to write to.")],
    format: Annotated[str, typer.Option(help="files: one folder per clip; webdataset: tar files.")] = "files",
    split: Annotated[str, typer.Option(help="Only the clips of this split.")] = "",
    fields: Annotated[str, typer.Option(help="Only these fields, separated by commas.")] = "",
    frames: Annotated[str, typer.Option(help="raw: an array; jpg: a picture per frame; mp4: a video.")] = "raw",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Put the clips into the tars in a drawn order.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn order.")] = 0,
) -> None:
    """Export the clips for other tools as plain .npy and .wav files, or as WebDataset tar files.

    Example: dawn-bench cache export my-cache --out tars --format webdataset --frames jpg --shuffle
    """
    from dawn_bench.pipelines.preparation.export import export as write
    from dawn_bench.progress import console
    from dawn_bench.text import counted

    count = write(
        root,
        out,
        format=format,  # type: ignore[arg-type]
        split=split or None,
        fields=[name.strip() for name in fields.split(",")] if fields else None,
        frames=frames,  # type: ignore[arg-type]
        jobs=jobs,
        shuffle=shuffle,
        seed=seed,
    )
    console().print(f"{counted(count, 'clip')} in {out}")
