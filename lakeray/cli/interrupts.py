"""Ctrl-C: the first stops cleanly, the second at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from lakeray.errors import Cancelled
from lakeray.observability.figures import counted

if TYPE_CHECKING:
    from lakeray.lake import Run
    from lakeray.runtime.summary import RunSummary

AT_ONCE = 130
_SHOW_CURSOR = "\x1b[?25h"


def result_of(start: Callable[[], Run], *, leave: Callable[[int], object] = os._exit) -> RunSummary:
    """Start a run, wait for its end; on Ctrl-C or SIGTERM cancel it, then wait for its clean end.

    A second signal leaves the process at once (exit code 130): the protocol survives that too, it only costs a recovery.
    """
    with _signals(leave):
        run = start()
        try:
            return run.result()
        except KeyboardInterrupt:
            _say("Stopping cleanly. Press Ctrl-C again to leave at once.")
            run.cancel()
        try:
            return run.result()
        except Cancelled:
            return run.summary


def committed(summary: RunSummary) -> str:
    """How many batches of a run are safe in their tables."""
    number = sum(len(step.imported.batches) for step in summary.steps if step.imported)
    return f"{counted(number, 'batch is', 'batches are')} committed"


@contextmanager
def _signals(leave: Callable[[int], object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def handle(_: int, __: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            raise KeyboardInterrupt
        cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
        _say(f"{cursor}Left at once. Run the same command again: nothing is lost.")
        leave(AT_ONCE)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
