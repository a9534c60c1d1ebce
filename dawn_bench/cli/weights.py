"""`dawn-bench weights`: the published networks, which files are present, and how to get them.

Look-ups: they have no job and take no `--config`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dawn_bench.cli.job import Group, OnceCommand
from dawn_bench.cli.output import JsonFlag, json_output, show, show_line, wants_json
from dawn_bench.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dawn_bench.weights import Resolved, Weight

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="List, fetch, verify and add the published network weights.\n\nExample: dawn-bench weights list",
)


#: What `weights list --json` gives of the table of weights.
_FACTS = ("file", "bytes", "purpose", "origin", "licence", "research_only", "addresses")


@app.command("list", cls=OnceCommand)
def list_weights(json: JsonFlag = False) -> None:
    """Show every network with its file, state, licence and origin.

    Example: dawn-bench weights list
    """
    from dawn_bench.errors import InputError
    from dawn_bench.weights import ENVIRONMENT, WEIGHTS, folder, resolve
    from dawn_bench.weights_needs import by_hand

    lines, facts = [f"weights folder: {folder()} (change it with {ENVIRONMENT})"], []
    width = max(len(weight.name) for weight in WEIGHTS)
    for weight in WEIGHTS:
        state, path = "unreadable", None
        with suppress(InputError):
            resolved = resolve(weight.name)
            path = resolved.path
            state = "absent" if resolved.path is None else resolved.state
            if resolved.path is not None and folder() not in resolved.path.parents:
                state += ", from a package"
        size = "" if weight.bytes is None else f", {weight.bytes / 1e6:.1f} MB"
        research = ", research only" if weight.research_only else ""
        lines.append(f"{weight.name:<{width}}  {state}{size}{research}")
        lines.append(f"    {weight.file}: {weight.purpose}")
        lines.append(f"    from {weight.origin}")
        lines.append(f"    licence: {weight.licence}")
        if state == "absent" and not weight.addresses:
            lines.append(f"    by hand: {by_hand(weight)}")
        known = {name: getattr(weight, name) for name in _FACTS}
        facts.append({"name": weight.name, "state": state, "path": path} | known)
    lines.append("canonical: the published file; user: another file, or no published hash")
    lines.append(
        "absent: metrics need weights and are left out, trainings use a substitute and say so; "
        "extractors, face back ends and models stop"
    )
    lines.append("Get one: dawn-bench weights fetch NAME; all files of a job: dawn-bench weights fetch --for evaluate")
    with json_output(json):
        show({"folder": folder(), "weights": facts}, lines)


@app.command(cls=OnceCommand)
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Names from `weights list`.", show_default=False)] = None,
    jobs: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="JOB",
            help="All files that this needs: a command (prepare, train, generate, evaluate, reproduce), a protocol, "
            "metric, method, preset, released model, extractor or face back end. Repeatable.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Setting of the command or protocol after --for. Repeatable."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Download weights and check size and sha256. Interrupted downloads resume.

    With --for, files that are present stay, also your own, unless they are damaged. A file that is named is replaced
    unless it is the published one.

    Example: dawn-bench weights fetch --for evaluate

    What a cache needs: dawn-bench weights fetch --for prepare --set pose=3ddfa --set extract=hubert

    Single files: dawn-bench weights fetch inception-fid syncnet
    """
    from dawn_bench.errors import InputError
    from dawn_bench.weights import entry
    from dawn_bench.workflow.needs import job_needs

    if not names and not jobs:
        raise InputError("nothing to fetch.", hint="Name files of `weights list`, or a job: --for evaluate")
    if changes and not jobs:
        raise InputError("--set describes the job of --for, which is missing.", hint="Give both.")
    wanted = [entry(name) for name in names or ()]  # refuse wrong names before fetching anything
    needs = [need for job in jobs or () for need in job_needs(job, changes or ())]
    with json_output(json):
        if jobs and not needs:
            show_line(f"{', '.join(jobs)}: no file of `dawn-bench weights list` is needed")
        _fetch(wanted, needs)


