"""A run that keeps no history: one that watches its sources until it is stopped, or takes rows out of quarantine.

What survives a run is in the lake: manifests, results, ledger, table. A run holds nothing that the next one would miss.
"""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lakeray.config import Settings
from lakeray.errors import Cancelled, LakerayError, SpecError
from lakeray.importer.loop import ImportLoop
from lakeray.importer.quarantine.reprocess import Choice
from lakeray.importer.recording.summary import ImportSummary
from lakeray.observability.progress import Observer
from lakeray.observability.runs import about_run
from lakeray.runtime.bench import Bench, error_summary, ignored, unexpected, utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.protection import protections, resolved_keys
from lakeray.runtime.summary import RunSummary, State, StepSummary
from lakeray.spec.model import Workflow

FAILED_AGAIN_EVERY_S = 60.0
"""While a run keeps watching, an object that could not be read is tried again so often."""


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
    _bench: Bench = field(init=False)
    _done: dict[str, StepSummary] = field(default_factory=dict)
    _skipped: dict[str, StepSummary] = field(default_factory=dict)
    _security: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _started_at: datetime | None = None
    _clock: float = 0.0
    _state: State = "pending"

    def __post_init__(self) -> None:
        self._bench = Bench(
            workflow=self.workflow,
            settings=self.settings,
            cluster=self.cluster,
            observer=self.observer,
            run_id=self.run_id,
            now=self.now,
        )

    def cancel(self) -> None:
        """Stop after what is at work now; what is committed stays."""
        self._bench.stop.set()

    def execute(self) -> RunSummary:
        """Run all steps. Never raises: what went wrong is in the summary's errors."""
        self._started_at, self._clock, self._state = self.now(), time.monotonic(), "running"
        self._notes.extend(ignored(self.workflow))
        names = [name for name in self.workflow.ordered() if self.steps is None or name in self.steps]
        try:
            resolved_keys(self.workflow, names)
            self._security.extend(protections(self.workflow, names))
        except LakerayError as error:
            self._done[names[0]] = self._failed(names[0], error)
        if not self._done:
            with about_run(self.run_id, workflow=self.workflow.workflow, tenant=self.workflow.tenant):
                (self._watch if self.continuous else self._once)(names)
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

    def _once(self, names: list[str]) -> None:
        for name in names:
            if any(
                self._done[before].state != "succeeded"
                for before in self.workflow.steps[name].after
                if before in self._done
            ):
                self._done[name] = StepSummary(name=name, kind=self.workflow.steps[name].kind, state="skipped")
                continue
            loop = self._bench.loop(name)
            step = self._done[name] = self._attempts(name, loop, retry_failed=True)
            self._bench.told(name, step.error)

    def _watch(self, names: list[str]) -> None:
        for name in [name for name in names if self.workflow.steps[name].import_ is None]:
            names.remove(name)
            self._skipped[name] = StepSummary(name=name, kind=self.workflow.steps[name].kind, state="skipped")
            self._notes.append(f"step {name} is left out while the run keeps watching: `optimize` of a table does it")
        loops = {name: self._bench.loop(name) for name in names}
        last_full = float("-inf")
        while not self._bench.stop.is_set():
            full = time.monotonic() - last_full >= FAILED_AGAIN_EVERY_S
            last_full = time.monotonic() if full else last_full
            for name, loop in loops.items():
                step = self._attempts(name, loop, retry_failed=full)
                if step.state != "succeeded":
                    self._done[name] = step
                    break
            if self._done:
                break
            self._bench.stop.wait(self.settings.poll_interval_s)
        self._done |= self._skipped
        for name, loop in loops.items():
            self._done.setdefault(name, self._ended(name, loop, 1, None))
            self._bench.told(name, self._done[name].error)

    def _attempts(self, name: str, loop: ImportLoop, *, retry_failed: bool) -> StepSummary:
        retry, attempt = self.workflow.steps[name].retry, 0
        while True:
            attempt += 1
            try:
                self._bench.import_once(name, retry_failed=retry_failed, reprocess=self.reprocess)
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
                self._bench.stop.wait(wait_s)
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

    def _failed(self, name: str, error: LakerayError) -> StepSummary:
        kind = self.workflow.steps[name].kind
        return StepSummary(name=name, kind=kind, state="failed", attempts=0, error=error_summary(error, step=name))

    def _unfinished(self, name: str) -> StepSummary:
        loop = self._bench.loops.get(name)
        imported: ImportSummary | None = loop.tally.summary() if loop else None
        return StepSummary(
            name=name, kind=self.workflow.steps[name].kind, state="running" if loop else "pending", imported=imported
        )

    def _final_state(self) -> State:
        states = {step.state for step in self._done.values()}
        if "failed" in states:
            return "failed"
        return "cancelled" if "cancelled" in states else "succeeded"


def watchable(workflow: Workflow, steps: Sequence[str] | None) -> None:
    """Raise SpecError for steps that a run that keeps watching cannot do: a gate that nobody stands at must not be
    passed by watching on.
    """
    for name, step in workflow.steps.items():
        if (steps is None or name in steps) and step.kind not in ("import", "maintain"):
            raise SpecError(
                f"step {name} is of kind {step.kind}, which a run that keeps watching cannot do",
                hint="run without --continuous, or name the import steps that may go on by themselves with --step",
            )
