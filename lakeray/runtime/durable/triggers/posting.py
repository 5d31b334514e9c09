"""A person, or a program, says that an object is new."""

from __future__ import annotations

from datetime import datetime

from lakeray.objects import absolute
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.triggers.news import News, Notice
from lakeray.state import EventStore


def post_notice(state: str, uri: str, at: datetime) -> None:
    """Keep the news in the state for whoever looks there."""
    with open_state(state) as store:
        post(store, uri, at)


def post(store: EventStore, uri: str, at: datetime) -> None:
    """Likewise in an open store. Said again, it is news again: the object may be another one by now."""
    News(store).add([Notice(uri=absolute(uri), notice_id=f"{uri}#{at.isoformat()}")], at)
