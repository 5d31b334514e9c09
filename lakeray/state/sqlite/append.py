"""One append in a transaction of a state file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from lakeray.errors import LakerayError
from lakeray.state import refusals
from lakeray.state.instants import maybe_us, to_us
from lakeray.state.port import Answer, Append, Appended, Message, RunHead

_NAMES = (
    *("run_id", "shard", "sequence", "tenant", "workflow", "state", "started_us", "ended_us", "wake_us", "parent"),
    "labels",
)
_SELECT = f"""
SELECT epoch, position, {", ".join(f"runs.{name}" for name in _NAMES)}
FROM shards LEFT JOIN runs ON run_id = ? WHERE shards.shard = ?
"""  # noqa: S608 - names of columns
_INSERT_RUN = f"INSERT INTO runs ({', '.join(_NAMES)}) VALUES ({', '.join('?' for _ in _NAMES)})"  # noqa: S608 - likewise
# Only what changes: SQLite writes every index anew that holds a column which is set, though to what it was.
_MOVE_RUN = "UPDATE runs SET sequence = ? WHERE run_id = ?"
_INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_MESSAGE = "INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?, ?, ?)"
_ANSWER = """
UPDATE inbox SET answer = ?, answered_us = ? WHERE shard = ? AND command_id = ? AND answered_us IS NULL
"""


def append_to(connection: sqlite3.Connection, append: Append, *, shard: int, floor: int, now: datetime) -> Appended:
    """Store the append, or raise why not; ``floor`` is the highest position that was acknowledged to this process."""
    epoch, position, *found = connection.execute(_SELECT, (append.run_id, shard)).fetchone()
    run = found if found[0] is not None else None
    sequence = run[2] if run else 0
    if sequence > append.expected and (done := _done(connection, append)) is not None:
        return done
    if refusal := _refusal(append, shard=shard, sequence=sequence, epoch=epoch, position=position, floor=floor):
        raise refusal
    _write_run(connection, run, shard, append)
    connection.executemany(
        _INSERT_EVENT,
        [
            (
                *(append.run_id, append.expected + count, shard, position + count, append.append_id),
                *(event.type, event.version, to_us(event.at), event.data),
            )
            for count, event in enumerate(append.events, 1)
        ],
    )
    position += len(append.events)
    connection.execute("UPDATE shards SET position = ? WHERE shard = ?", (position, shard))
    if append.messages:
        write_messages(connection, shard, append.messages)
    if append.answers:
        write_answers(connection, shard, append.answers, now)
    return Appended(run_id=append.run_id, sequence=append.expected + len(append.events), position=position)


def write_messages(connection: sqlite3.Connection, shard: int, messages: tuple[Message, ...]) -> None:
    """Put messages into the outbox; one that is there already stays as it is."""
    rows = [(shard, item.message_id, item.topic, to_us(item.due_at), item.attempts, item.data) for item in messages]
    connection.executemany(_INSERT_MESSAGE, rows)


def write_answers(connection: sqlite3.Connection, shard: int, answers: tuple[Answer, ...], now: datetime) -> None:
    """Answer commands that have no answer yet."""
    now_us = to_us(now)
    connection.executemany(_ANSWER, [(item.data, now_us, shard, item.command_id) for item in answers])


def _done(connection: sqlite3.Connection, append: Append) -> Appended | None:
    """The answer of an append that is stored: its first event carries its id."""
    found = connection.execute(
        "SELECT position FROM events WHERE run_id = ? AND sequence = ? AND append_id = ?",
        (append.run_id, append.expected + 1, append.append_id),
    ).fetchone()
    if found is None:
        return None
    count = len(append.events)
    return Appended(run_id=append.run_id, sequence=append.expected + count, position=found[0] + count - 1)


def _refusal(
    append: Append, *, shard: int, sequence: int, epoch: int, position: int, floor: int
) -> LakerayError | None:
    if sequence < append.expected:
        return refusals.run_went_back(append, sequence)
    if position < floor:
        return refusals.feed_went_back(shard, floor, position)
    if epoch < append.epoch:
        return refusals.lease_went_back(shard, append.epoch, epoch)
    if epoch > append.epoch:
        return refusals.fenced(shard, append.epoch, epoch)
    if sequence > append.expected:
        return refusals.sequence_conflict(append, sequence)
    return None


def _write_run(connection: sqlite3.Connection, before: Sequence[Any] | None, shard: int, append: Append) -> None:
    sequence = append.expected + len(append.events)
    after = (append.run_id, shard, sequence, *_columns(append.head))
    if before is None:
        connection.execute(_INSERT_RUN, after)
        return
    changed = [name for name, old, new in zip(_NAMES, before, after, strict=True) if old != new]
    if changed == ["sequence"]:
        connection.execute(_MOVE_RUN, (sequence, append.run_id))
        return
    values = dict(zip(_NAMES, after, strict=True))
    setting = ", ".join(f"{name} = ?" for name in changed)
    statement = f"UPDATE runs SET {setting} WHERE run_id = ?"  # noqa: S608 - likewise
    connection.execute(statement, [*(values[name] for name in changed), append.run_id])


def _columns(head: RunHead) -> tuple[Any, ...]:
    times = (to_us(head.started_at), maybe_us(head.ended_at), maybe_us(head.wake_at))
    labels = orjson.dumps(dict(head.labels), option=orjson.OPT_SORT_KEYS).decode()
    return (head.tenant, head.workflow, head.state, *times, head.parent, labels)
