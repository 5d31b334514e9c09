"""What people ask of a run: pause, resume, cancel, terminate, retry, an event; refused where it cannot be done."""

from __future__ import annotations

from datetime import timedelta

from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.definition import downstream
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState
from lakeray.workflow.timeouts import pass_time
from lakeray.workflow.turn import Turn


def _refuse_ended(state: RunState, verb: str) -> None:
    if state.ended is not None:
        raise Refused(
            f"run {state.run_id} {'was' if state.ended in ('cancelled', 'terminated') else 'has'} {state.ended}: "
            f"there is nothing to {verb}",
            hint="`lakeray runs retry` goes on with a run that did not succeed",
        )


def pause(turn: Turn, command: c.PauseRun) -> None:
    """Paused again, nothing happens."""
    _refuse_ended(turn.state, "pause")
    if turn.state.stopping:
        raise Refused(f"run {turn.state.run_id} is coming to its end", hint="`lakeray runs terminate` ends it at once")
    if turn.state.paused_at is None:
        turn.say(e.RunPaused(at=turn.at, principal=command.principal, reason=command.reason))


def resume(turn: Turn, command: c.ResumeRun) -> None:
    """Of a run that is not paused it is refused. What became due meanwhile happens at once."""
    _refuse_ended(turn.state, "resume")
    if turn.state.paused_at is None:
        raise Refused(f"run {turn.state.run_id} is not paused", hint="`lakeray runs show` says what it waits for")
    turn.say(e.RunResumed(at=turn.at, principal=command.principal))
    pass_time(turn)


def cancel(turn: Turn, command: c.CancelRun) -> None:
    """Cancelled again, nothing happens."""
    if turn.state.ended == "cancelled":
        return
    _refuse_ended(turn.state, "cancel")
    if turn.state.cancelled_by is None:
        deadline = turn.at + timedelta(seconds=command.grace_s)
        turn.say(e.CancelRequested(at=turn.at, deadline=deadline, principal=command.principal, reason=command.reason))


def terminate(turn: Turn, command: c.TerminateRun) -> None:
    """Terminated again, nothing happens."""
    if turn.state.ended == "terminated":
        return
    _refuse_ended(turn.state, "terminate")
    turn.say(e.RunTerminated(at=turn.at, principal=command.principal, reason=command.reason))


def retry(turn: Turn, command: c.RetryRun) -> None:
    """Everything that did not succeed, or was undone, perhaps even, begins anew with all that comes after it."""
    state = turn.state
    if state.ended is None:
        raise Refused(f"run {state.run_id} is not over", hint="cancel it first, or wait for its end")
    if command.from_step is not None and command.from_step not in state.steps:
        raise Refused(f"run {state.run_id} has no step {command.from_step!r}", hint=f"it has: {', '.join(state.steps)}")
    again = {name for name, step in state.steps.items() if step.status != "succeeded" or step.undo_error}
    if command.from_step is not None:
        again.add(command.from_step)
    if not again:
        raise Refused(f"every step of run {state.run_id} succeeded", hint="name a step to repeat the run from")
    plans = state.definition.steps
    every = {after for name in again for after in downstream(plans, name)}
    steps = tuple(name for name in state.steps if name in every)
    turn.say(e.RetryRequested(at=turn.at, steps=steps, principal=command.principal))


def event(turn: Turn, command: c.SendEvent) -> None:
    """An event may come before the wait for it begins."""
    _refuse_ended(turn.state, "tell")
    turn.say(e.EventReceived(at=turn.at, name=command.name, data=command.data, principal=command.principal))
