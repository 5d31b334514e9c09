"""The tables of a state file, and whether a file is one.

``application_id`` says that a file is lakeray's, ``user_version`` is the number of its format. Times are microseconds
since 1970. Write-ahead log with ``synchronous=FULL``: a commit is on disk when it returns
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Final

from lakeray.errors import StateError, StateFormat, StateUnavailable

APPLICATION_ID: Final = 0x6C6B7279
"""The bytes ``lkry``."""
FORMAT: Final = 1
BUSY_S: Final = 10.0
"""How long a writer waits for another process to finish its transaction."""

_TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE shards (
  shard INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, owner TEXT NOT NULL, until_us INTEGER NOT NULL,
  position INTEGER NOT NULL
) STRICT;
CREATE TABLE terms (
  shard INTEGER NOT NULL, began INTEGER NOT NULL, before INTEGER NOT NULL, PRIMARY KEY (shard, began)
) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
  run_id TEXT NOT NULL UNIQUE, shard INTEGER NOT NULL, sequence INTEGER NOT NULL, tenant TEXT NOT NULL,
  workflow TEXT NOT NULL, state TEXT NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER, wake_us INTEGER,
  parent TEXT, labels TEXT NOT NULL
) STRICT;
CREATE INDEX runs_newest ON runs (started_us, run_id);
CREATE INDEX runs_tenant ON runs (tenant, started_us, run_id);
CREATE INDEX runs_workflow ON runs (workflow, started_us, run_id);
CREATE INDEX runs_state ON runs (state, started_us, run_id);
CREATE INDEX runs_active ON runs (shard) WHERE ended_us IS NULL;
CREATE INDEX runs_wake ON runs (shard, wake_us) WHERE wake_us IS NOT NULL;
CREATE INDEX runs_ended ON runs (ended_us, run_id) WHERE ended_us IS NOT NULL;
CREATE TABLE events (
  run_id TEXT NOT NULL, sequence INTEGER NOT NULL, shard INTEGER NOT NULL, position INTEGER NOT NULL,
  append_id TEXT NOT NULL, type TEXT NOT NULL, version INTEGER NOT NULL, at_us INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_run ON events (run_id, sequence);
CREATE UNIQUE INDEX events_feed ON events (shard, position);
CREATE TABLE outbox (
  shard INTEGER NOT NULL, message_id TEXT NOT NULL, topic TEXT NOT NULL, due_us INTEGER NOT NULL,
  attempts INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX outbox_message ON outbox (shard, message_id);
CREATE INDEX outbox_due ON outbox (shard, due_us);
CREATE TABLE inbox (
  arrival INTEGER PRIMARY KEY AUTOINCREMENT, shard INTEGER NOT NULL, command_id TEXT NOT NULL, run_id TEXT NOT NULL,
  data BLOB NOT NULL, answer BLOB, answered_us INTEGER
) STRICT;
CREATE UNIQUE INDEX inbox_command ON inbox (shard, command_id);
CREATE INDEX inbox_waiting ON inbox (shard, arrival) WHERE answered_us IS NULL;
CREATE INDEX inbox_answered ON inbox (answered_us) WHERE answered_us IS NOT NULL;
CREATE TABLE registers (key TEXT PRIMARY KEY, revision INTEGER NOT NULL, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (run_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
"""


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, for one thread at a time. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # the only kind that reaches the disk on macOS
    return connection


def prepare(path: Path, shards: int) -> int:
    """Make the file if there is none; the number of shards that it has.

    Raises StateFormat for a file of something else or of another format, StateUnavailable when it cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(connect(path)) as connection:
            _make(connection, shards)
            _check(connection, path)
            found = connection.execute("SELECT value FROM facts WHERE name = 'shards'").fetchone()
            return int(found[0])
    except (OSError, sqlite3.Error) as error:
        raise failure(path, error) from error


def file_format(connection: sqlite3.Connection) -> tuple[int, int]:
    """``application_id`` and format; (0, 0) of a new file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(application), int(number)


def _make(connection: sqlite3.Connection, shards: int) -> None:
    if file_format(connection) != (0, 0) or _tables(connection):
        return
    _write_ahead(connection)
    connection.execute("BEGIN IMMEDIATE")
    if not _tables(connection):  # another process may have been faster
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute("INSERT INTO facts VALUES ('shards', ?), ('store', ?)", (shards, uuid.uuid4().hex))
        connection.execute("INSERT INTO facts VALUES ('revision', 0)")
        connection.executemany("INSERT INTO shards VALUES (?, 0, '', 0, 0)", [(shard,) for shard in range(shards)])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the file to its write-ahead log, for good; this change alone does not wait for others by itself."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _tables(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return int(count)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application, number = file_format(connection)
    if application != APPLICATION_ID:
        raise _not_ours(path)
    if number > FORMAT:
        raise StateFormat(
            f"{path} has format {number}, this version of lakeray knows formats up to {FORMAT}",
            hint="a newer lakeray made it: update this one, or set LAKERAY_STATE to another file",
        )
    if number < FORMAT:
        raise StateFormat(
            f"{path} has format {number}, this version of lakeray works with format {FORMAT}",
            hint="migrate it, which first keeps a copy beside it; `lakeray.state.migrations.migrate` does it",
        )


def _not_ours(path: Path) -> StateFormat:
    return StateFormat(
        f"{path} is not a state file of lakeray", hint="set LAKERAY_STATE to another path, or move the file away"
    )


_HINTS: Final = {
    sqlite3.SQLITE_FULL: "free disk space, then go on: nothing that was acknowledged is lost",
    sqlite3.SQLITE_READONLY: "make the file, its folder and its file system writable",
    sqlite3.SQLITE_CANTOPEN: "the folder must exist and be writable",
    sqlite3.SQLITE_BUSY: "another process holds the file in a long transaction: end it, or wait",
    sqlite3.SQLITE_CORRUPT: "restore a backup; `sqlite3 FILE .recover` may save a part",
}


def failure(path: Path, error: BaseException) -> StateError:
    """What a failure of SQLite or of the file system means."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return _not_ours(path)
    otherwise = (
        "look at the disk and its file system, or name another place in LAKERAY_STATE; what was acknowledged is kept"
    )
    hint = _HINTS.get(code, otherwise)
    return StateUnavailable(f"the state file {path} cannot be used now: {error}", hint=hint)
