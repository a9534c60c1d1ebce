"""One run of an external command: its own process group, a time limit, a log, and the time until it was ready.

The command and all its children end with us: on Ctrl-C and signals because `run` ends them, and when we are killed
because a guard (`dawn_bench.baselines.external.guard`) does.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from dawn_bench.baselines.external import guard
from dawn_bench.storage import writing

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
    """Run a command and wait for it; all its children end with it, after `timeout` seconds, or when we are stopped.

    Standard output and errors go to `log`. Raises `StorageError` when the log cannot be written, and `OSError` when the
    command cannot be started.
    """
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)  # it may be a link to any file
        file = log.open("wb", buffering=0)
    began, token = time.perf_counter(), uuid4().hex
    with file, _guarded() as tell:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env={**os.environ, **environment, guard.TOKEN: token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None
        try:
            tell(f"run {token} {process.pid}")
            listener = _Listener(process, file, ready, began)
            listener.start()
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
            guard.kill_marked(token)
            tell(f"done {token}")
        listener.join(GRACE)
        if listener.failure is not None:
            with writing(log):
                raise listener.failure
    return Run(code, time.perf_counter() - began, listener.ready_after, listener.tail)


@contextmanager
def removed_with_us(folder: Path) -> Iterator[None]:
    """While the block runs, `folder` is removed if we are killed."""
    with _guarded() as tell:
        tell(f"folder {folder}")
        try:
            yield
        finally:
            tell(f"done {folder}")


_guards: dict[int, subprocess.Popen[str]] = {}
_starting = threading.Lock()


@contextmanager
def _guarded() -> Iterator[_Tell]:
    """The guard of this process, started on first use; a guard that cannot be told anything is replaced next time."""
    with _starting:
        process = _guards.get(os.getpid())
        if process is None or process.poll() is not None:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                text=True,
                errors="surrogateescape",
            )
            if not _guards:
                atexit.register(_dismiss)
            _guards[os.getpid()] = process
    yield _Tell(process)


def _dismiss() -> None:
    """Let the guard of this process end, so that none is left when Python exits."""
    process = _guards.pop(os.getpid(), None)
    if process is not None and process.stdin is not None:
        with suppress(OSError, subprocess.TimeoutExpired):
            process.stdin.close()
            process.wait(GRACE)


@dataclass(frozen=True)
class _Tell:
    """Writes one line to the guard; a guard that is gone costs only the protection."""

    process: subprocess.Popen[str]

    def __call__(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(OSError, ValueError), _starting:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()


class _Listener(threading.Thread):
    """Copies a process's output to a file as it comes, keeps its end, and notes when `ready` is first matched."""

    def __init__(self, process: subprocess.Popen[bytes], file, ready: str | None, began: float) -> None:
        super().__init__(daemon=True)
        self.process, self.file, self.began = process, file, began
        self.ready = re.compile(ready) if ready else None
        self.ready_after: float | None = None
        self.tail = ""
        self.failure: OSError | None = None

    def run(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError, OSError):  # the log is closed already: a grandchild kept the pipe open
            while chunk := os.read(self.process.stdout.fileno(), 65536):
                self._log(chunk)
                self.tail = (self.tail + chunk.decode(errors="replace"))[-TAIL:]
                if self.ready is not None and self.ready_after is None and self.ready.search(self.tail):
                    self.ready_after = time.perf_counter() - self.began

    def _log(self, chunk: bytes) -> None:
        """Write to the log; after a failure go on reading, or the command would wait for ever on a full pipe."""
        if self.failure is None and not self.file.closed:
            try:
                self.file.write(chunk)
            except OSError as error:
                self.failure = error


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
