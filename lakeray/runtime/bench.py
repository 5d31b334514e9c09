"""What the import and upkeep steps of one run work with, and one attempt at each of them.

Everything that a repeated attempt in the same process goes on with (tallies, what tables asked for last) is kept here;
what a process loses with it is in the lake.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from lakeray.config import Settings
from lakeray.errors import Cancelled, LakerayError, place_of
from lakeray.importer.claims.take import Wish, import_part, withdraw_part
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import Executor
from lakeray.importer.loop import ImportLoop
from lakeray.importer.provenance.withdraw import withdraw
from lakeray.importer.quarantine.reprocess import Choice
from lakeray.importer.recording.summary import BatchSummary
from lakeray.observability.metrics import ImportMetrics
from lakeray.observability.progress import Observer
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.executors import executor
from lakeray.runtime.listing import parallel_pages
from lakeray.runtime.maintain import AfterImport, maintain
from lakeray.runtime.protection import resolved_keys
from lakeray.runtime.summary import ErrorSummary, MaintainSummary
from lakeray.runtime.upkeep import TableOf
from lakeray.spec.model import Workflow


def utc_now() -> datetime:
    """The clock of a run."""
    return datetime.now(UTC)


@dataclass
class Bench:
    """The bench of the run ``run_id``. Attempts at different steps may go on side by side; ``stop`` is for all."""

    workflow: Workflow
    settings: Settings
    cluster: Cluster
    observer: Observer
    run_id: str
    now: Callable[[], datetime] = utc_now
    stop: threading.Event = field(default_factory=threading.Event)
    loops: dict[str, ImportLoop] = field(default_factory=dict)
    metrics: ImportMetrics = field(default_factory=ImportMetrics)
    _after: dict[str, dict[str, AfterImport]] = field(default_factory=dict)
    _stops: dict[str, threading.Event] = field(default_factory=dict)

    def loop(self, name: str) -> ImportLoop:
        """The import of a step, made when it is first asked for. Raises ConfigError for a secret that is missing."""
        return self.loops.get(name) or self.begin(name, self.stop)

    def begin(self, name: str, stop: threading.Event, *, resumed: bool = False, part: Wish | None = None) -> ImportLoop:
        """The import of a step as a further attempt has it, which ``stop`` stops; what was counted before stays.

        ``resumed``: another process may have imported some of it, or of the ``part``, which counts too. Raises
        RecordLost.
        """
        before = self.loops.get(name)
        context = self._context(name, stop)
        self._stops[name] = stop
        loop = ImportLoop(context)
        if before is not None:
            loop.tally = before.tally
        else:
            self.observer.import_started(step=name, source_uri=context.source.uri, table_uri=context.table.uri)
            check = partial(self._check, name)
            self._after[name] = {
                table: AfterImport(self.table(table), now=self.now, check=check)
                for table in (context.plan.into, *context.step.unnest)
            }
            if resumed:
                loop.recall(part.owner if part is not None else None)
        self.loops[name] = loop
        return loop

    def _check(self, name: str) -> None:
        if self._stops[name].is_set():
            raise Cancelled("the run was asked to stop", hint="run the same command again")

    def _context(self, name: str, stop: threading.Event) -> ImportContext:
        title = f"{self.workflow.workflow}/{name} {self.run_id}"
        runner = executor(self.settings.executor, name=title, cluster=self.cluster)
        plain = ImportContext.of(
            self.workflow, name, run_id=self.run_id, executor=runner, observer=self.observer, now=self.now
        )
        return replace(
            plain,
            keys=resolved_keys(self.workflow, [name]),
            task_memory_bytes=self.settings.task_memory_bytes,
            list_pages=None if self.settings.executor == "inline" else partial(parallel_pages, cluster=self.cluster),
            cancelled=stop,
            metrics=self.metrics,
            metrics_file=self.settings.metrics_file,
        )

    def table(self, name: str) -> TableOf:
        """The upkeep of a table of the workflow."""
        table = self.workflow.tables[name]
        runner = partial(self._executor, name)
        return TableOf(table.uri, table=table, executor=runner, memory_bytes=self.settings.task_memory_bytes)

    def _executor(self, table: str, doing: str) -> Executor:
        title = f"{self.workflow.workflow}/{doing} {table} {self.run_id}"
        return executor(self.settings.executor, name=title, cluster=self.cluster)

    def import_once(
        self, name: str, *, retry_failed: bool = True, reprocess: Choice | None = None, part: Wish | None = None
    ) -> None:
        """One attempt at an import step, or at a ``part`` of it beside the running stream. Raises what stops it; what
        is recorded until then stays.
        """
        loop = self.loop(name)
        if reprocess is not None:
            loop.reprocess(reprocess)
        elif part is not None:
            import_part(loop, part, retry_failed=retry_failed)
        else:
            loop.drain(retry_failed=retry_failed)
        loop.tally.check_hope()
        for table, after in self._after[name].items():
            for note in after.look(loop.tally.summary()):
                loop.tally.note(f"{table}: {note}" if table in loop.context.step.unnest else note)

    def maintain_once(self, name: str, *, check: Callable[[], None] | None = None) -> MaintainSummary:
        """One attempt at the upkeep of a table. Raises what stops it; what was done until then stays."""
        step = self.workflow.steps[name]
        assert step.maintain is not None
        return maintain(step.maintain, self.table(step.maintain.table), check=check or self.check_cancelled)

    def withdraw_once(self, name: str, *, part: Wish | None = None) -> BatchSummary | None:
        """Take the rows of this run's batches out again, in one commit; None when nothing of them is there."""
        known = self.loops.get(name)
        context = known.context if known is not None else self._context(name, self.stop)
        if part is not None:
            return withdraw_part(context, part, run_id=self.run_id, fate="compensated")
        return withdraw(context, run_id=self.run_id, fate="compensated")

    def told(self, name: str, error: ErrorSummary | None) -> None:
        """Say that an import step is over."""
        imported = self.loops[name].tally.summary()
        bad = imported.objects.get("failed", 0) + imported.objects.get("poison", 0)
        self.observer.import_ended(
            step=imported.step,
            source=imported.source,
            rows_written=imported.rows.written,
            duration_s=imported.duration_s,
            errors=bad + (error is not None),
        )
        if error is not None:
            self.metrics.error(workflow=self.workflow.workflow, step=imported.step, code=error.code)
        self.loops[imported.step].tally.publish_metrics()

    def check_cancelled(self) -> None:
        """Raise Cancelled when a person asked the run to stop."""
        if self.stop.is_set():
            raise Cancelled("the run was asked to stop", hint="run the same command again")


def ignored(workflow: Workflow) -> list[str]:
    """What the file says of when runs begin, which a run in the foreground has no use for."""
    notes = []
    if workflow.schedule is not None:
        notes.append("the workflow's schedule is used by `lakeray up`; this run ignored it")
    if workflow.triggers:
        notes.append("the workflow's triggers are used by `lakeray up`; this run ignored them")
    return notes


def error_summary(error: LakerayError, *, step: str | None) -> ErrorSummary:
    """An error as the report shows it."""
    return ErrorSummary(
        step=step, code=error.code, message=error.message, hint=error.hint, uri=error.uri, retryable=error.retryable
    )


def unexpected(error: Exception) -> LakerayError:
    """A defect as an error that says so."""
    if os.environ.get("LAKERAY_DEBUG"):
        traceback.print_exception(error)
    return LakerayError(
        f"unexpected {type(error).__name__} at {place_of(error)}: {error}",
        hint="nothing uncommitted is visible; run again, and report this if it stays "
        "(LAKERAY_DEBUG=1 shows the whole trace)",
    )
