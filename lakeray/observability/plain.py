"""Progress as plain lines, for logs of machines that nobody watches live."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from lakeray.observability.figures import coarse, count, counted, duration, per_second, size
from lakeray.observability.tally import Committed, Ended, Tally, TallyObserver
from lakeray.observability.visible import visible

INTERVAL_S = 5.0


class PlainObserver(TallyObserver):
    """Writes a line when a step begins or ends, one a note, otherwise at most one each ``interval_s``."""

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock=clock)
        self._stream = stream
        self._interval_s = interval_s
        self._said_at = clock()

    def _on_start(self, tally: Tally) -> None:
        self._say(f"{tally.step}: {visible(tally.source_uri)} -> {visible(tally.table_uri)}")

    def _on_move(self, tally: Tally) -> None:
        if self._clock() - self._said_at < self._interval_s:
            return
        if tally.reading_since is None:
            self._say(f"{tally.step}: {counted(tally.listed, 'object')} listed, {count(tally.new)} new")
        else:
            self._say(f"{tally.step}: {_progress(tally, self._clock())}")

    def _on_batch(self, tally: Tally, done: Committed) -> None:
        if done.won and self._clock() - self._said_at < self._interval_s:
            return
        how = "" if done.won else ", committed by another importer"
        rows = counted(done.rows_written, "row")
        self._say(f"{tally.step}: batch {done.batch} is table version {done.table_version}, {rows}{how}")

    def _on_end(self, tally: Tally, end: Ended) -> None:
        self._say(f"{tally.step}: {ending(tally, end)}")

    def _on_note(self, step: str, message: str) -> None:
        self._say(f"{step}: {visible(message)}")

    def _say(self, line: str) -> None:
        self._said_at = self._clock()
        print(line, file=self._stream or sys.stderr, flush=True)


def _progress(tally: Tally, now: float) -> str:
    left = tally.left_s(now)
    parts = [
        f"{count(tally.objects)} of {counted(tally.total, 'object')}",
        counted(tally.rows, "row"),
        size(tally.size_bytes),
        f"{count(tally.rows_per_s(now))} rows/s",
    ]
    return ", ".join(parts if left is None else [*parts, f"about {coarse(left)} left"])


def ending(tally: Tally, end: Ended) -> str:
    """One line about a step that is over, as terminals and logs show it."""
    if not tally.objects and not end.rows_written and not end.errors:
        return f"nothing new, in {duration(end.duration_s)}"
    speed = f"{count(per_second(end.rows_written, end.duration_s))} rows/s"
    parts = [
        counted(tally.objects, "object"),
        f"{counted(end.rows_written, 'row')} written",
        size(tally.size_bytes),
        f"{duration(end.duration_s)} ({speed})",
    ]
    if end.errors:
        parts.append(counted(end.errors, "problem"))
    return ", ".join(parts)
