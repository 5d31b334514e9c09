"""What must be true of any history of a run, told from its events and its definition without the engine's state."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from lakeray.workflow import events as e

ENDS = (e.StepSucceeded, e.StepFailed, e.StepSkipped, e.StepCancelled)


def outcome(event: Any) -> str | None:
    """The end of a step that the event tells, if it does."""
    if isinstance(event, e.StepDeadLettered):
        return None if event.compensation or event.chunk is not None else "dead_lettered"
    if isinstance(event, ENDS):
        return type(event).__name__.removeprefix("Step").lower()
    return None


class Book:
    """One run's history read from the front, with what the definition says about each event."""

    def __init__(self, history: list[e.Event]) -> None:
        first = history[0]
        assert isinstance(first, e.RunAccepted)
        self.plans = first.definition.steps
        self.ends: dict[str, tuple[int, str]] = {}
        if first.forked_from:
            self.ends = dict.fromkeys(first.forked_from.kept, (0, "succeeded"))
        self.attempts: Counter[str] = Counter()
        self.highest: Counter[str] = Counter()
        self.due: dict[str, Any] = {}
        self.undone: list[str] = []
        self.undo_open: str | None = None
        self.failing = self.cancelled = False
        self.ended: e.RunEnded | e.RunTerminated | None = None
        self.left_undone: list[str] = []
        self.deaths: Counter[str] = Counter()
        self.facts: Counter[str] = Counter()
        self.returned: set[tuple[str, int]] = set()
        self.chunks: set[tuple[str, int, int]] = set()
        self.last_failure: dict[str, e.AttemptFailed] = {}

    def read(self, number: int, event: e.Event) -> None:
        """Check one event against all before it."""
        if isinstance(event, e.RetryRequested):
            self._again(event)
            return
        assert self.ended is None, f"{event} after the end"
        if isinstance(event, e.RunEnded | e.RunTerminated):
            self.ended = event
            self._whole(event)
            return
        if isinstance(event, e.CancelRequested):
            self.cancelled = True
        if isinstance(event, e.StepFailed):
            self._final(event)
        end = outcome(event)
        if end is not None:
            self._step_over(number, event.step, end)  # type: ignore[attr-defined]
        elif isinstance(event, e.StepScheduled):
            self._scheduled(event)
        elif isinstance(event, e.AttemptFailed):
            self._attempt_failed(event)
        elif isinstance(event, e.StepStarted):
            assert event.at >= self.due[event.step], "begun before it was due"
        else:
            self._fact(event)
            self._undo(event)

    def _fact(self, event: e.Event) -> None:
        if isinstance(event, e.StepReturned):
            assert (event.step, event.attempt) not in self.returned, "one attempt returned twice"
            self.returned.add((event.step, event.attempt))
        elif isinstance(event, e.GateOpened | e.WaitStarted):
            self._may_begin(event.step)
            self.facts[event.step] = 1
        elif isinstance(event, e.ApprovalGiven | e.GateDue):
            self.facts[event.step] += 1
        elif isinstance(event, e.GateJudged):
            assert event.looks == self.facts[event.step], "judged over other facts than there are"
        elif isinstance(event, e.MapChunkDone | e.MapChunkFailed):
            about = (event.step, event.chunk, event.attempt)
            assert about not in self.chunks, "one attempt at a chunk ended twice"
            self.chunks.add(about)

    def _again(self, event: e.RetryRequested) -> None:
        assert self.ended is not None
        self.ended = None
        self.failing = self.cancelled = False
        for name in event.steps:
            self.ends.pop(name, None)
            self.attempts[name] = self.deaths[name] = 0
        for name in self.plans:
            if name not in event.steps:
                assert self.ends[name][1] == "succeeded"
                assert name not in (*self.undone, *self.left_undone)
        self.undone, self.left_undone, self.undo_open = [], [], None

    def _may_begin(self, name: str) -> None:
        plan = self.plans[name]
        assert not self.failing
        assert not self.cancelled
        for before in plan.after:
            end = self.ends[before][1]
            tolerated = end in ("failed", "dead_lettered") and self.plans[before].on_failure == "continue"
            assert end == "succeeded" or tolerated, f"{name} began behind {before}, which is {end}"

    def _scheduled(self, event: e.StepScheduled) -> None:
        name = event.step
        assert name not in self.ends
        if event.attempt > self.highest[name]:
            self._may_begin(name)
            assert event.attempt == self.highest[name] + 1
            self.highest[name] = event.attempt
            self.attempts[name] += 1
        assert self.attempts[name] <= self.plans[name].retry.maximum_attempts
        self.due[name] = event.not_before

    def _attempt_failed(self, event: e.AttemptFailed) -> None:
        assert event.attempt == self.highest[event.step]
        self.last_failure[event.step] = event
        self.deaths[event.step] += event.cause == "worker_died"
        assert self.deaths[event.step] <= self.plans[event.step].retry.maximum_worker_deaths

    def _final(self, failed: e.StepFailed) -> None:
        """A step fails for good only where its plan leaves no other attempt."""
        name, plan, error = failed.step, self.plans[failed.step], failed.error
        last = self.last_failure.get(name)
        if plan.kind in ("gate", "wait") or error.code in ("precondition_failed", "map_failed"):
            return
        if error.code in ("timeout_schedule_to_start", "timeout_schedule_to_close"):
            return
        if plan.kind == "map" and error.code == "postcondition_failed":
            return
        assert last is not None
        hopeless = last.cause == "error" and not last.error.retryable
        used = self.attempts[name] == plan.retry.maximum_attempts
        listed = error.code in plan.retry.non_retryable_error_types
        limit_s = plan.timeouts.schedule_to_close_s
        assert hopeless or used or listed or limit_s is not None, f"{name} had attempts left"

    def _step_over(self, number: int, name: str, end: str) -> None:
        assert name not in self.ends, f"{name} ended twice"
        self.ends[name] = number, end
        if end in ("failed", "dead_lettered") and self.plans[name].on_failure == "fail":
            self.failing = True
        if end == "skipped" and not self.failing:
            barred = [
                before
                for before in self.plans[name].after
                if before in self.ends
                and self.ends[before][1] != "succeeded"
                and not (
                    self.ends[before][1] in ("failed", "dead_lettered") and self.plans[before].on_failure == "continue"
                )
            ]
            assert barred, f"{name} was skipped for nothing"
        if end == "cancelled":
            assert self.failing or self.cancelled
        if end == "dead_lettered":
            assert self.deaths[name] >= self.plans[name].retry.maximum_worker_deaths

    def _undo(self, event: e.Event) -> None:
        if isinstance(event, e.CompensationScheduled) and event.step != self.undo_open:
            assert self.failing or self.cancelled, "undone though the run goes on"
            assert set(self.ends) == set(self.plans), "undone while something is at work"
            assert self.undo_open is None, "two at once"
            self.undo_open = event.step
            later = [self.ends[name][0] for name in (*self.undone, *self.left_undone)]
            assert all(self.ends[event.step][0] < other for other in later), "not the last first"
        elif isinstance(event, e.CompensationSucceeded):
            assert self.undo_open == event.step
            assert event.step not in self.undone
            self.undone.append(event.step)
            self.undo_open = None
        elif isinstance(event, e.StepDeadLettered) and event.compensation:
            assert self.undo_open == event.step
            self.left_undone.append(event.step)
            self.undo_open = None

    def _whole(self, event: e.RunEnded | e.RunTerminated) -> None:
        if isinstance(event, e.RunTerminated):
            self.left_undone += [self.undo_open] if self.undo_open else []
            for name in self.plans:
                self.ends.setdefault(name, (10**9, "cancelled"))
            return
        assert set(self.ends) == set(self.plans)
        assert event.state == ("failed" if self.failing else "cancelled" if self.cancelled else "succeeded")
        bad = {name for name, (_, end) in self.ends.items() if end in ("failed", "dead_lettered")}
        assert set(event.tolerated) == {name for name in bad if self.plans[name].on_failure != "fail"}
        assert set(event.uncompensated) == set(self.left_undone)
        owed = {
            name for name, (at, end) in self.ends.items() if end == "succeeded" and at and self.plans[name].compensate
        }
        done = {*self.undone, *self.left_undone}
        if event.state == "succeeded":
            assert not done
        else:
            interrupted = {name for name, (_, end) in self.ends.items() if end == "cancelled"}
            assert owed <= done <= owed | interrupted, "what was done is undone"


def check_history(history: list[e.Event]) -> Book:
    """Read the whole history; AssertionError names what is wrong with it."""
    book = Book(history)
    for before, after in pairwise(history):
        assert before.at <= after.at
    for number, event in enumerate(history[1:], start=2):
        book.read(number, event)
    return book
