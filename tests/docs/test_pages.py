"""The documentation builds without a warning, and what it claims about tests exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docs_hooks import ROOT, hook

from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.metrics.scoring.base import METRICS

PARITY = ROOT / "tests" / "parity"
EVIDENCE = yaml.safe_load((ROOT / "docs" / "hooks" / "evidence.yaml").read_text(encoding="utf-8"))


def test_parity_evidence_names_real_metrics_and_tests() -> None:
    assert set(EVIDENCE) <= set(METRICS)  # a metric without a line gets a page that says so
    for name, written in EVIDENCE.items():
        for line in written.get("parity", ()):
            file, _, function = line["test"].partition("::")
            assert re.search(rf"^def {function}\(", (PARITY / file).read_text(), re.M), f"{name}: {line['test']}"


def test_the_protocol_page_has_every_field() -> None:
    table = hook("protocol_table").fields()
    for name in type(PAPER_DAWN).model_fields:
        assert name == "id" or f"| `{name}` |" in table


def test_headings_of_the_command_line_are_every_command() -> None:
    commands = hook("command_line")
    text = commands.reference()
    for words, command in commands.commands():
        assert f"`{' '.join(('dawn-bench', *words))}`" in text
        for param in command.params:
            if not getattr(param, "hidden", False) and param.opts[0].startswith("--"):
                assert f"`{param.opts[0]}`" in text


def test_pages_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings_handlers", reason="needs the extra docs")
    pytest.importorskip("material", reason="needs the extra docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        outside = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//([^"]+)"', page.read_text())
        assert not outside, f"{page.relative_to(tmp_path)} loads {outside}"
    assert (tmp_path / "site" / "metrics" / "fid" / "index.html").is_file()
