"""Runs tests in a copy of the project, each time in a fork of a process that has loaded the libraries already.

Reads one JSON object per line from standard input (`tests`: a file of test ids, `log`: where pytest's output goes,
`timeout`: seconds) and answers each with pytest's exit code, or -1 for a run that did not end in time.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

#: Libraries that most tests import and that take longest; nothing of the project itself.
LIBRARIES = (
    "numpy", "scipy.signal", "scipy.spatial", "scipy.ndimage", "torch", "torch.utils.data", "torchvision", "cv2", "av",
    "dlib", "pandas", "pyarrow.parquet", "pydantic", "yaml", "typer.testing", "rich", "safetensors.torch", "joblib",
    "skimage.metrics", "skimage.data", "matplotlib.figure", "PIL.Image", "soundfile", "soxr", "jinja2", "pytest",
)  # fmt: skip


def run(order: dict[str, str | float]) -> int:
    """Fork, run pytest in the child until the first test fails, and wait."""
    child = os.fork()
    if child == 0:
        os.setsid()
        log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        import pytest

        options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", f"@{order['tests']}"]
        code = pytest.main(options)
        sys.stdout.flush()
        os._exit(int(code))
    end = time.monotonic() + float(order["timeout"])
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def main() -> None:
    """Serve orders for the copy of the project that is the working folder."""
    sys.path.insert(0, str(Path.cwd()))
    answers = os.fdopen(os.dup(1), "w")
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        print(run(json.loads(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
