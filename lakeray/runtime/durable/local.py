"""The work of one run done in threads of this process: what is heavy runs on Ray from there, or inline.

One import or upkeep of a run at a time, for each wants all the cores; functions of the user side by side.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lakeray.errors import Cancelled, LakerayError
from lakeray.failpoints import failpoint
from lakeray.runtime.bench import Bench, unexpected
from lakeray.runtime.durable.beats import Beats
from lakeray.runtime.durable.calls import call_step, failure_of
from lakeray.runtime.durable.context import StepContext
from lakeray.runtime.durable.judge import judge_condition, judge_gate, unjudged
from lakeray.runtime.durable.outcome import output_of_import
from lakeray.runtime.durable.parts import part_of_run
from lakeray.runtime.durable.paths import items_at
from lakeray.runtime.durable.port import Job, passage_of
from lakeray.runtime.durable.records import about_job
from lakeray.runtime.durable.threads import WarmThreads
from lakeray.workflow import commands as c
from lakeray.workflow import todo as t
from lakeray.workflow.state import output_of

_log = logging.getLogger(__name__)
_AFTER_A_DEFECT_S = 10.0
FUNCTIONS_AT_ONCE = 64
"""Threads that functions of the user may have at once in one run."""


@dataclass(eq=False)
class LocalWorkers:
    """Keeps the contract of ``Workers`` for one run. ``bench`` has what its imports and upkeep work with; ``threads``
    may be those of many runs.
    """

    bench: Bench
    beats: Beats
    clock: Callable[[], datetime]
    threads: WarmThreads = field(default_factory=WarmThreads)
    _stops: dict[str, threading.Event] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _heavy: threading.Lock = field(default_factory=threading.Lock)
    _functions: int = 0

    def room(self, work: t.Work, before: Sequence[t.Work]) -> bool:
        """See ``Workers``."""
        with self._lock:
            if _is_heavy(work):
                return not self._heavy.locked() and not any(_is_heavy(each) for each in before)
            if isinstance(work, t.RunAttempt | t.RunChunk | t.Compensate):
                return self._functions + len(before) < FUNCTIONS_AT_ONCE
            return True

    def start(self, job: Job) -> None:
        """See ``Workers``."""
        stop = threading.Event()
        with self._lock:
            self._stops[job.work.key] = stop
            if _is_heavy(job.work):
                self._heavy.acquire()
            else:
                self._functions += 1
        title = f"{job.state.definition.workflow}/{job.work.step} {job.state.run_id}"
        self.threads.start(title, lambda: self._do(job, stop))

    def stop(self, key: str) -> None:
        """See ``Workers``."""
        with self._lock:
            stop = self._stops.get(key)
        if stop is not None:
            stop.set()

    def _do(self, job: Job, stop: threading.Event) -> None:
        command: c.Command | None = None
        try:
            with about_job(job):
                command = self._command(job, stop)
            failpoint(f"after_{passage_of(job.work)}")
        except BaseException:  # noqa: BLE001 - however work ends, the run hears of it
            _log.exception("a defect: %s is done again", job.work.key)
            stop.wait(_AFTER_A_DEFECT_S)
        finally:
            self._over(job)
            job.done(command)

    def _over(self, job: Job) -> None:
        with self._lock:
            del self._stops[job.work.key]
            if _is_heavy(job.work):
                self._heavy.release()
            else:
                self._functions -= 1

    def _command(self, job: Job, stop: threading.Event) -> c.Command | None:
        work, state = job.work, job.state
        try:
            if isinstance(work, t.JudgeGate):
                return judge_gate(work, state, self.bench.workflow, self.clock(), policy=self.bench.settings.policy)
            if isinstance(work, t.JudgeCondition):
                return judge_condition(
                    work, state, self.bench.workflow, self.clock(), policy=self.bench.settings.policy
                )
            if isinstance(work, t.PlanMap):
                items = items_at(work.plan.body["over"], state)
                return c.ReportItems(at=self.clock(), step=work.step, items=items)
            output = self._output(job, stop)
        except Cancelled:
            stopped: c.Command = about(c.ReportStopped, job, self.clock())
            return stopped
        except BaseException as error:  # noqa: BLE001 - likewise
            return _failed(job, error, self.clock())
        succeeded: c.Command = about(c.ReportSuccess, job, self.clock(), output=output)
        return succeeded

    def _output(self, job: Job, stop: threading.Event) -> Any:
        work = job.work
        if isinstance(work, t.Compensate):
            return self._undone(job, work, stop)
        if isinstance(work, t.RunChunk):
            return self._chunk(job, work, stop)
        assert isinstance(work, t.RunAttempt)
        if work.plan.kind == "import":
            return self._imported(job, work, stop)
        if work.plan.kind == "maintain":
            return self._maintained(work, stop)
        body = work.plan.body
        context = self._context(job, stop, work.idempotency_key, work.details)
        return call_step(body["function"], arguments=body.get("arguments") or {}, context=context)

    def _imported(self, job: Job, work: t.RunAttempt, stop: threading.Event) -> Any:
        with self.beats.of(work.step, job, self.clock):
            try:
                part = part_of_run(job.state.arguments)
                self.bench.begin(work.step, stop, resumed=work.begun or work.attempt > 1, part=part)
                self.bench.import_once(work.step, part=part)
            except LakerayError:
                raise
            except Exception as error:
                raise unexpected(error) from error
        return output_of_import(self.bench.loops[work.step].tally.summary())

    def _maintained(self, work: t.RunAttempt, stop: threading.Event) -> Any:
        def check() -> None:
            if stop.is_set():
                raise Cancelled("the run was asked to stop", hint="run the same command again")

        try:
            return self.bench.maintain_once(work.step, check=check).model_dump(mode="json")
        except LakerayError:
            raise
        except Exception as error:
            raise unexpected(error) from error

    def _chunk(self, job: Job, work: t.RunChunk, stop: threading.Event) -> list[Any]:
        """Outputs of the items; those that an earlier attempt has told of are not done again."""
        said = work.plan.body["python"]
        done: list[Any] = list(work.details or [])
        for place, item in enumerate((work.items or [])[len(done) :], len(done)):
            key = f"{work.idempotency_key}/{work.first + place}"
            context = self._context(job, stop, key, None)
            done.append(call_step(said["function"], item, arguments=said.get("arguments") or {}, context=context))
        return done

    def _undone(self, job: Job, work: t.Compensate, stop: threading.Event) -> Any:
        if work.plan.compensate == "withdraw":
            done = self.bench.withdraw_once(work.step, part=part_of_run(job.state.arguments))
            return None if done is None else {"batch": done.number, "rows_removed": done.rows_removed}
        assert work.plan.compensate is not None
        context = self._context(job, stop, work.idempotency_key, work.output)
        return call_step(work.plan.compensate, arguments={}, context=context)

    def _context(self, job: Job, stop: threading.Event, key: str, details: Any) -> StepContext:
        state, work = job.state, job.work

        def heartbeat(said: Any = None) -> None:
            job.tell(about(c.ReportHeartbeat, job, self.clock(), details=said))

        return StepContext(
            run_id=state.run_id,
            workflow=state.definition.workflow,
            tenant=state.definition.tenant,
            step=work.step,
            attempt=getattr(work, "attempt", 1),
            idempotency_key=key,
            arguments=state.arguments,
            outputs={name: output_of(step) for name, step in state.steps.items() if step.status == "succeeded"},
            details=details,
            heartbeat=heartbeat,
            cancelled=stop,
        )


def _is_heavy(work: t.Work) -> bool:
    if isinstance(work, t.Compensate):
        return work.plan.compensate == "withdraw"
    return isinstance(work, t.RunAttempt) and work.plan.kind in ("import", "maintain")


def about(report: type[Any], job: Job, now: datetime, **said: Any) -> Any:
    """A report about the attempt, chunk or compensation that the job is."""
    work = job.work
    return report(
        at=now,
        step=work.step,
        attempt=getattr(work, "attempt", 1),
        chunk=work.chunk if isinstance(work, t.RunChunk) else None,
        compensation=isinstance(work, t.Compensate),
        **said,
    )


def _failed(job: Job, error: BaseException, now: datetime) -> c.Command | None:
    """What a failure means for the run; that of a judge is a verdict that nobody knows."""
    work, failure = job.work, failure_of(error)
    evidence = {"error": failure.message}
    if isinstance(work, t.JudgeGate):
        return unjudged(work, failure.message, now)
    if isinstance(work, t.JudgeCondition):
        return c.ReportCondition(
            at=now, step=work.step, side=work.side, attempt=work.attempt, verdict="unknown", evidence=evidence
        )
    report: c.Command = about(c.ReportFailure, job, now, error=failure)
    return report
