"""What a state file is asked for: statements that only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from lakeray.state.instants import from_us, maybe_from_us, to_us
from lakeray.state.pages import page, page_start
from lakeray.state.port import Command, Event, Lease, Message, RunFilter, RunHead, RunPage

RUN_COLUMNS = "run_id, tenant, workflow, state, started_us, ended_us, wake_us, parent, labels, sequence"
EVENT_COLUMNS = "run_id, sequence, position, type, version, data, at_us"
# Statements whose every part is from this module.
_RUNS = f"SELECT {RUN_COLUMNS} FROM runs "  # noqa: S608
_EVENTS = f"SELECT {EVENT_COLUMNS} FROM events "  # noqa: S608
ONE_RUN = _RUNS + "WHERE run_id = ?"
ACTIVE = _RUNS + "WHERE shard = ? AND ended_us IS NULL ORDER BY started_us, run_id"
DUE = _RUNS + "WHERE shard = ? AND wake_us <= ? ORDER BY wake_us, run_id LIMIT ?"
ENDED = _RUNS + "WHERE ended_us < ? ORDER BY ended_us, run_id LIMIT ?"
RUN_EVENTS = _EVENTS + "WHERE run_id = ? AND sequence > ? ORDER BY sequence"
FEED = _EVENTS + "WHERE shard = ? AND position > ? ORDER BY position LIMIT ?"
FEED_END = """
SELECT position, (SELECT before FROM terms WHERE terms.shard = shards.shard AND began > :after ORDER BY began LIMIT 1)
FROM shards WHERE shard = :shard
"""
"""The feed's last position, and where it ended when the first lease behind ``after`` began."""
MESSAGES = """
SELECT message_id, topic, due_us, data, attempts FROM outbox WHERE shard = ? AND due_us <= ?
ORDER BY due_us, message_id LIMIT ?
"""
RECEIVED = """
SELECT command_id, run_id, data FROM inbox WHERE shard = ? AND answered_us IS NULL ORDER BY arrival LIMIT ?
"""
ANSWERED = "SELECT answer FROM inbox WHERE shard = ? AND command_id = ? AND answered_us IS NOT NULL"
LEASES = "SELECT shard, owner, epoch, until_us FROM shards WHERE until_us > ? ORDER BY shard"
REGISTER = "SELECT data, revision FROM registers WHERE key = ?"
REGISTERS = "SELECT key FROM registers WHERE substr(key, 1, length(:prefix)) = :prefix ORDER BY key"
SNAPSHOT = """
SELECT sealed, coalesce((SELECT sequence FROM runs WHERE runs.run_id = snapshots.run_id), 0)
FROM snapshots WHERE run_id = ?
"""


def head(row: Sequence[Any]) -> RunHead:
    """A row of ``RUN_COLUMNS``."""
    run_id, tenant, workflow, state, started_us, ended_us, wake_us, parent, labels, sequence = row
    return RunHead(
        run_id=run_id,
        tenant=tenant,
        workflow=workflow,
        state=state,
        started_at=from_us(started_us),
        ended_at=maybe_from_us(ended_us),
        wake_at=maybe_from_us(wake_us),
        parent=parent,
        labels=orjson.loads(labels),
        sequence=sequence,
    )


def event(row: Sequence[Any]) -> Event:
    """A row of ``EVENT_COLUMNS``."""
    run_id, sequence, position, type_, version, data, at_us = row
    return Event(
        run_id=run_id,
        sequence=sequence,
        position=position,
        type=type_,
        version=version,
        data=data,
        at=from_us(at_us),
    )


def message(row: Sequence[Any]) -> Message:
    """A row of ``MESSAGES``."""
    message_id, topic, due_us, data, attempts = row
    return Message(message_id=message_id, topic=topic, due_at=from_us(due_us), data=data, attempts=attempts)


def command(row: Sequence[Any]) -> Command:
    """A row of ``RECEIVED``."""
    return Command(command_id=row[0], run_id=row[1], data=row[2])


def lease(row: Sequence[Any]) -> Lease:
    """A row of ``LEASES``."""
    return Lease(shard=row[0], owner=row[1], epoch=row[2], until=from_us(row[3]))


def runs_page(connection: sqlite3.Connection, wanted: RunFilter, limit: int, token: str | None) -> RunPage:
    """A page of the index of runs."""
    conditions: list[tuple[str, Sequence[Any]]] = [
        (f"{name} = ?", (value,))
        for name, value in (("tenant", wanted.tenant), ("workflow", wanted.workflow), ("state", wanted.state))
        if value is not None
    ]
    if wanted.since is not None:
        conditions.append(("started_us >= ?", (to_us(wanted.since),)))
    if wanted.until is not None:
        conditions.append(("started_us < ?", (to_us(wanted.until),)))
    if (start := page_start(token)) is not None:
        conditions.append(("(started_us, run_id) < (?, ?)", start))
    where = "WHERE " + " AND ".join(text for text, _ in conditions) if conditions else ""
    statement = f"{_RUNS}{where} ORDER BY started_us DESC, run_id DESC LIMIT ?"
    values = [value for _, several in conditions for value in several]
    return page([head(row) for row in connection.execute(statement, [*values, limit + 1])], limit)
