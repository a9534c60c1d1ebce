"""Help as plain text: options by theme in two columns, the common ones, or all of them with `--help-all`."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from dawn_bench.cli.themes import METAVARS, THEMES, theme_of
from dawn_bench.text import counted

#: Columns: of the options, and of a line where there is no terminal.
LEFT, WIDTH = 26, 80
#: Examples that the common part shows.
EXAMPLES = 2
#: Widest help on a terminal: longer lines are hard to read.
WIDEST = 100
#: Names of a list that are shown whole in the common part, and those shown of a longer one.
NAMES, FEW = 24, 12
_KNOWN = re.compile(r"Known: (?P<names>[\w-]+(?:, [\w-]+)*)")
_COMMAND = re.compile(r"(?P<label>.*?:) (?P<command>(?:torchrun|dawn-bench) .*)")


def help_of(command: Any, ctx: Any, *, everything: bool = False) -> str:
    """The help of a command or a group; `everything` also has the options for special cases."""
    if (name_choices := getattr(command, "name_choices", None)) is not None:
        name_choices()
    width = min(WIDEST, shutil.get_terminal_size((WIDTH, 24)).columns)
    pieces = [piece.strip("{}") for piece in command.collect_usage_pieces(ctx)]
    usage = [ctx.command_path.replace("python -m dawn_bench", "dawn-bench"), *pieces]
    lines = [f"Usage: {' '.join(usage)}", ""]
    shown = 0
    for part in (command.help or "").split("\n\n"):
        text = " ".join(part.split())
        shown += _COMMAND.fullmatch(text) is not None
        if everything or shown <= EXAMPLES:
            lines += [*_paragraph(text, width), ""]
    for title, rows in _commands(command, ctx):
        lines += [title, *_rows(rows, width), ""]
    options, left_out = _options(command, ctx, everything=everything)
    for title, rows in options:
        lines += [title, *_rows(rows, width), ""]
    if left_out:
        name = usage[0].removeprefix("dawn-bench ")
        more = counted(left_out, "more option")
        lines.append(f"{more}, for special cases: dawn-bench {name} --help-all")
    return "\n".join(lines).rstrip()


def _paragraph(text: str, width: int) -> list[str]:
    """A paragraph within the width. A command stands on lines of its own, and can be pasted."""
    match = _COMMAND.fullmatch(text)
    if match is None:
        return textwrap.wrap(text, width - 1, break_on_hyphens=False, break_long_words=False)
    words = re.split(r" (?=-)", match["command"])
    lines = [f"  {words[0]}"]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 3 <= width - 1:
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(f"    {word}")
    return [*textwrap.wrap(match["label"], width - 1), *lines]


def _commands(command: Any, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The subcommands of a group, by theme."""
    by_theme: dict[str, list[tuple[str, str]]] = {}
    for name, stub in getattr(command, "commands", {}).items():
        if not stub.hidden:
            by_theme.setdefault(stub.rich_help_panel or "Commands", []).append((name, stub.get_short_help_str(200)))
    yield from by_theme.items()


def _options(command: Any, ctx: Any, *, everything: bool) -> tuple[list[tuple[str, list[tuple[str, str]]]], int]:
    """The arguments and options by theme, and the number of those that are left out."""
    by_theme: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", *THEMES, "More")}
    left_out = 0
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            by_theme["Arguments"].append((metavar(command, param), param.help or ""))
            continue
        flag = max(param.opts, key=len)
        title, common = theme_of(flag, command=command.name or "")
        if not (common or everything or param.required or (param.help or "").endswith("Required.")):
            left_out += 1
            continue
        text = _text(param)
        by_theme[title].append((_left(command, param), text if everything else _shorter(text)))
    return [(title, rows) for title, rows in by_theme.items() if rows], left_out


def _left(command: Any, param: Any) -> str:
    """The flag as it is typed: `--cache CACHE`, `--sanity/--no-sanity`, `--strict`."""
    short = [name for name in param.opts if not name.startswith("--")]
    flags = ", ".join([max(param.opts, key=len), *short])
    if not param.is_flag:
        return f"{flags} {metavar(command, param)}"
    shown = param.secondary_opts and ("Default: yes" in (param.help or "") or "compile" in flags)
    return f"{flags}/{param.secondary_opts[0]}" if shown else flags


def metavar(command: Any, param: Any) -> str:
    """What help and documentation call the value of an option or argument."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name).upper()
    flag = max(param.opts, key=len)
    if named := METAVARS.get(f"{command.name} {flag}", METAVARS.get(flag)):
        return named
    kind = getattr(param, "kind", None) or param.metavar
    return str(kind or flag.lstrip("-").rpartition("-")[2].upper())


def _text(param: Any) -> str:
    """The description of an option, with its default where it says none itself."""
    text = " ".join((param.help or "").split())
    default = param.default
    if "Default" in text or param.is_flag or default in (None, "", False, (), []) or callable(default):
        return text
    return f"{text} Default: {default}."


def _shorter(text: str) -> str:
    """A long list of names cut to its first ones: all of them are in `--help-all`."""
    match = _KNOWN.search(text)
    names = match["names"].split(", ") if match else []
    if match is None or len(names) <= NAMES:
        return text
    few = f"{', '.join(names[:FEW])} and {len(names) - FEW} more (--help-all)"
    return text[: match.start("names")] + few + text[match.end("names") :]


def _rows(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Two columns; a long left side has a line of its own."""
    left = min(LEFT, max(len(name) for name, _ in rows) + 2)
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, width - 1 - left - 2, break_on_hyphens=False) or [""]
        if len(name) + 2 > left:
            lines.append(f"  {name}")
        else:
            lines.append(f"  {name:<{left}}{wrapped.pop(0)}".rstrip())
        lines += [f"  {'':<{left}}{line}" for line in wrapped]
    return lines
