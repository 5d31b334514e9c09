"""A run's events as a report tells them: when each step began and ended, and what else a person should know."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from lakeray.runtime.durable.timeline import Timeline, ends_step
from lakeray.workflow import events as e

_BEGIN = (e.StepStarted, e.GateOpened, e.WaitStarted, e.ChildStarted, e.MapPlanned)
_PUT_OFF = "put off until"


@dataclass
class Chronicle:
    """``notes`` are sentences by step ("" for the whole run), ``undone`` what a compensation came to; ``began`` and
    ``ended`` instants by step, of its last time.
    """

    began: dict[str, datetime] = field(default_factory=dict)
    ended: dict[str, datetime] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    timeline: Timeline = field(default_factory=Timeline)
    undone: dict[str, str] = field(default_factory=dict)
    _failed: e.AttemptFailed | None = None

    def hear(self, event: e.Event) -> str | None:
        """One event more; the note about it, if there is one."""
        self.timeline.hear(event)
        note = self._note(event)
        if isinstance(event, e.CompensationSucceeded):
            self.undone[event.step] = _undone(event)
        if isinstance(event, e.StepScheduled | e.MapChunkPutOff):  # only the last of many is worth a line
            self.notes = [each for each in self.notes if each[0] != event.step or not each[1].startswith(_PUT_OFF)]
        if note is not None:
            self.notes.append(note)
        if isinstance(event, _BEGIN):
            self.began.setdefault(event.step, event.at)
        elif ends_step(event):
            self.ended[event.step] = event.at
        elif isinstance(event, e.RetryRequested):
            for step in event.steps:
                self.began.pop(step, None)
                self.ended.pop(step, None)
        return note[1] if note is not None else None

    def _note(self, event: e.Event) -> tuple[str, str] | None:
        failed, self._failed = self._failed, None
        if isinstance(event, e.AttemptFailed):
            self._failed = event
        elif isinstance(event, e.StepScheduled) and failed is not None:
            wait_s = (event.not_before - failed.at).total_seconds()
            said = f"attempt {failed.attempt} failed ({failed.error.message}); the next one begins in {wait_s:.1f} s"
            return event.step, said
        return _told(event)


def _told(event: e.Event) -> tuple[str, str] | None:
    """The note about an event that stands for itself."""
    if isinstance(event, e.StepScheduled | e.MapChunkPutOff) and event.reason is not None:
        return event.step, f"{_PUT_OFF} {event.not_before:%H:%M:%S} UTC: {event.reason}"
    if isinstance(event, e.CompensationSucceeded):
        return event.step, _undone(event)
    if isinstance(event, e.StepDeadLettered) and event.compensation:
        return event.step, f"could not be undone: {event.error.message}"
    if isinstance(event, e.ApprovalGiven):
        said = "approved" if event.approve else "rejected"
        return event.step, f"{event.principal} {said} it" + (f": {event.comment}" if event.comment else "")
    if isinstance(event, e.RunPaused) and event.reason:
        return "", f"paused: {event.reason}"
    return None


def _undone(event: e.CompensationSucceeded) -> str:
    rows = event.output.get("rows_removed") if isinstance(event.output, dict) else None
    if rows is None:
        return "undone, as another step failed"
    return f"{rows} rows of this run were withdrawn, as another step failed; the next run imports their objects again"
