"""Events of runs as log records: which workflow, run, step and attempt, how far the run is, which trace.

A record is the event's name in words, `step succeeded`, say, with what it says beside large values. Its level is error
where a step is lost, warning where an attempt is, debug where a person would only be bored.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from lakeray.observability import runs
from lakeray.runtime.durable.port import Job
from lakeray.workflow import events as e
from lakeray.workflow.state import RunState

_ERRORS = (e.StepFailed, e.StepDeadLettered)
_WARNINGS = (e.AttemptFailed, e.MapChunkFailed, e.CompensationFailed, e.GateEscalated, e.RunTerminated)
_DEBUG = (e.StepHeartbeat, e.GateDue, e.MapChunkStarted, e.MapChunkDone, e.ConditionJudged, e.CompensationScheduled)
_SAID = (
    *(
        "worker",
        "chunk",
        "reason",
        "verdict",
        "outcome",
        "because",
        "child",
        "total",
        "principal",
        "approve",
        "comment",
    ),
    *("state", "deaths", "compensation", "trigger", "name", "until", "deadline", "not_before", "retry_at"),
)
"""Fields of events that are small and hold no data."""
_RENAMED = {"name": "event_name", "compensation": "undoing"}
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def heard(state: RunState, events: Sequence[e.Event]) -> None:
    """Write what happened to a run; ``state`` is the one behind all of it."""
    for event in events:
        level = _level(event)
        if runs.wanted(level):
            runs.record(level, _WORDS.sub(" ", type(event).__name__).lower(), **_fields(state, event))


def about_job(job: Job) -> AbstractContextManager[None]:
    """What this thread logs meanwhile is about the attempt."""
    return runs.about_run(
        job.state.run_id,
        workflow=job.state.definition.workflow,
        tenant=job.state.definition.tenant,
        step=job.work.step,
        attempt=getattr(job.work, "attempt", None),
    )


def about_run(state: RunState) -> AbstractContextManager[None]:
    """What this thread logs meanwhile is about the run."""
    return runs.about_run(state.run_id, workflow=state.definition.workflow, tenant=state.definition.tenant)


def _level(event: e.Event) -> int:
    if isinstance(event, _ERRORS) or (isinstance(event, e.RunEnded) and event.state == "failed"):
        return logging.ERROR
    if isinstance(event, _WARNINGS) or (isinstance(event, e.StepScheduled) and event.reason is not None):
        return logging.WARNING
    scheduled = isinstance(event, e.StepScheduled) and event.attempt == 1
    return logging.DEBUG if scheduled or isinstance(event, _DEBUG) else logging.INFO


def _fields(state: RunState, event: e.Event) -> dict[str, Any]:
    error = getattr(event, "error", None)
    over = sum(step.over for step in state.steps.values())
    step = getattr(event, "step", None)
    return {
        "run": state.run_id,
        "workflow": state.definition.workflow,
        "tenant": state.definition.tenant,
        "parent": state.parent.run_id if state.parent is not None else None,
        "step": step,
        "attempt": getattr(event, "attempt", None),
        "progress": round(over / len(state.steps), 3),
        "steps_over": over,
        "steps_total": len(state.steps),
        **_said(event),
        **({"code": error.code, "error": error.message, "what_to_do": error.hint} if error is not None else {}),
        "at": event.at.isoformat(),
    }


def _said(event: e.Event) -> dict[str, Any]:
    found = {name: getattr(event, name, None) for name in _SAID}
    return {
        _RENAMED.get(name, name): value.isoformat() if isinstance(value, datetime) else value
        for name, value in found.items()
        if value not in (None, "", False) or name == "approve"
    }
