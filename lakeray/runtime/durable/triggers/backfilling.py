"""A backfill in the foreground of a process: begun or carried on, driven here, or watched where another owns the state.

Its state is the store alone: a process that goes away leaves it to the next one, on any machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lakeray.config import Settings
from lakeray.delta.table import open_table
from lakeray.errors import LeaseHeld
from lakeray.importer.claims.take import free_claims
from lakeray.observability.progress import Observer, Silent
from lakeray.runtime.bench import Bench, utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.beats import Beats
from lakeray.runtime.durable.embedded import open_state, orchestrator_of
from lakeray.runtime.durable.local import LocalWorkers
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.runtime.durable.parts import owner_of
from lakeray.runtime.durable.port import Workers
from lakeray.runtime.durable.run import Place, here
from lakeray.runtime.durable.triggers.backfills import (
    OVER,
    Backfills,
    KeptBackfill,
    definition_kept,
    kept_backfills,
)
from lakeray.runtime.durable.triggers.progress import BackfillSummary, summary_of
from lakeray.spec.model import FROM_FILE, Workflow
from lakeray.state import EventStore
from lakeray.workflow import backfill as pure
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState

LOOK_S = 0.2
"""Seconds between two looks at the partitions."""
_OWNED_ELSEWHERE_S = 1.0


@dataclass(eq=False)
class DurableBackfill:
    """``execute`` returns when the backfill is over, is paused and nothing goes on, or ``cancel`` was called here.

    ``seen`` is told how it stands after every look; ``place`` may have work done elsewhere.
    """

    backfill_id: str
    settings: Settings
    cluster: Cluster
    observer: Observer = field(default_factory=Silent)
    place: Place = here
    seen: Callable[[BackfillSummary], None] = lambda _: None
    now: Callable[[], datetime] = utc_now
    _stop: threading.Event = field(default_factory=threading.Event)
    _driven: set[str] = field(default_factory=set)

    @property
    def run_id(self) -> str:
        """The backfill's id."""
        return self.backfill_id

    def cancel(self) -> None:
        """Stop what is at work here, and leave the backfill to the next process."""
        self._stop.set()

    def execute(self) -> BackfillSummary:
        """Carry the backfill on. Raises Refused when there is none of that id."""
        while True:
            with suppress(LeaseHeld), orchestrator_of(self.settings.state, self.now, wait_s=0) as orchestrator:
                try:
                    return self._ended(self._drive(orchestrator))
                finally:
                    for left in [orchestrator.leave(run_id) for run_id in self._driven]:
                        left.result()
            with open_state(self.settings.state) as store:  # its owner drives the runs, if that is `lakeray up`
                Backfills(store, self.now, only=self.backfill_id).tick()
                if self._is_done(store):
                    return self._ended(self.summary(store))
            self._stop.wait(_OWNED_ELSEWHERE_S)

    def _ended(self, summary: BackfillSummary) -> BackfillSummary:
        """Of one that was cancelled the claims end too: what is left is the stream's."""
        if summary.state == "cancelled":
            with open_state(self.settings.state) as store:
                definition = definition_kept(store, self.backfill_id)
            bench = self._bench(definition.document, self.backfill_id, self.observer)
            for name, step in bench.workflow.steps.items():
                if step.import_ is not None and open_table(bench.workflow.tables[step.import_.into].uri) is not None:
                    free_claims(bench.loop(name).context, owner_of(self.backfill_id, ""))
        return summary

    def summary(self, store: EventStore | None = None) -> BackfillSummary:
        """How it stands."""
        if store is None:
            with open_state(self.settings.state) as opened:
                return self.summary(opened)
        return summary_of(self._kept(store), store, self.now())

    def _kept(self, store: EventStore) -> KeptBackfill:
        kept = kept_backfills(store).get(self.backfill_id)
        if kept is None:
            raise Refused(f"there is no backfill {self.backfill_id}", hint="`lakeray backfill list` shows them")
        return kept

    def _drive(self, orchestrator: Orchestrator) -> BackfillSummary:
        store = orchestrator.store
        duty = Backfills(store, self.now, only=self.backfill_id)
        while True:
            duty.tick()
            for child in pure.running(self._kept(store).backfill):
                if child.run_id not in self._driven:
                    self._driven.add(child.run_id)
                    orchestrator.drive(child.run_id, self._workers)
            if self._is_done(store):
                return self.summary(store)
            self._stop.wait(LOOK_S)

    def _is_done(self, store: EventStore) -> bool:
        summary = summary_of(self._kept(store), None, self.now())  # why something failed is asked for in the end
        self.seen(summary)
        waits = summary.state == "paused" and not summary.running
        return summary.state in OVER or waits or self._stop.is_set()

    def _workers(self, state: RunState) -> Workers:
        beats = Beats(self.observer)
        bench = self._bench(state.definition.document, state.run_id, beats)
        return self.place(LocalWorkers(bench=bench, beats=beats, clock=self.now), state)

    def _bench(self, document: dict[str, Any], run_id: str, observer: Observer) -> Bench:
        return Bench(
            workflow=Workflow.model_validate(document, context={FROM_FILE: True}),
            settings=self.settings,
            cluster=self.cluster,
            observer=observer,
            run_id=run_id,
            now=self.now,
        )
