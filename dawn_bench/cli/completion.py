"""`dawn-bench completion`: the script that completes commands and options in a shell."""

from __future__ import annotations

from typing import Annotated

import typer

SHELLS = ("bash", "zsh", "fish", "powershell")


def completion(shell: Annotated[str, typer.Argument(help=f"{', '.join(SHELLS)}.")]) -> None:
    """Print the script for a shell. `dawn-bench --install-completion` puts it where your shell reads it.

    Example: dawn-bench completion bash
    """
    from typer.completion import get_completion_script

    from dawn_bench.errors import unknown_name
    from dawn_bench.terminal import echo

    if shell not in SHELLS:
        raise unknown_name("shell", shell, SHELLS)
    echo(get_completion_script(prog_name="dawn-bench", complete_var="_DAWN_BENCH_COMPLETE", shell=shell))
