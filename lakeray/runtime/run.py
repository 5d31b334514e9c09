"""One run of a workflow in the foreground: its import steps in order, each tried again as its retry says.

What survives a run is in the lake: manifests, results, ledger, table. A run holds nothing that the next one would miss.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from lakeray.config import Settings
from lakeray.errors import Cancelled, LakerayError
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import Executor
from lakeray.importer.loop import ImportLoop
from lakeray.importer.provenance.withdraw import withdraw
from lakeray.importer.quarantine.reprocess import Choice
from lakeray.importer.recording.summary import ImportSummary
from lakeray.observability.metrics import ImportMetrics
from lakeray.observability.progress import Observer
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.executors import executor
from lakeray.runtime.listing import parallel_pages
from lakeray.runtime.maintain import AfterImport, maintain
from lakeray.runtime.protection import protections, resolved_keys
from lakeray.runtime.summary import ErrorSummary, RunSummary, State, StepSummary
from lakeray.runtime.upkeep import TableOf
from lakeray.spec.model import Workflow

FAILED_AGAIN_EVERY_S = 60.0
"""While a run keeps watching, an object that could not be read is tried again so often."""


def utc_now() -> datetime:
    """The clock of a run."""
    return datetime.now(UTC)


@dataclass
class WorkflowRun:
    """``execute`` runs the steps and returns when they are over; ``cancel`` may be called from another thread.

    With ``reprocess`` the chosen rows are taken out of the steps' quarantine instead of new objects from their sources.
    """

    workflow: Workflow
    settings: Settings
    cluster: Cluster
    observer: Observer
    steps: list[str] | None = None
    continuous: bool = False
    reprocess: Choice | None = None
    run_id: str = field(default_factory=lambda: f"run-{uuid.uuid4().hex[:12]}")
    now: Callable[[], datetime] = utc_now
    _metrics: ImportMetrics = field(default_factory=ImportMetrics)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _done: dict[str, StepSummary] = field(default_factory=dict)
    _loops: dict[str, ImportLoop] = field(default_factory=dict)
    _after: dict[str, dict[str, AfterImport]] = field(default_factory=dict)
    _skipped: dict[str, StepSummary] = field(default_factory=dict)
    _security: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _started_at: datetime | None = None
    _clock: float = 0.0
    _state: State = "pending"

    def cancel(self) -> None:
        """Stop after what is at work now; what is committed stays."""
        self._cancelled.set()

    def execute(self) -> RunSummary:
        """Run all steps. Never raises: what went wrong is in the summary's errors."""
        self._started_at, self._clock, self._state = self.now(), time.monotonic(), "running"
        if self.workflow.schedule is not None:
            self._notes.append("the workflow's schedule is used by `lakeray up`; this run ignored it")
        if self.workflow.triggers:
            self._notes.append("the workflow's triggers are used by `lakeray up`; this run ignored them")
        names = [name for name in self.workflow.ordered() if self.steps is None or name in self.steps]
        try:
            keys = resolved_keys(self.workflow, names)
            self._security.extend(protections(self.workflow, names))
        except LakerayError as error:
            self._done[names[0]] = self._failed(names[0], error)
            keys = {}
        if not self._done:
            (self._watch if self.continuous else self._once)(names, keys)
        self._state = self._final_state()
        return self.summary()

    def summary(self) -> RunSummary:
        """The run so far, or as it ended."""
        steps = []
        for name in self.workflow.ordered():
            if self.steps is not None and name not in self.steps:
                continue
            steps.append(self._done.get(name) or self._unfinished(name))
        return RunSummary(
            run_id=self.run_id,
            workflow=self.workflow.workflow,
            tenant=self.workflow.tenant,
            state=self._state,
            started_at=self._started_at or self.now(),
            duration_s=time.monotonic() - self._clock if self._clock else 0.0,
            steps=steps,
            errors=[step.error for step in steps if step.error is not None],
            notes=self._notes,
            security=self._security,
            environment={"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"},
        )

    def _once(self, names: list[str], keys: dict[str, bytes]) -> None:
        for name in names:
            if any(
                self._done[before].state != "succeeded"
                for before in self.workflow.steps[name].after
                if before in self._done
            ):
                self._done[name] = StepSummary(name=name, kind=self.workflow.steps[name].kind, state="skipped")
                continue
            if self.workflow.steps[name].maintain is not None:
                self._done[name] = self._maintained(name)
                continue
            loop = self._loop(name, keys)
            step = self._done[name] = self._attempts(name, loop, retry_failed=True)
            self._told(loop.tally.summary(), step.error)
        self._compensate()

    def _compensate(self) -> None:
        """Undo what succeeded before another step failed for good, where the workflow says how; the last first."""
        if self._final_state() != "failed":
            return
        for name in reversed(self._done):
            if self._done[name].state != "succeeded" or self.workflow.steps[name].compensate != "withdraw":
                continue
            try:
                done = withdraw(self._loops[name].context, run_id=self.run_id, fate="compensated")
            except LakerayError as error:
                self._notes.append(f"step {name}: the rows of this run could not be withdrawn: {error.message}")
                continue
            if done is not None:
                self._notes.append(
                    f"step {name}: {done.rows_removed} rows of this run were withdrawn, as another step failed; "
                    "the next run imports their objects again"
                )

    def _watch(self, names: list[str], keys: dict[str, bytes]) -> None:
        for name in [name for name in names if self.workflow.steps[name].import_ is None]:
            names.remove(name)
            self._skipped[name] = StepSummary(name=name, kind=self.workflow.steps[name].kind, state="skipped")
            self._notes.append(f"step {name} is left out while the run keeps watching: `optimize` of a table does it")
        loops = {name: self._loop(name, keys) for name in names}
        last_full = float("-inf")
        while not self._cancelled.is_set():
            full = time.monotonic() - last_full >= FAILED_AGAIN_EVERY_S
            last_full = time.monotonic() if full else last_full
            for name, loop in loops.items():
                step = self._attempts(name, loop, retry_failed=full)
                if step.state != "succeeded":
                    self._done[name] = step
                    break
            if self._done:
                break
            self._cancelled.wait(self.settings.poll_interval_s)
        self._done |= self._skipped
        for name, loop in loops.items():
            self._done.setdefault(name, self._ended(name, loop, 1, None))
            self._told(loop.tally.summary(), self._done[name].error)

    def _loop(self, name: str, keys: dict[str, bytes]) -> ImportLoop:
        title = f"{self.workflow.workflow}/{name} {self.run_id}"
        runner = executor(self.settings.executor, name=title, cluster=self.cluster)
        plain = ImportContext.of(
            self.workflow, name, run_id=self.run_id, executor=runner, observer=self.observer, now=self.now
        )
        context = replace(
            plain,
            keys=keys,
            task_memory_bytes=self.settings.task_memory_bytes,
            list_pages=None if self.settings.executor == "inline" else partial(parallel_pages, cluster=self.cluster),
            cancelled=self._cancelled,
            metrics=self._metrics,
            metrics_file=self.settings.metrics_file,
        )
        self.observer.import_started(step=name, source_uri=context.source.uri, table_uri=context.table.uri)
        loop = self._loops[name] = ImportLoop(context)
        self._after[name] = {
            table: AfterImport(self._table(table), now=self.now, check=context.check_cancelled)
            for table in (context.plan.into, *context.step.unnest)
        }
        return loop

    def _table(self, name: str) -> TableOf:
        table = self.workflow.tables[name]
        runner = partial(self._executor, name)
        return TableOf(table.uri, table=table, executor=runner, memory_bytes=self.settings.task_memory_bytes)

    def _executor(self, table: str, doing: str) -> Executor:
        title = f"{self.workflow.workflow}/{doing} {table} {self.run_id}"
        return executor(self.settings.executor, name=title, cluster=self.cluster)

    def _maintained(self, name: str) -> StepSummary:
        step, started, clock = self.workflow.steps[name], self.now(), time.monotonic()
        assert step.maintain is not None
        table, attempt, error, done = self._table(step.maintain.table), 0, None, None
        while attempt < step.retry.maximum_attempts and done is None:
            attempt += 1
            try:
                done = maintain(step.maintain, table, check=self._check_cancelled)
            except LakerayError as failure:
                error = failure
                if not error.retryable or error.code in step.retry.non_retryable_error_types:
                    break
                self._cancelled.wait(step.retry.interval_s(attempt))
            except Exception as failure:  # noqa: BLE001 - as of an import
                error = unexpected(failure)
                break
        state: State = "succeeded" if done else ("cancelled" if isinstance(error, Cancelled) else "failed")
        return StepSummary(
            name=name,
            kind=step.kind,
            state=state,
            attempts=attempt,
            started_at=started,
            duration_s=time.monotonic() - clock,
            maintained=done,
            error=error_summary(error, step=name) if error and not done else None,
        )

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the run was asked to stop", hint="run the same command again")

    def _attempts(self, name: str, loop: ImportLoop, *, retry_failed: bool) -> StepSummary:
        retry, attempt = self.workflow.steps[name].retry, 0
        while True:
            attempt += 1
            try:
                if self.reprocess is not None:
                    loop.reprocess(self.reprocess)
                else:
                    loop.drain(retry_failed=retry_failed)
                loop.tally.check_hope()
                for table, after in self._after[name].items():
                    for note in after.look(loop.tally.summary()):
                        loop.tally.note(f"{table}: {note}" if table in loop.context.step.unnest else note)
                return self._ended(name, loop, attempt, None)
            except Cancelled as error:
                return self._ended(name, loop, attempt, error)
            except LakerayError as error:
                final = (
                    not error.retryable
                    or error.code in retry.non_retryable_error_types
                    or attempt >= retry.maximum_attempts
                )
                if final:
                    return self._ended(name, loop, attempt, error)
                wait_s = retry.interval_s(attempt)
                loop.tally.note(f"attempt {attempt} failed ({error.message}); the next one begins in {wait_s:.1f} s")
                self._cancelled.wait(wait_s)
            except Exception as error:  # noqa: BLE001 - a defect must end as a report, not as a lost run
                return self._ended(name, loop, attempt, unexpected(error))

    def _ended(self, name: str, loop: ImportLoop, attempt: int, error: LakerayError | None) -> StepSummary:
        imported = loop.tally.summary()
        state: State = "succeeded" if error is None else ("cancelled" if isinstance(error, Cancelled) else "failed")
        return StepSummary(
            name=name,
            kind="import",
            state=state,
            attempts=attempt,
            started_at=imported.started_at,
            duration_s=imported.duration_s,
            imported=imported,
            error=error_summary(error, step=name) if error else None,
        )

    def _told(self, imported: ImportSummary, error: ErrorSummary | None) -> None:
        bad = imported.objects.get("failed", 0) + imported.objects.get("poison", 0)
        self.observer.import_ended(
            step=imported.step,
            source=imported.source,
            rows_written=imported.rows.written,
            duration_s=imported.duration_s,
            errors=bad + (error is not None),
        )
        if error is not None:
            self._metrics.error(workflow=self.workflow.workflow, step=imported.step, code=error.code)
        self._loops[imported.step].tally.publish_metrics()

    def _failed(self, name: str, error: LakerayError) -> StepSummary:
        kind = self.workflow.steps[name].kind
        return StepSummary(name=name, kind=kind, state="failed", attempts=0, error=error_summary(error, step=name))

    def _unfinished(self, name: str) -> StepSummary:
        loop = self._loops.get(name)
        imported: ImportSummary | None = loop.tally.summary() if loop else None
        return StepSummary(
            name=name, kind=self.workflow.steps[name].kind, state="running" if loop else "pending", imported=imported
        )

    def _final_state(self) -> State:
        states = {step.state for step in self._done.values()}
        if "failed" in states:
            return "failed"
        return "cancelled" if "cancelled" in states else "succeeded"


def error_summary(error: LakerayError, *, step: str | None) -> ErrorSummary:
    """An error as the report shows it."""
    return ErrorSummary(
        step=step, code=error.code, message=error.message, hint=error.hint, uri=error.uri, retryable=error.retryable
    )


def unexpected(error: Exception) -> LakerayError:
    """A defect as an error that says so."""
    if os.environ.get("LAKERAY_DEBUG"):
        traceback.print_exception(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno}"
    return LakerayError(
        f"unexpected {type(error).__name__} at {where}: {error}",
        hint="nothing uncommitted is visible; run again, and report this if it stays "
        "(LAKERAY_DEBUG=1 shows the whole trace)",
    )
