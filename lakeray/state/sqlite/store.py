"""Runs and their events in one SQLite file: the embedded store, owned by one process, read by any."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lakeray.state import refusals
from lakeray.state.codec import seal, unseal
from lakeray.state.instants import from_us, now, to_us
from lakeray.state.pages import page_start
from lakeray.state.port import (
    EVERY_RUN,
    SHARDS,
    Answer,
    Append,
    Appended,
    Command,
    Durability,
    Event,
    Lease,
    Message,
    Register,
    RunFilter,
    RunHead,
    RunPage,
    Snapshot,
    shard_of,
)
from lakeray.state.sqlite import changes, index
from lakeray.state.sqlite.append import append_to, write_answers
from lakeray.state.sqlite.owner import OwnerLock
from lakeray.state.sqlite.readers import Readers
from lakeray.state.sqlite.schema import prepare
from lakeray.state.sqlite.writer import Writer

_DURABILITY = Durability(mode="disk", sentence="every event is on disk before it counts (SQLite, synchronous=FULL)")


class SqliteStore:
    """Keeps the contract of ``EventStore``. ``clock`` decides when leases run out."""

    def __init__(self, path: Path, *, shards: int = SHARDS, clock: Callable[[], datetime] = now) -> None:
        self._path = path.absolute()
        self._clock = clock
        self._shards = prepare(self._path, shards)
        self._owner = OwnerLock(self._path)
        self._writer = Writer(self._path)
        self._readers = Readers(self._path)
        self._floors: dict[int, int] = {}
        self._mine: set[int] = set()
        self._owning = threading.Lock()

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._path)!r})"

    @property
    def durability(self) -> Durability:
        """What an acknowledged write survives here."""
        return _DURABILITY

    @property
    def shards(self) -> int:
        """How many shards the store was made with."""
        return self._shards

    # Owners ---------------------------------------------------------------------------------------------------------

    def lease(self, shard: int, owner: str, ttl_s: float) -> Lease:
        """See ``EventStore``. The first lease takes the file's lock: whoever had it before is dead."""
        with self._owning:
            alone = not self._owner.held
            if alone:
                self._owner.acquire(owner)
            try:
                taken, position = self._writer.do(
                    lambda c: changes.take_lease(c, shard, owner, self._clock(), ttl_s, alone=alone), "lease"
                )
            except BaseException:
                if alone:
                    self._owner.release()
                raise
            self._mine.add(shard)
            self._floors[shard] = position
        return taken

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """See ``EventStore``."""
        until_us = to_us(self._clock() + timedelta(seconds=ttl_s))
        self._writer.do(lambda c: changes.renew_lease(c, lease, until_us))
        return Lease(shard=lease.shard, owner=lease.owner, epoch=lease.epoch, until=from_us(until_us))

    def release(self, lease: Lease) -> None:
        """See ``EventStore``. The last release frees the file for other processes."""
        with self._owning:
            if self._writer.do(lambda c: changes.end_lease(c, lease)):
                self._mine.discard(lease.shard)
            if not self._mine:
                self._owner.release()

    def leases(self) -> list[Lease]:
        """See ``EventStore``."""
        return [index.lease(row) for row in self._rows(index.LEASES, (to_us(self._clock()),))]

    def submit(self, append: Append) -> Future[Appended]:
        """See ``EventStore``."""
        shard = self._shard(append.run_id)
        future = self._writer.submit(
            lambda c: append_to(c, append, shard=shard, floor=self._floors.get(shard, 0), now=self._clock()), "append"
        )
        future.add_done_callback(lambda done: self._acknowledged(shard, done))
        return future

    def append(self, append: Append) -> Appended:
        """See ``EventStore``."""
        return self.submit(append).result()

    def _acknowledged(self, shard: int, done: Future[Appended]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._floors[shard] = max(self._floors.get(shard, 0), done.result().position)

    # Readers --------------------------------------------------------------------------------------------------------

    def read(self, run_id: str, after: int = 0) -> list[Event]:
        """See ``EventStore``."""
        return [index.event(row) for row in self._rows(index.RUN_EVENTS, (run_id, after))]

    def head(self, run_id: str) -> RunHead | None:
        """See ``EventStore``."""
        row = self._row(index.ONE_RUN, (run_id,))
        return None if row is None else index.head(row)

    def feed(self, shard: int, after: int, limit: int) -> list[Event]:
        """See ``EventStore``."""

        def look(connection: sqlite3.Connection) -> list[Event]:
            end, before = connection.execute(index.FEED_END, {"shard": shard, "after": after}).fetchone()
            if after > (end if before is None else before):
                raise refusals.feed_went_back(shard, after, end if before is None else before)
            return [index.event(row) for row in connection.execute(index.FEED, (shard, after, limit))]

        return self._readers.at_one_moment(look)

    def runs(self, wanted: RunFilter = EVERY_RUN, *, limit: int = 100, token: str | None = None) -> RunPage:
        """See ``EventStore``."""
        page_start(token)
        return self._readers.at_one_moment(lambda c: index.runs_page(c, wanted, limit, token))

    def active(self, shard: int) -> list[RunHead]:
        """See ``EventStore``."""
        return [index.head(row) for row in self._rows(index.ACTIVE, (shard,))]

    def due(self, shard: int, now: datetime, limit: int) -> list[RunHead]:
        """See ``EventStore``."""
        return [index.head(row) for row in self._rows(index.DUE, (shard, to_us(now), limit))]

    def ended(self, before: datetime, limit: int) -> list[RunHead]:
        """See ``EventStore``."""
        return [index.head(row) for row in self._rows(index.ENDED, (to_us(before), limit))]

    # Messages and commands ------------------------------------------------------------------------------------------

    def messages(self, shard: int, now: datetime, limit: int) -> list[Message]:
        """See ``EventStore``."""
        return [index.message(row) for row in self._rows(index.MESSAGES, (shard, to_us(now), limit))]

    def settle(self, shard: int, message_ids: Iterable[str]) -> None:
        """See ``EventStore``."""
        rows = [(shard, message_id) for message_id in message_ids]
        self._writer.do(lambda c: changes.settle(c, rows), "settle")

    def postpone(self, shard: int, message_id: str, *, due_at: datetime, attempts: int) -> None:
        """See ``EventStore``."""
        self._writer.do(lambda c: changes.postpone(c, shard, message_id, to_us(due_at), attempts))

    def send(self, command: Command) -> None:
        """See ``EventStore``."""
        shard = self._shard(command.run_id)
        self._writer.do(lambda c: changes.send(c, shard, command), "send")

    def received(self, shard: int, limit: int) -> list[Command]:
        """See ``EventStore``."""
        return [index.command(row) for row in self._rows(index.RECEIVED, (shard, limit))]

    def answer(self, command: Command, data: bytes) -> None:
        """See ``EventStore``."""
        shard = self._shard(command.run_id)
        answers = (Answer(command_id=command.command_id, data=data),)
        self._writer.do(lambda c: write_answers(c, shard, answers, self._clock()), "answer")

    def answered(self, command: Command) -> bytes | None:
        """See ``EventStore``."""
        row = self._row(index.ANSWERED, (self._shard(command.run_id), command.command_id))
        return None if row is None else row[0]

    # Registers ------------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Register | None:
        """See ``EventStore``."""
        row = self._row(index.REGISTER, (key,))
        return None if row is None else Register(data=row[0], revision=row[1])

    def put(self, key: str, data: bytes | None, *, expected: int) -> int:
        """See ``EventStore``."""
        return self._writer.do(lambda c: changes.put(c, key, data, expected=expected), "put")

    def keys(self, prefix: str = "") -> list[str]:
        """See ``EventStore``."""
        return [row[0] for row in self._rows(index.REGISTERS, {"prefix": prefix})]

    # Snapshots and retention ----------------------------------------------------------------------------------------

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See ``EventStore``."""
        sealed = seal(snapshot)
        self._writer.do(lambda c: changes.save_snapshot(c, snapshot.run_id, snapshot.sequence, sealed), "snapshot")

    def load_snapshot(self, run_id: str) -> Snapshot | None:
        """See ``EventStore``."""
        row = self._row(index.SNAPSHOT, (run_id,))
        return None if row is None else unseal(run_id, row[0], newest=row[1])

    def forget(self, run_ids: Sequence[str]) -> int:
        """See ``EventStore``."""
        return self._writer.do(lambda c: changes.forget(c, run_ids), "forget")

    def sweep(self, before: datetime) -> int:
        """See ``EventStore``."""
        return self._writer.do(lambda c: changes.sweep(c, to_us(before)))

    def close(self) -> None:
        """See ``EventStore``."""
        self._writer.close()
        self._readers.close()
        self._owner.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _shard(self, run_id: str) -> int:
        return shard_of(run_id, self._shards)

    def _rows(self, statement: str, values: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._readers.at_one_moment(lambda c: c.execute(statement, values).fetchall())

    def _row(self, statement: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        rows = self._rows(statement, values)
        return rows[0] if rows else None
