"""Runs that a run starts: accepted once, driven with it, their end told to the step that waits for it."""

from __future__ import annotations

import zlib
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec

from lakeray.runtime.durable.held import Held
from lakeray.runtime.durable.port import WorkersOf
from lakeray.workflow import commands as c
from lakeray.workflow.events import Failure, Parent
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState, output_of
from lakeray.workflow.todo import StartChild, StopChild

if TYPE_CHECKING:
    from lakeray.runtime.durable.orchestrator import Orchestrator

_LARGEST_OUTPUT = 32 * 2**10


class Children:
    """The children of an orchestrator's runs; all of it in its thread."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._all = orchestrator

    def begin(self, parent: Held, work: StartChild | StopChild) -> None:
        """Start or stop a child; the work is over when the child says that it heard."""
        if isinstance(work, StartChild):
            self._start(parent, work)
        else:
            self._stop(parent, work)

    def _start(self, parent: Held, work: StartChild) -> None:
        state, at = parent.state, self._all.now()
        assert state is not None
        if work.definition is None:
            error = Failure(code="spec", message=f"the workflow of step {work.step} is not known", retryable=False)
            failed = c.ReportFailure(at=at, step=work.step, attempt=work.attempt, chunk=work.chunk, error=error)
            self._all.reported(parent, work.key, failed)
            return
        accept = c.AcceptRun(
            at=at,
            run_id=work.child,
            definition=work.definition,
            principal=state.principal,
            trigger="workflow",
            parent=Parent(run_id=state.run_id, step=work.step, attempt=work.attempt, chunk=work.chunk),
            labels=state.labels,
            arguments=state.arguments if work.item is None else {**state.arguments, "item": work.item},
            seed=zlib.crc32(f"{state.seed}/{work.child}".encode()),
        )
        if parent.workers_of is not None:
            self._all.drive(work.child, parent.workers_of)

        def heard(done: Future[RunState]) -> None:
            if done.exception() is not None:
                self._all.reported(parent, work.key, None)
                return
            started = c.ReportChildStarted(
                at=self._all.now(), step=work.step, attempt=work.attempt, chunk=work.chunk, child=work.child
            )
            self._all.reported(parent, work.key, started)
            if done.result().ended is not None:
                self._all.tell(parent.run_id, self._end(done.result(), work.step))

        self._all.tell(work.child, accept).add_done_callback(heard)

    def _stop(self, parent: Held, work: StopChild) -> None:
        """A child that never was, or is over, has ended; any other tells by itself when it has."""

        def heard(done: Future[RunState]) -> None:
            error = done.exception()
            if isinstance(error, Refused):
                gone = c.ReportChildEnded(at=self._all.now(), step=work.step, child=work.child, state="cancelled")
                self._all.reported(parent, work.key, gone)
            elif error is not None:
                self._all.reported(parent, work.key, None)

        reason = f"run {parent.run_id} no longer needs it"
        self._all.tell(work.child, c.CancelRun(at=self._all.now(), principal="", reason=reason)).add_done_callback(
            heard
        )

    def look(self, state: RunState, workers_of: WorkersOf) -> None:
        """Of a run that was just read: drive its children; tell its parent an end that was perhaps not heard."""
        for child in state.children:
            self._all.drive(child, workers_of)
        if state.ended is not None and state.parent is not None:
            self._all.tell(state.parent.run_id, self._end(state, state.parent.step))

    def ended(self, state: RunState) -> None:
        """A run is over: its parent is told, its children (of one that was terminated) end too."""
        if state.parent is not None:
            self._all.tell(state.parent.run_id, self._end(state, state.parent.step))
        if state.ended == "terminated":
            for child in state.children:
                reason = f"run {state.run_id} was terminated"
                self._all.tell(child, c.TerminateRun(at=self._all.now(), reason=reason))

    def _end(self, state: RunState, step: str) -> c.ReportChildEnded:
        assert state.ended is not None
        failed = next((each.error for each in state.steps.values() if each.error is not None), None)
        return c.ReportChildEnded(
            at=self._all.now(),
            step=step,
            child=state.run_id,
            state=state.ended,
            output=_output(state) if state.ended == "succeeded" else None,
            error=failed if state.ended == "failed" else None,
        )


def _output(state: RunState) -> Any:
    """Of a child: what its last steps gave, by name."""
    last = {name: output_of(step) for name, step in state.steps.items() if not state.plan(name).dependents}
    whole = {"run_id": state.run_id, "steps": last}
    return whole if len(msgspec.json.encode(whole)) <= _LARGEST_OUTPUT else {"run_id": state.run_id}
