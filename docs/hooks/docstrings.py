"""Griffe extension: what this code base writes in its own way reaches the reference.

* Examples in docstrings (`>>> ...`) are shown as code, not read as Markdown.
* An attribute is described by the comment `#: ...` above it, or by the `description` of its pydantic field.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Fences examples, and gives attributes their descriptions."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for every module, class and function."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = fenced(obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called once for every attribute."""
        field = pydantic_field(attr)
        text = comment_above(attr) or field.get("description", "")
        if text and attr.docstring is None:
            attr.docstring = griffe.Docstring(text, parent=attr)
        if field:
            attr.value = field.get("default")
            attr.annotation = without_metadata(str(attr.annotation))


def fenced(text: str) -> str:
    """The text with every run of lines from `>>>` to the next blank line as a code block."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.lstrip().startswith(">>>") and not inside:
            lines.append("```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)


def comment_above(attr: griffe.Attribute) -> str:
    """The lines `#: ...` right above an attribute, or an empty text."""
    if attr.lineno is None or not isinstance(attr.filepath, Path):
        return ""
    above = attr.filepath.read_text(encoding="utf-8").splitlines()[: attr.lineno - 1]
    lines: list[str] = []
    while above and above[-1].strip().startswith("#:"):
        lines.insert(0, above.pop().strip().removeprefix("#:").strip())
    return " ".join(lines)


def pydantic_field(attr: griffe.Attribute) -> dict[str, str]:
    """`default` (as code) and `description` of a pydantic field, those that it has; else nothing."""
    if attr.value is None or not str(attr.value).startswith("Field("):
        return {}
    call = ast.parse(str(attr.value), mode="eval").body
    assert isinstance(call, ast.Call)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    sections = {}
    if default := (call.args[0] if call.args else given.get("default")):
        sections["default"] = ast.unparse(default)
    if description := given.get("description"):
        sections["description"] = str(ast.literal_eval(description))
    return sections


def without_metadata(annotation: str) -> str:
    """`str` of `Annotated[str, ...]`; any other annotation as it is."""
    tree = ast.parse(annotation, mode="eval").body
    if isinstance(tree, ast.Subscript) and ast.unparse(tree.value) == "Annotated" and isinstance(tree.slice, ast.Tuple):
        return ast.unparse(tree.slice.elts[0])
    return annotation
