"""A killed evaluation resumes: nothing finished is generated again, and the scores are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods

#: `dawn-bench`, killed when it comes to the clip that DIE_AT names.
CHILD = """
import os, signal
from dawn_bench.baselines.methods.still import Still
made = Still.generate
def generate(self, item):
    if item.clip.id == os.environ.get("DIE_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    return made(self, item)
Still.generate = generate
from dawn_bench.cli import main
main()
"""


def evaluate(cache: Path, out: Path) -> None:
    scored = {"methods": ("still",), "sanity": False, "metrics": ("psnr", "ssim"), "split": "train"}
    assert not evaluate_methods(Evaluation(cache=cache, out=out, device="cpu", **scored)).failed


def killed_evaluate(cache: Path, out: Path, *, die_at: str) -> int:
    words = ["evaluate", "--method", "still", "--no-sanity", "--metrics", "psnr,ssim", "--split", "train"]
    command = [sys.executable, "-c", CHILD, *words, "--cache", str(cache), "--out", str(out)]
    return subprocess.run(command, env=os.environ | {"DIE_AT": die_at}, capture_output=True).returncode


def scores(out: Path) -> dict[tuple[str, str], tuple[float | None, str]]:
    return {(r.method, r.metric): (r.value, r.fingerprint) for r in ResultsStore(out).rows()}


def test_a_killed_evaluation_resumes(tiny_cache: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    evaluate(tiny_cache, whole)
    assert killed_evaluate(tiny_cache, broken, die_at="c2") == -signal.SIGKILL
    folder = broken / "outputs" / "still"
    lines = (folder / "items.jsonl").read_text().splitlines()
    assert [json.loads(line)["clip"] for line in lines] == ["c0", "c1"] and not (broken / "rows").exists()
    stamps = {name: (folder / f"{name}.mp4").stat().st_mtime_ns for name in ("c0", "c1")}
    evaluate(tiny_cache, broken)
    assert {name: (folder / f"{name}.mp4").stat().st_mtime_ns for name in stamps} == stamps
    assert scores(broken) == scores(whole) and len(scores(whole)) == 2
