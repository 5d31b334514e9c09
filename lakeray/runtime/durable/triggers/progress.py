"""How a backfill stands, for people: counts, time left, what became of each partition that needs a look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from html import escape

from lakeray.importer.recording.summary import Summary
from lakeray.observability.figures import duration
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.triggers.backfills import KeptBackfill
from lakeray.state import EventStore
from lakeray.workflow import backfill as pure
from lakeray.workflow.backfill import Backfill

_WORDS: Mapping[str, str] = {
    pure.PENDING: "waiting",
    pure.RUNNING: "running",
    pure.SUCCEEDED: "succeeded",
    pure.FAILED: "failed",
    pure.CANCELLED: "cancelled",
    pure.LEFT_OUT: "done earlier",
}
_MOST_LISTED = 100
_COLOURS = {"succeeded": "#2da44e", "failed": "#cf222e", "running": "#0969da", "done earlier": "#8c959f"}


class PartitionLine(Summary):
    """One partition. ``run_id`` is its newest run; ``error`` says why that failed."""

    key: str
    state: str
    run_id: str | None = None
    error: str | None = None


class BackfillSummary(Summary):
    """A backfill: ``state`` is running, paused, cancelling, succeeded, failed or cancelled.

    ``left_s`` is about how long it takes from now on, None until a partition has ended. ``partitions`` lists those that
    run or failed, at most a hundred.
    """

    backfill_id: str
    workflow: str
    tenant: str
    step: str | None
    state: str
    total: int
    waiting: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    left_out: int
    left_s: float | None
    started_at: datetime
    concurrency: int
    by: list[str]
    first: str
    last: str
    partitions: list[PartitionLine]

    @property
    def done(self) -> int:
        """Partitions that have ended, or were done before."""
        return self.succeeded + self.failed + self.cancelled + self.left_out

    @property
    def sentence(self) -> str:
        """How far it is, in one line."""
        parts = [f"{self.done} of {self.total} partitions"]
        parts += [f"{count} {word}" for count, word in ((self.running, "running"), (self.failed, "failed")) if count]
        if self.left_s is not None and self.waiting + self.running:
            parts.append(f"about {duration(self.left_s)} left")
        return ", ".join(parts)

    def _repr_html_(self) -> str:
        counts = {
            "succeeded": self.succeeded,
            "failed": self.failed,
            "running": self.running,
            "done earlier": self.left_out,
        }
        bars = "".join(
            f'<span style="display:inline-block;height:10px;width:{300 * count / self.total:.1f}px;'
            f'background:{_COLOURS[word]}" title="{count} {word}"></span>'
            for word, count in counts.items()
            if count
        )
        rows = "".join(
            f"<tr><td>{escape(line.key)}</td><td>{escape(line.state)}</td><td>{escape(line.run_id or '')}</td>"
            f"<td>{escape(line.error or '')}</td></tr>"
            for line in self.partitions
        )
        title = f"<b>{escape(self.backfill_id)}</b> {escape(self.workflow)} · {escape(self.state)}"
        bar = f'<div style="width:300px;background:#d0d7de;line-height:0">{bars}</div>'
        return f"<div>{title}<br>{bar}{escape(self.sentence)}<table>{rows}</table></div>"


def summary_of(kept: KeptBackfill, store: EventStore | None, now: datetime) -> BackfillSummary:
    """How a backfill stands; with a ``store`` also why partitions failed."""
    state = kept.backfill
    far = pure.progress(state, now)
    partitions = state.plan.partitions()
    return BackfillSummary(
        backfill_id=state.plan.backfill_id,
        workflow=state.plan.workflow,
        tenant=kept.tenant,
        step=state.plan.step,
        state=far.state,
        total=far.total,
        waiting=far.pending,
        running=far.running,
        succeeded=far.succeeded,
        failed=far.failed,
        cancelled=far.cancelled,
        left_out=far.left_out,
        left_s=far.left / timedelta(seconds=1) if far.left is not None else None,
        started_at=state.started_at,
        concurrency=state.plan.concurrency,
        by=list(state.plan.by),
        first=partitions[0].key,
        last=partitions[-1].key,
        partitions=_lines(state, store),
    )


def _lines(state: Backfill, store: EventStore | None) -> list[PartitionLine]:
    wanted = [index for index, code in enumerate(state.codes) if code in (pure.FAILED, pure.RUNNING)]
    found = []
    for index in wanted[:_MOST_LISTED]:
        child = pure.child_of(state, index)
        error = _error(store, child.run_id) if store is not None and state.codes[index] == pure.FAILED else None
        found.append(
            PartitionLine(key=child.partition.key, state=_WORDS[state.codes[index]], run_id=child.run_id, error=error)
        )
    return found


def _error(store: EventStore, run_id: str) -> str | None:
    run = journal.load(store, run_id)
    errors = [step.error.message for step in run.steps.values() if step.error is not None] if run is not None else []
    return errors[0] if errors else None
