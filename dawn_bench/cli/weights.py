"""`dawn-bench weights`: the published networks, which files are present, and how to get them.

Look-ups: they have no job and take no `--config`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="List, fetch, verify and add the published network weights.\n\nExample: dawn-bench weights list",
)


@app.command("list")
def list_weights() -> None:
    """Show every network with its file, state, licence and origin.

    Example: dawn-bench weights list
    """
    from rich.table import Table

    from dawn_bench.errors import InputError
    from dawn_bench.progress import console
    from dawn_bench.weights import ENVIRONMENT, WEIGHTS, folder, resolve

    table = Table("name", "state", "file", "licence", "origin", box=None, pad_edge=False)
    for weight in WEIGHTS:
        try:
            resolved = resolve(weight.name)
        except InputError:
            table.add_row(weight.name, "unreadable", weight.file, weight.licence, weight.origin)
            continue
        state: str = "absent" if resolved.path is None else resolved.state
        state += ", from a package" if resolved.path is not None and folder() not in resolved.path.parents else ""
        table.add_row(weight.name, state, weight.file, weight.licence, weight.origin)
    screen = console()
    screen.print(f"weights folder: {folder()} (change it with {ENVIRONMENT})", markup=False)
    screen.print(table)
    screen.print("canonical: the published file; user: another file, or no published hash; absent: a stand-in is used")


@app.command()
def fetch(names: Annotated[list[str], typer.Argument(help="Names from `weights list`.")]) -> None:
    """Download weights from their public origin and check their sha256. Interrupted downloads resume.

    Example: dawn-bench weights fetch inception-fid syncnet
    """
    from dawn_bench.progress import console
    from dawn_bench.weights import download, entry

    for name in names:
        entry(name)  # refuse wrong names before fetching anything
    for name in names:
        resolved = download(name)
        console().print(f"{name}: {resolved.state}, {resolved.path}", markup=False)


@app.command()
def verify() -> None:
    """Hash every present file again and compare it with the published sha256.

    Example: dawn-bench weights verify
    """
    from dawn_bench.errors import InputError
    from dawn_bench.progress import console
    from dawn_bench.weights import WEIGHTS, folder, hash_file, is_published, locate

    screen, present, wrong = console(), 0, []
    for weight in WEIGHTS:
        path = locate(weight)
        if path is None:
            continue
        present += 1
        try:
            hashes = hash_file(path)
        except OSError as error:
            wrong.append(weight.name)
            screen.print(f"{weight.name}: cannot be read ({error.strerror}), {path}", markup=False)
            continue
        verdict = "canonical" if is_published(weight, hashes) else "DIFFERS"
        if weight.sha256 is None and weight.git_blob is None:
            verdict = "no published hash"
        if verdict == "DIFFERS":
            wrong.append(weight.name)
        screen.print(f"{weight.name}: {verdict}, sha256 {hashes['sha256']}, {path}", markup=False)
    screen.print(f"{present} of {len(WEIGHTS)} files present; weights folder {folder()}", markup=False)
    if wrong:
        raise InputError(f"{', '.join(wrong)}: not the published file.", path=folder(), hint="Fetch or add them again.")


@app.command()
def add(
    path: Annotated[Path, typer.Argument(help="Weight file that you already have.")],
    name: Annotated[
        str | None,
        typer.Option(help="Its name in `dawn-bench weights list`, where hash and file name do not identify it."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another file that is there already.")] = False,
) -> None:
    """Copy a file that you have into the weights folder.

    It is read first: a damaged file, or one of another kind, is refused.

    Example: dawn-bench weights add DOWNLOADED_FILE
    """
    from dawn_bench.progress import console
    from dawn_bench.weights import add as add_file

    resolved = add_file(path, name, replace=replace)
    console().print(f"{resolved.weight.name}: {resolved.state}, {resolved.path}", markup=False)
    if resolved.state == "user" and (resolved.weight.sha256 or resolved.weight.git_blob):
        console().print(
            "This is not the published file: its scores are marked `user` and cannot be compared with a paper."
        )
