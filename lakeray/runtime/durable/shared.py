"""An orchestrator among others of one store, which shares the shards with them and takes over those of the dead.

Each shard is at home with one of them, by its number. An orchestrator takes the shards at home with it as soon as they
are free, and those of another only when that one has shown no sign of life for as long as a lease lasts: its register
did not change. Who owns a shard is decided by the lease alone; all of this only decides who asks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from lakeray.errors import LeaseHeld, RevisionConflict, StateUnavailable
from lakeray.runtime.durable.decision import Taken
from lakeray.runtime.durable.held import Held, Listener
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.runtime.durable.port import WorkersOf
from lakeray.state import EventStore
from lakeray.workflow import events as e
from lakeray.workflow.state import RunState

TTL_S = 8.0
"""Seconds of a lease: what an orchestrator left behind stands still for so long, and a second."""
_NEWS_KEPT = 1000


@dataclass(frozen=True, kw_only=True)
class News:
    """What happened to a run, in a few words."""

    at: datetime
    run_id: str
    workflow: str
    step: str | None
    said: str


class SharedOrchestrator(Orchestrator):
    """Drives all runs of the shards that it owns. ``number`` counts from 0 to below ``of``.

    ``fenced`` is called, in the orchestrator's thread, once somebody else has taken over a shard of it: what is left of
    this one had better go.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        owner: str,
        clock: Callable[[], datetime],
        adopt: WorkersOf,
        number: int,
        of: int,
        fenced: Callable[[], None],
        ttl_s: float = TTL_S,
    ) -> None:
        super().__init__(store, owner=owner, clock=clock, adopt=adopt, ttl_s=ttl_s)
        self._neighbours = Neighbours(store, owner, number=number, of=of, ttl_s=ttl_s)
        self._on_fenced = fenced
        self._mine: set[int] = set()
        self._reach_at = 0.0
        self._reach_every_s = min(1.0, ttl_s / 8)
        self._news: deque[News] = deque(maxlen=_NEWS_KEPT)
        self.why: str | None = None
        """Why it owns no shard, when it owns none."""

    @property
    def shards(self) -> list[int]:
        """Those that it owns."""
        return sorted(self._mine)

    def open(self) -> None:
        """Begin to take shards. Raises nothing: what keeps it from them is in ``why``, and it goes on trying."""
        self._loop.start()

    def leave_all(self, within_s: float) -> None:
        """Stop what is at work and let go of all runs, as far as they let one within so many seconds."""
        self._adopt = self._orphans = None
        wait([self.leave(run_id) for run_id in list(self._runs)], timeout=within_s)

    def news(self) -> list[News]:
        """What was not asked for yet, of very much the newest alone; from any thread."""
        found = []
        while self._news:
            found.append(self._news.popleft())
        return found

    def _tick(self) -> None:
        super()._tick()
        if self._mine - set(self._leases.shards):
            self._leases.release_all()
            self._on_fenced()
            return
        if time.monotonic() >= self._reach_at:
            self._reach_at = time.monotonic() + self._reach_every_s
            try:
                self._reach()
            except StateUnavailable as error:
                self.why = error.message
        self._mine = set(self._leases.shards)

    def _reach(self) -> None:
        for shard in self._neighbours.open_to_me(set(self._leases.shards)):
            try:
                self._leases.take(shard)
                self.why = None
            except LeaseHeld as error:
                self.why = error.message

    def _drive(self, run_id: str, workers_of: WorkersOf, listener: Listener | None) -> None:
        known = self._runs.get(run_id)
        super()._drive(run_id, workers_of, listener)
        held = self._runs.get(run_id)
        if held is not None and held is not known and held.state is not None:
            self._tell(held.state, self._clock(), None, "is carried on")

    def _went_on(self, held: Held, state: RunState, taken: Taken) -> None:
        super()._went_on(held, state, taken)
        for event in taken.events:
            said = said_of(event)
            if said is not None:
                self._tell(state, event.at, getattr(event, "step", None), said)

    def _tell(self, state: RunState, at: datetime, step: str | None, said: str) -> None:
        self._news.append(News(at=at, run_id=state.run_id, workflow=state.definition.workflow, step=step, said=said))


_SAID: dict[type[e.Event], str] = {
    e.RunAccepted: "begins",
    e.StepSucceeded: "succeeded",
    e.StepDeadLettered: "is a dead letter",
    e.StepCancelled: "was stopped",
    e.GateOpened: "waits at its gate",
    e.CompensationSucceeded: "was undone",
    e.RunPaused: "is paused",
    e.RunResumed: "goes on",
    e.RunTerminated: "terminated",
}


def said_of(event: e.Event) -> str | None:
    """A few words about an event that people want to hear of."""
    if isinstance(event, e.AttemptFailed):
        return f"attempt {event.attempt} failed: {event.error.message}"
    if isinstance(event, e.StepFailed):
        return f"failed: {event.error.message}"
    if isinstance(event, e.RunEnded):
        return event.state
    return _SAID.get(type(event))


class Neighbours:
    """The signs of life of the orchestrators of one store, by their numbers."""

    def __init__(
        self,
        store: EventStore,
        owner: str,
        *,
        number: int,
        of: int,
        ttl_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._store = store
        self._owner = owner
        self._number = number
        self._of = of
        self._ttl_s = ttl_s
        self._said_at = float("-inf")
        self._seen: dict[int, tuple[int, float]] = {}

    def open_to_me(self, held: set[int]) -> list[int]:
        """Shards beyond those ``held`` that nobody owns and that this one may take; says that it lives, too."""
        now = self._monotonic()
        if now - self._said_at >= self._ttl_s / 3:
            self._say()
            self._said_at = now
        for home in range(self._of):
            self._look_at(home, now)
        owned = {lease.shard for lease in self._store.leases()} | held
        free = [shard for shard in range(self._store.shards) if shard not in owned]
        return [shard for shard in free if self._is_mine(shard % self._of, now)]

    def _look_at(self, home: int, now: float) -> None:
        """Keep in mind when its register was first seen as it is: also while its shards are owned still."""
        found = self._store.get(_register(home))
        revision = found.revision if found is not None else 0
        known = self._seen.get(home)
        if known is None or known[0] != revision:
            self._seen[home] = (revision, now)

    def _is_mine(self, home: int, now: float) -> bool:
        return home == self._number or now - self._seen[home][1] >= self._ttl_s

    def _say(self) -> None:
        key = _register(self._number)
        found = self._store.get(key)
        with suppress(RevisionConflict):  # one of the same number lives as well
            self._store.put(key, self._owner.encode(), expected=found.revision if found is not None else 0)


def _register(number: int) -> str:
    return f"orchestrators/{number}"
