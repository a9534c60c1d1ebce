"""MkDocs hook: the command-line reference, made from the Typer application itself.

`<!-- command-line -->` in a page is replaced by one section per command: help text, usage, arguments and options.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = "dawn-bench"
MARK = "<!-- command-line -->"
#: A paragraph of help that ends in a command: "Example: dawn-bench report RESULTS".
_EXAMPLE = re.compile(rf"(?P<label>[^\n]*?:) (?P<command>(?:torchrun|{PROGRAM}) .*)", re.S)
#: Rich's markup, as in [bold]...[/bold].
_RICH = re.compile(r"\[/?(?:bold|italic|dim|red|green)\]")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark by the reference."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown


def application() -> Any:
    """The command that `dawn-bench` runs."""
    import typer

    from dawn_bench.cli import app

    return typer.main.get_command(app)


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command as (words, command), groups before their subcommands, in the order of `dawn-bench --help`."""

    def walk(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield words, command
        for name, sub in getattr(command, "commands", {}).items():
            if not sub.hidden:
                yield from walk((*words, name), sub)

    yield from walk((), application())


def paragraphs(command: Any) -> list[str]:
    """The paragraphs of a command's help, each on one line, without markup."""
    text = _RICH.sub("", command.help or "")
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def examples(command: Any) -> list[str]:
    """The example commands in a command's help."""
    matches = (_EXAMPLE.fullmatch(part) for part in paragraphs(command))
    return [match["command"] for match in matches if match]


def reference() -> str:
    """The whole reference as Markdown."""
    return "\n".join(line for words, command in commands() for line in _section(words, command))


def _section(words: tuple[str, ...], command: Any) -> list[str]:
    name = " ".join((PROGRAM, *words))
    lines = [f"{'#' * min(2 + max(len(words) - 1, 0), 4)} `{name}`", ""]
    for part in paragraphs(command):
        example = _EXAMPLE.fullmatch(part)
        if example:
            lines += [_plain(example["label"]), "", "```bash", example["command"], "```", ""]
        else:
            lines += [_plain(part), ""]
    visible = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in visible if not p.opts[0].startswith("-")]
    options = [p for p in visible if p.opts[0].startswith("-")]
    if arguments:
        lines += ["| argument | meaning |", "| --- | --- |", *(_argument(p) for p in arguments), ""]
    if options:
        lines += ["| option | default | meaning |", "| --- | --- | --- |", *(_option(p) for p in options), ""]
    return lines


def _argument(param: Any) -> str:
    name = (getattr(param, "metavar", None) or param.name).upper()
    return f"| `{name}{'' if param.nargs == 1 else '...'}` | {_cell(param)} |"


def _option(param: Any) -> str:
    flags = " ".join(f"`{flag}`" for flag in (*param.opts, *param.secondary_opts))
    default = param.default
    if param.required:
        shown = "required"
    elif default is None or default is False or default == () or callable(default) or default == []:
        shown = ""
    else:
        shown = f"`{default}`"
    return f"| {flags} | {shown} | {_cell(param)} |"


def _cell(param: Any) -> str:
    repeatable = " Repeatable." if getattr(param, "multiple", False) and "repeat" not in (param.help or "") else ""
    return _plain(" ".join((param.help or "").split()) + repeatable)


def _plain(text: str) -> str:
    """Text in which Markdown and HTML see nothing of their own; what is in backticks stays code."""
    parts = _RICH.sub("", text).split("`")
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"([*_|<>\[\]])", r"\\\1", parts[index])
    return "`".join(parts)


def on_serve(server: Any, **_: Any) -> Any:
    """Build again when a command changes."""
    server.watch(str(Path(__file__).parents[2] / "dawn_bench" / "cli"))
    return server
