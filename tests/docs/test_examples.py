"""The how-tos' examples work: each file is discovered by its registry, and each example's test passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from docs_hooks import ROOT

TITLED = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```', re.M | re.S)
#: Puts the example's folders behind the real packages, so that registries find the files as if they were there.
CONFTEST = """
import importlib
from pathlib import Path

HERE = Path(__file__).parent
for folder in {folders}:
    name = folder.replace("/", ".")
    package = importlib.import_module(name if name.startswith("dawn_bench.") else "dawn_bench." + name)
    package.__path__.append(str(HERE / folder))
"""


def write_examples(folder: Path) -> list[Path]:
    """Every titled code block of the how-tos as the file of that name; their tests."""
    files = []
    for page in sorted((ROOT / "docs" / "extend").glob("*.md")):
        for title, text in TITLED.findall(page.read_text(encoding="utf-8")):
            path = folder / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            files.append(path)
    code = [path.relative_to(folder) for path in files if path.suffix == ".py" and path.parts[-2:][0] != "tests"]
    items = {path for path in code if path.parts[0] not in ("tests", "dawn-bench-rmse")}
    models = {path.parent.parent for path in items if path.parts[:2] == ("dawn_bench", "models")}
    folders = {path.parent for path in items if path.parts[:2] != ("dawn_bench", "models")} | models
    (folder / "conftest.py").write_text(CONFTEST.format(folders=sorted(map(str, folders))), encoding="utf-8")
    return [path for path in files if path.name.startswith("test_")]


def test_examples_of_the_how_tos(tmp_path: Path) -> None:
    tests = write_examples(tmp_path)
    pages = [page for page in (ROOT / "docs" / "extend").glob("*.md") if page.stem not in ("index", "plugin")]
    assert len(tests) >= len(pages), "a how-to has no test"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *map(str, tests)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
