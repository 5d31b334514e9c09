"""What a worker's report about an attempt at a step means: an output, another attempt, or the step's end."""

from __future__ import annotations

from datetime import timedelta

from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.definition import StepPlan
from lakeray.workflow.opening import ready, schedule
from lakeray.workflow.retry import Again, after_failure
from lakeray.workflow.state import RunState, StepState, Tries
from lakeray.workflow.turn import Turn


def current(state: RunState, step: str, attempt: int) -> StepState | None:
    """The step, if the report is about the attempt that is due or at work now; None for a late or repeated one."""
    found = state.steps[step]
    fits = found.status in ("scheduled", "running") and found.tries.due_at is not None
    return found if fits and found.tries.attempt == attempt and state.ended is None else None


def report(turn: Turn, command: c.Report) -> None:
    """Record what a worker says; a late or repeated report changes nothing."""
    step = current(turn.state, command.step, command.attempt)
    if step is None or (step.child is not None and not isinstance(command, c.DeferAttempt | c.ReportFailure)):
        _stopped_map(turn, command)
    elif isinstance(command, c.ReportStarted):
        if may_start(turn, step.tries):
            turn.say(e.StepStarted(at=turn.at, step=command.step, attempt=command.attempt, worker=command.worker))
    elif isinstance(command, c.ReportHeartbeat):
        _heartbeat(turn, command, step.tries)
    elif isinstance(command, c.ReportSuccess):
        succeed(turn, command.step, command.output)
    elif isinstance(command, c.ReportFailure):
        fail(turn, command.step, command.error, command.cause)
    elif isinstance(command, c.ReportStopped):
        if turn.state.stopping:
            attempt = command.attempt if command.begun else 0
            turn.say(e.StepCancelled(at=turn.at, step=command.step, attempt=attempt))
    elif isinstance(command, c.DeferAttempt):
        turn.say(
            e.StepScheduled(
                at=turn.at,
                step=command.step,
                attempt=command.attempt,
                not_before=command.until,
                key=step.key,
                reason=command.reason,
            )
        )


def may_start(turn: Turn, tries: Tries) -> bool:
    """Whether a worker may begin now: an attempt that is due, that nobody has begun, of a run that goes on."""
    held = turn.state.stopping or turn.state.paused_at is not None
    return tries.started_at is None and tries.due_at is not None and tries.due_at <= turn.at and not held


def _stopped_map(turn: Turn, command: c.Report) -> None:
    """A map is asked to stop as a whole."""
    step = turn.state.steps[command.step]
    if isinstance(command, c.ReportStopped) and step.status == "mapping" and turn.state.stopping:
        turn.say(e.StepCancelled(at=turn.at, step=command.step, attempt=step.tries.attempt if command.begun else 0))


def _heartbeat(turn: Turn, command: c.ReportHeartbeat, tries: Tries) -> None:
    if heartbeat_counts(turn, command, tries):
        turn.say(
            e.StepHeartbeat(
                at=turn.at,
                step=command.step,
                attempt=command.attempt,
                details=command.details,
                chunk=command.chunk,
            )
        )


def heartbeat_counts(turn: Turn, command: c.ReportHeartbeat, tries: Tries) -> bool:
    """Whether a sign of life is worth an event: it says something new, or silence gets long."""
    if command.details is not None and command.details != tries.details:
        return True
    limit_s = turn.state.plan(command.step).timeouts.heartbeat_s
    last = tries.beat_at or tries.started_at
    return limit_s is not None and (last is None or turn.at - last >= timedelta(seconds=limit_s / 3))


def succeed(turn: Turn, name: str, output: object) -> None:
    """The attempt has an output: the step succeeded, unless a postcondition has to pass it."""
    attempt = turn.state.steps[name].tries.attempt
    if turn.state.plan(name).ensures is not None:
        turn.say(e.StepReturned(at=turn.at, step=name, attempt=attempt, output=output))
    else:
        turn.say(e.StepSucceeded(at=turn.at, step=name, attempt=attempt, output=output))


def fail(turn: Turn, name: str, error: e.Failure, cause: e.Cause, *, final: bool = False) -> None:
    """The attempt came to nothing: another is scheduled, or the step is over (``final``: in any case)."""
    state, step = turn.state, turn.state.steps[name]
    plan, tries = state.plan(name), step.tries
    turn.say(e.AttemptFailed(at=turn.at, step=name, attempt=tries.attempt, error=error, cause=cause))
    if state.stopping:
        turn.say(e.StepCancelled(at=turn.at, step=name, attempt=tries.attempt))
        return
    then = after_failure(
        retry=plan.retry,
        timeouts=plan.timeouts,
        tries=tries,
        error=error,
        cause=cause,
        at=turn.at,
        chance=f"{state.seed}/{name}/{tries.attempt}",
    )
    if isinstance(then, Again) and not final:
        schedule(turn, name, then.at)
    elif not isinstance(then, Again) and then.poison:
        turn.say(e.StepDeadLettered(at=turn.at, step=name, error=error, deaths=turn.state.steps[name].tries.deaths))
    else:
        turn.say(e.StepFailed(at=turn.at, step=name, error=error))


def condition(turn: Turn, command: c.ReportCondition) -> None:
    """The verdict on a precondition lets the step begin or fails it, that on a postcondition its attempt.

    Of a map it fails the step: its chunks are done, and another attempt would find the same.
    """
    step, plan = turn.state.steps[command.step], turn.state.plan(command.step)
    if command.side == "requires":
        fits = ready(turn.state, command.step) and plan.requires is not None and not step.permitted
        fits = fits and not turn.state.stopping
    else:
        fits = step.status == "verifying" and step.tries.attempt == command.attempt
    if not fits or turn.state.ended is not None:
        return
    turn.say(
        e.ConditionJudged(
            at=turn.at,
            step=command.step,
            side=command.side,
            verdict=command.verdict,
            evidence=command.evidence,
        )
    )
    if command.side == "ensures":
        if command.verdict == "true":
            turn.say(e.StepSucceeded(at=turn.at, step=command.step, attempt=command.attempt))
        else:
            fail(turn, command.step, _unmet(plan, command), "error", final=step.map is not None)
    elif command.verdict != "true":
        turn.say(e.StepFailed(at=turn.at, step=command.step, error=_unmet(plan, command)))


def _unmet(plan: StepPlan, command: c.ReportCondition) -> e.Failure:
    noun = "precondition" if command.side == "requires" else "postcondition"
    said = "does not hold" if command.verdict == "false" else "cannot be told to hold"
    return e.Failure(
        code=f"{noun}_failed",
        message=f"the {noun} of step {plan.name} {said}",
        hint=f"see `{command.side}` of the step and the evidence in the run's events",
        retryable=command.side == "ensures",
    )
