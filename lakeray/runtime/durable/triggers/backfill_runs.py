"""Backfills as people ask for them: begun, looked at, steered, gone on with."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from lakeray.config import Settings
from lakeray.delta.table import open_table
from lakeray.importer.claims.ranges import spread
from lakeray.importer.claims.take import why_not
from lakeray.importer.claims.view import seen_by_stream
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.source import open_listing
from lakeray.importer.executor import InlineExecutor
from lakeray.importer.recording.ledger import Ledger
from lakeray.observability.progress import Observer, Silent
from lakeray.runtime.background import Background
from lakeray.runtime.bench import utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.parts import range_of
from lakeray.runtime.durable.run import Place, definition_of, narrowed
from lakeray.runtime.durable.triggers.backfilling import DurableBackfill
from lakeray.runtime.durable.triggers.backfills import (
    OVER,
    BackfillDefinition,
    KeptBackfill,
    definitions,
    kept_backfills,
)
from lakeray.runtime.durable.triggers.progress import BackfillSummary, summary_of
from lakeray.spec.model import Workflow
from lakeray.spec.wrong import nearest
from lakeray.state import EventStore
from lakeray.workflow import backfill as pure
from lakeray.workflow.backfill import Plan, Reprocess
from lakeray.workflow.partitions import BackfillRefused
from lakeray.workflow.refusal import Refused

KeptBackfills = list[KeptBackfill]
BackfillLines = list[BackfillSummary]
_MOST_AT_ONCE = 1_000


class BackfillRun(Background[BackfillSummary]):
    """A backfill in the background; renders in a notebook."""

    def __init__(self, work: DurableBackfill, steer: BackfillsOf) -> None:
        self._steer = steer
        super().__init__(work)

    @property
    def backfill_id(self) -> str:
        """Its id."""
        return self.run_id

    def watch(self, *, every_s: float = 1.0) -> BackfillSummary:
        """Show how far it is until it is over: in place in a notebook, line by line on a terminal."""
        show = shown()
        while not self._ended.wait(every_s):
            show(self.summary)
        show(self.summary)
        return self.result()

    def pause(self) -> BackfillSummary:
        """Begin no further partitions; those that go on go on."""
        return self._steer.pause(self.backfill_id)

    def cancel(self) -> None:
        """Begin nothing more, and cancel the runs that go on."""
        self._steer.cancel(self.backfill_id)

    def leave(self) -> None:
        """Stop what is at work here and leave the backfill to the next process."""
        super().cancel()

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()


@dataclass(frozen=True, kw_only=True)
class BackfillsOf:
    """The backfills of a state."""

    settings: Settings
    cluster: Cluster
    observer: Observer
    principal: str
    place: Place
    runnable: Callable[[Any, Sequence[str] | None], Workflow]

    def start(
        self,
        file: Any,
        *,
        step: str | None = None,
        start: str | None = None,
        end: str | None = None,
        every: str | None = None,
        values: Sequence[str | int | float] = (),
        by: str | Sequence[str] = (),
        timezone: str = "UTC",
        concurrency: int = 4,
        reprocess: Reprocess = "none",
    ) -> BackfillRun:
        """Begin a backfill and carry it on in the background.

        - ``start`` and ``end`` are ISO 8601 dates or times (an end that is a date belongs to it as a whole), ``every``
          is such as ``1 day``, ``6 hours`` or ``1 month``; or ``values`` lists the partitions.
        - ``by`` names columns of the paths of a source's objects (``{day}`` in its uri, or ``day=...``) that say which
          partition they belong to. Without it, the time at which an object was changed does; values need it.
        - ``concurrency``: partitions at once. ``reprocess``: which of the partitions that an earlier backfill of the
          same step has ended are done again: ``none``, the ``failed`` ones, or ``all``. Objects are imported once,
          whatever it says: `lakeray ledger reset` is for importing them again.

        Raises BackfillRefused, a SpecError, before anything starts.
        """
        kept = self.plan(
            file,
            step=step,
            start=start,
            end=end,
            every=every,
            values=values,
            by=by,
            timezone=timezone,
            concurrency=concurrency,
            reprocess=reprocess,
        )
        steps = [step] if step is not None else None
        definition = definition_of(narrowed(self.runnable(file, steps), steps))
        with self._store() as store:
            name = kept.backfill.plan.backfill_id
            definitions(store).put(name, BackfillDefinition(definition=definition), expected=0)
            kept_backfills(store).put(name, kept, expected=0)
        return self._run(name)

    def plan(
        self,
        file: Any,
        *,
        step: str | None = None,
        start: str | None = None,
        end: str | None = None,
        every: str | None = None,
        values: Sequence[str | int | float] = (),
        by: str | Sequence[str] = (),
        timezone: str = "UTC",
        concurrency: int = 4,
        reprocess: Reprocess = "none",
    ) -> KeptBackfill:
        """What ``start`` would begin; nothing is. Raises BackfillRefused."""
        workflow = self.runnable(file, [step] if step is not None else None)
        ranges = [start, end, every]
        if values and any(ranges):
            raise BackfillRefused("found a range of time and values", hint="name one of them")
        if not values and not all(ranges):
            raise BackfillRefused(
                "a backfill needs a range of time or values",
                hint="as in --start 2024-01-01 --end 2024-12-31 --every '1 month', or --values eu,us",
            )
        if not 1 <= concurrency <= _MOST_AT_ONCE:
            raise BackfillRefused(f"found concurrency {concurrency}", hint=f"from 1 to {_MOST_AT_ONCE}")
        plan = Plan(
            backfill_id=f"backfill-{uuid.uuid4().hex[:12]}",
            workflow=workflow.workflow,
            step=step,
            start=start,
            end=end,
            every=every,
            timezone=timezone,
            values=tuple(values),
            concurrency=concurrency,
            by=(by,) if isinstance(by, str) else tuple(by),
            reprocess=reprocess,
        )
        _check_imports(workflow, plan)
        with self._store() as store:
            earlier = [kept for kept in self._all(store) if kept.tenant == workflow.tenant]
        planned = pure.planned(plan, utc_now(), earlier=[kept.backfill for kept in earlier])
        return KeptBackfill(backfill=planned, tenant=workflow.tenant, principal=self.principal)

    def list(self) -> BackfillLines:
        """All backfills, the newest first."""
        with self._store() as store:
            found = sorted(self._all(store), key=lambda kept: kept.backfill.started_at, reverse=True)
            return [summary_of(kept, None, utc_now()) for kept in found]

    def show(self, backfill_id: str) -> BackfillSummary:
        """How one stands, and why partitions failed. Raises Refused when there is none of that id."""
        with self._store() as store:
            kept = kept_backfills(store).get(backfill_id)
            if kept is None:
                names = kept_backfills(store).names()
                raise _unknown(backfill_id, names)
            return summary_of(kept, store, utc_now())

    def pause(self, backfill_id: str) -> BackfillSummary:
        """Begin no further partitions; those that go on go on. Raises Refused for one that is over."""
        return self._change(backfill_id, pure.pause, over=False)

    def cancel(self, backfill_id: str) -> BackfillSummary:
        """Begin nothing more; runs that go on are cancelled by whoever drives them (``carry_on``, where nobody does).
        Raises Refused likewise.
        """
        return self._change(backfill_id, lambda state: pure.cancel(state)[0], over=False)

    def carry_on(self, backfill_id: str) -> BackfillRun:
        """Drive it here, as it is; where another owns the state, follow it."""
        return self._run(backfill_id)

    def objects(self, file: Any, kept: KeptBackfill) -> dict[str, int]:
        """How many objects that are not imported belong to each partition, by key, over all its imports; one listing of
        each source.
        """
        plan = kept.backfill.plan
        partitions = plan.partitions()
        ranges = [range_of(plan, partition) for partition in partitions]
        counts = [0] * len(partitions)
        for context in _imports(self.runnable(file, None), plan.step):
            handle = open_table(context.table.uri)
            ledger = Ledger(context.identity(handle)) if handle is not None else None
            listing = open_listing(context.source, now=utc_now, ledger=ledger)
            for window in seen_by_stream(listing, ledger):
                found = spread(ranges, window.fresh, context.source)
                counts = [before + more for before, more in zip(counts, found, strict=True)]
        return {partition.key: count for partition, count in zip(partitions, counts, strict=True)}

    def resume(self, backfill_id: str) -> BackfillRun:
        """Go on with one that was paused, or that nobody drives any more. Raises Refused for one that is over."""
        self._change(backfill_id, pure.resume, over=False)
        return self._run(backfill_id)

    def retry(self, backfill_id: str) -> BackfillRun:
        """Do the failed partitions again, and those that a cancellation kept from ending; nothing else."""
        self._change(backfill_id, pure.again, over=True)
        return self._run(backfill_id)

    def _change(
        self, backfill_id: str, change: Callable[[pure.Backfill], pure.Backfill], *, over: bool
    ) -> BackfillSummary:
        def changed(before: KeptBackfill | None) -> KeptBackfill:
            if before is None:
                raise _unknown(backfill_id, [])
            state = pure.progress(before.backfill, utc_now()).state
            if (state in OVER) != over:
                hint = "`lakeray backfill retry` does failed partitions again" if not over else "cancel it first"
                raise Refused(f"{backfill_id} is {'over: it ' if not over else ''}{state}", hint=hint)
            return msgspec.structs.replace(before, backfill=change(before.backfill))

        with self._store() as store:
            after = kept_backfills(store).change(backfill_id, changed)
            assert after is not None
            return summary_of(after, store, utc_now())

    def _run(self, backfill_id: str) -> BackfillRun:
        work = DurableBackfill(
            backfill_id=backfill_id,
            settings=self.settings,
            cluster=self.cluster,
            observer=self.observer,
            place=self.place,
        )
        return BackfillRun(work, self)

    def _all(self, store: EventStore) -> KeptBackfills:
        registers = kept_backfills(store)
        found = [registers.get(name) for name in registers.names()]
        return [kept for kept in found if kept is not None]

    @contextmanager
    def _store(self) -> Iterator[EventStore]:
        with open_state(self.settings.state) as store:
            yield store


def _unknown(backfill_id: str, names: Sequence[str]) -> Refused:
    near = nearest(backfill_id, names)
    return Refused(
        f"there is no backfill {backfill_id}",
        hint=f"did you mean {near}?" if near else "`lakeray backfill list` shows them",
    )


def _imports(workflow: Workflow, step: str | None) -> list[ImportContext]:
    """The imports of a workflow, or the one of a step, to look at."""
    return [
        ImportContext.of(workflow, name, run_id="none", executor=InlineExecutor(), observer=Silent(), now=utc_now)
        for name, item in workflow.steps.items()
        if item.import_ is not None and step in (None, name)
    ]


def _check_imports(workflow: Workflow, plan: Plan) -> None:
    """Refuse imports that cannot be divided, and values of which nothing says which object has them."""
    for context in _imports(workflow, plan.step):
        name, reason = context.step_name, why_not(context)
        if reason is not None:
            raise BackfillRefused(
                f"step {name} cannot be imported in parts: {reason}",
                hint="name another step with --step; `lakeray run` imports all that is there",
            )
        if plan.step is None and context.step.compensate == "withdraw":
            raise BackfillRefused(
                f"step {name} says compensate: withdraw, which cannot be kept once its partition is handed over",
                hint=f"backfill it alone: --step {name}",
            )
        if plan.values and not plan.by:
            raise BackfillRefused(
                f"nothing says which objects of step {name} belong to a value",
                hint="name a column of their paths with --by, as in region=eu/ or {region} in the source's uri",
            )


def shown() -> Callable[[BackfillSummary], None]:
    """Shows how far a backfill is: in place where a notebook can, otherwise a line whenever it changes."""
    try:
        from IPython import get_ipython  # type: ignore[import-not-found]
        from IPython.display import display  # type: ignore[import-not-found]
    except ImportError:
        notebook = False
    else:
        notebook = get_ipython() is not None and hasattr(get_ipython(), "kernel")
    last: list[str] = []
    handle: list[Any] = []

    def show(summary: BackfillSummary) -> None:
        if notebook:
            if not handle:
                handle.append(display(summary, display_id=True))
            else:
                handle[0].update(summary)
        elif last != [summary.sentence]:
            last[:] = [summary.sentence]
            print(f"{time.strftime('%H:%M:%S')} {summary.backfill_id}: {summary.sentence}")  # noqa: T201 - asked for

    return show
