"""How a step begins whose predecessors are settled: as a gate, a wait, a map or an attempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from lakeray.workflow import events as e
from lakeray.workflow.state import RunState
from lakeray.workflow.turn import Turn

MOST_CHUNKS = 1000
"""A map whose file does not say how large its chunks are has at most so many."""


def barrier(state: RunState, name: str) -> str | None:
    """The step because of which this one can never run, if there is one."""
    for before in state.plan(name).after:
        status = state.steps[before].status
        tolerated = status in ("failed", "dead_lettered") and state.plan(before).on_failure == "continue"
        if state.steps[before].over and status != "succeeded" and not tolerated:
            return before
    return None


def ready(state: RunState, name: str) -> bool:
    """Whether a pending step may begin as far as others are concerned: all before it are over, none bars it."""
    if state.steps[name].status != "pending" or barrier(state, name) is not None:
        return False
    return all(state.steps[before].over for before in state.plan(name).after)


def open_step(turn: Turn, name: str) -> None:
    """Begin a ready step, unless its precondition has to be judged first."""
    plan = turn.state.plan(name)
    if plan.requires is not None and not turn.state.steps[name].permitted:
        return
    if plan.kind == "gate":
        turn.say(e.GateOpened(at=turn.at, step=name, deadline=_after(turn.at, plan.timeouts.schedule_to_close_s)))
    elif plan.kind == "wait":
        _wait(turn, name, plan.body)
    else:
        schedule(turn, name)
        if plan.kind == "map" and isinstance(plan.body["over"], list) and turn.state.steps[name].map is None:
            plan_map(turn, name, items=plan.body["over"], total=len(plan.body["over"]))


def schedule(turn: Turn, name: str, not_before: datetime | None = None) -> None:
    """One attempt more, due at ``not_before`` or now."""
    step = turn.state.steps[name]
    turn.say(
        e.StepScheduled(
            at=turn.at,
            step=name,
            attempt=step.tries.attempt + 1,
            not_before=not_before or turn.at,
            key=idempotency_key(turn.state, name),
        )
    )


def idempotency_key(state: RunState, name: str) -> str:
    """What a step's effects are told apart by: the same in every attempt, another once somebody tried to undo them.

    A sink that has seen a key does nothing more for it: were it the same, effects that were undone would stay away.
    """
    tried = state.steps[name].undo_last
    return f"{state.run_id}/{name}/{tried}" if tried else f"{state.run_id}/{name}"


def plan_map(
    turn: Turn, name: str, *, total: int, items: list[Any] | None = None, items_uri: str | None = None
) -> None:
    """Divide the items into chunks; without any the map is over."""
    plan = turn.state.plan(name)
    size = 1 if plan.starts_children else int(plan.body.get("chunk") or max(1, -(-total // MOST_CHUNKS)))
    turn.say(e.MapPlanned(at=turn.at, step=name, total=total, chunk_size=size, items=items, items_uri=items_uri))


def _wait(turn: Turn, name: str, body: dict[str, Any]) -> None:
    until = _after(turn.at, body.get("for"))
    if body.get("until") is not None:
        until = instant(body["until"])
    deadline = _after(turn.at, body.get("timeout"))
    turn.say(e.WaitStarted(at=turn.at, step=name, until=until, event=body.get("event"), deadline=deadline))


def _after(at: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else at + timedelta(seconds=seconds)


def instant(text: str) -> datetime:
    """An instant in ISO 8601; without an offset it is in UTC. Raises ValueError for anything else."""
    parsed = datetime.fromisoformat(text)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
