"""Carries backfills on: the runs of partitions are begun, so many at once, and their ends are counted.

A backfill is a register that is changed by compare-and-set before anything follows from it. Whoever ticks, from
whichever machine, carries on what the register says; a run's id comes from the backfill, the partition and how often it
was begun, so that none is begun twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from lakeray.errors import RevisionConflict
from lakeray.failpoints import failpoint
from lakeray.runtime.durable.parts import arguments_of
from lakeray.runtime.durable.triggers.apart import apart
from lakeray.runtime.durable.triggers.begin import begin, tell
from lakeray.runtime.durable.triggers.registers import Registers
from lakeray.state import EventStore
from lakeray.workflow import backfill as pure
from lakeray.workflow import commands as c
from lakeray.workflow.backfill import Backfill, Child
from lakeray.workflow.definition import Definition
from lakeray.workflow.refusal import Refused

FORMAT = 1
"""Of what is kept here. It grows by fields with defaults alone."""
_HOW: dict[str, pure.Ended] = {"succeeded": "succeeded", "failed": "failed"}
OVER = ("succeeded", "failed", "cancelled")
"""States of a backfill that goes on no more by itself."""


class KeptBackfill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a backfill of a tenant's workflow stands; ``principal`` began it."""

    backfill: Backfill
    tenant: str
    principal: str
    format: int = FORMAT


class BackfillDefinition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the runs of a backfill do: kept apart, as it never changes."""

    definition: Definition
    format: int = FORMAT


def kept_backfills(store: EventStore) -> Registers[KeptBackfill]:
    """The backfills of a store by their ids."""
    return Registers(store, "backfills/state/", KeptBackfill, format_=FORMAT)


def definitions(store: EventStore) -> Registers[BackfillDefinition]:
    """What they do, likewise."""
    return Registers(store, "backfills/definition/", BackfillDefinition, format_=FORMAT)


def definition_kept(store: EventStore, backfill_id: str) -> Definition:
    """What the runs of a backfill do. Raises Refused when there is no such backfill."""
    found = definitions(store).get(backfill_id)
    if found is None:
        raise Refused(f"there is no backfill {backfill_id}", hint="`lakeray backfill list` shows them")
    return found.definition


class Backfills:
    """A duty; of one backfill alone where ``only`` names it."""

    name = "backfills"
    every_s = 1.0

    def __init__(self, store: EventStore, clock: Callable[[], datetime], *, only: str | None = None) -> None:
        self._store = store
        self._clock = clock
        self._only = only
        self._kept = kept_backfills(store)
        self._definitions: dict[str, Definition] = {}

    def tick(self) -> None:
        """Look at every backfill once."""
        if self._only is not None:
            self._look(self._only)
            return
        for backfill_id in self._kept.names():
            with apart(f"the backfill {backfill_id}"):
                self._look(backfill_id)

    def _look(self, backfill_id: str) -> None:
        before, revision = self._kept.read(backfill_id)
        if before is None or standing(before.backfill, self._clock()) in OVER:
            return
        now = self._clock()
        state = self._counted(before.backfill, now)
        for child in pure.window(state):
            state = pure.began(state, child.index, now)
        if state != before.backfill:
            try:
                self._kept.put(backfill_id, msgspec.structs.replace(before, backfill=state), expected=revision)
            except RevisionConflict:  # whoever was faster has decided; the next look sees it
                return
            failpoint("after_fire_kept")
        for child in pure.running(state):
            self._carry_on(before, state, child, now)

    def _counted(self, state: Backfill, now: datetime) -> Backfill:
        for child in pure.running(state):
            head = self._store.head(child.run_id)
            if head is not None and head.ended_at is not None:
                how = _HOW.get(head.state, "cancelled")
                state = pure.child_ended(state, child.index, how, max(now, head.ended_at))
        return state

    def _carry_on(self, kept: KeptBackfill, state: Backfill, child: Child, now: datetime) -> None:
        if self._store.head(child.run_id) is None:
            failpoint("before_fire_sent")
            begin(
                self._store,
                child.run_id,
                self._definition(state.plan.backfill_id),
                principal=kept.principal,
                trigger="backfill",
                labels={"backfill": state.plan.backfill_id, "partition": child.partition.key},
                arguments=arguments_of(state.plan, child),
                now=now,
            )
            failpoint("after_fire_sent")
        if state.cancelled:
            reason = f"backfill {state.plan.backfill_id} was cancelled"
            cancel = c.CancelRun(at=now, principal=kept.principal, reason=reason)
            tell(self._store, child.run_id, cancel, why="backfill-cancelled")

    def _definition(self, backfill_id: str) -> Definition:
        if backfill_id not in self._definitions:
            self._definitions[backfill_id] = definition_kept(self._store, backfill_id)
        return self._definitions[backfill_id]


def standing(
    state: Backfill, now: datetime
) -> Literal["running", "paused", "cancelling", "succeeded", "failed", "cancelled"]:
    """What people are told of it in one word."""
    return pure.progress(state, now).state
