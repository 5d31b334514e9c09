"""What time alone does to a run: the four timeouts of attempts, deadlines of gates, waits and stops; and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from lakeray.workflow import attempts, chunks, saga, verdicts
from lakeray.workflow import events as e
from lakeray.workflow.definition import TimeoutPlan
from lakeray.workflow.state import OVER, UNDER_WAY, RunState, StepState, Tries
from lakeray.workflow.turn import Turn

What = Literal[
    "due",
    "schedule_to_start",
    "start_to_close",
    "schedule_to_close",
    "heartbeat",
    "gate_due",
    "gate_deadline",
    "wait_over",
    "wait_deadline",
    "stop_deadline",
]


@dataclass(frozen=True, kw_only=True, order=True)
class Due:
    """At ``at`` time does ``what`` to a step, to the ``attempt`` at it, at a ``chunk`` of it, or at its undoing."""

    at: datetime
    what: What
    step: str
    attempt: int = 0
    chunk: int = -1
    undo: bool = False


def wake_at(state: RunState) -> datetime | None:
    """The next instant after the run's last event at which something is due: send TimePassed, then ask ``todo``.

    None when only reports and people move the run. Work that became due stays in ``todo`` until it is reported, and
    its instant is not named again.
    """
    return min((due.at for due in dues(state) if due.what != "due" or due.at > state.at), default=None)


def pass_time(turn: Turn) -> None:
    """Do what is due at the turn's instant, the earliest first, each unless what came before made it moot."""
    while True:
        now = sorted(due for due in dues(turn.state) if due.at <= turn.at and due.what != "due")
        if not now:
            return
        _DO[now[0].what](turn, now[0])


def dues(state: RunState) -> Iterator[Due]:
    """Everything that time will do to the run if nothing else happens."""
    if state.ended is not None:
        return
    for name, step in state.steps.items():
        if step.undo is not None:
            yield from _of_undo(state, name, step.undo)
        elif step.status != "pending" and step.status not in OVER:
            yield from _of_step(state, name, step)


def _of_undo(state: RunState, name: str, undo: Tries) -> Iterator[Due]:
    limit_s = state.plan(name).timeouts.start_to_close_s
    if undo.started_at is None and undo.due_at is not None:
        yield Due(at=undo.due_at, what="due", step=name, attempt=undo.attempt, undo=True)
    elif undo.started_at is not None and limit_s is not None:
        at = undo.started_at + timedelta(seconds=limit_s)
        yield Due(at=at, what="start_to_close", step=name, attempt=undo.attempt, undo=True)


def _of_step(state: RunState, name: str, step: StepState) -> Iterator[Due]:
    limits = state.plan(name).timeouts
    if state.stopping and state.stop_deadline is not None and step.status in UNDER_WAY:
        yield Due(at=state.stop_deadline, what="stop_deadline", step=name)
    if step.status in ("scheduled", "running"):
        yield from _of_tries(state, name, step.tries, limits)
    if step.status in UNDER_WAY and step.tries.opened_at is not None and limits.schedule_to_close_s is not None:
        begun = step.status != "scheduled" or step.tries.started_at is not None
        if begun or state.paused_at is None:
            at = step.tries.opened_at + timedelta(seconds=limits.schedule_to_close_s)
            yield Due(at=at, what="schedule_to_close", step=name, attempt=step.tries.attempt)
    if step.status == "mapping" and step.map is not None:
        for chunk in step.map.window(state.plan(name).concurrency):
            yield from _of_tries(state, name, step.map.tries_of(chunk), limits, chunk)
    if step.status == "waiting" and state.paused_at is None:
        yield from _of_waiting(name, step)


def _of_tries(state: RunState, name: str, tries: Tries, limits: TimeoutPlan, chunk: int = -1) -> Iterator[Due]:
    def due(what: What, since: datetime | None, seconds: float | None) -> Iterator[Due]:
        if since is not None and seconds is not None:
            at = since + timedelta(seconds=seconds)
            yield Due(at=at, what=what, step=name, attempt=tries.attempt, chunk=chunk)

    if tries.started_at is not None:
        yield from due("start_to_close", tries.started_at, limits.start_to_close_s)
        yield from due("heartbeat", tries.beat_at or tries.started_at, limits.heartbeat_s)
    elif state.paused_at is None:
        yield from due("due", tries.due_at, 0.0)
        if tries.attempt == tries.since and chunk < 0:
            yield from due("schedule_to_start", tries.due_at, limits.schedule_to_start_s)


