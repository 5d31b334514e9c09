"""Schedules, triggers, backfills and what holds them as bytes that later versions still read."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from lakeray.errors import LakerayError
from lakeray.workflow import backfill, schedules, triggers

Kept = TypeVar("Kept", bound=msgspec.Struct)

_FORMATS: dict[type[msgspec.Struct], int] = {
    schedules.ScheduleState: schedules.FORMAT,
    triggers.TriggerState: triggers.FORMAT,
    backfill.Backfill: backfill.FORMAT,
}


class KeptUnreadable(LakerayError):
    """The bytes are nothing that this version knows."""

    code = "kept_unreadable"


def encode(value: msgspec.Struct) -> bytes:
    """JSON that ``decode`` takes, in this version and later ones. The value has a field ``format``."""
    return msgspec.json.encode(msgspec.to_builtins(value) | {"format": value.format})  # type: ignore[attr-defined]


def decode(data: bytes, kind: type[Kept], *, newest: int | None = None) -> Kept:
    """The value that ``encode`` wrote. Raises KeptUnreadable, also for a format that is newer than this version's,
    which is ``newest`` where this module does not know the kind.
    """
    try:
        found = msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise KeptUnreadable(f"a kept {kind.__name__} cannot be read: {error}") from None
    newest = _FORMATS[kind] if newest is None else newest
    format_: int = found.format  # type: ignore[attr-defined]
    if not 1 <= format_ <= newest:
        raise KeptUnreadable(
            f"a kept {kind.__name__} has format {format_}, this version knows up to {newest}",
            hint="use the version of lakeray that wrote it, or a newer one",
        )
    return found
