"""`dawn-bench cache`: check, count, compact and export a prepared cache. It has no job and takes no `--config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dawn_bench.cli.job import Group, OnceCommand
from dawn_bench.cli.output import JsonFlag, json_output, show

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="Check, count, compact and export a prepared cache.\n\nExample: dawn-bench cache stats my-cache",
)

_Root = Annotated[Path, typer.Argument(metavar="CACHE", help="Folder of the cache.")]


@app.command(cls=OnceCommand)
def verify(root: _Root, json: JsonFlag = False) -> None:
    """Read all data and compare every checksum with the index. Exit code 2 when data are damaged.

    Example: dawn-bench cache verify my-cache
    """
    from dawn_bench.errors import InputError
    from dawn_bench.pipelines.preparation.maintain import verify as check
    from dawn_bench.text import counted

    report = check(root)
    lines = [f"{clip_id}  {field}: {what}" if field else f"{clip_id}: {what}" for clip_id, field, what in report.faults]
    lines += [f"{name}: belongs to no clip" for name in report.loose]
    left_out = f"; {counted(report.left_out, 'clip')} left out" if report.left_out else ""
    checked = f"{counted(report.clips, 'clip')}, {counted(report.arrays, 'array')}"
    if not report.faults:
        lines.append(f"{checked}, all checksums match{left_out}")
    facts = {"clips": report.clips, "arrays": report.arrays, "left_out": report.left_out, "loose": report.loose}
    faults = [{"clip": clip_id, "field": field, "fault": what} for clip_id, field, what in report.faults]
    with json_output(json):
        show({"intact": not faults, **facts, "faults": faults}, lines)
    if report.faults:
        arrays = sum(field != "" for _, field, _ in report.faults)
        others = len(report.faults) - arrays
        kinds = [f"{arrays} of {report.arrays} arrays damaged"] if arrays else []
        kinds += [f"{counted(others, 'fault')} of its index or settings"] if others else []
        what = f"{', '.join(kinds)}."
        raise InputError(what, path=root, hint="Prepare it again with --overwrite.")


@app.command(cls=OnceCommand)
def stats(root: _Root, json: JsonFlag = False) -> None:
    """Show clips, hours, face coverage, bytes per field, and the reason for every clip that was left out.

    Example: dawn-bench cache stats my-cache
    """
    from dawn_bench.pipelines.preparation.maintain import stats as count
    from dawn_bench.terminal import echo, echo_json, print_table
    from dawn_bench.text import counted

    facts = count(root)
    if json:
        echo_json(_named(facts))
        return
    clips, speakers = counted(facts["clips"], "clip"), counted(facts["speakers"], "speaker")
    echo(f"{facts['dataset']}, {facts['size']} px, {clips} of {speakers}")
    rows = [(name, row["clips"], row["speakers"], row["frames"], row["hours"]) for name, row in facts["splits"].items()]
    heads = ("split", "clips", "speakers", "frames", "hours")
    print_table(*heads, rows=[(*map(str, counts), f"{hours:.3f}") for *counts, hours in rows])
    if facts["frames_with_face"] is not None:
        echo(f"face found in {100 * facts['frames_with_face']:.1f} % of the frames")
    stored = [(name, str(facts["clips_with"][name]), f"{size / 1e6:.1f}") for name, size in facts["bytes"].items()]
    print_table(
        "field", "clips", "MB", rows=[*stored, *((name, str(clips), "-") for name, clips in facts["computed"].items())]
    )
    if facts["computed"]:
        names = " and ".join(facts["computed"])
        echo(f"{names}: computed when read; prepare with --extract masks stores them")
    for name, value in facts["fingerprints"].items():
        echo(f"{name}: {value}")
    if facts["quarantined"]:
        echo(f"\n{counted(len(facts['quarantined']), 'clip')} left out")
        for clip_id, reason, detail in facts["quarantined"]:
            echo(f"  {clip_id}  {' '.join(f'{reason}: {detail}'.split())}")
    if facts["without"]:
        echo("\nclips that lack the output of an extractor")
        for clip_id, name, why in facts["without"]:
            echo(f"  {clip_id}  no {name}: {' '.join(why.split())}")


def _named(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with the parts of their tuples named."""
    left_out = [dict(zip(("clip", "reason", "detail"), row, strict=True)) for row in facts["quarantined"]]
    without = [dict(zip(("clip", "extractor", "detail"), row, strict=True)) for row in facts["without"]]
    return facts | {"quarantined": left_out, "without": without}


@app.command(cls=OnceCommand)
def compact(root: _Root, json: JsonFlag = False) -> None:
    """Merge the small shards of a cache that grew in many steps. Nothing is computed again; a stopped run goes on.

    Example: dawn-bench cache compact my-cache
    """
    from dawn_bench.pipelines.preparation.compact import compact as merge

    report = merge(root)
    line = f"merged: {report.after} shards of each field in place of {report.before}"
    with json_output(json):
        changed = report.before != report.after
        show({"before": report.before, "after": report.after}, [line if changed else "nothing to merge"])


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
