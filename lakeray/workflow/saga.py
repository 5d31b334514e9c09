"""Which effects are undone when a run does not succeed: those of its steps with ``compensate``, the last one first."""

from __future__ import annotations

from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.definition import TimeoutPlan
from lakeray.workflow.retry import Again, after_failure
from lakeray.workflow.state import RunState, StepState
from lakeray.workflow.turn import Turn


def next_to_undo(state: RunState) -> str | None:
    """The step to compensate next: of all that succeeded, or were interrupted at work, the one that ended last.

    Steps that a fork took over belong to the run that did them. A failed step is not compensated: what it leaves behind
    is for its own next attempt.
    """
    return max(
        (name for name, step in state.steps.items() if _owed(state, name, step)),
        key=lambda name: state.steps[name].ended,
        default=None,
    )


def _owed(state: RunState, name: str, step: StepState) -> bool:
    did = step.status == "succeeded" or (step.status == "cancelled" and step.interrupted)
    return did and step.ended > 0 and state.plan(name).compensate is not None and step.undo_error is None


def undo_next(turn: Turn) -> bool:
    """Schedule the next compensation unless one is under way; False when there is none to do."""
    if any(step.undo is not None for step in turn.state.steps.values()):
        return True
    name = next_to_undo(turn.state)
    if name is None:
        return False
    attempt = turn.state.steps[name].undo_last + 1
    turn.say(e.CompensationScheduled(at=turn.at, step=name, attempt=attempt, not_before=turn.at))
    return True


def report(turn: Turn, command: c.Report) -> None:
    """What a worker says about a compensation; late or repeated reports change nothing."""
    undo = turn.state.steps[command.step].undo
    if undo is None or undo.attempt != command.attempt or turn.state.ended is not None:
        return
    due = undo.due_at is not None and undo.due_at <= turn.at
    if isinstance(command, c.ReportStarted) and undo.started_at is None and due:
        turn.say(e.CompensationStarted(at=turn.at, step=command.step, attempt=command.attempt, worker=command.worker))
    elif isinstance(command, c.ReportSuccess):
        turn.say(e.CompensationSucceeded(at=turn.at, step=command.step, attempt=command.attempt, output=command.output))
    elif isinstance(command, c.ReportFailure):
        fail(turn, command.step, command.error, command.cause)
    elif isinstance(command, c.DeferAttempt):
        turn.say(
            e.CompensationScheduled(at=turn.at, step=command.step, attempt=command.attempt, not_before=command.until)
        )


def fail(turn: Turn, name: str, error: e.Failure, cause: e.Cause) -> None:
    """One try to undo came to nothing: another follows, or a dead letter for a person to see to."""
    plan, undo = turn.state.plan(name), turn.state.steps[name].undo
    assert undo is not None
    turn.say(e.CompensationFailed(at=turn.at, step=name, attempt=undo.attempt, error=error, cause=cause))
    then = after_failure(
        retry=plan.compensate_retry,
        timeouts=TimeoutPlan(),
        tries=undo,
        error=error,
        cause=cause,
        at=turn.at,
        chance=f"{turn.state.seed}/{name}/undo/{undo.attempt}",
    )
    if isinstance(then, Again):
        turn.say(e.CompensationScheduled(at=turn.at, step=name, attempt=undo.attempt + 1, not_before=then.at))
        return
    deaths = undo.deaths + (cause == "worker_died")
    turn.say(e.StepDeadLettered(at=turn.at, step=name, error=error, deaths=deaths, compensation=True))
