"""The running account of one import step, from which its summary is made."""

from __future__ import annotations

import time
from collections import Counter, deque
from datetime import datetime

from lakeray.errors import ImportFailed
from lakeray.importer.batch import Done
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.planner import Planner
from lakeray.importer.discovery.source import Counts
from lakeray.importer.preparation import CleansingCounts, added
from lakeray.importer.recording.ledger import GONE
from lakeray.importer.recording.summary import (
    BatchSummary,
    ExpectationSummary,
    ImportSummary,
    ObjectProblem,
    Rows,
    SetExpectationSummary,
)
from lakeray.importer.result import ObjectOutcome
from lakeray.importer.schema.drift import Change

MAX_PROBLEMS = 100
MAX_SHOWN = 5
MAX_NOTES = 100
KEPT_BATCHES = 1_000
_FINE = ("loaded", *GONE)


class Tally:
    """Adds up what batches and listings say. ``notes`` are sentences for a person."""

    def __init__(self, context: ImportContext) -> None:
        self._context = context
        self._started_at: datetime = context.now()
        self._clock = time.monotonic()
        self._batches: deque[BatchSummary] = deque(maxlen=KEPT_BATCHES)
        self._sums: Counter[str] = Counter()
        self._rows = Rows()
        self._objects: Counter[str] = Counter()
        self._unnested: Counter[str] = Counter()
        self._expectations: dict[str, ExpectationSummary] = {}
        self._set_expectations: dict[str, SetExpectationSummary] = {}
        self._cleansing: CleansingCounts = {}
        self._problems: list[ObjectProblem] = []
        self._new_columns: list[str] = []
        self._phases: Counter[str] = Counter()
        self._listing = {"listed": 0, "known": 0, "changed": 0, "deleted": 0}
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        """Something a person should know."""
        if message not in self.notes:
            self.notes.append(message)
            del self.notes[:-MAX_NOTES]  # an import that keeps watching must not grow
            self._context.observer.note(step=self._context.step_name, message=message)

    def listing(self, planner: Planner, counts: Counts) -> None:
        """The last pass over the source."""
        self._listing = {
            "listed": planner.listed,
            "known": planner.known,
            "changed": planner.changed,
            "deleted": planner.deleted,
        }
        if not planner.listed and not counts.seen:
            self.note(f"nothing is listed under {planner.source.uri}: check the source's uri")
        if planner.changed:
            self.note(
                f"{planner.changed} objects were changed after they had been imported "
                f"(changed_objects: {planner.source.changed_objects})"
            )
        if planner.vanished.unknown:
            self.note(
                f"{planner.vanished.unknown} of the objects that are gone were imported before rows said where they "
                "came from: their rows stay"
            )
        if counts.temporary:
            self.note(f"{counts.temporary} temporary or hidden objects were left out")
        if counts.young:
            self.note(f"{counts.young} objects are younger than min_age and wait for the next run")

    def batch(self, done: Done, *, earlier: bool = False) -> None:
        """A recorded batch; an ``earlier`` one was measured by the process that imported it."""
        self._batches.append(done.summary)
        self._sums["batches"] += 1
        if not earlier:
            self._measure(done)
        self._phases.update(done.phases_s)
        if done.worker_deaths:
            self.note(
                f"batch {done.summary.number}: a worker died {done.worker_deaths} times; its objects were isolated"
            )
        if not done.summary.won:  # counted by the importer that won, so that summaries can be added up
            self.note(
                f"batch {done.summary.number} was committed by another importer first; this one's files were removed"
            )
            return
        summary = done.summary
        self._rows += summary.rows
        self._sums.update(
            rows_removed=summary.rows_removed,
            bytes_read=summary.bytes_read,
            bytes_written=summary.bytes_written,
            files=summary.files,
        )
        self._unnested.update(summary.unnested)
        if done.result.gone:
            fates = Counter(item.fate for item in done.result.gone)
            said = ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items(), key=str))
            self.note(f"batch {done.summary.number} took {done.result.rows_removed} rows out of the table ({said})")
        if done.result.reprocessed is not None:
            rows = done.result.rows
            self.note(
                f"batch {done.summary.number} took {rows.read} rows out of quarantine: {rows.written} are in the table "
                f"now, {rows.quarantined} stay"
            )
        for outcome in done.result.outcomes:
            self._objects[outcome.outcome] += 1
            if outcome.outcome not in _FINE and len(self._problems) < MAX_PROBLEMS:
                self._problems.append(_problem(outcome))
        self._cleansing = added(self._cleansing, done.result.cleansing)
        self._expectations = ExpectationSummary.summed((self._expectations, done.result.expectations))
        for name, found in done.result.set_expectations.items():
            before = self._set_expectations.get(name)
            before = before or SetExpectationSummary(kind=found.kind, on_violation=found.on_violation)
            self._set_expectations[name] = before.after(found)
        self._new_columns.extend(done.result.new_columns)
        self._schema_changes(done)

    def _schema_changes(self, done: Done) -> None:
        """Say in one line what the source's schema did. To the first batch every column is new, which says nothing."""
        changes = [Change.from_json(item) for item in done.result.schema_changes]
        if done.summary.number == 1:
            changes = [change for change in changes if change.kind != "added"]
        if changes:
            shown = ", ".join(map(str, changes[:MAX_SHOWN]))
            more = f" and {len(changes) - MAX_SHOWN} more" if len(changes) > MAX_SHOWN else ""
            self.note(f"batch {done.summary.number}: the source's schema changed: {shown}{more}")

    def check_hope(self) -> None:
        """Raise ImportFailed when nothing at all could be read: then it is the source's settings that are wrong."""
        bad = self._objects["failed"] + self._objects["poison"]
        if bad == 0 or bad < self._objects.total() or self._listing["known"]:
            return
        raise ImportFailed(
            f"none of the {bad} objects of {self._context.source.uri} could be read; "
            f"the first: {self._problems[0].error}",
            uri=self._context.source.uri,
            hint=f"check the source's format ({self._context.source.format}) and its options; "
            "what failed is tried again by the next run",
        )

    def _measure(self, done: Done) -> None:
        context, summary = self._context, done.summary
        context.metrics.batch(
            workflow=context.workflow,
            step=context.step_name,
            objects=Counter(outcome.outcome for outcome in done.result.outcomes),
            rows=summary.rows.model_dump(),
            bytes_read=summary.bytes_read,
            bytes_written=summary.bytes_written,
            duration_s=summary.duration_s,
            won=summary.won,
        )
        self.publish_metrics()

    def publish_metrics(self) -> None:
        """Write the metrics file, where one is asked for; one that cannot be written is noted and harms nothing."""
        path = self._context.metrics_file
        if path is None:
            return
        try:
            self._context.metrics.write(path)
        except OSError as error:
            self.note(f"the metrics file {path} cannot be written: {error.strerror}")

    def summary(self) -> ImportSummary:
        """What was done so far."""
        context, batches = self._context, list(self._batches)
        return ImportSummary(
            step=context.step_name,
            source=context.plan.from_,
            source_uri=context.source.uri,
            table=context.plan.into,
            table_uri=context.table.uri,
            quarantine_uri=context.table.quarantine_uri,
            mode=context.mode,
            batches=batches,
            earlier_batches=self._sums["batches"] - len(batches),
            objects=dict(self._objects),
            rows=self._rows,
            rows_removed=self._sums["rows_removed"],
            unnested=dict(self._unnested),
            bytes_read=self._sums["bytes_read"],
            bytes_written=self._sums["bytes_written"],
            files=self._sums["files"],
            **self._listing,
            new_columns=self._new_columns,
            expectations=self._expectations,
            set_expectations=self._set_expectations,
            cleansing=self._cleansing,
            problems=self._problems,
            notes=list(self.notes),
            started_at=self._started_at,
            duration_s=time.monotonic() - self._clock,
            phases_s=dict(self._phases),
        )


def _problem(outcome: ObjectOutcome) -> ObjectProblem:
    refused = outcome.rows.quarantined
    error = outcome.error or (f"{refused} rows are in quarantine" if refused else outcome.outcome)
    return ObjectProblem(
        uri=outcome.planned.info.uri, outcome=outcome.outcome, error=error, line=outcome.line, column=outcome.column
    )
