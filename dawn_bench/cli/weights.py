"""`dawn-bench weights`: which networks there are, which files are present, and how to get them."""

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
    """Show every network: file, state here, licence, origin."""
    from rich.table import Table

    from dawn_bench.progress import console
    from dawn_bench.weights import WEIGHTS, folder, resolve

    table = Table("name", "state", "file", "licence", "origin", box=None, pad_edge=False)
    for weight in WEIGHTS:
        found = resolve(weight.name)
        state = "absent" if found.path is None else found.state
        table.add_row(weight.name, state, weight.file, weight.licence, weight.origin)
    screen = console()
    screen.print(f"weights folder: {folder()}")
    screen.print(table)


@app.command()
def fetch(names: Annotated[list[str], typer.Argument(help="Names from `weights list`.")]) -> None:
    """Download weights from their public origin and check their sha256."""
    from dawn_bench.progress import console
    from dawn_bench.weights import download

    for name in names:
        found = download(name)
        console().print(f"{name}: {found.state}, {found.path}", markup=False)


@app.command()
def verify() -> None:
    """Hash every present file again and compare it with the published sha256."""
    from dawn_bench.errors import InputError
    from dawn_bench.progress import console
    from dawn_bench.provenance import sha256_file
    from dawn_bench.weights import WEIGHTS, folder

    screen, present, wrong = console(), 0, []
    for weight in WEIGHTS:
        path = folder() / weight.file
        if not path.is_file():
            continue
        present += 1
        digest = sha256_file(path)
        verdict = (
            "no published hash" if weight.sha256 is None else "canonical" if digest == weight.sha256 else "DIFFERS"
        )
        if verdict == "DIFFERS":
            wrong.append(weight.name)
        screen.print(f"{weight.name}: {verdict}, sha256 {digest}", markup=False)
    screen.print(f"{present} of {len(WEIGHTS)} files present in {folder()}", markup=False)
    if wrong:
        raise InputError(f"{', '.join(wrong)}: not the published file.", path=folder(), mend="Fetch or add them again.")


@app.command()
def add(
    path: Annotated[Path, typer.Argument(help="A weight file that you already have.")],
    name: Annotated[
        str | None, typer.Option(help="Which registry entry it is, when its hash and name do not tell.")
    ] = None,
) -> None:
    """Copy a file that you have into the weights folder."""
    from dawn_bench.progress import console
    from dawn_bench.weights import add as add_file

    found = add_file(path, name)
    console().print(f"{found.weight.name}: {found.state}, {found.path}", markup=False)
