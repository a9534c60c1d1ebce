"""Stopping a command: SIGTERM and SIGHUP end it as Ctrl-C does, and workers end with the process that owns them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

#: Signals that stop a command, next to Ctrl-C.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
#: Seconds in which a repeated signal is ignored: a closing terminal sends SIGHUP twice, and cleaning up takes a moment.
REPEATS = 5.0
#: Seconds after which a signal is sent again that was lost in a callback.
_LATER = 0.02
#: Polling interval of a worker that watches its parent process, in seconds.
_WATCH = 0.5

_first: tuple[int, float] | None = None


class Stopped(KeyboardInterrupt):
    """A signal stopped the command; whatever handles Ctrl-C handles it too."""


def stop_on_signals() -> None:
    """From now on SIGTERM and SIGHUP raise `Stopped`. A signal that is ignored (`nohup`) stays ignored.

    A signal that comes while Python runs a callback of the garbage collector, as it often does during imports, raises
    where nothing can catch it, and Python goes on. Such a signal is sent once more, until it is not lost.
    """
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise)
    before = sys.unraisablehook

    def send_again(lost: Any) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Thread(target=_send, args=(stopped_by(),), daemon=True).start()
        else:
            before(lost)

    sys.unraisablehook = send_again


def _send(number: signal.Signals) -> None:
    """Send a signal to the main thread, once it has left the callback and this hook."""
    global _first
    time.sleep(_LATER)
    _first = None
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def stopped_by() -> signal.Signals:
    """The signal that stopped the command; SIGINT unless another one did."""
    return signal.Signals(_first[0]) if _first is not None else signal.SIGINT


def _raise(number: int, frame: FrameType | None) -> None:
    global _first
    now = time.monotonic()
    if _first is not None and now - _first[1] < REPEATS:
        return
    _first = number, now
    raise Stopped(signal.Signals(number).name)


class Deferred:
    """A request to stop that waits for the end of the current step."""

    def __init__(self, *, patient: bool = False) -> None:
        self.patient = patient
        self.number: int | None = None
        self._handlers: dict[int, Any] = {}

    @property
    def pending(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def stop(self) -> None:
        """Stop now, as the signal would have done."""
        number, self.number = self.number, None
        if number is not None:
            self._handlers[number](number, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending and not self.patient:  # the second time it is urgent
            self._handlers[number](number, frame)
        self.number = number


@contextmanager
def deferred(*, enabled: bool = True, patient: bool = False) -> Iterator[Deferred]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP until the block calls `stop()` or ends.

    A second signal acts at once, unless the block is short and `patient`.

    Handlers that a caller of the library has installed stay in place.
    """
    request = Deferred(patient=patient)
    ours: tuple[Callable[..., Any], ...] = (signal.default_int_handler, _raise)
    if enabled and threading.current_thread() is threading.main_thread():
        request._handlers = {n: h for n in (signal.SIGINT, *SIGNALS) if (h := signal.getsignal(n)) in ours}
        for number in request._handlers:
            signal.signal(number, request._note)
    try:
        yield request
    finally:
        for number, handler in request._handlers.items():
            signal.signal(number, handler)
    request.stop()


@contextmanager
def children_without_ctrl_c() -> Iterator[None]:
    """Processes that are started in the block never get Ctrl-C, not even while they import; their owner ends them.

    A Ctrl-C that comes during the block acts at its end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing.resource_tracker import ensure_running

    ensure_running()  # it unblocks the signal where it starts its process (Python 3.11), which is done now
    with deferred(patient=True):  # another thread may get the signal, and Python would raise in this one
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a child inherits it
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def before_exit() -> None:
    """What a stopped command does last, so that its exit code is its own and nothing is printed behind its line.

    Python ends by SIGINT, whatever the code, where a Ctrl-C came inside an `exec`, as in the making of a dataclass; to
    run an empty text resets that. Workers that still start would print that their owner is gone: they are killed.
    """
    ctypes.pythonapi.PyRun_SimpleString(b"")
    children: list[str] = []
    for listed in Path("/proc/self/task").glob("*/children"):  # also those that a thread is starting just now
        with suppress(OSError):  # the thread has ended
            children += listed.read_text().split()
    for number in children:
        with suppress(OSError):  # it has ended
            # the tracker removes what killed processes leave, and ends by itself
            if b"resource_tracker" not in Path("/proc", number, "cmdline").read_bytes():
                os.kill(int(number), signal.SIGKILL)


def end_with(owner: int) -> None:
    """In a worker process: exit within a second after the process `owner`, its parent, has ended, however it ended."""
    global _watched
    if owner == os.getpid() or _watched:
        return
    _watched = True

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(_WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="owner").start()


_watched = False
