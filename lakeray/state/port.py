"""The contract of the event store, in terms that one SQLite file and a Redis server can both keep.

The store decides, whoever writes proposes: a run *is* its events, and an append is one compare-and-set on (run,
expected sequence, epoch of the shard), together with the messages it sends, the commands it answers and the run's row
in the index. Bytes come in, bytes go out: what an event means is not the store's to know. Times are aware datetimes,
kept to the microsecond.

A run belongs to one of ``shards`` shards by its name (``shard_of``), and whoever holds a shard's lease writes its runs.
Two numbers order what happened:

- ``sequence`` within a run: 1, 2, 3, ... without a gap;
- ``position`` within a shard's feed: ascending, with gaps. A new lease begins above every position that was ever given
  out, also above those that a store which lost its last second no longer knows of, so no number comes back with another
  event behind it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Literal, Protocol, Self

SHARDS = 16
"""How many shards a new store has, unless it is told otherwise; fixed for its life."""


def shard_of(run_id: str, shards: int) -> int:
    """The shard of a run, from 0: CRC-32 (as in zlib) of the UTF-8 bytes of its name, modulo ``shards``.

    Only what stands before the name's first dot counts, so that a run and those that it starts have one owner.
    """
    return zlib.crc32(run_id.partition(".")[0].encode()) % shards


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """One fact about a run, before it is stored. ``version`` is that of the encoding of ``data``."""

    type: str
    version: int
    data: bytes
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One fact about a run, as it is stored."""

    run_id: str
    sequence: int
    position: int
    type: str
    version: int
    data: bytes
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RunHead:
    """The run's row in the index, written with every append. A run without ``ended_at`` is active.

    ``state`` is a word of the engine's; ``wake_at`` is when something is due although nothing happens; ``parent`` is
    the run that started this one. ``sequence`` is the store's to fill in: that of the run's newest event.
    """

    run_id: str
    tenant: str
    workflow: str
    state: str
    started_at: datetime
    ended_at: datetime | None = None
    wake_at: datetime | None = None
    parent: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Something to be handed to the outside, at least once. ``message_id`` is the same at every try, for the receiver
    to tell; ``attempts`` counts the tries that failed.
    """

    message_id: str
    topic: str
    due_at: datetime
    data: bytes
    attempts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What anybody may ask of a run's owner. Sent twice with one ``command_id``, it arrives once."""

    command_id: str
    run_id: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What became of a command."""

    command_id: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Append:
    """At least one event behind the ``expected`` sequence, under the ``epoch`` of the shard's lease.

    ``append_id`` makes it one thing however often it is sent. ``messages`` enter the outbox, ``answers`` go to senders
    of commands, ``head`` becomes the run's row: all of it or nothing.
    """

    append_id: str
    expected: int
    epoch: int
    events: tuple[NewEvent, ...]
    head: RunHead
    messages: tuple[Message, ...] = ()
    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        if not self.events:
            raise ValueError("an append without events cannot be told from its repetition")

    @property
    def run_id(self) -> str:
        """The run of ``head``."""
        return self.head.run_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Appended:
    """Where the last event of an append came to lie."""

    run_id: str
    sequence: int
    position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """``owner`` writes the shard's runs until ``until``, or until somebody else's epoch is higher."""

    shard: int
    owner: str
    epoch: int
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFilter:
    """Runs that are all of this; ``since <= started_at < until``."""

    tenant: str | None = None
    workflow: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERY_RUN = RunFilter()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPage:
    """``next_token`` asks for the page behind this one; None where there is none."""

    runs: tuple[RunHead, ...]
    next_token: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A run's state after ``sequence``, to save reading its events. ``version`` is that of the encoding of ``data``."""

    run_id: str
    sequence: int
    version: int
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """A small shared document. ``revision`` rises at every change and never comes back, not even after a removal."""

    data: bytes
    revision: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Durability:
    """What an acknowledged write survives.

    ``mode``: ``disk`` (loss of power), ``second`` (the process; about a second may go with the machine) or ``unknown``.
    ``sentence`` says so to a person.
    """

    mode: Literal["disk", "second", "unknown"]
    sentence: str


