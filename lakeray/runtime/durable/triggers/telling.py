"""What is told of schedules and triggers beside runs: kept in the store under an id that follows from its cause.

It is kept before what it tells of is decided, and told at least once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from lakeray.runtime.durable.notices import Notification, cloud_event, notifications
from lakeray.runtime.durable.triggers.registered import Registered
from lakeray.runtime.durable.triggers.registers import Registers
from lakeray.state import EventStore, Message
from lakeray.workflow.overlap import Fire

FORMAT = 1
"""Of what is kept here."""


class KeptNotification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notification that is not part of a run's history, due at an instant. ``why`` is what the last try came to."""

    message_id: str
    said: Notification
    due_at: datetime
    attempts: int = 0
    why: str | None = None
    format: int = FORMAT


def pending(store: EventStore) -> Registers[KeptNotification]:
    """Notifications beside runs, by their ids."""
    return Registers(store, "notices/", KeptNotification, format_=FORMAT)


def undelivered(store: EventStore) -> Registers[KeptNotification]:
    """Notifications that could not be handed over, by their ids."""
    return Registers(store, "deadletters/webhook/", KeptNotification, format_=FORMAT)


def tell_again(store: EventStore, name: str, now: datetime) -> None:
    """Have a dead letter handed over anew, from ``now`` on; with a death between, it stays dead beside that."""
    dead = undelivered(store).get(name)
    if dead is not None:
        again = msgspec.structs.replace(dead, due_at=now, attempts=0, why=None)
        pending(store).change(name, lambda before: before or again)
        undelivered(store).change(name, lambda _: None)


def kept(message: Message, *, why: str | None = None) -> KeptNotification:
    """A message as a register holds it."""
    return KeptNotification(
        message_id=message.message_id,
        said=msgspec.json.decode(message.data, type=Notification),
        due_at=message.due_at,
        attempts=message.attempts,
        why=why,
    )


def tell(store: EventStore, file: Registered, name: str, *, cause: str, now: datetime, data: Mapping[str, Any]) -> None:
    """Have everybody told whom the file names for such events; told again of the same ``cause``, they are once."""
    notify = file.definition.document.get("notify")
    if not notify:
        return
    event = cloud_event(
        name,
        event_id=f"{file.name}/{name}/{cause}",
        tenant=file.definition.tenant,
        workflow=file.definition.workflow,
        subject=cause,
        at=now,
        data=data,
    )
    for message in notifications(notify, name, event, now):
        _keep(store, kept(message))


def _keep(store: EventStore, notification: KeptNotification) -> None:
    pending(store).change(notification.message_id, lambda before: before or notification)


def tell_absence(store: EventStore, file: Registered, fire: Fire, now: datetime) -> None:
    """What should have happened did not."""
    tell(store, file, "expect.missed", cause=fire.key, now=now, data={"trigger": fire.name, **fire.detail})
