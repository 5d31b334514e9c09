"""Tells triggers the end of every run, in the order of the store's feed.

Where the feed was read up to is kept, behind what was told: an end that is told twice begins the same run twice, which
is once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import msgspec

from lakeray.errors import HistoryWentBack
from lakeray.failpoints import failpoint
from lakeray.runtime.durable.triggers.kept import KeptTrigger, saying, sentences
from lakeray.runtime.durable.triggers.registered import Files
from lakeray.runtime.durable.triggers.registers import Registers
from lakeray.runtime.durable.triggers.watches import Watched, kept_triggers, watched, watching
from lakeray.spec.triggers import Missing, RunEnd
from lakeray.state import Event, EventStore
from lakeray.workflow import triggers as pure
from lakeray.workflow.overlap import Skip

_log = logging.getLogger(__name__)
_PAGE = 1_000
_PAGES = 20
_CHAIN = ","
_ENDS = ("RunEnded", "RunTerminated")
"""A run that is terminated says no more: its steps are not waited for."""


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """Up to which position of each shard's feed the ends of runs were told."""

    positions: dict[int, int] = {}
    format: int = 1


class Ends:
    """A duty."""

    name = "ends of runs"
    every_s = 1.0

    def __init__(self, store: EventStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._files = Files(store)
        self._kept = kept_triggers(store)
        self._followed = Registers(store, "triggers/", Followed)

    def tick(self) -> None:
        """Tell what has ended since the last look."""
        listening = [(each, said) for each in watched(self._files) if (said := _awaited(each)) is not None]
        if not listening:
            return
        for shard in range(self._store.shards):
            for _ in range(_PAGES):
                if not self._page(shard, listening):
                    break

    def _page(self, shard: int, listening: list[tuple[Watched, RunEnd]]) -> bool:
        """A page of the feed; whether there may be more."""
        known = self._followed.get("followed") or Followed()
        after = known.positions.get(shard, 0)
        try:
            events = self._store.feed(shard, after, _PAGE)
        except HistoryWentBack as error:
            _log.warning("the feed of shard %d is read from its beginning: %s", shard, error.message)
            self._to(shard, 0)
            return True
        for event in events:
            if event.type in _ENDS:
                self._ended(event, listening)
        if events:
            failpoint("after_ends_told")
            self._to(shard, events[-1].position)
        return len(events) == _PAGE

    def _to(self, shard: int, position: int) -> None:
        self._followed.change(
            "followed", lambda before: Followed(positions={**(before or Followed()).positions, shard: position})
        )

    def _ended(self, event: Event, listening: list[tuple[Watched, RunEnd]]) -> None:
        head = self._store.head(event.run_id)
        if head is None or head.ended_at is None:  # it was retried, and ends again
            return
        chain = tuple(filter(None, head.labels.get("chain", "").split(_CHAIN)))
        run = pure.RunEnded(
            run_id=event.run_id,
            workflow=head.workflow,
            tenant=head.tenant,
            state=head.state,
            at=event.at,
            chain=chain,
        )
        for each, said in listening:
            if said.workflow == run.workflow:
                self._tell(each, said, run)

    def _tell(self, watch: Watched, said: RunEnd, run: pure.RunEnded) -> None:
        of_file = watch.file.definition
        fire = pure.fire_for_end(said, watch.name, workflow=of_file.workflow, tenant=of_file.tenant, run=run)
        awaited = watch.trigger.kind == "expect"
        if fire is None:
            return
        now = self._clock()

        def heard(before: KeptTrigger | None) -> KeptTrigger:
            kept = watching(watch.trigger, watch.file.since[watch.name], before)
            state = kept.state
            if run.at < state.sensor.armed_at:
                return kept
            if awaited and isinstance(state.sensor, pure.AbsenceState):
                state = msgspec.structs.replace(state, sensor=pure.happened(state.sensor, run.at))
                return msgspec.structs.replace(kept, state=state)
            if isinstance(fire, Skip):
                return msgspec.structs.replace(kept, said=saying(kept.said, sentences([fire], now)))
            state, actions = pure.begin(watch.trigger, state, fire)
            return msgspec.structs.replace(kept, state=state, said=saying(kept.said, sentences(actions, now)))

        self._kept.change(watch.key, heard)


def _awaited(watch: Watched) -> RunEnd | None:
    """The run's end that a trigger waits for, or expects."""
    said = watch.trigger.chosen
    if isinstance(said, Missing):
        return said.run_end
    return said if isinstance(said, RunEnd) else None