class EventStore(Protocol):
    """Runs by their events.

    - Safe to use from several threads. A store object belongs to the process that opened it: not to be pickled or used
      behind a fork.
    - Anybody may read, ``send`` and ``put``. Only the holder of a shard's lease appends.
    - Every method raises StateUnavailable when the store cannot be reached, is full, read-only, loading or busy. What
      was asked may then have happened; asked again, with the same ids, it has happened once and answers the same
      (but see ``put``).
    - What was acknowledged is kept as ``durability`` says, and seen by every later read of any process.
    """

    @property
    def durability(self) -> Durability:
        """What an acknowledged write survives here."""
        ...

    @property
    def shards(self) -> int:
        """How many shards the store was made with."""
        ...

    # Owners ---------------------------------------------------------------------------------------------------------

    def lease(self, shard: int, owner: str, ttl_s: float) -> Lease:
        """Own the shard for ``ttl_s`` seconds of the store's clock.

        - Raises LeaseHeld while another owner's lease runs; an embedded store has one owning process for all shards.
        - The epoch is higher than every earlier one of the shard, also than one that the store has forgotten (it is at
          least the clock's microseconds), and every append under an earlier one is Fenced from now on.
        - The same owner may ask again, and gets a higher epoch. Owners' names are unique over processes and restarts.
        """
        ...

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """The same epoch for ``ttl_s`` seconds from now, also when it had run out and nobody came. Raises Fenced."""
        ...

    def release(self, lease: Lease) -> None:
        """Let the next owner in at once. Nothing happens when there is a later lease."""
        ...

    def leases(self) -> list[Lease]:
        """Those that run now, by shard."""
        ...

    def submit(self, append: Append) -> Future[Appended]:
        """Append when the store can; many are written together. The future raises what ``append`` raises.

        Appends to one shard are stored in the order in which they were submitted. A callback of the future runs in the
        store's own thread, which it must not keep waiting. Raises TypeError for a time without a zone.
        """
        ...

    def append(self, append: Append) -> Appended:
        """Store all of it in one step, or none.

        - An append that is stored already, known by its id, answers as it did the first time, to anybody.
        - Raises SequenceConflict when the run is beyond ``expected``, Fenced when the epoch is not the shard's newest.
        - Raises HistoryWentBack when the run has fewer events than ``expected``, or the shard fewer than this store
          object was told of: acknowledged events are gone. A new lease makes the shard writable again.
        """
        ...

    # Readers --------------------------------------------------------------------------------------------------------

    def read(self, run_id: str, after: int = 0) -> list[Event]:
        """The run's events with a sequence above ``after``, in order; none of a run that is not there."""
        ...

    def head(self, run_id: str) -> RunHead | None:
        """The run's row in the index."""
        ...

    def feed(self, shard: int, after: int, limit: int) -> list[Event]:
        """The shard's first ``limit`` events with a position above ``after``, in order.

        - Whoever goes on from the last position that it saw sees every event once: nothing is ever filled in behind.
        - Events of forgotten runs are left out.
        - Raises HistoryWentBack when events up to ``after`` were given out that the store no longer has.
        """
        ...

    def runs(self, wanted: RunFilter = EVERY_RUN, *, limit: int = 100, token: str | None = None) -> RunPage:
        """A page of the index, newest start first (then by name, descending). Raises ValueError for a wrong token."""
        ...

    def active(self, shard: int) -> list[RunHead]:
        """Runs that have not ended."""
        ...

    def due(self, shard: int, now: datetime, limit: int) -> list[RunHead]:
        """Runs with ``wake_at <= now``, the earliest first."""
        ...

    def ended(self, before: datetime, limit: int) -> list[RunHead]:
        """Runs of all shards with ``ended_at < before``, the earliest first."""
        ...

    # Messages and commands ------------------------------------------------------------------------------------------

    def messages(self, shard: int, now: datetime, limit: int) -> list[Message]:
        """Messages with ``due_at <= now``, the earliest first. They stay until they are settled."""
        ...

    def settle(self, shard: int, message_ids: Iterable[str]) -> None:
        """Take messages that were handed over, or given up, out of the outbox; absent ones are no error."""
        ...

    def postpone(self, shard: int, message_id: str, *, due_at: datetime, attempts: int) -> None:
        """Have the message due later; nothing happens when it is settled."""
        ...

    def send(self, command: Command) -> None:
        """Leave a command for the run's owner, also for a run that is not there yet. One ``command_id`` arrives once,
        for as long as its answer is remembered (``sweep``).
        """
        ...

    def received(self, shard: int, limit: int) -> list[Command]:
        """Commands without an answer, in the order of their arrival."""
        ...

    def answer(self, command: Command, data: bytes) -> None:
        """Answer a command that led to no event (others are answered by their append). The first answer stays."""
        ...

    def answered(self, command: Command) -> bytes | None:
        """The command's answer; None while there is none."""
        ...

    # Registers ------------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Register | None:
        """What the register holds; None when there is no such register."""
        ...

    def put(self, key: str, data: bytes | None, *, expected: int) -> int:
        """Change the register from revision ``expected`` (0: there is none) and return the new revision.

        ``None`` removes it. Raises RevisionConflict when it is at another revision. Of racing callers one returns.
        After StateUnavailable read it again: this alone is not the same when it is asked twice.
        """
        ...

    def keys(self, prefix: str = "") -> list[str]:
        """Names of registers, in order of their UTF-8 bytes."""
        ...

    # Snapshots and retention ----------------------------------------------------------------------------------------

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep the newest snapshot of a run: an older one changes nothing."""
        ...

    def load_snapshot(self, run_id: str) -> Snapshot | None:
        """The run's snapshot. A damaged one, or one beyond the run's events, is ignored with a warning in the log."""
        ...

    def forget(self, run_ids: Sequence[str]) -> int:
        """Delete ended runs with their events and snapshots; how many there were. Raises ValueError for active ones.

        From then on nothing is known of their appends either: one that is sent again begins the run anew.
        """
        ...

    def sweep(self, before: datetime) -> int:
        """Forget answers to commands that were given before; how many there were."""
        ...

    def close(self) -> None:
        """Finish what was submitted and let go of everything; leases run out by themselves, or are free at once where
        the process owns the whole store.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
