"""Runs and their events on a Redis server: the store that several processes and machines share."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lakeray.errors import ConfigError, StateFormat, StateUnavailable
from lakeray.state import refusals
from lakeray.state.codec import seal, unseal
from lakeray.state.crash_points import Passage, crash_point
from lakeray.state.instants import from_us, to_us
from lakeray.state.pages import page, page_start
from lakeray.state.port import (
    EVERY_RUN,
    SHARDS,
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
from lakeray.state.redis import FORMAT, PREFIX, records, scripts
from lakeray.state.redis.failures import address_of, told, translated
from lakeray.state.redis.settings import durability
from lakeray.state.redis.writer import Writer

_SWEPT_AT_ONCE: Final = 1000
_PATIENCE_S: Final = 10.0
_LOWEST: Final = "-inf"


class RedisStore:
    """Keeps the contract of ``EventStore``; the server's clock decides when leases run out."""

    def __init__(self, url: str, *, shards: int = SHARDS) -> None:
        try:
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=_PATIENCE_S,
                socket_connect_timeout=_PATIENCE_S,
                retry=Retry(NoBackoff(), 0),  # who asks decides what may be asked again
            )
        except ValueError as error:
            raise ConfigError(f"LAKERAY_STATE is no address of a Redis server: {error}") from None
        self._address = address_of(self._client)
        with told(self._address):
            self._durability = durability(self._client, self._address)
            known = scripts.call(self._client, "open", f"{PREFIX}store", FORMAT, shards, uuid.uuid4().hex)
        if int(known[0]) != FORMAT:
            raise StateFormat(
                f"{self._address} holds format {int(known[0])}, this version of lakeray works with format {FORMAT}",
                hint="update lakeray where that is lower, or migrate the store (`lakeray.state.migrations`)",
            )
        self._shards = int(known[1])
        self._writer = Writer(self._client, self._address, PREFIX)
        self._closed = False

    def __repr__(self) -> str:
        return f"RedisStore({self._address!r})"

    @property
    def durability(self) -> Durability:
        """What an acknowledged write survived when the store was opened."""
        return self._durability

    @property
    def shards(self) -> int:
        """How many shards the store was made with."""
        return self._shards

    # Owners ---------------------------------------------------------------------------------------------------------

    def lease(self, shard: int, owner: str, ttl_s: float) -> Lease:
        """See ``EventStore``."""
        if not 0 <= shard < self._shards:
            raise ValueError(f"there is no shard {shard}")
        reply = self._write("lease", "lease", shard, owner, round(ttl_s * 1e6))
        if reply[0] == b"held":
            raise refusals.lease_held(shard, reply[1].decode(), reply[2])
        self._writer.floors[shard] = reply[3]
        return Lease(shard=shard, owner=owner, epoch=reply[1], until=from_us(reply[2]))

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """See ``EventStore``."""
        word, number = self._call("renew", lease.shard, lease.epoch, max(1, round(ttl_s * 1e6)), lease.owner)
        if word == b"stale":
            raise refusals.stale(lease, number)
        return Lease(shard=lease.shard, owner=lease.owner, epoch=lease.epoch, until=from_us(number))

    def release(self, lease: Lease) -> None:
        """See ``EventStore``."""
        self._call("renew", lease.shard, lease.epoch, 0, lease.owner)

    def leases(self) -> list[Lease]:
        """See ``EventStore``."""
        rows = self._of_all_shards("leased")
        return [
            Lease(shard=shard, owner=row[0].decode(), epoch=int(row[1]), until=from_us(int(row[2])))
            for shard, row in enumerate(rows)
            if row
        ]

    def submit(self, append: Append) -> Future[Appended]:
        """See ``EventStore``."""
        return self._writer.submit(append, self._shard(append.run_id))

    def append(self, append: Append) -> Appended:
        """See ``EventStore``."""
        return self.submit(append).result()

    # Readers --------------------------------------------------------------------------------------------------------

    def read(self, run_id: str, after: int = 0) -> list[Event]:
        """See ``EventStore``."""
        with self._told():
            entries = self._client.xrange(f"{self._prefix(self._shard(run_id))}events:{run_id}", f"0-{after + 1}", "+")
        return [records.event(run_id, entry) for entry in entries]

    def head(self, run_id: str) -> RunHead | None:
        """See ``EventStore``."""
        with self._told():
            row = self._client.hmget(f"{self._prefix(self._shard(run_id))}run:{run_id}", "sequence", "head")
        return None if row[1] is None else records.head((run_id.encode(), *row))

    def feed(self, shard: int, after: int, limit: int) -> list[Event]:
        """See ``EventStore``."""
        word, found = self._call("feed", shard, after, limit)
        if word == b"feed_went_back":
            raise refusals.feed_went_back(shard, after, found)
        return [records.event(run_id.decode(), entry) for run_id, entry in found]

    def runs(self, wanted: RunFilter = EVERY_RUN, *, limit: int = 100, token: str | None = None) -> RunPage:
        """See ``EventStore``."""
        start = page_start(token)
        named = (("tenant", wanted.tenant), ("workflow", wanted.workflow), ("state", wanted.state))
        highest = "+inf" if wanted.until is None else f"({to_us(wanted.until)}"
        if start is not None:  # a token comes from a page below ``until``
            highest = str(start[0])
        asked = {
            "sets": [f"{name}:{value}" for name, value in named if value is not None] or ["newest"],
            "lowest": _LOWEST if wanted.since is None else str(to_us(wanted.since)),
            "highest": highest,
            "limit": limit + 1,
            **({} if start is None else {"before": start}),
        }
        return page(self._merged("runs", records.pack(asked), newest_first=True)[: limit + 1], limit)

    def active(self, shard: int) -> list[RunHead]:
        """See ``EventStore``."""
        return [records.head(row) for row in self._call("heads", shard, "active", "+inf", -1)]

    def due(self, shard: int, now: datetime, limit: int) -> list[RunHead]:
        """See ``EventStore``."""
        return [records.head(row) for row in self._call("heads", shard, "wake", to_us(now), limit)]

    def ended(self, before: datetime, limit: int) -> list[RunHead]:
        """See ``EventStore``."""
        return self._merged("heads", "ended", f"({to_us(before)}", limit, newest_first=False)[:limit]

    def _merged(self, name: str, *arguments: Any, newest_first: bool) -> list[RunHead]:
        heads = [records.head(row) for rows in self._of_all_shards(name, *arguments) for row in rows]
        if newest_first:
            return sorted(heads, key=lambda head: (head.started_at, head.run_id), reverse=True)
        return sorted(heads, key=lambda head: (head.ended_at or head.started_at, head.run_id))

    # Messages and commands ------------------------------------------------------------------------------------------

    def messages(self, shard: int, now: datetime, limit: int) -> list[Message]:
        """See ``EventStore``."""
        return [records.message(row) for row in self._call("messages", shard, to_us(now), limit)]

    def settle(self, shard: int, message_ids: Iterable[str]) -> None:
        """See ``EventStore``."""
        self._write("settle", "settle", shard, *message_ids)

    def postpone(self, shard: int, message_id: str, *, due_at: datetime, attempts: int) -> None:
        """See ``EventStore``."""
        self._call("postpone", shard, message_id, to_us(due_at), attempts)

    def send(self, command: Command) -> None:
        """See ``EventStore``."""
        said = records.packed_command(command)
        self._write("send", "send", self._shard(command.run_id), command.command_id, said)

    def received(self, shard: int, limit: int) -> list[Command]:
        """See ``EventStore``."""
        return [records.command(row) for row in self._call("received", shard, limit)]

    def answer(self, command: Command, data: bytes) -> None:
        """See ``EventStore``."""
        self._write("answer", "answer", self._shard(command.run_id), command.command_id, data)

    def answered(self, command: Command) -> bytes | None:
        """See ``EventStore``."""
        with self._told():
            found: bytes | None = self._client.hget(
                f"{self._prefix(self._shard(command.run_id))}answers", command.command_id
            )
        return found

    # Registers ------------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Register | None:
        """See ``EventStore``."""
        with self._told():
            found = self._client.hget(f"{self._prefix('registers')}data", key)
        if found is None:
            return None
        revision, _, data = found.partition(b" ")
        return Register(data=data, revision=int(revision))

    def put(self, key: str, data: bytes | None, *, expected: int) -> int:
        """See ``EventStore``."""
        reply = self._write("put", "put", "registers", key, expected, *([] if data is None else [data]))
        if reply[0] == b"conflict":
            raise refusals.revision_conflict(key, expected, reply[1])
        return int(reply[1])

    def keys(self, prefix: str = "") -> list[str]:
        """See ``EventStore``."""
        with self._told():
            names = self._client.hkeys(f"{self._prefix('registers')}data")
        return [name.decode() for name in sorted(names) if name.startswith(prefix.encode())]

    # Snapshots and retention ----------------------------------------------------------------------------------------

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See ``EventStore``."""
        shard = self._shard(snapshot.run_id)
        self._write("snapshot", "save_snapshot", shard, snapshot.run_id, snapshot.sequence, seal(snapshot))

    def load_snapshot(self, run_id: str) -> Snapshot | None:
        """See ``EventStore``."""
        sealed, newest = self._call("load_snapshot", self._shard(run_id), run_id)
        return None if sealed is None else unseal(run_id, sealed, newest=int(newest or 0))

    def forget(self, run_ids: Sequence[str]) -> int:
        """See ``EventStore``."""
        for run_id in run_ids:
            found = self.head(run_id)
            if found is not None and found.ended_at is None:
                raise ValueError(f"run {run_id} has not ended and cannot be forgotten")
        replies = [self._write("forget", "forget", self._shard(run_id), run_id) for run_id in run_ids]
        return replies.count(b"forgotten")

    def sweep(self, before: datetime) -> int:
        """See ``EventStore``."""
        count = 0
        for shard in range(self._shards):
            while found := self._call("sweep", shard, to_us(before), _SWEPT_AT_ONCE):
                count += found
        return count

    def close(self) -> None:
        """See ``EventStore``."""
        self._closed = True
        self._writer.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _shard(self, run_id: str) -> int:
        return shard_of(run_id, self._shards)

    def _prefix(self, part: int | str) -> str:
        return f"{PREFIX}{{{part}}}:"

    @contextmanager
    def _told(self) -> Iterator[None]:
        if self._closed:
            raise StateUnavailable(f"the store at {self._address} was closed", hint="open the store again")
        with told(self._address):
            yield

    def _call(self, name: str, part: int | str, *arguments: Any) -> Any:
        with self._told():
            return scripts.call(self._client, name, self._prefix(part), *arguments)

    def _write(self, passage: Passage, name: str, part: int | str, *arguments: Any) -> Any:
        crash_point("before", passage)
        reply = self._call(name, part, *arguments)
        crash_point("after", passage)
        return reply

    def _of_all_shards(self, name: str, *arguments: Any) -> list[Any]:
        """The script's reply for every shard, in one round trip."""
        asked = [(self._prefix(shard), arguments) for shard in range(self._shards)]
        with self._told():
            replies = scripts.call_many(self._client, name, asked)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translated(self._address, reply) from reply
        return replies
