"""What ought to be going on outside for a run: the one answer that recovery, reconciliation and dispatch ask for.

Do what ``todo`` names and is not under way; stop what is under way and no longer named. Each piece of work has a key
that stays the same until it was reported, so that doing it twice is noticed and telling it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from lakeray.workflow.definition import Definition, StepPlan
from lakeray.workflow.events import ApprovalGiven, Side
from lakeray.workflow.opening import ready
from lakeray.workflow.state import OVER, RunState, StepState, Tries, child_id, output_of
from lakeray.workflow.timeouts import wake_at

__all__ = [
    "Compensate",
    "JudgeCondition",
    "JudgeGate",
    "PlanMap",
    "RunAttempt",
    "RunChunk",
    "StartChild",
    "StopAttempt",
    "StopChild",
    "Work",
    "attempt_key",
    "todo",
    "wake_at",
]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do. ``key`` tells it from all other work of all runs."""

    key: str
    run_id: str
    step: str


def attempt_key(run_id: str, step: str, attempt: int, chunk: int | None = None) -> str:
    """The key of an attempt at a step, or at a chunk of its map."""
    return f"{run_id}/{step}/{attempt}" if chunk is None else f"{run_id}/{step}/{attempt}/chunk-{chunk}"


class RunAttempt(Work, frozen=True, kw_only=True):
    """Do a step's work: answer with reports about (step, attempt).

    ``idempotency_key`` is the same in every attempt. ``details`` are those of the last heartbeat of earlier attempts.
    ``begun``: a worker has reported that it is at it; if none is known, report its death. That counts against the work,
    as nobody can tell work that kills its worker and the orchestrator beside it from a machine that failed.
    """

    attempt: int
    plan: StepPlan
    idempotency_key: str
    details: Any = None
    begun: bool = False


class RunChunk(Work, frozen=True, kw_only=True):
    """Do a map's work over ``items``, or ``count`` items from ``first`` on at ``items_uri``: reports name the chunk.

    Each item's idempotency key is ``idempotency_key`` + "/" + its number, which counts from ``first``.
    """

    chunk: int
    attempt: int
    plan: StepPlan
    idempotency_key: str
    first: int
    count: int
    items: list[Any] | None = None
    items_uri: str | None = None
    details: Any = None
    begun: bool = False


class StartChild(Work, frozen=True, kw_only=True):
    """Accept the run ``child`` unless it exists, then ReportChildStarted; when it ends, ReportChildEnded.

    ``definition`` is None when it has to be read from the step's file. ``item`` is a map's, ``chunk`` its number.
    """

    child: str
    attempt: int
    plan: StepPlan
    definition: Definition | None = None
    chunk: int | None = None
    item: Any = None


class PlanMap(Work, frozen=True, kw_only=True):
    """Find a map's items by its expression: ReportItems, or ReportFailure of the attempt."""

    attempt: int
    plan: StepPlan


class JudgeGate(Work, frozen=True, kw_only=True):
    """Judge a gate's condition over all facts: ReportVerdict with ``looks``. ``evidence`` is that of the last look."""

    looks: int
    plan: StepPlan
    opened_at: datetime
    deadline: datetime | None = None
    evidence: Any = None
    approvals: tuple[ApprovalGiven, ...] = ()


class JudgeCondition(Work, frozen=True, kw_only=True):
    """Judge a precondition, or a postcondition over the attempt's ``output``: ReportCondition."""

    side: Side
    attempt: int
    plan: StepPlan
    output: Any = None


class Compensate(Work, frozen=True, kw_only=True):
    """Undo a step: reports about (step, attempt, compensation=True).

    ``output`` is the step's; None when it was interrupted, so that nobody knows how far it came.
    """

    attempt: int
    plan: StepPlan
    idempotency_key: str
    output: Any = None
    begun: bool = False


class StopAttempt(Work, frozen=True, kw_only=True):
    """Have a step's work stop, all chunks of a map too: ReportStopped, or whatever report it ends with.

    What is not under way was never begun: report that.
    """

    attempt: int


class StopChild(Work, frozen=True, kw_only=True):
    """Cancel a child run; ReportChildEnded when it is over or never was."""

    child: str


def todo(state: RunState, now: datetime) -> list[Work]:
    """All work that is due at ``now``, in the order of the steps. Empty when the run is over, paused or waits.

    ``wake_at`` says when there will be more though nothing happens.
    """
    if state.ended is not None:
        return []
    found: list[Work] = []
    for name, step in state.steps.items():
        unasked = step.status == "pending" and state.definition.steps[name].requires is None
        if (step.status not in OVER and not unasked) or step.strays or step.undo is not None:
            found.extend(_of_step(state, name, step, now))
    return found


