"""Changes of a state file other than appends, each within the transaction of its connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from lakeray.state import refusals
from lakeray.state.instants import from_us, to_us
from lakeray.state.port import Command, Lease

_KEPT_TERMS = 1000


def take_lease(
    connection: sqlite3.Connection, shard: int, owner: str, now: datetime, ttl_s: float, *, alone: bool
) -> tuple[Lease, int]:
    """The lease, and the position behind which it begins. ``alone`` when no process owned the file before."""
    now_us = to_us(now)
    if alone:
        connection.execute("UPDATE shards SET until_us = 0")
    row = connection.execute("SELECT epoch, owner, until_us, position FROM shards WHERE shard = ?", (shard,)).fetchone()
    if row is None:
        raise ValueError(f"there is no shard {shard}")
    epoch, holder, until_us, position = row
    if until_us > now_us and holder != owner:
        raise refusals.lease_held(shard, holder, until_us)
    epoch = max(epoch + 1, now_us)
    until_us = to_us(now + timedelta(seconds=ttl_s))
    began = max(position + 1, epoch)
    connection.execute("INSERT INTO terms VALUES (?, ?, ?)", (shard, began, position))
    connection.execute(
        "DELETE FROM terms WHERE shard = ?1 AND began <= "
        "(SELECT began FROM terms WHERE shard = ?1 ORDER BY began DESC LIMIT 1 OFFSET ?2)",
        (shard, _KEPT_TERMS),
    )
    connection.execute(
        "UPDATE shards SET epoch = ?, owner = ?, until_us = ?, position = ? WHERE shard = ?",
        (epoch, owner, until_us, began, shard),
    )
    return Lease(shard=shard, owner=owner, epoch=epoch, until=from_us(until_us)), began


def renew_lease(connection: sqlite3.Connection, lease: Lease, until_us: int) -> None:
    """Raises Fenced."""
    (epoch,) = connection.execute("SELECT epoch FROM shards WHERE shard = ?", (lease.shard,)).fetchone()
    if epoch != lease.epoch:
        raise refusals.stale(lease, epoch)
    connection.execute(
        "UPDATE shards SET until_us = ?, owner = ? WHERE shard = ?", (until_us, lease.owner, lease.shard)
    )


def end_lease(connection: sqlite3.Connection, lease: Lease) -> bool:
    """Whether it was the shard's newest."""
    values = (lease.shard, lease.epoch)
    return connection.execute("UPDATE shards SET until_us = 0 WHERE shard = ? AND epoch = ?", values).rowcount == 1


def settle(connection: sqlite3.Connection, rows: Sequence[tuple[int, str]]) -> None:
    """Delete messages by shard and id."""
    connection.executemany("DELETE FROM outbox WHERE shard = ? AND message_id = ?", rows)


def postpone(connection: sqlite3.Connection, shard: int, message_id: str, due_us: int, attempts: int) -> None:
    """Move a message's time."""
    connection.execute(
        "UPDATE outbox SET due_us = ?, attempts = ? WHERE shard = ? AND message_id = ?",
        (due_us, attempts, shard, message_id),
    )


def send(connection: sqlite3.Connection, shard: int, command: Command) -> None:
    """Store a command unless it is known."""
    connection.execute(
        "INSERT OR IGNORE INTO inbox (shard, command_id, run_id, data) VALUES (?, ?, ?, ?)",
        (shard, command.command_id, command.run_id, command.data),
    )


def put(connection: sqlite3.Connection, key: str, data: bytes | None, *, expected: int) -> int:
    """The new revision of a register. Raises RevisionConflict."""
    row = connection.execute("SELECT revision FROM registers WHERE key = ?", (key,)).fetchone()
    found = row[0] if row else 0
    if found != expected:
        raise refusals.revision_conflict(key, expected, found)
    count = "UPDATE facts SET value = value + 1 WHERE name = 'revision' RETURNING value"
    (revision,) = connection.execute(count).fetchone()
    if data is None:
        connection.execute("DELETE FROM registers WHERE key = ?", (key,))
    else:
        connection.execute("INSERT OR REPLACE INTO registers VALUES (?, ?, ?)", (key, revision, data))
    return int(revision)


def save_snapshot(connection: sqlite3.Connection, run_id: str, sequence: int, sealed: bytes) -> None:
    """Keep the snapshot unless there is a newer one."""
    connection.execute(
        "INSERT INTO snapshots VALUES (?, ?, ?) ON CONFLICT (run_id) DO UPDATE "
        "SET sequence = excluded.sequence, sealed = excluded.sealed WHERE excluded.sequence >= sequence",
        (run_id, sequence, sealed),
    )


def forget(connection: sqlite3.Connection, run_ids: Sequence[str]) -> int:
    """Delete runs; how many there were. Raises ValueError for an active one."""
    count = 0
    for run_id in run_ids:
        row = connection.execute("SELECT ended_us FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            continue
        if row[0] is None:
            raise ValueError(f"run {run_id} has not ended and cannot be forgotten")
        for table in ("events", "snapshots", "runs"):
            connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))  # noqa: S608 - names from above
        count += 1
    return count


def sweep(connection: sqlite3.Connection, before_us: int) -> int:
    """Delete commands that were answered before; how many there were."""
    return connection.execute("DELETE FROM inbox WHERE answered_us < ?", (before_us,)).rowcount
