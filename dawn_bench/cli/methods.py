"""`dawn-bench methods`: what can be evaluated, and how an external method is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Show this external method: command, options, quirks.")] = None,
    installs: Annotated[
        Path | None, typer.Option(help="YAML file that says where external methods are installed.")
    ] = None,
    old_installs: Annotated[Path | None, typer.Option("--methods", hidden=True)] = None,
) -> None:
    """List the methods that `evaluate` knows; with a name, how that external method is run.

    Example: dawn-bench methods wav2lip
    """
    from dawn_bench.baselines.base import METHODS
    from dawn_bench.baselines.external.adapter import bundled, installed_names, installs_file
    from dawn_bench.baselines.external.adapter import installs as read_installs
    from dawn_bench.errors import InputError
    from dawn_bench.job import renamed

    if old_installs is not None:
        renamed("--methods", "--installs")
    path = installs_file(installs or old_installs)
    known = bundled()
    if name is not None:
        if name not in known:
            METHODS[name]  # an unknown name is answered with the nearest ones
            raise InputError(f"{name} runs inside dawn-bench.", hint=f"External methods: {', '.join(known)}.")
        for line in _description(name):
            typer.echo(line)
        return
    there = read_installs(path) if path is not None else {}
    extra = [n for n in installed_names(path) if n not in METHODS]
    width = max(map(len, [*METHODS, *extra]))
    for method in METHODS:
        if method not in known:
            how = "runs inside dawn-bench"
        elif method in there:
            how = f"installed in {there[method][1].repo}"
        else:
            how = f"not installed; dawn-bench methods {method} says how"
        typer.echo(f"{method:<{width}}  {how}")
    for method in extra:
        typer.echo(f"{method:<{width}}  installed in {there[method][1].repo}")


def _description(name: str) -> list[str]:
    import yaml

    from dawn_bench.baselines.external.adapter import INSTALLS, bundled, read_adapter

    adapter = read_adapter(bundled()[name])
    entry: dict[str, object] = {"python": "/path/to/its/python", "repo": f"/path/to/{adapter.source.rsplit('/', 1)[1]}"}
    framing = "as it comes, and once more framed as the truth" if adapter.changes_crop else "as it comes"
    entry |= {k: v for k, v in (("weights", adapter.weights), ("options", adapter.options)) if v}
    return [
        f"{name}: {adapter.source} at {adapter.commit}",
        f"licence: {adapter.licence}",
        f"class: {adapter.method_class}; scored {framing}",
        f"command: {' '.join(adapter.argv)}",
        *(f"- {quirk}" for quirk in adapter.quirks),
        "",
        f"installs file (--installs FILE or {INSTALLS}); weights and options only where they differ:",
        yaml.safe_dump({name: entry}, sort_keys=False).rstrip(),
    ]
