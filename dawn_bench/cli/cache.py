"""`dawn-bench cache`: list, check, count, compact and export a cache. It has no job and takes no `--config`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from dawn_bench.cli.job import Group, OnceCommand
from dawn_bench.cli.output import JsonFlag, json_output, show, suggest

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="List, check, count, compact and export a prepared cache.\n\nExample: dawn-bench cache stats my-cache",
)

_Root = Annotated[Path, typer.Argument(metavar="CACHE", help="Folder of the cache.")]


@app.command("list", cls=OnceCommand)
def list_clips(
    root: _Root,
    split: Annotated[str, typer.Option(help="Only the clips of this split.")] = "",
    json: JsonFlag = False,
) -> None:
    """List the clips: id, speaker, split, frames, seconds and source file.

    Example: dawn-bench cache list my-cache --split test
    """
    from dawn_bench.cache import Cache
    from dawn_bench.pipelines.preparation.maintain import listed
    from dawn_bench.terminal import console, echo_json, print_table
    from dawn_bench.text import counted

    rows = listed(root, split=split or None)
    if left_out := len(Cache(root).quarantined()):
        why = shlex.join(["dawn-bench", "cache", "stats", str(root)])
        console().print(f"{counted(left_out, 'clip')} left out; the reasons: {why}")
    if json:
        echo_json(rows)
        return
    names = ("id", "speaker", "split", "frames", "seconds", "source")
    print_table(*names, rows=[[f"{row[n]:.2f}" if n == "seconds" else str(row[n]) for n in names] for row in rows])


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
    from dawn_bench.pipelines.preparation.remedies import remedy
    from dawn_bench.terminal import echo, echo_json, print_table
    from dawn_bench.text import counted

    facts = count(root)
    if json:
        echo_json(_named(facts))
        return
    clips, speakers = counted(facts["clips"], "clip"), counted(facts["speakers"], "speaker")
    echo(f"{facts['name']} ({facts['dataset']}), {facts['size']} px, {clips} of {speakers}")
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
            keeps = f" ({way})" if (way := remedy(reason, detail)) else ""
            echo(f"  {clip_id}  {' '.join(f'{reason}: {detail}'.split())}{keeps}")
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
    format: Annotated[
        str,
        typer.Option(
            help="files: one folder per clip; webdataset: tar files; inputs: what a method of your own takes, and the "
            "table for evaluate --mapping."
        ),
    ] = "files",
    split: Annotated[str, typer.Option(help="Only the clips of this split. Default for inputs: test.")] = "",
    fields: Annotated[str, typer.Option(help="Only these fields, separated by commas.")] = "",
    frames: Annotated[str, typer.Option(help="raw: an array; jpg: a picture per frame; mp4: a video.")] = "raw",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Put the clips into the tars in a drawn order.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn order.")] = 0,
    piece_length: Annotated[str, typer.Option(help="Of inputs: frames of the pieces, as in evaluate.")] = "",
    max_clips: Annotated[int | None, typer.Option(min=1, help="Of inputs: only the first clips of the split.")] = None,
    json: JsonFlag = False,
) -> None:
    """Export the clips for other tools: .npy and .wav files, WebDataset tar files, or inputs for your own method.

    Inputs are a folder per clip with portrait.png (at the resolution of the source video), speech.wav and driving.mp4,
    and clips.csv, which says where your method writes each mp4; give it to evaluate as --mapping.

    Example: dawn-bench cache export my-cache --out tars --format webdataset --frames jpg --shuffle

    For your own method: dawn-bench cache export my-cache --split test --format inputs --out items
    """
    from dawn_bench.pipelines.preparation.export import export as write
    from dawn_bench.text import counted

    if format == "inputs":
        others = {"--fields": fields, "--frames": frames != "raw", "--shuffle": shuffle, "--seed": seed}
        _refuse(others, "is not for --format inputs, whose files are always the same.")
        with json_output(json):
            _export_inputs(root, out, split=split or "test", piece_length=piece_length, max_clips=max_clips, jobs=jobs)
        return
    _refuse({"--piece-length": piece_length, "--max-clips": max_clips}, "is for --format inputs alone.")
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
    with json_output(json):
        show({"out": out, "clips": count}, [f"{counted(count, 'clip')} in {out}"])


def _refuse(flags: dict[str, object], why: str) -> None:
    """Raise `InputError` for the first of these flags that was given."""
    from dawn_bench.errors import InputError

    if given := [flag for flag, value in flags.items() if value]:
        raise InputError(f"{given[0]} {why}", hint="Leave it out.")


def _export_inputs(root: Path, out: Path, *, split: str, piece_length: str, max_clips: int | None, jobs: int) -> None:
    """Write the inputs, and print where they are, whose portraits are not from their source, and the next command."""
    from dawn_bench.terminal import console
    from dawn_bench.text import counted, few
    from dawn_bench.workflow.own_inputs import TABLE, export_inputs

    given = piece_length or None
    inputs = export_inputs(root, out, split=split, piece_length=given, max_clips=max_clips, jobs=jobs)  # type: ignore[arg-type]
    kept = f", {inputs.kept} of them from an earlier run" if inputs.kept else ""
    facts = {"out": out, "clips": inputs.clips, "kept": inputs.kept, "table": out / TABLE}
    facts["without_source"] = [{"why": why, "clips": clips} for why, clips in inputs.without_source.items()]
    show(facts, [f"{counted(inputs.clips, 'clip')} in {out}{kept}"])
    for why, clips in inputs.without_source.items():
        names = few(clips)
        console().print(f"portrait.png has the cache's size for {counted(len(clips), 'clip')} ({names}): {why}")
    words = ["--outputs", "MY_MP4S", "--mapping", str(out / TABLE), "--cache", str(root)]
    words += ["--split", split] * (split != "test") + ["--piece-length", piece_length] * bool(piece_length)
    words += ["--max-clips", str(max_clips)] * (max_clips is not None)
    suggest("evaluate", "--method", "mine", *words, "--out", "results")
