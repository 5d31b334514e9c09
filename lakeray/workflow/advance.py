"""How a run goes on from whatever just happened: steps begin, are skipped or stopped, effects are undone, it ends."""

from __future__ import annotations

from lakeray.workflow import events as e
from lakeray.workflow.attempts import succeed
from lakeray.workflow.opening import barrier, open_step, ready
from lakeray.workflow.saga import undo_next
from lakeray.workflow.state import OVER, RunState
from lakeray.workflow.turn import Turn

_TOLERATED = ("failed", "dead_lettered")


def advance(turn: Turn) -> None:
    """Say every event that follows from the state alone. Said again at once it adds nothing.

    A paused run stays where it is.
    """
    if turn.state.ended is not None or turn.state.paused_at is not None:
        return
    if not turn.state.stopping:
        _go_on(turn)
    if turn.state.stopping:
        _stop(turn)
    _end(turn)


def _go_on(turn: Turn) -> None:
    """Look at the steps that what happened can have moved, then at those that this moved, until nothing moves."""
    names = _moved(turn.state, turn.events) or list(turn.state.steps)
    while names:
        before = len(turn.events)
        for name in names:
            if turn.state.stopping:
                return
            step = turn.state.steps[name]
            if step.status == "pending":
                _try_to_open(turn, name)
            elif step.status == "mapping":
                _look_at_map(turn, name)
            if turn.state.steps[name].wait is not None:
                _look_at_wait(turn, name)
        names = _moved(turn.state, turn.events[before:])


def _moved(state: RunState, events: list[e.Event]) -> list[str]:
    """The steps of the events and those behind them; none when an event is about the whole run."""
    found: dict[str, None] = {}
    for event in events:
        name = getattr(event, "step", None)
        if name is None:
            return []
        found[name] = None
        found.update(dict.fromkeys(state.plan(name).dependents))
    return list(found)


def _try_to_open(turn: Turn, name: str) -> None:
    because = barrier(turn.state, name)
    if because is not None:
        turn.say(e.StepSkipped(at=turn.at, step=name, because=because))
    elif ready(turn.state, name):
        open_step(turn, name)


def _look_at_wait(turn: Turn, name: str) -> None:
    step = turn.state.steps[name]
    wait = step.wait if step.status == "waiting" else None
    if wait is not None and wait.event is not None and wait.event in turn.state.received:
        turn.say(e.StepSucceeded(at=turn.at, step=name, attempt=1, output=turn.state.received[wait.event]))


def _look_at_map(turn: Turn, name: str) -> None:
    """A map is over when all of its chunks are; it failed if one of them did."""
    step = turn.state.steps[name]
    mapped = step.map
    if mapped is None or not mapped.over:
        return
    if not mapped.failed:
        succeed(turn, name, {"items": mapped.total})
        return
    chunk, first = min(mapped.failed.items())
    error = e.Failure(
        code="map_failed",
        message=f"{len(mapped.failed)} of {mapped.chunks} chunks failed, chunk {chunk} with: {first.message}",
        hint=first.hint or "retry the run: only chunks that failed are done again",
        retryable=False,
    )
    turn.say(e.StepFailed(at=turn.at, step=name, error=error))


def _stop(turn: Turn) -> None:
    """What is not at work ends at once; when nothing is, effects are undone."""
    cancelled = turn.state.cancelled_by is not None and turn.state.failing_since is None
    for name, step in turn.state.steps.items():
        if step.status == "pending":
            if cancelled:
                turn.say(e.StepCancelled(at=turn.at, step=name))
            else:
                turn.say(e.StepSkipped(at=turn.at, step=name, because=_why(turn.state)))
        elif step.status == "waiting" or (
            step.status == "scheduled" and step.tries.due_at is not None and step.tries.due_at > turn.at
        ):
            turn.say(e.StepCancelled(at=turn.at, step=name))
        elif step.child is not None:
            turn.say(e.StepCancelled(at=turn.at, step=name, attempt=step.tries.attempt))


def _why(state: RunState) -> str:
    """The step whose failure stops the run."""
    failed = [
        (step.ended, name)
        for name, step in state.steps.items()
        if step.status in _TOLERATED and state.plan(name).on_failure == "fail"
    ]
    return min(failed)[1]


def _end(turn: Turn) -> None:
    state = turn.state
    for step in state.steps.values():
        if step.status not in OVER or step.strays:
            return
    if state.stopping and undo_next(turn):
        return
    state = turn.state
    ending: e.Ending = "succeeded"
    if state.failing_since is not None:
        ending = "failed"
    elif state.cancelled_by is not None:
        ending = "cancelled"
    failed = [name for name, step in state.steps.items() if step.status in _TOLERATED]
    turn.say(
        e.RunEnded(
            at=turn.at,
            state=ending,
            tolerated=tuple(name for name in failed if state.plan(name).on_failure != "fail"),
            uncompensated=tuple(name for name, step in state.steps.items() if step.undo_error is not None),
        )
    )
