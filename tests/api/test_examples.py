"""The examples of the public API run: those of docstrings, and those of the README and the API page."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import dawn_bench

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PUBLIC = {name: getattr(dawn_bench, name) for name in dawn_bench.__all__}


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [t for name, item in PUBLIC.items() if callable(item) for t in finder.find(item, name, globs=dict(PUBLIC))]
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_a_docstrings_example(example: doctest.DocTest, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    printed: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=printed.append)
    assert not printed, "".join(printed)


def test_every_public_function_has_an_example() -> None:
    functions = {name for name, item in PUBLIC.items() if callable(item) and not isinstance(item, type)}
    assert functions <= {example.name for example in examples()}


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_a_pages_examples(page: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    blocks = [block for block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) if "dawn_bench" in block]
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