def _fetch(wanted: Sequence[Weight], needs: Sequence[tuple[str, ...]]) -> None:
    """Fetch what is wanted and needed, show each file's state, and raise `InputError` for those that are not there."""
    from dawn_bench.errors import InputError
    from dawn_bench.storage import StorageError
    from dawn_bench.terminal import console
    from dawn_bench.weights import folder, locate, resolve
    from dawn_bench.weights_fetch import download, no_address, plan, transfer_bytes

    present, fetched, alone = plan(needs)
    facts: dict[str, list[dict[str, object]]] = {"present": [], "fetched": [], "failed": []}
    for weight in present:
        resolved = resolve(weight.name)
        facts["present"].append({"name": weight.name, "state": resolved.state, "path": resolved.path})
        show_line(f"{weight.name}: {resolved.state}, present")
    for weight in fetched:
        if locate(weight):
            console().print(f"{weight.name}: damaged, is fetched again")
    fetched = list(dict.fromkeys([*(weight for weight in wanted if weight.addresses), *fetched]))
    alone = list(dict.fromkeys([*(weight for weight in wanted if not weight.addresses), *alone]))
    if fetched:
        total, unknown = transfer_bytes(fetched)
        sizes = [f"about {total / 1e6:,.0f} MB"] if total else []
        sizes += [f"{unknown} of unknown size"] if unknown else []
        console().print(f"{counted(len(fetched), 'file')} to fetch into {folder()}: {', and '.join(sizes)}")
    failed = []
    for weight in fetched:
        try:
            resolved = download(weight.name)
            facts["fetched"].append({"name": weight.name, "state": resolved.state, "path": resolved.path})
            show_line(f"{weight.name}: {resolved.state}, {resolved.path}")
        except StorageError:
            raise  # the disk is full for the others too
        except InputError as error:
            failed.append(error)
            facts["failed"].append({"name": weight.name, "why": str(error)})
            if len(fetched) + len(alone) > 1:
                console().print(f"{weight.name}: {error}")
    facts["failed"] += [{"name": weight.name, "why": str(no_address(weight))} for weight in alone]
    if wants_json():
        show({"folder": folder(), **facts}, ())
    if len(fetched) + len(alone) == 1 and (failed or alone):
        raise failed[0] if failed else no_address(alone[0])
    for weight in alone:
        show_line(f"{weight.name}: {no_address(weight)}")
    if failed or alone:
        left = f"{counted(len(failed) + len(alone), 'file')} of {len(fetched) + len(alone)} could not be fetched."
        raise InputError(left, path=folder(), hint="What to do about each is said above.")


@app.command(cls=OnceCommand)
def verify(json: JsonFlag = False) -> None:
    """Hash every present file again and compare it with the published sha256.

    Example: dawn-bench weights verify
    """
    from dawn_bench.errors import InputError
    from dawn_bench.hashes import hash_file
    from dawn_bench.weights import WEIGHTS, folder, is_published, locate
    from dawn_bench.weights_needs import how_to_get

    facts: list[dict[str, object]] = []
    lines: list[str] = []
    other: list[str] = []
    unreadable: list[str] = []
    for weight in WEIGHTS:
        path = locate(weight)
        if path is None:
            continue
        try:
            hashes = hash_file(path)
        except OSError as error:
            unreadable.append(weight.name)
            facts.append({"name": weight.name, "verdict": "unreadable", "sha256": None, "path": path})
            lines.append(f"{weight.name}: cannot be read ({error.strerror}), {path}")
            continue
        verdict = "canonical" if is_published(weight, hashes) else "DIFFERS"
        if weight.sha256 is None and weight.git_blob is None:
            verdict = "no published hash"
        if verdict == "DIFFERS":
            other.append(weight.name)
        facts.append({"name": weight.name, "verdict": verdict, "sha256": hashes["sha256"], "path": path})
        lines.append(f"{weight.name}: {verdict}, sha256 {hashes['sha256']}, {path}")
    lines.append(f"{len(facts)} of {len(WEIGHTS)} files present; weights folder {folder()}")
    with json_output(json):
        show({"folder": folder(), "known": len(WEIGHTS), "present": facts}, lines)
    if other or unreadable:
        faults = [f"{', '.join(other)}: not the published file"] if other else []
        faults += [f"{', '.join(unreadable)}: cannot be read"] if unreadable else []
        how = how_to_get((name,) for name in (*other, *unreadable))
        raise InputError(f"{'; '.join(faults)}.", path=folder(), hint=how)


