"""What an event does to the state of its run; never refuses, never looks at anything but the two.

The meaning of an event that was written once stays: a new meaning is a new version of its type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from lakeray.workflow import events as e
from lakeray.workflow import map_facts, step_facts
from lakeray.workflow.definition import shared
from lakeray.workflow.map_facts import begun, next_try
from lakeray.workflow.state import RunState, StepState, Tries


def fold(history: Iterable[e.Event], state: RunState | None = None) -> RunState | None:
    """The state after the events, from nothing or from a snapshot on."""
    for event in history:
        state = evolve(state, event)
    return state


def evolve(state: RunState | None, event: e.Event) -> RunState:
    """The state after one more event. Raises ValueError where a history does not begin with RunAccepted."""
    if state is None:
        if not isinstance(event, e.RunAccepted):
            raise ValueError(f"a history begins with RunAccepted, this one with {type(event).__name__}")
        return _accepted(event)
    return _EVOLVE[type(event)](state, event)


def _accepted(event: e.RunAccepted) -> RunState:
    kept = event.forked_from.kept if event.forked_from else {}
    return RunState(
        run_id=event.run_id,
        definition=shared(event.definition, event.definition_hash),
        definition_hash=event.definition_hash,
        accepted_at=event.at,
        at=event.at,
        sequence=1,
        steps={
            name: StepState(status="succeeded", output=kept[name].output) if name in kept else StepState()
            for name in event.definition.steps
        },
        principal=event.principal,
        trigger=event.trigger,
        parent=event.parent,
        labels=event.labels,
        arguments=event.arguments,
        seed=event.seed,
        forked_from=event.forked_from,
    )


def _event_received(state: RunState, event: e.EventReceived) -> RunState:
    """Once received, an event is there for every wait of the run."""
    return state.after(event, received={**state.received, event.name: event.data})


def _paused(state: RunState, event: e.RunPaused) -> RunState:
    return state.after(event, paused_at=event.at)


def _going(state: RunState, principal: str) -> tuple[str, ...]:
    """Those who set the run going again, with one more."""
    known = state.also_started_by
    return known if not principal or principal in known else (*known, principal)


def _resumed(state: RunState, event: e.RunResumed) -> RunState:
    if state.paused_at is None:
        return state.after(event)
    paused = event.at - state.paused_at

    def later(tries: Tries) -> Tries:
        if tries.due_at is None or tries.opened_at is None or tries.started_at is not None:
            return tries
        return replace(tries, due_at=max(tries.due_at, event.at), opened_at=tries.opened_at + paused)

    steps = {name: replace(step, tries=later(step.tries)) for name, step in state.steps.items()}
    also = _going(state, event.principal)
    return state.after(event, paused_at=None, steps=steps, also_started_by=also)


def _cancel_requested(state: RunState, event: e.CancelRequested) -> RunState:
    return state.after(event, cancelled_by=event.principal, stop_deadline=event.deadline, paused_at=None)


def _ended(state: RunState, event: e.RunEnded) -> RunState:
    return state.after(
        event,
        ended=event.state,
        ended_at=event.at,
        paused_at=None,
        tolerated=event.tolerated,
        uncompensated=event.uncompensated,
    )


def _terminated(state: RunState, event: e.RunTerminated) -> RunState:
    """Steps that were not over are cancelled; whatever still works for them works for nothing. Nobody knows how far an
    undoing came that was at work.
    """
    for name, step in state.steps.items():
        if not step.over:
            attempt = 0 if step.status == "pending" else step.tries.attempt
            state = step_facts.ended_as(state, name, "cancelled", interrupted=attempt > 0)
    cut_off = e.Failure(code="terminated", message="the run was terminated while the step was undone")
    steps = {
        name: step if step.undo is None else replace(step, undo=None, undo_error=cut_off)
        for name, step in state.steps.items()
    }
    left = tuple(name for name, step in steps.items() if step.undo_error is not None)
    return state.after(event, steps=steps, ended="terminated", ended_at=event.at, paused_at=None, uncompensated=left)


def _retry_requested(state: RunState, event: e.RetryRequested) -> RunState:
    """The named steps are as if never begun, but for the numbers of their attempts and the chunks that are done."""
    steps = {name: replace(step, undo_error=None) for name, step in state.steps.items()}
    for name in event.steps:
        before = steps[name]
        tries = Tries(attempt=before.tries.attempt, since=before.tries.attempt + 1, details=before.tries.details)
        mapped = before.map if before.status in ("failed", "dead_lettered", "cancelled") else None
        last = before.chunk_last if before.map is None else before.map.last
        if mapped is not None:
            mapped = replace(mapped, failed={}, first=last + 1, opened_at=event.at)
        steps[name] = StepState(
            tries=tries,
            map=mapped,
            chunk_last=last,
            undo_last=before.undo_last,
            strays=before.strays,
        )
    return state.after(
        event,
        steps=steps,
        also_started_by=_going(state, event.principal),
        ended=None,
        ended_at=None,
        failing_since=None,
        stop_deadline=None,
        cancelled_by=None,
        tolerated=(),
        uncompensated=(),
    )


def _undo_scheduled(state: RunState, event: e.CompensationScheduled) -> RunState:
    step = state.steps[event.step]
    undo = next_try(step.undo or Tries(since=event.attempt), event.attempt, event.not_before)
    return state.with_step(event, event.step, replace(step, undo=undo, undo_last=event.attempt))


def _undo_started(state: RunState, event: e.CompensationStarted) -> RunState:
    step = state.steps[event.step]
    undo = begun(step.undo or Tries(), event.at, attempt=event.attempt, worker=event.worker)
    return state.with_step(event, event.step, replace(step, undo=undo))


def _undo_succeeded(state: RunState, event: e.CompensationSucceeded) -> RunState:
    step = state.steps[event.step]
    done = replace(step, status="compensated", undo=None, undo_error=None)
    return state.with_step(event, event.step, done)


def _undo_failed(state: RunState, event: e.CompensationFailed) -> RunState:
    step = state.steps[event.step]
    before = step.undo or Tries()
    deaths = before.deaths + (event.cause == "worker_died")
    undo = replace(before, started_at=None, due_at=None, deaths=deaths)
    return state.with_step(event, event.step, replace(step, undo=undo))


_EVOLVE: dict[type[e.Event], Callable[[RunState, Any], RunState]] = {
    e.StepScheduled: step_facts.scheduled,
    e.StepStarted: step_facts.started,
    e.StepHeartbeat: step_facts.heartbeat,
    e.ConditionJudged: step_facts.condition_judged,
    e.StepReturned: step_facts.returned,
    e.StepSucceeded: step_facts.succeeded,
    e.AttemptFailed: step_facts.attempt_failed,
    e.StepFailed: step_facts.failed,
    e.StepDeadLettered: step_facts.dead_lettered,
    e.StepSkipped: step_facts.skipped,
    e.StepCancelled: step_facts.cancelled,
    e.GateOpened: step_facts.gate_opened,
    e.GateDue: step_facts.gate_due,
    e.GateJudged: step_facts.gate_judged,
    e.ApprovalGiven: step_facts.approval_given,
    e.GateEscalated: lambda state, event: state.after(event),
    e.WaitStarted: step_facts.wait_started,
    e.EventReceived: _event_received,
    e.ChildStarted: map_facts.child_started,
    e.ChildEnded: map_facts.child_ended,
    e.MapPlanned: map_facts.map_planned,
    e.MapChunkStarted: map_facts.chunk_started,
    e.MapChunkPutOff: map_facts.chunk_put_off,
    e.MapChunkDone: map_facts.chunk_done,
    e.MapChunkFailed: map_facts.chunk_failed,
    e.RunPaused: _paused,
    e.RunResumed: _resumed,
    e.CancelRequested: _cancel_requested,
    e.RunTerminated: _terminated,
    e.RetryRequested: _retry_requested,
    e.CompensationScheduled: _undo_scheduled,
    e.CompensationStarted: _undo_started,
    e.CompensationSucceeded: _undo_succeeded,
    e.CompensationFailed: _undo_failed,
    e.RunEnded: _ended,
}
