"""MkDocs hook: the command-line reference, made from the Typer application itself.

`<!-- command-line -->` in a page is replaced by one section per command: help text, usage, arguments and options.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = "dawn-bench"
MARK = "<!-- command-line -->"
#: A paragraph of help that ends in a command: "Example: dawn-bench report RESULTS".
_EXAMPLE = re.compile(rf"(?P<label>[^\n]*?:) (?P<command>(?:torchrun|{PROGRAM}) .*)", re.S)
#: The end of a job's help: its default, or that there is none.
_DEFAULT = re.compile(r"(?P<text>.*?) ?(?:Default: (?P<default>.+)|Required)\.", re.S)
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

    def walk(words: tuple[str, ...], command: Any, context: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield words, command
        for name, stub in getattr(command, "commands", {}).items():
            if not stub.hidden:
                loaded = command.resolve_command(context, [name])[1]  # commands are imported when they are used
                yield from walk((*words, name), loaded, loaded.context_class(loaded, parent=context, info_name=name))

    root = application()
    yield from walk((), root, root.context_class(root, info_name=PROGRAM))


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
    texts = _texts(command)
    if arguments:
        lines += ["| argument | meaning |", "| --- | --- |"]
        lines += [*(f"| `{_argument(p)}` | {_plain(texts[p.name])} |" for p in arguments), ""]
    if options:
        lines += ["| option | default | meaning |", "| --- | --- | --- |"]
        lines += [*(_option(p, texts[p.name]) for p in options), ""]
    return lines


def _argument(param: Any) -> str:
    name = (getattr(param, "metavar", None) or param.name).upper()
    return name if param.nargs == 1 else f"{name}..."


def _option(param: Any, text: str) -> str:
    flags = " ".join(f"`{flag}`" for flag in (*param.opts, *param.secondary_opts))
    stated = _DEFAULT.fullmatch(text)  # a job's flag says its default in its help
    if stated:
        text, shown = stated["text"], f"`{stated['default']}`" if stated["default"] else "required"
    elif param.required:
        shown = "required"
    else:
        shown = "" if param.default in (None, False, (), []) else f"`{param.default}`"
    return f"| {flags} | {shown} | {_plain(text)} |"


def _texts(command: Any) -> dict[str, str]:
    """The help of each parameter by name, with the names that a registry holds where it takes one of them."""
    from dawn_bench.cli.job import help_text
    from dawn_bench.job import field_flags

    texts = {param.name: param.help or "" for param in command.params}
    kind = getattr(command.callback, "kind", None)
    if kind is not None:
        texts |= {field.field: help_text(field, names=True) for field in field_flags(kind) if field.field in texts}
    return {name: " ".join(text.split()) for name, text in texts.items()}


def _plain(text: str) -> str:
    """Text in which Markdown and HTML see nothing of their own; what is in backticks stays code."""
    parts = _RICH.sub("", text).split("`")
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"([*_|\[\]])", r"\\\1", html.escape(parts[index], quote=False))
    return "`".join(parts)


def on_serve(server: Any, **_: Any) -> Any:
    """Build again when a command changes."""
    server.watch(str(Path(__file__).parents[2] / "dawn_bench" / "cli"))
    return server