@app.command(cls=OnceCommand)
def add(
    path: Annotated[Path, typer.Argument(help="Weight file that you already have, or a folder as you downloaded it.")],
    name: Annotated[
        str | None,
        typer.Option(help="Its name in `dawn-bench weights list`, where hash, name and content do not identify it."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another file that is there already.")] = False,
    json: JsonFlag = False,
) -> None:
    """Copy a file, or all files of a folder that are known, into the weights folder.

    Each is read first: a damaged file, or one that holds another network than its name says, is refused.

    Example: dawn-bench weights add DOWNLOADED_FOLDER
    """
    from dawn_bench.errors import InputError
    from dawn_bench.files import user_path
    from dawn_bench.weights import folder
    from dawn_bench.weights_add import add as add_file

    if user_path(path).is_dir():
        if name is not None:
            raise InputError("--name goes with one file.", path=path, hint="Give the file, or leave out --name.")
        with json_output(json):
            _add_folder(path, replace=replace)
        return
    resolved = add_file(path, name, replace=replace)
    lines = [f"{resolved.weight.name}: {resolved.state}, {resolved.path}"]
    if _differs(resolved):
        lines.append(
            "This is not the published file: its scores are marked `user` and cannot be compared with a paper."
        )
    with json_output(json):
        show({"folder": folder(), "added": [_added(resolved)], "refused": [], "not_needed": []}, lines)


def _added(resolved: Resolved) -> dict[str, object]:
    """What is told of an added file."""
    return {"name": resolved.weight.name, "state": resolved.state, "path": resolved.path}


def _differs(resolved: Resolved) -> bool:
    """Whether a file is another than the published one, where that one's hash is known."""
    return resolved.state == "user" and bool(resolved.weight.sha256 or resolved.weight.git_blob)


def _add_folder(folder: Path, *, replace: bool) -> None:
    """Add what is known in a folder, and say of each file what it is; then what the models in it still lack."""
    from dawn_bench.errors import InputError
    from dawn_bench.readers import shortened
    from dawn_bench.terminal import console
    from dawn_bench.weights import folder as weights_folder
    from dawn_bench.weights_folder import add_folder

    files = add_folder(folder, replace=replace)
    known = [file.resolved for file in files if file.resolved is not None]
    for file in files:
        if file.resolved is not None:
            weight = file.resolved.weight
            show_line(f"{file.path.name}: {weight.purpose}; {weight.name}, {file.resolved.state}, {file.resolved.path}")
        elif file.reason:
            console().print(file.reason)
        elif file.note:
            show_line(file.note)
    refused = [file for file in files if file.reason]
    others = [file.path.name for file in files if file.resolved is None and not file.reason and not file.note]
    if wants_json():
        reasons = [{"file": file.path.name, "why": file.reason} for file in refused]
        added = [_added(resolved) for resolved in known]
        show({"folder": weights_folder(), "added": added, "refused": reasons, "not_needed": others}, ())
    if others:
        show_line(f"not needed: {shortened(', '.join(others))}")
    if other := [resolved.weight.name for resolved in known if _differs(resolved)]:
        show_line(
            f"not the published files: {', '.join(other)}; scores are marked `user` and cannot be compared with a paper"
        )
    for line in _completeness({resolved.weight.name for resolved in known}):
        show_line(line)
    if refused:
        what = f"{counted(len(refused), 'file')} of {len(known) + len(refused)} could not be added."
        raise InputError(what, path=folder, hint="What to do about each is said above.")
    if not known:
        raise InputError("holds no file of the registry.", path=folder, hint="See: dawn-bench weights list")
    show_line(f"{counted(len(known), 'file')} in {weights_folder()}")


def _completeness(added: set[str]) -> list[str]:
    """For each released model of which files were added: that it is complete, or what is missing and how to get it."""
    from dawn_bench.models.spec import MODELS
    from dawn_bench.weights import entry, folder, locate
    from dawn_bench.weights_needs import how_to_get, missing_needs
    from dawn_bench.workflow.needs import job_needs

    lines = []
    for released in (name for model in MODELS for name in MODELS[model].released_weights):
        needs = job_needs(released)
        names = {name for need in needs for name in need}
        own = [name for name in names if released.rpartition("-")[2] in name.split("-")]
        if not added & names or not any(locate(entry(name)) for name in own):
            continue  # PBNet and HuBERT serve both sizes: of the other size nothing is there
        missing = missing_needs(needs)
        state = f"still missing in {folder()}. {how_to_get(missing, job=released)}" if missing else "complete"
        lines.append(f"{released}: {state}")
    return lines
