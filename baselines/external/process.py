"""One run of an external command: its own process group, a time limit, a log, and the time until it was ready."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Seconds between terminating a process group and killing it.
GRACE = 5.0
#: Characters at the end of the log that are searched and quoted.
TAIL = 20_000


@dataclass(frozen=True)
class Run:
    """How a command ended.

    `code` is its exit code, None after the time limit; `ready_after` the seconds until the output matched `ready`;
    `tail` the end of the log.
    """

    code: int | None
    seconds: float
    ready_after: float | None
    tail: str

    def last_words(self) -> str:
        """The last line of the log that is not blank, for a message."""
        lines = [line.strip() for line in re.split(r"[\r\n]+", self.tail) if line.strip()]
        return lines[-1][-300:] if lines else "no output"


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    timeout: float,
    ready: str | None = None,
) -> Run:
    """Run a command and wait for it; all its children end with it, after `timeout` seconds, or on Ctrl-C.

    Standard output and errors go to `log`. Raises `OSError` when the command cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    log.unlink(missing_ok=True)  # it may be a link to any file
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        listener = _Listener(process, file, ready, began)
        listener.start()
        code: int | None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        listener.join(GRACE)
    return Run(code, time.perf_counter() - began, listener.ready_after, listener.tail)


class _Listener(threading.Thread):
    """Copies a process's output to a file as it comes, keeps its end, and notes when `ready` is first matched."""

    def __init__(self, process: subprocess.Popen[bytes], file, ready: str | None, began: float) -> None:
        super().__init__(daemon=True)
        self.process, self.file, self.began = process, file, began
        self.ready = re.compile(ready) if ready else None
        self.ready_after: float | None = None
        self.tail = ""

    def run(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError, OSError):  # the log is closed already: a grandchild kept the pipe open
            while chunk := os.read(self.process.stdout.fileno(), 65536):
                self.file.write(chunk)
                self.tail = (self.tail + chunk.decode(errors="replace"))[-TAIL:]
                if self.ready is not None and self.ready_after is None and self.ready.search(self.tail):
                    self.ready_after = time.perf_counter() - self.began


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: terminate, wait, kill. A program that exited may have left children."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except (ProcessLookupError, PermissionError):
            break
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            if sign == signal.SIGTERM:
                time.sleep(0.05)  # let children end by themselves before the kill
    process.wait()
