"""Ends the commands of a process that was killed: a small process of its own, which learns of the death by a pipe.

Usage: python guard.py, with lines on standard input: `run TOKEN GROUP`, `folder PATH`, `done TOKEN-OR-PATH`. At the end
of the input, which comes with the death of the writer, every run that is not done is killed and every folder removed.
It imports nothing of dawn-bench, so that it starts in a moment.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

#: Environment variable that marks a command and all processes that it starts, also those that leave its group.
TOKEN = "DAWN_BENCH_RUN"


def kill_marked(token: str) -> None:
    """Kill every process whose environment has the token (Linux)."""
    mark = f"{TOKEN}={token}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in entry.read_bytes().split(b"\0") and int(entry.parent.name) != os.getpid():
                os.kill(int(entry.parent.name), signal.SIGKILL)


def main() -> None:
    """Read lines until the writer is gone, then end what it left."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    runs: dict[str, int] = {}
    folders: set[str] = set()
    for line in sys.stdin:
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "run":
            token, _, group = rest.partition(" ")
            runs[token] = int(group)
        elif kind == "folder":
            folders.add(rest)
        else:
            runs.pop(rest, None)
            folders.discard(rest)
    for sign, pause in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 0.0)):
        for group in runs.values():
            with suppress(OSError):
                os.killpg(group, sign)
        time.sleep(pause if runs else 0)
    for token in runs:
        kill_marked(token)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
