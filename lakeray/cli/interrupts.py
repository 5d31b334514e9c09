"""Ctrl-C and SIGTERM: the first stops cleanly, the second at once."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lakeray.errors import Cancelled
from lakeray.observability.figures import counted

if TYPE_CHECKING:
    from lakeray.runtime.background import Background
    from lakeray.runtime.summary import RunSummary

_SIGNALLED = 128
"""By the shell's custom the exit code of a process that a signal ended is this plus the signal's number."""
_LOOK_UP_S = 0.2
"""Seconds of one wait: a signal that comes just before a wait begins is noticed only when it ends."""
_SHOW_CURSOR = "\x1b[?25h"


S = TypeVar("S")


def result_of(start: Callable[[], Background[S]], *, leave: Callable[[int], object] = os._exit) -> S:
    """Start a run, wait for its end; Ctrl-C or SIGTERM cancels it, its clean end is waited for still.

    A second signal leaves the process at once (exit code 130 or 143): the protocol survives that too, it only costs a
    recovery. Raises KeyboardInterrupt or Terminated for a signal that came before the run was there.
    """
    with _Signals(leave) as signals:
        run = signals.run = start()
        while True:
            over = run.done  # looked up before the wait: a run may end between the two
            try:
                return run.result(timeout=_LOOK_UP_S)
            except TimeoutError:
                if over:
                    raise
            except Cancelled:
                return run.summary


def committed(summary: RunSummary) -> str:
    """How many batches of a run are safe in their tables."""
    number = sum(step.imported.batch_count for step in summary.steps if step.imported)
    return f"{counted(number, 'batch is', 'batches are')} committed"


class Terminated(SystemExit):
    """SIGTERM where nothing has to be finished first."""

    exit_code = _SIGNALLED + signal.SIGTERM

    def __init__(self) -> None:
        super().__init__(self.exit_code)


def end_on_sigterm() -> None:
    """Have SIGTERM raise Terminated in the main thread, so that it is told; a run handles it by itself."""

    def handle(_: int, __: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, handle)


class _Signals:
    """Handles signals while it is entered, where that is possible: in the main thread.

    The handler raises nothing once a run is there, for an exception thrown out of ``Thread.join`` makes CPython 3.11
    take a running thread for a finished one (https://github.com/python/cpython/issues/90882). Nor does it cancel by
    itself, for the lock that cancelling wants may be held by the very code that was interrupted: a thread does, told
    through a queue whose ``put`` is reentrant.
    """

    def __init__(self, leave: Callable[[int], object]) -> None:
        self.run: Background[Any] | None = None
        self._leave = leave
        self._seen = 0
        self._first = signal.SIGINT
        self._wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._canceller = threading.Thread(target=self._cancel, name="lakeray-cancel", daemon=True)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._canceller.start()
        if threading.current_thread() is threading.main_thread():
            handled = (signal.SIGINT, signal.SIGTERM)
            self._before = {number: signal.signal(number, self._handle) for number in handled}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._wanted.put(False)
        self._canceller.join()

    def _cancel(self) -> None:
        if self._wanted.get() and self.run is not None:
            again = "Press Ctrl-C again" if self._first == signal.SIGINT else "Send SIGTERM again"
            _say(f"Stopping cleanly. {again} to leave at once.")
            self.run.cancel()

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._seen += 1
        if self.run is None:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if self._seen == 1:
            self._first = signal.Signals(number)
            self._wanted.put(True)
            return
        cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
        _say(f"{cursor}Left at once. Run the same command again: nothing is lost.")
        self._leave(_SIGNALLED + number)


def _say(line: str) -> None:
    with suppress(OSError, ValueError, RuntimeError):  # a reentrant write is a RuntimeError
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
