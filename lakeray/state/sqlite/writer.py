"""Everything that one process writes to a state file, many writes to a transaction.

A commit costs a sync of the disk, whatever is in it: while one runs, what else is asked for waits and goes into the
next one together (group commit).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lakeray.errors import LakerayError, StateUnavailable
from lakeray.state.crash_points import Passage, crash_point
from lakeray.state.sqlite.schema import connect, failure
from lakeray.state.together import Together

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
        self._connection: sqlite3.Connection | None = None
        self._together = Together(f"the state file {path}", self._commit, at_once=_AT_ONCE)

    def submit(self, work: Callable[[sqlite3.Connection], T], passage: Passage | None = None) -> Future[T]:
        """The result of ``work`` once it is on disk. ``passage`` names its crash points."""
        crash_point("before", passage)
        future: Future[T] = Future()
        self._together.ask(_Asked(work, future, passage))
        return future

    def do(self, work: Callable[[sqlite3.Connection], T], passage: Passage | None = None) -> T:
        """Likewise, waiting for it."""
        return self.submit(work, passage).result()

    def close(self) -> None:
        """Finish what was submitted."""
        self._together.close()
        self._start_over()

    def _commit(self, together: list[_Asked]) -> None:
        try:
            if self._connection is None:
                self._connection = connect(self._path)
            outcomes = _transaction(self._connection, [asked.work for asked in together])
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits is told
            self._start_over()
            for asked in together:
                told = failure(self._path, error)
                told.__cause__ = error
                asked.future.set_exception(told)
            return
        for asked, outcome in zip(together, outcomes, strict=True):
            asked.reply(outcome)

    def _start_over(self) -> None:
        """The next transaction has a new connection: nothing is known of this one's."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _transaction(connection: sqlite3.Connection, works: list[Work]) -> list[Any]:
    """What each work came to. Savepoints would be a quarter of all statements: the first time goes without."""
    try:
        return _each(connection, works, _all_or_none)
    except _HalfDone:
        connection.execute("ROLLBACK")
        return _each(connection, works, _within_savepoint)


def _each(
    connection: sqlite3.Connection, works: list[Work], do: Callable[[sqlite3.Connection, Work], Any]
) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    outcomes = [do(connection, work) for work in works]
    connection.execute("COMMIT")
    return outcomes


class _HalfDone(Exception):
    """Work failed after it had changed something."""


def _all_or_none(connection: sqlite3.Connection, work: Work) -> Any:
    before = connection.total_changes
    try:
        return work(connection)
    except _OWN_FAULTS as error:
        if connection.total_changes != before:
            raise _HalfDone from error
        return _Failed(error)


def _within_savepoint(connection: sqlite3.Connection, work: Work) -> Any:
    connection.execute("SAVEPOINT work")
    outcome: Any
    try:
        outcome = work(connection)
    except _OWN_FAULTS as error:
        connection.execute("ROLLBACK TO work")
        outcome = _Failed(error)
    connection.execute("RELEASE work")
    return outcome
