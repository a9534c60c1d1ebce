"""The script for a lease of a GPU fits its limit, knows every stage, and starts without a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dawn_bench.models.spec import MODELS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_lease.sh"
#: A stage with the network and the losses of another.
LEFT_OUT = {"dawn:a2v-ttr"}


def parts() -> list[tuple[int, str]]:
    """Limits in seconds and parts, in order."""
    lines = re.findall(r"^part (\d+) (.+)$", SCRIPT.read_text(), flags=re.MULTILINE)
    return [(int(limit), what) for limit, what in lines]


def test_all_parts_fit_the_lease_at_their_limits() -> None:
    assert "total=$((540 * times))" in SCRIPT.read_text()
    limits = [limit for limit, _ in parts()]
    assert len(limits) == 13 and sum(limits) <= 535 and min(limits) >= 20


def test_every_training_stage_is_measured() -> None:
    stages = {what.split()[1] for _, what in parts() if what.startswith("stages ")}
    assert stages | LEFT_OUT == {f"{model}:{stage}" for model in MODELS for stage in MODELS[model].stages}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(["bash", str(SCRIPT), *arguments], env=given, capture_output=True, text=True, timeout=1400)


@pytest.mark.weekly
@pytest.mark.timeout(1500)
def test_it_runs_on_the_pretended_device(tmp_path: Path) -> None:
    made = run("--make", str(tmp_path / "cpu.npz"), LEASE="--tiny")
    assert made.returncode == 0, made.stderr
    done = run(str(tmp_path / "cpu.npz"), str(tmp_path / "out"), LEASE="--tiny --pretended", LEASE_TIMES="4")
    assert done.returncode == 0, done.stdout[-4000:]
    log = (tmp_path / "out" / "lease.log").read_text()
    assert log == done.stdout
    assert "WRONG" not in log and log.count("\nok ") > 15 and "0 differ" in log
    assert log.count("started  ") == log.count("resumed  ") == 8
    assert log.count("exit status 0") == len(parts())
    assert re.search(r"12 frames bf16 eager .* frames/s", log)
    assert log.count("kernels started") == 2
