"""The event store behind an address is found here."""

from __future__ import annotations

import re
from pathlib import Path

from lakeray.errors import ConfigError
from lakeray.state.port import SHARDS, EventStore


def open_event_store(uri: str, *, shards: int = SHARDS) -> EventStore:
    """The store at ``uri`` (as in ``LAKERAY_STATE``), made with ``shards`` shards when there is none yet.

    Opening owns nothing: any number of processes may open a store, ``lease`` decides who writes runs. Raises
    ConfigError for another scheme or a server whose settings would lose runs, StateFormat for what is no store of
    this version, StateUnavailable when it cannot be reached.
    """
    if found := re.fullmatch(r"sqlite:///(.+)", uri):
        from lakeray.state.sqlite.store import SqliteStore

        return SqliteStore(Path(found[1]), shards=shards)
    if re.fullmatch(r"rediss?://.+", uri):
        from lakeray.state.redis.store import RedisStore

        return RedisStore(uri, shards=shards)
    raise ConfigError(
        f"no event store has an address that begins with {uri.partition(':')[0][:20]!r}",
        hint="set LAKERAY_STATE to sqlite:///path, redis://host:port/db or rediss://host:port/db",
    )
