"""`dawn-bench protocols`: the protocols under which methods are scored, and the choices that each makes."""

from __future__ import annotations

from typing import Annotated

import typer

from dawn_bench.cli.output import JsonFlag, json_output, show


def protocols(
    name: Annotated[str | None, typer.Argument(help="Show the fields of this protocol.")] = None,
    json: JsonFlag = False,
) -> None:
    """List the protocols and their metrics; with a name, show every choice that it makes.

    Example: dawn-bench protocols paper-dawn
    """
    from dawn_bench.metrics.protocols.base import PROTOCOLS, protocol
    from dawn_bench.metrics.scoring.listing import usual_metrics

    if name is not None:
        fields = protocol(name).model_dump(mode="json")
        with json_output(json):
            show(fields, [f"{field}: {value}" for field, value in fields.items()])
        return
    metrics = {known: usual_metrics(PROTOCOLS[known]) for known in PROTOCOLS}
    facts = [{"protocol": known, "metrics": names} for known, names in metrics.items()]
    with json_output(json):
        show(facts, [f"{known}: {', '.join(names)}" for known, names in metrics.items()])
