"""Everything that one process writes to a state file, many writes to a transaction.

A commit costs a sync of the disk, whatever is in it: while one runs, what else is asked for waits and goes into the
next one together (group commit).
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lakeray.errors import LakerayError, StateUnavailable
from lakeray.state.crash_points import Passage, crash_point
from lakeray.state.sqlite.schema import connect, unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
_AT_ONCE = 512
_OWN_FAULTS = (
    LakerayError,
    ArithmeticError,
    TypeError,
    ValueError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


class _Failed(NamedTuple):
    error: Exception


class _Asked(NamedTuple):
    work: Work
    future: Future[Any]
    passage: Passage | None

    def reply(self, outcome: Any) -> None:
        try:
            crash_point("after", self.passage)
        except StateUnavailable as lost:
            self.future.set_exception(lost)
            return
        if isinstance(outcome, _Failed):
            self.future.set_exception(outcome.error)
        else:
            self.future.set_result(outcome)


class Writer:
    """A thread with the one connection that writes; each piece of work happens whole or not at all.

    Work gets the connection inside of a transaction. What it raises by itself undoes it alone; a failure of the disk
    undoes all that was to be committed together, and every future raises StateUnavailable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"state-writer {path.name}", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[sqlite3.Connection], T], passage: Passage | None = None) -> Future[T]:
        """The result of ``work`` once it is on disk. ``passage`` names its crash points."""
        crash_point("before", passage)
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise StateUnavailable(f"the state file {self._path} was closed", hint="open the store again")
            self._asked.put(_Asked(work, future, passage))
        return future

    def do(self, work: Callable[[sqlite3.Connection], T], passage: Passage | None = None) -> T:
        """Likewise, waiting for it."""
        return self.submit(work, passage).result()

    def close(self) -> None:
        """Finish what was submitted."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            together = [self._asked.get()]
            while len(together) < _AT_ONCE:
                try:
                    together.append(self._asked.get_nowait())
                except queue.Empty:
                    break
            going_on = None not in together
            asked = [item for item in together if item is not None and item.future.set_running_or_notify_cancel()]
            if asked:
                self._commit(asked)
        if self._connection is not None:
            self._connection.close()

    def _commit(self, together: list[_Asked]) -> None:
        try:
            if self._connection is None:
                self._connection = connect(self._path)
            outcomes = _transaction(self._connection, [asked.work for asked in together])
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits is told
            self._start_over()
            for asked in together:
                failure = unavailable(self._path, error)
                failure.__cause__ = error
                asked.future.set_exception(failure)
            return
        for asked, outcome in zip(together, outcomes, strict=True):
            asked.reply(outcome)

    def _start_over(self) -> None:
        """A new connection: nothing is known of the old one's transaction."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _transaction(connection: sqlite3.Connection, works: list[Work]) -> list[Any]:
    outcomes: list[Any] = []
    connection.execute("BEGIN IMMEDIATE")
    for work in works:
        connection.execute("SAVEPOINT work")
        try:
            outcomes.append(work(connection))
        except _OWN_FAULTS as error:
            connection.execute("ROLLBACK TO work")
            outcomes.append(_Failed(error))
        connection.execute("RELEASE work")
    connection.execute("COMMIT")
    return outcomes
