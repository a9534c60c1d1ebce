"""The published networks behind a protocol's metrics: which are missing, what they take, and their download."""

from __future__ import annotations

import shlex
from pathlib import Path

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.progress import console
from dawn_bench.text import counted
from dawn_bench.weights_fetch import download, plan, transfer_bytes
from dawn_bench.weights_table import Weight
from dawn_bench.workflow.needs import job_needs


def fetch_networks(name: str, *, out: Path) -> None:
    """Download the networks of the protocol `name` that have an address and are not there.

    `out` is the folder of the quickstart, for messages. Raises `InputError`, one line, where one cannot be downloaded:
    what is there stays, and the job runs without.
    """
    _, fetched, _ = plan(job_needs(name))
    if not fetched:
        return
    console().print(f"{counted(len(fetched), 'file')} to fetch into {weights.folder()}: {_size(fetched)}")
    for weight in fetched:
        try:
            resolved = download(weight.name)
        except InputError as error:
            raise InputError(
                f"{weight.name} could not be fetched: {error.__cause__ or error}; nothing is lost.",
                hint=f"Run it again with a network, or without the paper's metrics: {_command(out)}",
            ) from error
        console().print(f"{weight.name}: {resolved.state}")


def how_to_get_columns(name: str, *, out: Path) -> list[str]:
    """A sentence on what it takes to see the metrics of the protocol `name`; none where all networks are there."""
    _, fetched, alone = plan(job_needs(name))
    if not fetched and not alone:
        return []
    has = set(usual_metrics(protocol("embedded")))
    titles = [METRICS[metric].title for metric in usual_metrics(protocol(name)) if metric not in has]
    sentence = f"The paper's columns ({', '.join(titles)}) need published networks"
    if fetched:
        sentence += f", {_size(fetched)} to download: {_command(out)} --weights fetch"
    return [sentence + "."]


def _size(fetched: list[Weight]) -> str:
    total, unknown = transfer_bytes(fetched)
    sizes = [f"about {total / 1e6:,.0f} MB"] if total else []
    return " and ".join([*sizes, *([f"{unknown} of unknown size"] if unknown else [])])


def _command(out: Path) -> str:
    return f"dawn-bench quickstart --out {shlex.quote(str(out))}"
