"""Where a step's time went is what its events say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lakeray.runtime.durable.timeline import Timeline
from lakeray.workflow import events as e

START = datetime(2026, 11, 25, 12, tzinfo=UTC)
ERROR = e.Failure(code="x", message="x")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def told(*events: e.Event) -> Timeline:
    timeline = Timeline()
    for event in events:
        timeline.hear(event)
    return timeline


def scheduled(attempt: int, seconds: float, until: float, reason: str | None = None) -> e.StepScheduled:
    return e.StepScheduled(at=at(seconds), step="s", attempt=attempt, not_before=at(until), key="k", reason=reason)


def test_every_second_is_told_once():
    events = (
        scheduled(1, 0, 0),
        e.StepStarted(at=at(5), step="s", attempt=1),
        e.AttemptFailed(at=at(15), step="s", attempt=1, error=ERROR),
        scheduled(2, 15, 35),
        scheduled(2, 36, 66, "open"),
        e.StepStarted(at=at(70), step="s", attempt=2),
        e.StepSucceeded(at=at(100), step="s", attempt=2),
    )
    seconds = told(*events).seconds("s", at(500))
    assert seconds == {"at work": 40.0, "open breaker": 30.0, "between attempts": 20.0, "in line": 10.0}
    assert sum(seconds.values()) == 100.0
    assert list(seconds) == ["at work", "open breaker", "between attempts", "in line"]


def test_what_goes_on_counts_until_now():
    timeline = told(e.GateOpened(at=at(0), step="s"))
    assert timeline.seconds("s", at(90)) == {"gate": 90.0}
    assert timeline.seconds("other", at(90)) == {}


def test_a_step_that_is_done_again_begins_anew():
    timeline = told(
        scheduled(1, 0, 0),
        e.StepStarted(at=at(0), step="s", attempt=1),
        e.StepFailed(at=at(10), step="s", error=ERROR),
        e.RetryRequested(at=at(20), steps=("s",)),
        scheduled(2, 20, 20),
        e.StepStarted(at=at(21), step="s", attempt=2),
        e.StepSucceeded(at=at(23), step="s", attempt=2),
    )
    assert timeline.seconds("s", at(99)) == {"at work": 2.0, "in line": 1.0}
