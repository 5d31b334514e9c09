"""What the events of a step, its gate and its wait do to the state of their run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from lakeray.workflow import events as e
from lakeray.workflow.map_facts import abandoned, begun, chunk_heartbeat, next_try
from lakeray.workflow.state import STOP_GRACE_S, GateState, RunState, Status, StepState, WaitState, child_id


def scheduled(state: RunState, event: e.StepScheduled) -> RunState:
    """An attempt may begin; of a map whose items are known its chunks may."""
    step = state.steps[event.step]
    status: Status = "scheduled" if step.map is None else "mapping"
    tries = next_try(step.tries, event.attempt, event.not_before)
    starts = state.plan(event.step).kind == "workflow"
    child = child_id(state.run_id, event.step, event.attempt) if starts else None
    return state.with_step(event, event.step, replace(step, status=status, tries=tries, key=event.key, child=child))


def started(state: RunState, event: e.StepStarted) -> RunState:
    """A worker is at it."""
    step = state.steps[event.step]
    tries = begun(step.tries, event.at, attempt=event.attempt, worker=event.worker)
    return state.with_step(event, event.step, replace(step, status="running", tries=tries))


def heartbeat(state: RunState, event: e.StepHeartbeat) -> RunState:
    """Its worker is alive."""
    if event.chunk is not None:
        return chunk_heartbeat(state, event, event.chunk)
    step = state.steps[event.step]
    details = step.tries.details if event.details is None else event.details
    tries = replace(step.tries, beat_at=event.at, details=details)
    return state.with_step(event, event.step, replace(step, tries=tries))


def condition_judged(state: RunState, event: e.ConditionJudged) -> RunState:
    """A precondition that holds permits the step; what else a verdict brings is an event of its own."""
    step = state.steps[event.step]
    permitted = event.verdict == "true" if event.side == "requires" else step.permitted
    return state.with_step(event, event.step, replace(step, permitted=permitted))


def returned(state: RunState, event: e.StepReturned) -> RunState:
    """The output stands before the postcondition; the child that it may come from is over."""
    step = replace(state.steps[event.step], status="verifying", output=event.output, child=None)
    return state.with_step(event, event.step, step)


def succeeded(state: RunState, event: e.StepSucceeded) -> RunState:
    """The step has its output."""
    step = state.steps[event.step]
    output = step.output if step.status == "verifying" else event.output
    ended = replace(step, child=None, status="succeeded", output=output, error=None, ended=state.sequence + 1)
    return state.with_step(event, event.step, ended)


def attempt_failed(state: RunState, event: e.AttemptFailed) -> RunState:
    """Nothing is due until the next event says so; a child that only took too long is a stray."""
    step = state.steps[event.step]
    deaths = step.tries.deaths + (event.cause == "worker_died")
    tries = replace(step.tries, started_at=None, due_at=None, deaths=deaths)
    strays = (*step.strays, step.child) if step.child and event.cause == "timeout" else step.strays
    status: Status = "scheduled" if step.map is None else "mapping"
    after = replace(step, status=status, tries=tries, error=event.error, output=None, child=None, strays=strays)
    return state.with_step(event, event.step, after)


def _over(state: RunState, name: str, status: Status, **changes: Any) -> StepState:
    """The step at an end that is no success: children that still run are strays from now on."""
    step = state.steps[name]
    running, mapped = abandoned(state, name)
    strays = (*step.strays, *running)
    return replace(step, status=status, ended=state.sequence + 1, child=None, strays=strays, map=mapped, **changes)


def ended_as(state: RunState, name: str, status: Status, **changes: Any) -> RunState:
    """The state with one step at an end, as part of what another event does."""
    return replace(state, steps={**state.steps, name: _over(state, name, status, **changes)})


def failed(state: RunState, event: e.StepFailed | e.StepDeadLettered, status: Status = "failed") -> RunState:
    """The step is over; with ``on_failure: fail`` the whole run begins to stop."""
    step = _over(state, event.step, status, error=event.error)
    if state.plan(event.step).on_failure != "fail" or state.failing_since is not None:
        return state.with_step(event, event.step, step)
    deadline = state.stop_deadline or event.at + timedelta(seconds=STOP_GRACE_S)
    return state.with_step(event, event.step, step, failing_since=event.at, stop_deadline=deadline)


def dead_lettered(state: RunState, event: e.StepDeadLettered) -> RunState:
    """As failed; of a chunk, MapChunkFailed did that before; of a compensation, others go on."""
    step = state.steps[event.step]
    if event.compensation:
        return state.with_step(event, event.step, replace(step, undo=None, undo_error=event.error))
    if event.chunk is not None:
        return state.after(event)
    return failed(state, event, "dead_lettered")


def skipped(state: RunState, event: e.StepSkipped) -> RunState:
    """The step will not run."""
    return state.with_step(event, event.step, _over(state, event.step, "skipped"))


def cancelled(state: RunState, event: e.StepCancelled) -> RunState:
    """The step was stopped; what it did so far, if it began, is to be compensated."""
    step = _over(state, event.step, "cancelled", interrupted=event.attempt > 0)
    return state.with_step(event, event.step, step)


def gate_opened(state: RunState, event: e.GateOpened) -> RunState:
    """The run waits for a verdict."""
    gate = GateState(opened_at=event.at, deadline=event.deadline)
    return state.with_step(event, event.step, replace(state.steps[event.step], status="waiting", gate=gate))


def _gate(state: RunState, event: e.GateDue | e.GateJudged | e.ApprovalGiven, **changes: Any) -> RunState:
    step = state.steps[event.step]
    assert step.gate is not None, "events of a gate come after GateOpened"
    return state.with_step(event, event.step, replace(step, gate=replace(step.gate, **changes)))


def gate_due(state: RunState, event: e.GateDue) -> RunState:
    """Its condition is to be judged again."""
    gate = state.steps[event.step].gate
    return _gate(state, event, looks=gate.looks + 1 if gate else 1, look_again_at=None)


def gate_judged(state: RunState, event: e.GateJudged) -> RunState:
    """The last verdict with its evidence."""
    return _gate(
        state,
        event,
        judged=event.looks,
        verdict=event.verdict,
        reason=event.reason,
        evidence=event.evidence,
        waits_for=event.waits_for,
        look_again_at=event.look_again_at,
    )


def approval_given(state: RunState, event: e.ApprovalGiven) -> RunState:
    """One fact more for its condition."""
    gate = state.steps[event.step].gate
    approvals = (*gate.approvals, event) if gate else (event,)
    return _gate(state, event, looks=gate.looks + 1 if gate else 1, approvals=approvals)


def wait_started(state: RunState, event: e.WaitStarted) -> RunState:
    """The run waits for time or an event."""
    wait = WaitState(until=event.until, event=event.event, deadline=event.deadline)
    return state.with_step(event, event.step, replace(state.steps[event.step], status="waiting", wait=wait))
