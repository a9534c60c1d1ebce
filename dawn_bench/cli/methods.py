"""`dawn-bench methods`: the methods that can be evaluated, and how to install external methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dawn_bench.cli.output import JsonFlag, json_output, show


def methods(
    name: Annotated[str | None, typer.Argument(help="Show this external method: command, options, quirks.")] = None,
    installs: Annotated[
        Path | None, typer.Option("--installs", help="YAML file with the locations of external methods.")
    ] = None,
    json: JsonFlag = False,
    old_installs: Annotated[Path | None, typer.Option("--methods", hidden=True)] = None,
) -> None:
    """List the methods that `evaluate` knows and what they generate; with a name, show how that external method is run.

    Example: dawn-bench methods wav2lip
    """
    from dawn_bench.baselines.base import METHODS, modalities_of
    from dawn_bench.baselines.external.adapter import bundled, installed_names, installs_file
    from dawn_bench.baselines.external.adapter import installs as read_installs
    from dawn_bench.errors import InputError
    from dawn_bench.files import user_path
    from dawn_bench.job import renamed

    if old_installs is not None:
        renamed("--methods", "--installs")
    path = installs_file(user_path(given) if (given := installs or old_installs) else None)
    external = bundled()
    if name is not None:
        if name not in external:
            METHODS[name]  # raises for an unknown name, with the nearest ones
            raise InputError(f"{name} runs inside dawn-bench.", hint=f"External methods: {', '.join(external)}.")
        with json_output(json):
            show(_adapter(name), _description(name))
        return
    installed = read_installs(path) if path is not None else {}
    own = [n for n in installed_names(path) if n not in METHODS]
    width, facts, lines = max(map(len, [*METHODS, *own])), [], []
    for method in [*METHODS, *own]:
        modalities = modalities_of(METHODS[method]) if method in METHODS else ("video",)
        repo = installed[method][1].repo if method in installed else None
        if method in installed:
            how = f"installed in {repo}"
        elif method in external:
            how = f"not installed; see dawn-bench methods {method}"
        else:
            how = "runs inside dawn-bench"
        facts.append(
            {"method": method, "generates": modalities, "external": method not in METHODS or method in external}
            | {"installed_in": repo}
        )
        lines.append(f"{method:<{width}}  {', '.join(modalities):<11}  {how}")
    with json_output(json):
        show(facts, lines)


def _adapter(name: str) -> dict[str, object]:
    from dawn_bench.baselines.external.adapter import bundled, read_adapter

    return {"method": name, **read_adapter(bundled()[name]).model_dump(mode="json")}


def _description(name: str) -> list[str]:
    import yaml

    from dawn_bench.baselines.external.adapter import INSTALLS_VARIABLE, bundled, read_adapter

    adapter = read_adapter(bundled()[name])
    entry: dict[str, object] = {"python": "/path/to/its/python", "repo": f"/path/to/{adapter.source.rsplit('/', 1)[1]}"}
    framing = "as generated, and with its faces aligned to the true ones" if adapter.changes_crop else "as generated"
    entry |= {k: v for k, v in (("weights", adapter.weights), ("options", adapter.options)) if v}
    return [
        f"{name}: {adapter.source} at {adapter.commit}",
        f"licence: {adapter.licence}",
        f"class: {adapter.method_class}; scored {framing}",
        f"command: {' '.join(adapter.argv)}",
        *(f"- {quirk}" for quirk in adapter.quirks),
        "",
        f"installs file (--installs FILE or {INSTALLS_VARIABLE}); weights and options only where they differ:",
        yaml.safe_dump({name: entry}, sort_keys=False).rstrip(),
    ]
