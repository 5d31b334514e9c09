"""What reports about the chunks of a map and about child runs mean for the step that they work for."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from lakeray.workflow import attempts
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.opening import plan_map
from lakeray.workflow.retry import Again, after_failure
from lakeray.workflow.state import MapState, RunState
from lakeray.workflow.turn import Turn


class _About(TypedDict):
    """What every event of an attempt at a chunk says."""

    at: datetime
    step: str
    chunk: int
    attempt: int


def items(turn: Turn, command: c.ReportItems) -> None:
    """The map's items were found outside."""
    step = turn.state.steps[command.step]
    if step.status not in ("scheduled", "running") or step.map is not None or turn.state.stopping:
        return
    total = len(command.items) if command.items is not None else command.total or 0
    plan_map(turn, command.step, total=total, items=command.items, items_uri=command.items_uri)


def current(state: RunState, step: str, chunk: int, attempt: int) -> MapState | None:
    """The map, if the report is about the attempt at the chunk that is due or at work; None for a late one."""
    found = state.steps[step]
    mapped = found.map
    if state.ended is not None or found.status != "mapping" or mapped is None or not 0 <= chunk < mapped.chunks:
        return None
    over = chunk in mapped.outputs or chunk in mapped.failed
    return None if over or mapped.tries_of(chunk).attempt != attempt else mapped


def report(turn: Turn, command: c.Report) -> None:
    """Record what a worker says about a chunk; a late or repeated report changes nothing."""
    chunk = command.chunk
    assert chunk is not None
    mapped = current(turn.state, command.step, chunk, command.attempt)
    if mapped is None:
        return
    tries = mapped.tries_of(chunk)
    about = _About(at=turn.at, step=command.step, chunk=chunk, attempt=command.attempt)
    if isinstance(command, c.ReportStarted):
        if attempts.may_start(turn, tries):
            turn.say(e.MapChunkStarted(**about, worker=command.worker))
    elif isinstance(command, c.ReportHeartbeat):
        if attempts.heartbeat_counts(turn, command, tries):
            turn.say(e.StepHeartbeat(**about, details=command.details))
    elif isinstance(command, c.ReportSuccess):
        turn.say(e.MapChunkDone(**about, output=command.output))
    elif isinstance(command, c.ReportFailure):
        fail(turn, command.step, chunk, command.error, command.cause)
    elif isinstance(command, c.DeferAttempt):
        turn.say(e.MapChunkPutOff(**about, not_before=command.until, reason=command.reason))


def fail(turn: Turn, name: str, chunk: int, error: e.Failure, cause: e.Cause) -> None:
    """The try at the chunk came to nothing: another follows or the chunk has failed; other chunks go on."""
    plan, mapped = turn.state.plan(name), turn.state.steps[name].map
    assert mapped is not None
    tries = mapped.tries_of(chunk)
    then = after_failure(
        retry=plan.retry,
        timeouts=plan.timeouts,
        tries=tries,
        error=error,
        cause=cause,
        at=turn.at,
        chance=f"{turn.state.seed}/{name}/{chunk}/{tries.attempt}",
    )
    turn.say(
        e.MapChunkFailed(
            at=turn.at,
            step=name,
            chunk=chunk,
            attempt=tries.attempt,
            error=error,
            cause=cause,
            retry_at=then.at if isinstance(then, Again) else None,
        )
    )
    if not isinstance(then, Again) and then.poison:
        turn.say(e.StepDeadLettered(at=turn.at, step=name, error=error, deaths=tries.deaths + 1, chunk=chunk))


def child_started(turn: Turn, command: c.ReportChildStarted) -> None:
    """The child run was accepted: nothing more is to be done until it ends."""
    state = turn.state
    started = e.ChildStarted(
        at=turn.at, step=command.step, attempt=command.attempt, child=command.child, chunk=command.chunk
    )
    if command.chunk is None:
        step = attempts.current(state, command.step, command.attempt)
        if step is not None and step.child == command.child and attempts.may_start(turn, step.tries):
            turn.say(started)
        return
    mapped = current(state, command.step, command.chunk, command.attempt)
    if mapped is not None and attempts.may_start(turn, mapped.tries_of(command.chunk)):
        turn.say(started)


def child_ended(turn: Turn, command: c.ReportChildEnded) -> None:
    """The end of a child is the end of the attempt that started it, or only of a child that nobody needs any more."""
    state, step = turn.state, turn.state.steps[command.step]
    if state.ended is not None:
        return
    if command.child in step.strays:
        turn.say(e.ChildEnded(at=turn.at, step=command.step, child=command.child))
        return
    if step.child == command.child and not step.over:
        if command.state == "succeeded":
            attempts.succeed(turn, command.step, command.output)
        else:
            attempts.fail(turn, command.step, _child_failure(command), "error")
        return
    mapped = step.map
    chunk = next((n for n, name in mapped.children.items() if name == command.child), None) if mapped else None
    if mapped is None or chunk is None or step.status != "mapping":
        return
    tries = mapped.tries_of(chunk)
    if command.state == "succeeded":
        output = [command.output]
        turn.say(e.MapChunkDone(at=turn.at, step=command.step, chunk=chunk, attempt=tries.attempt, output=output))
    else:
        fail(turn, command.step, chunk, _child_failure(command), "error")


def _child_failure(command: c.ReportChildEnded) -> e.Failure:
    """A child that failed is tried again as the step's retry says; one that a person ended is not."""
    said = command.error
    return e.Failure(
        code=f"child_{command.state}",
        message=f"the child run {command.child} {command.state}" + (f": {said.message}" if said else ""),
        hint=said.hint if said else f"`lakeray runs show {command.child}` says why",
        retryable=command.state == "failed" and (said is None or said.retryable),
    )
