"""What the events of a map's chunks and of child runs do to the state of their run."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from lakeray.workflow import events as e
from lakeray.workflow.state import MapState, RunState, StepState, Tries, child_id


def next_try(tries: Tries, attempt: int, not_before: datetime) -> Tries:
    """The tries with an attempt more that is due at ``not_before``, or with the current one put off until then."""
    opened = tries.opened_at if attempt > tries.since else None
    return replace(
        tries,
        attempt=attempt,
        opened_at=opened or not_before,
        due_at=not_before,
        started_at=None,
        beat_at=None,
        worker=None,
    )


def begun(tries: Tries, at: datetime, *, attempt: int, worker: str | None = None) -> Tries:
    """The tries with a worker that has begun."""
    return replace(tries, attempt=attempt, started_at=at, beat_at=None, worker=worker)


def _mapped(state: RunState, name: str) -> tuple[StepState, MapState]:
    step = state.steps[name]
    assert step.map is not None, "events of chunks come after MapPlanned"
    return step, step.map


def map_planned(state: RunState, event: e.MapPlanned) -> RunState:
    """The chunks can be worked on."""
    last = state.steps[event.step].chunk_last
    mapped = MapState(
        first=last + 1,
        last=last,
        total=event.total,
        chunk_size=event.chunk_size,
        items=event.items,
        items_uri=event.items_uri,
        opened_at=event.at,
    )
    return state.with_step(event, event.step, replace(state.steps[event.step], status="mapping", map=mapped))


def chunk_started(state: RunState, event: e.MapChunkStarted) -> RunState:
    """A worker is at the chunk."""
    step, mapped = _mapped(state, event.step)
    tries = begun(mapped.tries_of(event.chunk), event.at, attempt=event.attempt, worker=event.worker)
    mapped = replace(mapped, tries={**mapped.tries, event.chunk: tries})
    return state.with_step(event, event.step, replace(step, map=mapped))


def chunk_heartbeat(state: RunState, event: e.StepHeartbeat, chunk: int) -> RunState:
    """The chunk's worker is alive."""
    step, mapped = _mapped(state, event.step)
    before = mapped.tries_of(chunk)
    details = before.details if event.details is None else event.details
    tries = replace(before, beat_at=event.at, details=details)
    mapped = replace(mapped, tries={**mapped.tries, chunk: tries})
    return state.with_step(event, event.step, replace(step, map=mapped))


def chunk_put_off(state: RunState, event: e.MapChunkPutOff) -> RunState:
    """The chunk's attempt is due later."""
    step, mapped = _mapped(state, event.step)
    tries = next_try(mapped.tries_of(event.chunk), event.attempt, event.not_before)
    mapped = replace(mapped, tries={**mapped.tries, event.chunk: tries})
    return state.with_step(event, event.step, replace(step, map=mapped))


def chunk_done(state: RunState, event: e.MapChunkDone) -> RunState:
    """The chunk is over."""
    step, mapped = _mapped(state, event.step)
    mapped = replace(_without(mapped, event.chunk), outputs={**mapped.outputs, event.chunk: event.output})
    return state.with_step(event, event.step, replace(step, map=mapped))


def chunk_failed(state: RunState, event: e.MapChunkFailed) -> RunState:
    """The chunk is due again, or over when no retry is left; a child that only took too long is a stray."""
    step, mapped = _mapped(state, event.step)
    child = mapped.children.get(event.chunk)
    strays = (*step.strays, child) if child and event.cause == "timeout" else step.strays
    before = mapped.tries_of(event.chunk)
    left = _without(mapped, event.chunk)
    if event.retry_at is None:
        left = replace(left, failed={**mapped.failed, event.chunk: event.error})
    else:
        tries = replace(next_try(before, event.attempt + 1, event.retry_at), deaths=_deaths(before, event.cause))
        left = replace(left, tries={**left.tries, event.chunk: tries})
    return state.with_step(event, event.step, replace(step, map=left, strays=strays))


def _deaths(tries: Tries, cause: e.Cause) -> int:
    return tries.deaths + (cause == "worker_died")


def _without(mapped: MapState, chunk: int) -> MapState:
    """The map when nothing works at the chunk any more."""
    last = max(mapped.last, mapped.tries_of(chunk).attempt)
    tries = {n: each for n, each in mapped.tries.items() if n != chunk}
    children = {n: each for n, each in mapped.children.items() if n != chunk}
    return replace(mapped, tries=tries, children=children, last=last)


def abandoned(state: RunState, name: str) -> tuple[tuple[str, ...], MapState | None]:
    """The child runs that may be at work for a step which ends without them, and its map when nothing works for it.

    A child may run before ChildStarted says so: each that may have been started counts.
    """
    step, plan = state.steps[name], state.plan(name)
    children: tuple[str, ...] = (step.child,) if step.child else ()
    mapped = step.map
    if mapped is None:
        return children, None
    window = mapped.window(plan.concurrency) if step.status == "mapping" else []
    last = max((mapped.last, *(mapped.tries_of(chunk).attempt for chunk in window)))
    if plan.starts_children:
        children += tuple(child_id(state.run_id, name, mapped.tries_of(chunk).attempt, chunk) for chunk in window)
    return children, replace(mapped, tries={}, children={}, last=last)


def child_started(state: RunState, event: e.ChildStarted) -> RunState:
    """The step, or the chunk, waits for the end of a child run."""
    step = state.steps[event.step]
    if event.chunk is None:
        tries = begun(step.tries, event.at, attempt=event.attempt)
        return state.with_step(event, event.step, replace(step, status="running", child=event.child, tries=tries))
    step, mapped = _mapped(state, event.step)
    tries = begun(mapped.tries_of(event.chunk), event.at, attempt=event.attempt)
    mapped = replace(
        mapped,
        children={**mapped.children, event.chunk: event.child},
        tries={**mapped.tries, event.chunk: tries},
    )
    return state.with_step(event, event.step, replace(step, map=mapped))


def child_ended(state: RunState, event: e.ChildEnded) -> RunState:
    """A child run that nobody waits for any more is over."""
    step = state.steps[event.step]
    strays = tuple(child for child in step.strays if child != event.child)
    child = None if step.child == event.child else step.child
    mapped = step.map
    if mapped is not None and event.child in mapped.children.values():
        gone = next(chunk for chunk, name in mapped.children.items() if name == event.child)
        mapped = _without(mapped, gone)
    return state.with_step(event, event.step, replace(step, strays=strays, child=child, map=mapped))
