"""The leases of an orchestrator: taken, renewed in time, and how sure it may be of each."""

from __future__ import annotations

import time

from lakeray.errors import Fenced, HistoryWentBack, LeaseHeld, StateUnavailable
from lakeray.state import EventStore, Lease

LEASE_S = 15.0
"""Seconds that a shard stays with an owner that says nothing more."""


class Leases:
    """``sure`` is a hint that saves work of a fenced owner; what decides is the epoch in every append. ``taken`` counts
    how often a shard was taken over.
    """

    def __init__(self, store: EventStore, owner: str, ttl_s: float) -> None:
        self._store = store
        self._owner = owner
        self._ttl_s = ttl_s
        self.taken = 0
        self._held: dict[int, Lease] = {}
        self._until: dict[int, float] = {}
        self._renewed = time.monotonic()

    @property
    def shards(self) -> list[int]:
        """Those that are held."""
        return list(self._held)

    def take_all(self) -> None:
        """Own every shard, or none: raises LeaseHeld."""
        try:
            for shard in range(self._store.shards):
                self.take(shard)
        except LeaseHeld:
            self.release_all()
            raise

    def take(self, shard: int) -> None:
        """Own a shard under a new epoch."""
        asked = time.monotonic()
        self._held[shard] = self._store.lease(shard, self._owner, self._ttl_s)
        self._until[shard] = asked + self._ttl_s
        self.taken += 1

    def renew(self) -> tuple[list[int], list[int]]:
        """Renew what a third of the time is over for; the shards that somebody else has taken over, and those of which
        the store has forgotten the lease.
        """
        now = time.monotonic()
        lost: list[int] = []
        forgotten: list[int] = []
        if now - self._renewed < self._ttl_s / 3:
            return lost, forgotten
        for shard, lease in list(self._held.items()):
            try:
                self._held[shard] = self._store.renew(lease, self._ttl_s)
                self._until[shard] = now + self._ttl_s
            except Fenced:
                lost.append(shard)
            except HistoryWentBack:
                forgotten.append(shard)
        self._renewed = now
        return lost, forgotten

    def sure(self, shard: int) -> bool:
        """Whether nobody else can own the shard yet."""
        return time.monotonic() < self._until.get(shard, 0.0)

    def epoch(self, shard: int) -> int:
        """The epoch to append under; 0 where the shard is not held, which the store refuses."""
        lease = self._held.get(shard)
        return lease.epoch if lease is not None else 0

    def lost(self, shard: int) -> None:
        """Somebody else owns the shard."""
        self._held.pop(shard, None)
        self._until.pop(shard, None)

    def release_all(self) -> None:
        """Let the next owner in."""
        for lease in list(self._held.values()):
            try:
                self._store.release(lease)
            except StateUnavailable:  # it runs out by itself
                continue
        self._held.clear()
