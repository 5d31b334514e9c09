"""The steps that a run's length hangs on, one behind the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from lakeray.reports.model import PathStep
from lakeray.runtime.summary import StepSummary


def critical_path(steps: Sequence[StepSummary], began: datetime) -> list[PathStep]:
    """From the first step to the one that ended last, each behind the step that it came after and that ended last.

    Every path through the graph that is shortened elsewhere leaves the run as long as it was (J. Kelley and M. Walker,
    Critical-Path Planning and Scheduling, 1959). ``duration_s`` is from the end of the step before, or from when the
    run ``began``, so that the path adds up to the run. Empty where nothing has ended.
    """
    by_name = {step.name: step for step in steps if step.ended_at is not None}
    path = list(_backwards(by_name))[::-1]
    found, since = [], began
    for step in path:
        assert step.ended_at is not None
        took_s = max(0.0, (step.ended_at - since).total_seconds())
        waits = {name: seconds for name, seconds in step.spent_s.items() if name != "at work"}
        found.append(PathStep(step=step.name, duration_s=took_s, waits_s=waits))
        since = max(since, step.ended_at)
    return found


def _backwards(by_name: Mapping[str, StepSummary]) -> Iterator[StepSummary]:
    step = max(by_name.values(), key=_end, default=None)
    while step is not None:
        yield step
        step = max((by_name[name] for name in step.after if name in by_name), key=_end, default=None)


def _end(step: StepSummary) -> datetime:
    assert step.ended_at is not None
    return step.ended_at