def _of_step(state: RunState, name: str, step: StepState, now: datetime) -> Iterator[Work]:
    for child in step.strays:
        yield StopChild(key=f"{child}/stop", run_id=state.run_id, step=name, child=child)
    if step.undo is not None:
        yield from _undo(state, name, step, step.undo, now)
    elif step.status == "pending":
        yield from _precondition(state, name)
    elif step.status == "verifying":
        yield _judge(state, name, "ensures", step)
    elif state.stopping and step.status in ("scheduled", "running", "mapping"):
        key = f"{state.run_id}/{name}/{step.tries.attempt}/stop"
        yield StopAttempt(key=key, run_id=state.run_id, step=name, attempt=step.tries.attempt)
    elif step.status in ("scheduled", "running"):
        yield from _attempt(state, name, step, now)
    elif step.status == "mapping":
        yield from _chunks(state, name, step, now)
    elif step.status == "waiting" and step.gate is not None and state.paused_at is None:
        yield from _gate(state, name, step)


def _held(state: RunState, tries: Tries, now: datetime) -> bool:
    """Whether an attempt that no worker is known to have begun has to wait."""
    return tries.started_at is None and (state.paused_at is not None or tries.due_at is None or tries.due_at > now)


def _attempt(state: RunState, name: str, step: StepState, now: datetime) -> Iterator[Work]:
    tries, plan = step.tries, state.plan(name)
    if _held(state, tries, now) or (step.child is not None and tries.started_at is not None):
        return
    key = attempt_key(state.run_id, name, tries.attempt)
    if step.child is not None:
        yield StartChild(
            key=key,
            run_id=state.run_id,
            step=name,
            child=step.child,
            attempt=tries.attempt,
            plan=plan,
            definition=plan.child,
        )
    elif plan.kind == "map":
        yield PlanMap(key=key, run_id=state.run_id, step=name, attempt=tries.attempt, plan=plan)
    else:
        yield RunAttempt(
            key=key,
            run_id=state.run_id,
            step=name,
            attempt=tries.attempt,
            plan=plan,
            idempotency_key=step.key,
            details=tries.details,
            begun=tries.started_at is not None,
        )


def _chunks(state: RunState, name: str, step: StepState, now: datetime) -> Iterator[Work]:
    mapped, plan = step.map, state.plan(name)
    assert mapped is not None
    for chunk in mapped.window(plan.concurrency):
        tries = mapped.tries_of(chunk)
        if _held(state, tries, now) or chunk in mapped.children:
            continue
        key = attempt_key(state.run_id, name, tries.attempt, chunk)
        items = mapped.chunk_items(chunk)
        if plan.starts_children:
            yield StartChild(
                key=key,
                run_id=state.run_id,
                step=name,
                child=child_id(state.run_id, name, tries.attempt, chunk),
                attempt=tries.attempt,
                plan=plan,
                definition=plan.child,
                chunk=chunk,
                item=items[0] if items else None,
            )
            continue
        first = chunk * mapped.chunk_size
        yield RunChunk(
            key=key,
            run_id=state.run_id,
            step=name,
            chunk=chunk,
            attempt=tries.attempt,
            plan=plan,
            idempotency_key=step.key,
            first=first,
            count=min(mapped.chunk_size, mapped.total - first),
            items=items,
            items_uri=mapped.items_uri,
            details=tries.details,
            begun=tries.started_at is not None,
        )


def _gate(state: RunState, name: str, step: StepState) -> Iterator[Work]:
    gate = step.gate
    if gate is not None and gate.judged < gate.looks:
        yield JudgeGate(
            key=f"{state.run_id}/{name}/{gate.opened_at.timestamp()}/gate-{gate.looks}",
            run_id=state.run_id,
            step=name,
            looks=gate.looks,
            plan=state.plan(name),
            opened_at=gate.opened_at,
            deadline=gate.deadline,
            evidence=gate.evidence,
            approvals=gate.approvals,
        )


def _precondition(state: RunState, name: str) -> Iterator[Work]:
    step, plan = state.steps[name], state.plan(name)
    held = state.stopping or state.paused_at is not None or step.permitted
    if plan.requires is not None and not held and ready(state, name):
        yield _judge(state, name, "requires", step)


def _judge(state: RunState, name: str, side: Side, step: StepState) -> JudgeCondition:
    return JudgeCondition(
        key=f"{state.run_id}/{name}/{step.tries.attempt}/{side}",
        run_id=state.run_id,
        step=name,
        side=side,
        attempt=step.tries.attempt,
        plan=state.plan(name),
        output=output_of(step),
    )


def _undo(state: RunState, name: str, step: StepState, undo: Tries, now: datetime) -> Iterator[Work]:
    if not _held(state, undo, now):
        yield Compensate(
            key=f"{state.run_id}/{name}/undo-{undo.attempt}",
            run_id=state.run_id,
            step=name,
            attempt=undo.attempt,
            plan=state.plan(name),
            idempotency_key=f"{step.key}/undo",
            output=step.output if step.status == "succeeded" else None,
            begun=undo.started_at is not None,
        )
