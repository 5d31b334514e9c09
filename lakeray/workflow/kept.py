"""Schedules, triggers and backfills as bytes that later versions still read."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from lakeray.errors import LakerayError
from lakeray.workflow import backfill, schedules, triggers

Kept = TypeVar("Kept", schedules.ScheduleState, triggers.TriggerState, backfill.Backfill)

_FORMATS = {
    schedules.ScheduleState: schedules.FORMAT,
    triggers.TriggerState: triggers.FORMAT,
    backfill.Backfill: backfill.FORMAT,
}


class KeptUnreadable(LakerayError):
    """The bytes are no schedule, trigger or backfill that this version knows."""

    code = "kept_unreadable"


def encode(value: schedules.ScheduleState | triggers.TriggerState | backfill.Backfill) -> bytes:
    """JSON that ``decode`` takes, in this version and later ones."""
    return msgspec.json.encode(msgspec.to_builtins(value) | {"format": value.format})


def decode(data: bytes, kind: type[Kept]) -> Kept:
    """The value that ``encode`` wrote. Raises KeptUnreadable, also for a format that is newer than this version's."""
    try:
        found = msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise KeptUnreadable(f"a kept {kind.__name__} cannot be read: {error}") from None
    newest = _FORMATS[kind]
    if not 1 <= found.format <= newest:
        raise KeptUnreadable(
            f"a kept {kind.__name__} has format {found.format}, this version knows up to {newest}",
            hint="use the version of lakeray that wrote it, or a newer one",
        )
    return found
