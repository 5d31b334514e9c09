"""How a schedule or a trigger stands, as it is kept between two looks, with what a person should know of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from lakeray.workflow.overlap import Action, Skip
from lakeray.workflow.schedules import Missed, ScheduleState
from lakeray.workflow.triggers import TriggerState

FORMAT = 1
"""Of what is kept here. It grows by fields with defaults alone."""
_MOST_SAID = 20


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence about something that did not begin, or ended badly."""

    at: datetime
    text: str


class KeptSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``said`` are the newest sentences, the oldest first."""

    state: ScheduleState
    said: tuple[Said, ...] = ()
    format: int = FORMAT


class KeptTrigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Likewise of a trigger."""

    state: TriggerState
    said: tuple[Said, ...] = ()
    format: int = FORMAT


def sentences(actions: Iterable[Action | Missed], at: datetime) -> list[Said]:
    """What of it a person should know."""
    found = []
    for action in actions:
        if isinstance(action, Skip):
            found.append(Said(at=at, text=f"{action.fire.key} was skipped: {action.reason}"))
        elif isinstance(action, Missed):
            until = "" if action.until == action.first else f" to {action.until.isoformat(timespec='seconds')}"
            found.append(Said(at=at, text=f"missed {action.first.isoformat(timespec='seconds')}{until}"))
    return found


def saying(before: tuple[Said, ...], more: Iterable[Said]) -> tuple[Said, ...]:
    """The newest of all of them."""
    return (*before, *more)[-_MOST_SAID:]
