"""Connections that read a state file, each look at one moment of the store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from lakeray.errors import StateUnavailable
from lakeray.state.sqlite.schema import connect, failure

T = TypeVar("T")


class Readers:
    """As many connections as threads ever read side by side. A reader is neither held up by the writer nor holds it up
    (https://www.sqlite.org/wal.html).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def at_one_moment(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """``look`` within one transaction. Raises StateUnavailable."""
        try:
            with self._connection() as connection:
                connection.execute("BEGIN")
                try:
                    return look(connection)
                finally:
                    if connection.in_transaction:
                        connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise failure(self._path, error) from error

    def close(self) -> None:
        """Close what is idle now, and what is still read with when that is done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise StateUnavailable(f"the state file {self._path} was closed", hint="open the store again")
            found = self._idle.pop() if self._idle else None
        connection = connect(self._path) if found is None else found
        broken = False
        try:
            yield connection
        except sqlite3.Error:
            broken = True  # the next look gets a fresh one
            raise
        finally:
            with self._lock:
                if broken or self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)