def _of_waiting(name: str, step: StepState) -> Iterator[Due]:
    gate, wait = step.gate, step.wait
    if gate is not None:
        if gate.deadline is not None:
            yield Due(at=gate.deadline, what="gate_deadline", step=name)
        if gate.judged == gate.looks:
            again = [gate.look_again_at, *(need.until for need in gate.waits_for)]
            yield from (Due(at=at, what="gate_due", step=name) for at in again if at is not None)
    if wait is not None:
        if wait.until is not None:
            yield Due(at=wait.until, what="wait_over", step=name)
        if wait.deadline is not None:
            yield Due(at=wait.deadline, what="wait_deadline", step=name)


def _time_out(turn: Turn, due: Due) -> None:
    limits = turn.state.plan(due.step).timeouts
    limit_s = getattr(limits, f"{due.what}_s")
    said = {
        "schedule_to_start": "waited {} s for a worker",
        "start_to_close": "was at work for {} s",
        "schedule_to_close": "took {} s over all attempts",
        "heartbeat": "gave no sign of life for {} s",
    }[due.what]
    error = e.Failure(
        code=f"timeout_{due.what}",
        message=f"step {due.step} {said.format(f'{limit_s:g}')}, which is all that its {due.what} timeout allows",
        hint="raise the timeout, or see why the step takes so long",
    )
    if due.undo:
        saga.fail(turn, due.step, error, "timeout")
    elif due.chunk >= 0:
        chunks.fail(turn, due.step, due.chunk, error, "timeout")
    elif due.what in ("schedule_to_start", "schedule_to_close"):
        _end_step(turn, due.step, error)
    else:
        attempts.fail(turn, due.step, error, "timeout")


def _end_step(turn: Turn, name: str, error: e.Failure) -> None:
    """No other attempt: one that is at work has failed with the step."""
    step = turn.state.steps[name]
    if step.status in ("running", "verifying"):
        attempts.fail(turn, name, error, "timeout", final=True)
    elif turn.state.stopping:
        turn.say(e.StepCancelled(at=turn.at, step=name, attempt=step.tries.attempt))
    else:
        turn.say(e.StepFailed(at=turn.at, step=name, error=error))


def _gate_due(turn: Turn, due: Due) -> None:
    turn.say(e.GateDue(at=turn.at, step=due.step))


def _gate_deadline(turn: Turn, due: Due) -> None:
    verdicts.refuse(turn, due.step, "gate_expired", f"gate {due.step} had no verdict when its time was over")


def _wait_over(turn: Turn, due: Due) -> None:
    turn.say(e.StepSucceeded(at=turn.at, step=due.step, attempt=1))


def _wait_deadline(turn: Turn, due: Due) -> None:
    wait = turn.state.steps[due.step].wait
    name = wait.event if wait is not None else None
    error = e.Failure(
        code="wait_timeout",
        message=f"the event {name!r} did not come in time for step {due.step}",
        hint="send it before, or raise the wait's timeout",
        retryable=False,
    )
    turn.say(e.StepFailed(at=turn.at, step=due.step, error=error))


def _stop_deadline(turn: Turn, due: Due) -> None:
    """Work that was asked to stop has not: it is given up, and may still be at it."""
    attempt = turn.state.steps[due.step].tries.attempt
    turn.say(e.StepCancelled(at=turn.at, step=due.step, attempt=attempt))


_DO: dict[What, Callable[[Turn, Due], None]] = {
    "schedule_to_start": _time_out,
    "start_to_close": _time_out,
    "schedule_to_close": _time_out,
    "heartbeat": _time_out,
    "gate_due": _gate_due,
    "gate_deadline": _gate_deadline,
    "wait_over": _wait_over,
    "wait_deadline": _wait_deadline,
    "stop_deadline": _stop_deadline,
}
