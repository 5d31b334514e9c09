"""What every import step has done so far, counted from what observers are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lakeray.observability.figures import per_second


@dataclass(slots=True)
class Tally:
    """One import step so far. Times are readings of a monotonic clock in seconds, sizes are in bytes."""

    step: str
    source_uri: str
    table_uri: str
    started_at: float
    listed: int = 0
    new: int = 0
    planned: int = 0
    planned_bytes: int = 0
    reading_since: float | None = None
    objects: int = 0
    rows: int = 0
    size_bytes: int = 0
    batches: int = 0
    rows_written: int = 0
    batch: int | None = None

    @property
    def total(self) -> int:
        """How many objects there are to import, as far as known: at least what is done."""
        return max(self.new, self.planned, self.objects)

    def rows_per_s(self, now: float) -> float:
        """Rows a second since the first batch began."""
        return 0.0 if self.reading_since is None else per_second(self.rows, now - self.reading_since)

    def left_s(self, now: float) -> float | None:
        """Seconds until all known objects are read at the speed so far; None before anything is done.

        The current batch is judged by its bytes, which foretell better than objects when sizes differ.
        """
        if self.reading_since is None or not self.objects or self.total <= self.objects:
            return None
        done = self.objects / self.total
        if self.total == self.planned and self.planned_bytes:
            done = min(1.0, self.size_bytes / self.planned_bytes)
        return (now - self.reading_since) * (1 - done) / done if done > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A batch that became visible; ``won`` is False when another importer committed it first."""

    batch: int
    rows_written: int
    table_version: int
    won: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """An import step that is over; ``errors`` counts objects that were not loaded whole."""

    source: str
    rows_written: int
    duration_s: float
    errors: int


class TallyObserver:
    """An observer that counts, then hands the counts to the hooks of its subclass.

    Safe to call from several threads: hooks run one at a time. What a hook raises is swallowed, for a display that
    broke must not break an import.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._tallies: dict[str, Tally] = {}

    def import_started(self, *, step: str, source_uri: str, table_uri: str) -> None:
        """Begin to count ``step`` from nothing."""
        with self._lock, suppress(Exception):
            tally = Tally(step=step, source_uri=source_uri, table_uri=table_uri, started_at=self._clock())
            self._tallies[step] = tally
            self._on_start(tally)

    def listing(self, *, step: str, listed: int, new: int) -> None:
        """Take over the two totals."""
        with self._lock, suppress(Exception):
            tally = self._tally(step)
            tally.listed, tally.new = listed, tally.objects + new if tally.objects else new
            self._on_move(tally)

    def batch_started(self, *, step: str, batch: int, objects: int, size_bytes: int) -> None:
        """Add the batch to what is planned."""
        with self._lock, suppress(Exception):
            tally = self._tally(step)
            tally.batch, tally.planned = batch, tally.planned + objects
            tally.planned_bytes += size_bytes
            if tally.reading_since is None:
                tally.reading_since = self._clock()
            self._on_move(tally)

    def advanced(self, *, step: str, batch: int, objects: int, rows: int, size_bytes: int) -> None:
        """Add what was staged."""
        with self._lock, suppress(Exception):
            tally = self._tally(step)
            tally.batch, tally.objects = batch, tally.objects + objects
            tally.rows += rows
            tally.size_bytes += size_bytes
            self._on_move(tally)

    def batch_ended(self, *, step: str, batch: int, rows_written: int, table_version: int, won: bool) -> None:
        """Add what became visible."""
        with self._lock, suppress(Exception):
            tally = self._tally(step)
            tally.batches += 1
            tally.rows_written += rows_written
            done = Committed(batch=batch, rows_written=rows_written, table_version=table_version, won=won)
            self._on_batch(tally, done)

    def import_ended(self, *, step: str, source: str, rows_written: int, duration_s: float, errors: int) -> None:
        """Close the count of ``step``."""
        with self._lock, suppress(Exception):
            tally = self._tally(step)
            self._tallies.pop(step, None)
            end = Ended(source=source, rows_written=rows_written, duration_s=duration_s, errors=errors)
            self._on_end(tally, end)

    def note(self, *, step: str, message: str) -> None:
        """Pass on the sentence."""
        with self._lock, suppress(Exception):
            self._on_note(step, message)

    def _tally(self, step: str) -> Tally:
        if step not in self._tallies:
            self._tallies[step] = Tally(step=step, source_uri="", table_uri="", started_at=self._clock())
        return self._tallies[step]

    def _on_start(self, tally: Tally) -> None: ...

    def _on_move(self, tally: Tally) -> None: ...

    def _on_batch(self, tally: Tally, done: Committed) -> None: ...

    def _on_end(self, tally: Tally, end: Ended) -> None: ...

    def _on_note(self, step: str, message: str) -> None: ...
