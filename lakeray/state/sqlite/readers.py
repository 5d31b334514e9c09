"""Connections that read a state file, one a thread, each look at one moment of the store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lakeray.errors import StateUnavailable
from lakeray.state.sqlite.schema import connect, unavailable

T = TypeVar("T")


class Readers:
    """A reader is neither held up by the writer nor holds it up (https://www.sqlite.org/wal.html)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def at_one_moment(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """``look`` within one transaction. Raises StateUnavailable."""
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return look(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            self._closed = True
            for connection in self._open:
                connection.close()
            self._open.clear()

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        with self._lock:
            if self._closed:
                raise StateUnavailable(f"the state file {self._path} was closed", hint="open the store again")
            if found is None:
                found = self._local.connection = connect(self._path)
                self._open.append(found)
        return found
