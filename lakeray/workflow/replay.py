"""Whether today's code would have written a history as it was written: what a change of the engine did to old runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.decide import decided
from lakeray.workflow.evolve import evolve, fold
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState


@dataclass(frozen=True, kw_only=True)
class Difference:
    """At ``sequence`` the history says ``written``; today ``decide`` says ``today`` (either is None beyond an end)."""

    sequence: int
    written: e.Event | None
    today: e.Event | None


def replay_check(history: Sequence[e.Event]) -> list[Difference]:
    """What today's code decides otherwise than the history has it, in its order; empty when nothing.

    No command is kept, so each is told from the event that it began with. Behind a difference the check goes on with
    the next instant of the history. Raises ValueError for a history that does not begin with RunAccepted.
    """
    found: list[Difference] = []
    state: RunState | None = None
    place = 0
    while place < len(history):
        size, difference = _batch(state, history, place)
        if difference is not None:
            found.append(difference)
        state = fold(history[place : place + size], state)
        place += size
    return found


def _batch(state: RunState | None, history: Sequence[e.Event], place: int) -> tuple[int, Difference | None]:
    """How many events from ``place`` on one command made, and where today differs."""
    best: list[e.Event] = []
    agreed = -1
    for command in _candidates(state, history[place]):
        try:
            today = decided(state, command).events
        except Refused:
            today = []
        same = _same(today, history[place:])
        if today and same == len(today):
            return same, None
        if same > agreed:
            best, agreed = today, same
    at = place + max(agreed, 0)
    size = next((n for n, event in enumerate(history[place:]) if event.at != history[place].at), len(history) - place)
    difference = Difference(
        sequence=at + 1,
        written=history[at] if at < len(history) else None,
        today=best[agreed] if 0 <= agreed < len(best) else None,
    )
    return max(size, agreed, 1), difference


def _same(today: Sequence[e.Event], written: Sequence[e.Event]) -> int:
    count = 0
    for mine, other in zip(today, written, strict=False):
        if mine != other:
            break
        count += 1
    return count


def _candidates(state: RunState | None, event: e.Event) -> Iterator[c.Command]:
    """The commands that may have begun with the event, the likeliest first."""
    if state is None:
        evolve(None, event)
    told = _TOLD.get(type(event))
    if told is not None:
        yield from told(state, event)
    yield c.TimePassed(at=event.at)


def _success(state: Any, event: Any) -> Iterator[c.Command]:
    step = state.steps[event.step]
    if step.child is not None:
        yield c.ReportChildEnded(at=event.at, step=event.step, child=step.child, state="succeeded", output=event.output)
    yield c.ReportSuccess(at=event.at, step=event.step, attempt=event.attempt, output=event.output)


def _retry(_: Any, event: Any) -> Iterator[c.Command]:
    yield c.RetryRun(at=event.at, principal=event.principal)
    for step in event.steps:
        yield c.RetryRun(at=event.at, principal=event.principal, from_step=step)


def _as(
    command: type[c.Command], *names: str, compensation: bool = False, until: str | None = None
) -> Callable[[Any, Any], Iterator[c.Command]]:
    """The command with these fields of the event; ``until`` names the one that stands for the field of that name."""

    def told(_: Any, event: Any) -> Iterator[c.Command]:
        values = {name: getattr(event, name) for name in names}
        if until is not None:
            values["until"] = getattr(event, until)
        if compensation:
            values["compensation"] = True
        yield command(at=event.at, **values)

    return told


def _stopped(state: Any, event: Any) -> Iterator[c.Command]:
    attempt = state.steps[event.step].tries.attempt
    yield c.ReportStopped(at=event.at, step=event.step, attempt=attempt, begun=event.attempt > 0)


def _cancel(_: Any, event: Any) -> Iterator[c.Command]:
    grace_s = (event.deadline - event.at).total_seconds()
    yield c.CancelRun(at=event.at, principal=event.principal, reason=event.reason, grace_s=grace_s)


def _judged(state: Any, event: Any) -> Iterator[c.Command]:
    attempt = state.steps[event.step].tries.attempt
    yield c.ReportCondition(
        at=event.at,
        step=event.step,
        side=event.side,
        attempt=attempt,
        verdict=event.verdict,
        evidence=event.evidence,
    )


def _planned(_: Any, event: Any) -> Iterator[c.Command]:
    yield c.ReportItems(at=event.at, step=event.step, items=event.items, items_uri=event.items_uri, total=event.total)


def _child_over(_: Any, event: Any) -> Iterator[c.Command]:
    yield c.ReportChildEnded(at=event.at, step=event.step, child=event.child, state="cancelled")


_TRY = ("step", "attempt")
_CHUNK = ("step", "chunk", "attempt")
_WHY = ("principal", "reason")
_TOLD: dict[type[e.Event], Callable[[Any, Any], Iterator[c.Command]]] = {
    e.RunAccepted: _as(
        c.AcceptRun,
        *("run_id", "definition", "principal", "trigger", "parent", "labels", "arguments", "seed", "forked_from"),
    ),
    e.StepScheduled: _as(c.DeferAttempt, *_TRY, "reason", until="not_before"),
    e.StepStarted: _as(c.ReportStarted, *_TRY, "worker"),
    e.StepHeartbeat: _as(c.ReportHeartbeat, *_TRY, "details", "chunk"),
    e.ConditionJudged: _judged,
    e.StepReturned: _success,
    e.StepSucceeded: _success,
    e.AttemptFailed: _as(c.ReportFailure, *_TRY, "error", "cause"),
    e.StepCancelled: _stopped,
    e.GateJudged: _as(
        c.ReportVerdict, "step", "looks", "verdict", "outcome", "reason", "evidence", "waits_for", "look_again_at"
    ),
    e.ApprovalGiven: _as(c.GiveApproval, "step", "principal", "roles", "approve", "comment", "condition"),
    e.EventReceived: _as(c.SendEvent, "name", "data", "principal"),
    e.ChildStarted: _as(c.ReportChildStarted, *_CHUNK, "child"),
    e.ChildEnded: _child_over,
    e.MapPlanned: _planned,
    e.MapChunkStarted: _as(c.ReportStarted, *_CHUNK, "worker"),
    e.MapChunkPutOff: _as(c.DeferAttempt, *_CHUNK, "reason", until="not_before"),
    e.MapChunkDone: _as(c.ReportSuccess, *_CHUNK, "output"),
    e.MapChunkFailed: _as(c.ReportFailure, *_CHUNK, "error", "cause"),
    e.RunPaused: _as(c.PauseRun, *_WHY),
    e.RunResumed: _as(c.ResumeRun, "principal"),
    e.CancelRequested: _cancel,
    e.RunTerminated: _as(c.TerminateRun, *_WHY),
    e.RetryRequested: _retry,
    e.CompensationScheduled: _as(c.DeferAttempt, *_TRY, until="not_before", compensation=True),
    e.CompensationStarted: _as(c.ReportStarted, *_TRY, "worker", compensation=True),
    e.CompensationSucceeded: _as(c.ReportSuccess, *_TRY, "output", compensation=True),
    e.CompensationFailed: _as(c.ReportFailure, *_TRY, "error", "cause", compensation=True),
}
