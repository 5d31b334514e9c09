"""One turn of a run: everything that was asked and reported, and what is begun, stopped or refused by it.

Pure but for what it asks its workers. Work is begun in the very append that makes it due: an event says that a worker
has it, so that a death is known for one, and a short step costs one append.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lakeray.errors import LakerayError
from lakeray.runtime.durable.port import Workers
from lakeray.state import Command as Sent
from lakeray.workflow import commands as c
from lakeray.workflow import todo as t
from lakeray.workflow.decide import decided
from lakeray.workflow.events import Event, Failure
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState

CLAIMED = (t.RunAttempt, t.RunChunk, t.Compensate)
"""Work of which the history says that it was begun."""
_TAKEN_UP_AGAIN = ("import", "maintain")
"""Kinds of steps whose attempt goes on where a process died: what makes their effects happen once is in the lake."""


@dataclass(eq=False)
class Asked:
    """A command with those who wait for what becomes of it: a caller in this process, a sender through the inbox."""

    command: c.Command
    reply: Future[RunState] | None = None
    sent: Sent | None = None


def refuse(asked: Iterable[Asked], error: LakerayError) -> None:
    """Tell callers in this process why nothing becomes of what they asked."""
    for each in asked:
        if each.reply is not None and not each.reply.done():
            each.reply.set_exception(error)


@dataclass
class Taken:
    """What a turn came to ``at`` an instant: events to append, the state behind them, what to begin, what to stop."""

    state: RunState | None
    at: datetime
    events: list[Event] = field(default_factory=list)
    begin: list[t.Work] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    told: list[tuple[Asked, LakerayError | None]] = field(default_factory=list)

    def decide(self, command: c.Command) -> bool:
        """Whether the command changed anything."""
        done = decided(self.state, command)
        self.state = done.state
        self.events.extend(done.events)
        return bool(done.events)


def take_turn(
    state: RunState | None,
    asked: Sequence[Asked],
    *,
    now: datetime,
    at_work: Collection[str],
    workers: Workers | None,
    owner: str,
) -> Taken:
    """Decide on all that was asked, then on what ought to go on. Without ``workers`` nothing new begins."""
    taken = Taken(state, now)
    for each in asked:
        try:
            taken.decide(each.command)
        except Refused as refused:
            taken.told.append((each, refused))
        else:
            taken.told.append((each, None))
    if taken.state is None:
        return taken
    while _look(taken, now, at_work, workers, owner):
        pass
    if at_work:
        named = {work.key for work in t.todo(taken.state, now)}
        taken.stop.extend(key for key in at_work if key not in named and key not in taken.stop)
    return taken


def _look(taken: Taken, now: datetime, at_work: Collection[str], workers: Workers | None, owner: str) -> bool:
    """Look at all there is to do once; whether something was decided by it, so that there may be more."""
    assert taken.state is not None
    for work in t.todo(taken.state, now):
        if work.key in at_work or work in taken.begin:
            continue
        if isinstance(work, t.StopAttempt):
            if _stopped(taken, work, now, at_work):
                return True
        elif isinstance(work, CLAIMED):
            if _claimed(taken, work, now, workers, owner):
                return True
        elif workers is not None and workers.room(work, taken.begin):
            taken.begin.append(work)
    return False


def _stopped(taken: Taken, work: t.StopAttempt, now: datetime, at_work: Collection[str]) -> bool:
    """Have the work of a step end, or say that there is none."""
    assert taken.state is not None
    of_step = f"{work.run_id}/{work.step}/"
    going_on = [key for key in at_work if key.startswith(of_step)]
    if going_on:
        taken.stop.extend(key for key in going_on if key not in taken.stop)
        return False
    step = taken.state.steps[work.step]
    begun = step.tries.started_at is not None or step.map is not None
    return taken.decide(c.ReportStopped(at=now, step=work.step, attempt=work.attempt, begun=begun))


def _claimed(
    taken: Taken, work: t.RunAttempt | t.RunChunk | t.Compensate, now: datetime, workers: Workers | None, owner: str
) -> bool:
    """Have the history say that a worker of this owner has the work; what nobody knows of any more has died."""
    if any(begun.key == work.key for begun in taken.begin):
        return False
    about: dict[str, Any] = {
        "at": now,
        "step": work.step,
        "attempt": work.attempt,
        "chunk": work.chunk if isinstance(work, t.RunChunk) else None,
        "compensation": isinstance(work, t.Compensate),
    }
    if work.begun and not _goes_on(work):
        if workers is None:
            return False
        error = Failure(
            code="worker_died",
            message=f"the process that did attempt {work.attempt} of step {work.step} died",
            hint="nobody knows how far it came: it is tried again with the same idempotency key",
        )
        return taken.decide(c.ReportFailure(**about, error=error, cause="worker_died"))
    if workers is None or not workers.room(work, taken.begin):
        return False
    decides = not work.begun
    if decides and not taken.decide(c.ReportStarted(**about, worker=owner)):
        return False
    taken.begin.append(work)
    return decides


def _goes_on(work: t.RunAttempt | t.RunChunk | t.Compensate) -> bool:
    if isinstance(work, t.Compensate):
        return work.plan.compensate == "withdraw"
    return isinstance(work, t.RunAttempt) and work.plan.kind in _TAKEN_UP_AGAIN
