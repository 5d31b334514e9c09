"""Where the time of each step went, second by second, as its run's events tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeGuard

from lakeray.workflow import events as e

WORK, LINE, RETRY, BREAKER, GATE, WAIT, CHILD = (
    "at work",
    "in line",
    "between attempts",
    "open breaker",
    "gate",
    "wait",
    "child runs",
)
"""What a step can spend its time on. ``in line``: due, but without a slot or a worker."""
Ended = e.StepSucceeded | e.StepFailed | e.StepDeadLettered | e.StepSkipped | e.StepCancelled


def ends_step(event: e.Event) -> TypeGuard[Ended]:
    """Whether the event is the end of its step: a dead letter may be about a chunk, or about a compensation."""
    part = isinstance(event, e.StepDeadLettered) and (event.chunk is not None or event.compensation)
    return isinstance(event, Ended) and not part


@dataclass(eq=False)
class Spent:
    """One step: the ``seconds`` that it spent by what it did then, and what it is ``doing`` ``since`` when."""

    seconds: dict[str, float] = field(default_factory=dict)
    doing: str | None = None
    since: datetime | None = None

    def turn(self, at: datetime, doing: str | None) -> None:
        """From ``at`` on it does something else."""
        if self.doing is not None and self.since is not None:
            past = max(0.0, (at - self.since).total_seconds())
            self.seconds[self.doing] = self.seconds.get(self.doing, 0.0) + past
        self.doing, self.since = doing, at


@dataclass(eq=False)
class Timeline:
    """All steps of a run. Of chunks of a map and of attempts after a retry the whole is told, not each."""

    steps: dict[str, Spent] = field(default_factory=dict)

    def hear(self, event: e.Event) -> None:
        """One event more."""
        if isinstance(event, e.RetryRequested):
            for name in event.steps:
                self.steps.pop(name, None)
        step = getattr(event, "step", None)
        if step is None:
            return
        spent = self.steps.setdefault(step, Spent())
        if isinstance(event, e.StepScheduled):
            self._scheduled(spent, event)
        elif ends_step(event):
            spent.turn(event.at, None)
        elif type(event) in _DOING:
            spent.turn(event.at, _DOING[type(event)])

    def _scheduled(self, spent: Spent, event: e.StepScheduled) -> None:
        """Until it is due it waits for a retry or a breaker, then in line."""
        if event.reason is not None:
            spent.turn(event.at, BREAKER)
        elif spent.doing is None:
            spent.turn(event.at, RETRY)
        spent.turn(max(event.not_before, event.at), LINE)

    def seconds(self, step: str, now: datetime) -> Mapping[str, float]:
        """What the step has spent until ``now``, the longest first; nothing of no length."""
        spent = self.steps.get(step, Spent())
        found = dict(spent.seconds)
        if spent.doing is not None and spent.since is not None and now > spent.since:
            found[spent.doing] = found.get(spent.doing, 0.0) + (now - spent.since).total_seconds()
        return dict(sorted(((name, s) for name, s in found.items() if s > 0), key=lambda each: -each[1]))


_DOING: dict[type[e.Event], str] = {
    e.StepStarted: WORK,
    e.StepReturned: WORK,
    e.MapPlanned: WORK,
    e.AttemptFailed: RETRY,
    e.GateOpened: GATE,
    e.WaitStarted: WAIT,
    e.ChildStarted: CHILD,
}
