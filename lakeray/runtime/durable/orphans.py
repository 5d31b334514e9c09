"""Active runs that nobody attends to: taken over when their shard is, and looked for now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lakeray.runtime.durable.held import Held
from lakeray.runtime.durable.leases import Leases
from lakeray.state import EventStore

_log = logging.getLogger(__name__)
_EVERY_S = 5.0
"""Seconds between two looks through all active runs, which is dear when ten thousand wait."""


@dataclass(eq=False)
class Orphans:
    """``drive`` attends to a run; all of it in the orchestrator's thread."""

    store: EventStore
    leases: Leases
    runs: Mapping[str, Held]
    drive: Callable[[str], None]
    _taken: int = 0
    _looked: float = 0.0

    def look(self) -> None:
        """Look for them when it is time. Raises StateUnavailable: then it still is."""
        taken, now = self.leases.taken, time.monotonic()
        if taken == self._taken and now - self._looked < _EVERY_S:
            return
        for shard in self.leases.shards:
            for head in self.store.active(shard):
                if head.run_id not in self.runs or not self.runs[head.run_id].attended:
                    _log.info("run %s is taken over", head.run_id)
                    self.drive(head.run_id)
        self._taken, self._looked = taken, now
